import { randomBytes } from 'node:crypto';
import type { AbortOptions, ConnectionProtector, MessageStream } from '@libp2p/interface';
import { preSharedKey } from '@libp2p/pnet';
import { byteStream } from '@libp2p/utils';

/** Bytes of a key's digest that name it in front of a connection: they tell keys apart, and nothing of them. */
export const keyIdBytes = 8;
/** Ids that the dialler sends, the best first; what is not used is random, so that their number does not show. */
const offered = 4;
// As libp2p's own, where nobody gives a signal.
const handshakeMs = 1_000;

/** A pre-shared key of the mesh and its name. */
export interface MeshKey {
  readonly id: Uint8Array;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

/**
 * libp2p's private network with several keys at a time. The dialler says by their ids which keys it has; the listener
 * answers with the id of the one to use, or with nothing; then both go on as a private network of that key does.
 * @param keys those that are accepted now, the best first
 */
export function meshProtector(keys: () => readonly MeshKey[]): () => ConnectionProtector {
  return () => {
    const protect = async (connection: MessageStream, given?: AbortOptions): Promise<MessageStream> => {
      const options = given ?? { signal: AbortSignal.timeout(handshakeMs) };
      const bytes = byteStream(connection);
      const own = keys();
      let chosen: MeshKey | undefined;
      if (connection.direction === 'outbound') {
        await bytes.write(offer(own), options);
        const answer = (await bytes.read({ bytes: keyIdBytes, ...options })).subarray();
        chosen = find(own, answer);
      } else {
        const theirs = (await bytes.read({ bytes: keyIdBytes * offered, ...options })).subarray();
        chosen = choose(own, theirs);
        if (chosen !== undefined) await bytes.write(chosen.id, options);
      }
      if (chosen === undefined) throw new Error('the other end has no key of this mesh');
      return preSharedKey({ psk: pskFile(chosen.key) })().protect(bytes.unwrap(), options);
    };
    return { protect };
  };
}

function offer(own: readonly MeshKey[]): Uint8Array {
  const filler = Array.from({ length: offered }, () => randomBytes(keyIdBytes));
  return Buffer.concat([...own.map(({ id }) => id), ...filler].slice(0, offered));
}

/** The best of the own keys that the other end has too. @param theirs ids one after the other */
export function choose(own: readonly MeshKey[], theirs: Uint8Array): MeshKey | undefined {
  const ids = Array.from({ length: theirs.length / keyIdBytes }, (_, i) =>
    Buffer.from(theirs.subarray(i * keyIdBytes, (i + 1) * keyIdBytes)),
  );
  return own.find(({ id }) => ids.some((each) => each.equals(id)));
}

const find = (own: readonly MeshKey[], id: Uint8Array): MeshKey | undefined =>
  own.find((each) => Buffer.from(id).equals(each.id));

/** Key file format of libp2p's private networks (libp2p specs, pnet/Private-Networks-PSK-V1). */
function pskFile(key: Uint8Array): Uint8Array {
  return Buffer.from(`/key/swarm/psk/1.0.0/\n/base16/\n${Buffer.from(key).toString('hex')}`);
}
