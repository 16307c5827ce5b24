import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newNetworkId } from '../../../controlplane/ids.ts';
import { Allocator } from '../../../controlplane/ring/allocator.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { identityOf } from '../../sim/identities.ts';
import { quietLog, settled, Writer } from './helpers.ts';
import { makeNode } from './nodes.ts';

const ring = newNetworkId();
const topic = networkTopic(ring);

/** A node that was given [0, 4) and [8, 12) by the root, and has claimed neither. */
async function given() {
  const node = await makeNode(0);
  const giver = await identityOf(1, 'worker');
  node.members.admit(giver.certificate);
  node.tables.addInterest(topic);
  const allocator = new Allocator({
    ...node,
    log: quietLog,
    spaceOf: () => ({ size: 16, root: giver.key.nodeId, taken: new Set(), name: 'network test' }),
    mayOwn: () => true,
    catchUp: async () => {},
  });
  const writer = new Writer(giver);
  node.tables.ingest(writer.write(topic, '', 1));
  for (const start of [0, 8]) {
    const value = { start, end: start + 4, to: node.id, generation: 1 };
    node.tables.ingest(writer.write(topic, `range/${start}/1`, value));
  }
  return { ...node, allocator, writer };
}

const ownClaims = (node: Awaited<ReturnType<typeof given>>): string[] =>
  [...node.tables.records(topic, 'range/')]
    .filter(({ record }) => record.owner === node.id)
    .map(({ record }) => record.key);

test('every range that was given is claimed once, with the next generation', async () => {
  const node = await given();
  await node.allocator.claim(ring);
  assert.deepEqual(ownClaims(node), ['range/0/2', 'range/8/2']);
  await node.allocator.claim(ring);
  assert.deepEqual(ownClaims(node), ['range/0/2', 'range/8/2']);
  // So it stays with this node when the giver's records are gone.
  await node.tables.dropOwner(node.writer.nodeId);
  const owned = [...node.view.grants(ring)].map(({ start, end, to }) => [start, end, to]);
  assert.deepEqual(owned, [
    [0, 4, node.id],
    [8, 12, node.id],
  ]);
});

test('a claim that is under way when the node stops comes to an end', async () => {
  const node = await given();
  node.store.held = true;
  let ended = false;
  void node.allocator.claim(ring).then(() => {
    ended = true;
  });
  node.view.close();
  for (let commit = 0; commit < 6; commit += 1) {
    await settled();
    node.store.release();
  }
  await settled();
  assert.ok(ended);
});
