import assert from 'node:assert/strict';
import { decode } from '../../../controlplane/encoding.ts';
import { crossSign } from '../../../controlplane/identity/authority.ts';
import { parseShown, parseVerdict } from '../../../controlplane/mesh/membership.ts';
import { echoPings } from '../../../controlplane/mesh/pings.ts';
import { choose, keyIdBytes } from '../../../controlplane/mesh/protector.ts';
import { decodeRecord } from '../../../controlplane/tables/record.ts';
import { identityOf } from '../../sim/identities.ts';
import { simulationStartMs } from '../../sim/time.ts';
import { makeAuthority } from '../../unit/controlplane/nodes.ts';
import type { Fate, Target } from '../engine.ts';
import { byteInputs, msgpackInputs, takenIf } from '../inputs.ts';
import { founding, listening, Renewed } from './nodes.ts';

/** What strangers say before they are members, and what comes on a connection outside of requests and gossip. */
export async function handshakeTargets(): Promise<Target[]> {
  const [first, removed] = [await identityOf(0, 'manager'), await identityOf(2, 'worker')];
  const [authority] = first.authorities;
  if (authority === undefined) throw new Error('the first node is no manager');
  const next = await makeAuthority(simulationStartMs);
  const links = [[next.certificate, await crossSign(authority, next)]];
  const manager = await founding([removed]);
  await manager.cluster.removeNode(removed.key.nodeId, true);
  const statement = manager.cluster.removal.statementOn(removed.key.nodeId);
  if (statement === null) throw new Error('the removal cannot be shown');

  const shown: Target = {
    name: 'handshake: what is shown',
    weight: 6,
    ...msgpackInputs([
      [first.certificate, links],
      [first.certificate, []],
    ]),
    take: (bytes: Uint8Array): Fate => {
      const parsed = parseShown(bytes);
      if (parsed === null) return 'refused';
      const trust = first.trust.follow(parsed.links);
      for (const { der } of trust.anchors)
        assert.ok(
          [first.trust.current.der, next.certificate].some((known) => Buffer.from(known).equals(der)),
          'a root of nobody',
        );
      return trust.check(parsed.certificate, simulationStartMs).ok ? 'taken' : 'read';
    },
  };
  const verdicts: Target = {
    name: 'handshake: the verdict',
    weight: 3,
    ...msgpackInputs([[true], [false, statement]]),
    take: (bytes: Uint8Array) => takenIf(parseVerdict(bytes) !== null),
  };
  const nodes = new Renewed(() => listening([first], removed));
  const removals: Target = {
    name: 'handshake: why one is refused',
    weight: 3,
    ...msgpackInputs([decode(statement)]),
    take: async (bytes: Uint8Array): Promise<Fate> => {
      const { cluster } = await nodes.get();
      cluster.removal.told(bytes);
      if (!cluster.removal.has(cluster.self)) return isStatement(bytes) ? 'read' : 'refused';
      await nodes.drop();
      return 'taken';
    },
  };
  const keys = [1, 2].map((byte) => ({ id: Buffer.alloc(keyIdBytes, byte), key: Buffer.alloc(32, byte) }));
  const offers = [[1], [9, 2], [9, 8, 7, 1]].map((ids) => Buffer.concat(ids.map((id) => Buffer.alloc(keyIdBytes, id))));
  const protector: Target = {
    name: 'handshake: ids of mesh keys',
    weight: 3,
    ...byteInputs(offers),
    take: (bytes: Uint8Array) => takenIf(choose(keys, bytes) !== undefined),
  };
  return [shown, verdicts, removals, protector, pingTarget()];
}

function isStatement(bytes: Uint8Array): boolean {
  try {
    return decodeRecord((decode(bytes) as unknown[])[0]) !== null;
  } catch {
    return false;
  }
}

/** Frames of eight bytes, however they are cut: as many come back, and the same bytes. */
function pingTarget(): Target {
  const valid = [[Buffer.alloc(8, 1)], [Buffer.alloc(3, 1), Buffer.alloc(13, 2)]];
  return {
    name: 'pings',
    weight: 3,
    valid,
    make: (random) =>
      Array.from({ length: random.between(0, 6) }, () => random.bytes(random.pick([0, 1, 7, 8, 9, 40, 300]) ?? 0)),
    take: (chunks: Uint8Array[]) => {
      const sent: Uint8Array[] = [];
      let heard = 0;
      const stream = Object.assign(new EventTarget(), {
        status: 'open',
        writeStatus: 'writable',
        send: (frame: Uint8Array) => sent.push(frame) > 0,
      });
      echoPings(stream as never, () => {
        heard += 1;
      });
      for (const data of chunks) stream.dispatchEvent(Object.assign(new Event('message'), { data }));
      const all = Buffer.concat(chunks);
      const whole = all.subarray(0, all.length - (all.length % 8));
      assert.deepEqual([Buffer.concat(sent), heard], [whole, whole.length / 8]);
      return takenIf(heard > 0);
    },
  };
}
