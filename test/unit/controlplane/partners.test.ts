import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { NodeId } from '../../../controlplane/ids.ts';
import { partnersFor } from '../../../controlplane/tables/partners.ts';

test('whoever has waited longest is compared with, and for each topic somebody who follows it', () => {
  const topics = fc.uniqueArray(fc.constantFrom<string[]>('a', 'b', 'c', 'd'), { maxLength: 4 });
  const neighbours = fc.array(topics, { maxLength: 8 });
  fc.assert(
    fc.property(topics, neighbours, (mine, followed) => {
      const peers = followed.map((_, i) => `peer${i}` as NodeId);
      const follows = (peer: NodeId, topic: string): boolean => followed[peers.indexOf(peer)]?.includes(topic) ?? false;
      const partners = partnersFor(mine, peers, follows);
      assert.deepEqual(partners.slice(0, 1), peers.slice(0, 1));
      assert.ok(partners.length <= 4);
      const covered = (among: readonly NodeId[]) => mine.filter((topic) => among.some((peer) => follows(peer, topic)));
      // Four partners that each bring something cover at least four topics, the first one excepted.
      if (partners.length < 4) assert.deepEqual(covered(partners), covered(peers));
    }),
  );
});

test('where all follow the same topics, one neighbour is enough', () => {
  const peers = ['x', 'y', 'z'] as NodeId[];
  assert.deepEqual(
    partnersFor(['cluster', 'net'], peers, () => true),
    ['x'],
  );
});
