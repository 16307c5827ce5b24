import type { ConnectionEncrypter, MessageStream, SecureConnectionOptions, SecuredConnection } from '@libp2p/interface';
import { lpStream } from '@libp2p/utils';
import { z } from 'zod';
import { decode, encode } from '../encoding.ts';
import { maxCertificateBytes } from '../identity/certificates.ts';
import { type Link, maxLinks } from '../identity/trust.ts';

/**
 * Decides whether the node that proved to hold the key of `peerId` may connect.
 * @returns why not, or null
 */
export type Admit = (certificate: Uint8Array, peerId: string) => string | null;

/** What is said when a node is not admitted. */
export interface Refusals {
  /** What proves to that node why it is not admitted; null when it has to do without. */
  readonly explain: (peerId: string) => Uint8Array | null;
  /** This node was not admitted, and was told so. @param explanation from one that is no member, perhaps */
  readonly refused: (explanation: Uint8Array) => void;
}

/** What a node shows of itself, and what it makes of others. */
export interface Membership extends Refusals {
  /** Own certificate, DER. */
  readonly certificate: () => Uint8Array;
  /** How others who only know an earlier root come to trust those of now. */
  readonly links: () => readonly Link[];
  /** Takes up roots that one of those trusted here vouches for. */
  readonly learn: (links: readonly Link[]) => Promise<void>;
  readonly admit: Admit;
}

const maxShownBytes = 2 * maxCertificateBytes * maxLinks;
const der = z.custom<Uint8Array>((value) => value instanceof Uint8Array && value.length <= maxCertificateBytes);
const Shown = z.tuple([der, z.array(z.tuple([der, der])).max(maxLinks)]);

/** @returns null for anything that is not what a node shows; certificates are not looked at */
export function parseShown(bytes: Uint8Array): { certificate: Uint8Array; links: Link[] } | null {
  try {
    const parsed = Shown.safeParse(decode(bytes));
    if (!parsed.success) return null;
    const [certificate, links] = parsed.data;
    return { certificate, links: links.map(([root, cross]) => ({ root, cross })) };
  } catch {
    return null;
  }
}

/** @returns true for an admission; for a refusal what explains it, or null */
export function parseVerdict(bytes: Uint8Array): true | Uint8Array | null {
  try {
    const [admitted, explanation] = decode(bytes) as unknown[];
    if (admitted === true) return true;
    return explanation instanceof Uint8Array ? explanation : null;
  } catch {
    return null;
  }
}

/**
 * Wraps a connection encrypter: after its handshake both ends show their node certificates, still before any muxer or
 * protocol, and say whether they admit each other. So whatever runs above, gossipsub included, only ever sees members.
 * @param admitted is told of each member that has dialled this node, before its connection is in use
 */
export function membersOnly(
  inner: ConnectionEncrypter,
  membership: Membership,
  admitted: (peerId: string) => void,
): ConnectionEncrypter {
  const exchange = async (
    secured: SecuredConnection,
    options: SecureConnectionOptions | undefined,
  ): Promise<SecuredConnection> => {
    const frames = lpStream(secured.connection as MessageStream, { maxDataLength: maxShownBytes });
    const links = membership.links().flatMap(({ root, cross }) => (cross === null ? [] : [[root, cross]]));
    const own = encode([membership.certificate(), links]);
    const [, theirs] = await Promise.all([frames.write(own, options), frames.read(options)]);
    const shown = parseShown(theirs.subarray());
    const peer = secured.remotePeer.toString();
    if (shown === null) throw new Error(`${peer} is not admitted: it shows no certificate`);
    await membership.learn(shown.links);
    const objection = membership.admit(shown.certificate, peer);
    const verdict = objection === null ? [true] : [false, membership.explain(peer)];
    const answered = Promise.all([frames.write(encode(verdict), options), frames.read(options)]);
    // Who is refused may have hung up by now: the reason is what counts.
    const [, answer] = objection === null ? await answered : await answered.catch(() => []);
    if (objection !== null) throw new Error(`${peer} is not admitted: ${objection}`);
    const explanation = answer === undefined ? null : parseVerdict(answer.subarray());
    if (explanation instanceof Uint8Array) membership.refused(explanation);
    if (explanation !== true) throw new Error(`${peer} does not admit this node`);
    return { ...secured, connection: frames.unwrap() };
  };
  return {
    // A name of its own: a peer that would skip the exchange does not find a protocol in common.
    protocol: '/weft/noise-member/3',
    secureOutbound: async (connection, options) => exchange(await inner.secureOutbound(connection, options), options),
    secureInbound: async (connection, options) => {
      const secured = await exchange(await inner.secureInbound(connection, options), options);
      admitted(secured.remotePeer.toString());
      return secured;
    },
  };
}
