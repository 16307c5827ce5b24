import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { identityOf } from '../../sim/identities.ts';
import { makeCluster, memoryStore, Writer } from './helpers.ts';

const [self, other, worker] = await Promise.all([
  identityOf(0, 'manager'),
  identityOf(1, 'manager'),
  identityOf(2, 'worker'),
]);

test('managers label nodes; what is not said of labels stays, and the last word counts', async () => {
  const { cluster, transport, admit, time } = makeCluster(self, memoryStore());
  await cluster.start();
  const node = worker.key.nodeId;
  const { nodeLabels, view } = cluster;
  let told = 0;
  // Where connections go hangs on it.
  view.watch(({ services }) => {
    told += Number(services);
  });
  assert.deepEqual(view.nodeLabels(node), {});
  assert.equal(await nodeLabels.update(node, { add: { zone: 'a', rack: '7' }, remove: [] }), true);
  assert.equal(await nodeLabels.update(node, { add: { rack: '7' }, remove: [] }), false);
  assert.deepEqual([view.nodeLabels(node), view.nodeLabels(cluster.self), told], [{ zone: 'a', rack: '7' }, {}, 1]);
  assert.deepEqual(nodeLabels.preview(node, { add: { zone: 'b' }, remove: ['rack'] }), { zone: 'b' });
  assert.equal(await nodeLabels.update(node, { add: { zone: 'b' }, remove: ['rack'] }), true);
  assert.deepEqual(view.nodeLabels(node), { zone: 'b' });
  await assert.rejects(nodeLabels.update(node, { add: {}, remove: ['rack'] }), {
    code: 'label_not_found',
    hint: 'it has zone',
  });
  await time.run(5);
  assert.equal(admit(other), null);
  const writer = new Writer(other);
  const value = { stamp: [time.now() + 1, 0], labels: { zone: 'c' } };
  transport.gossip(
    clusterTopic,
    [writer.write(clusterTopic, '', 1), writer.write(clusterTopic, `node-labels/${node}`, value)],
    writer.nodeId,
  );
  assert.deepEqual([view.nodeLabels(node), told], [{ zone: 'c' }, 3]);
  assert.equal(await nodeLabels.update(node, { add: {}, remove: ['zone'] }), true);
  assert.deepEqual(view.nodeLabels(node), {});
  await cluster.stop();
});

test('labels have a bound, by their number and by what a record can take', async () => {
  const { cluster } = makeCluster(self, memoryStore());
  await cluster.start();
  const { nodeLabels, view } = cluster;
  const many = (count: number, length = 1) =>
    Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${at}`, 'v'.repeat(length)]));
  assert.equal(await nodeLabels.update(cluster.self, { add: many(64), remove: [] }), true);
  await assert.rejects(nodeLabels.update(cluster.self, { add: { zone: 'a' }, remove: [] }), { code: 'too_large' });
  await assert.rejects(nodeLabels.update(cluster.self, { add: many(2, 1024), remove: [] }), { code: 'too_large' });
  assert.deepEqual(view.nodeLabels(cluster.self), many(64));
  await cluster.stop();
});

test('only managers label', async () => {
  const { cluster } = makeCluster(worker, memoryStore());
  await cluster.start();
  await assert.rejects(cluster.nodeLabels.update(worker.key.nodeId, { add: { zone: 'a' }, remove: [] }), {
    code: 'not_manager',
  });
  await cluster.stop();
});
