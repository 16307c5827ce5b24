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

test('a node is active until a manager drains it, and until one activates it again; the last word counts', async () => {
  const { cluster, transport, admit, time } = makeCluster(self, memoryStore());
  await cluster.start();
  const node = worker.key.nodeId;
  const { availabilities, view } = cluster;
  let told = 0;
  view.watch(({ services }) => {
    told += Number(services);
  });
  assert.equal(view.isDrained(node), false);
  assert.equal(await availabilities.set(node, 'active'), false);
  assert.equal(await availabilities.set(node, 'drain'), true);
  assert.equal(await availabilities.set(node, 'drain'), false);
  assert.deepEqual([view.isDrained(node), view.isDrained(cluster.self), told], [true, false, 1]);
  await time.run(5);
  assert.equal(admit(other), null);
  const writer = new Writer(other);
  const stamp = [time.now() + 1, 0];
  const records = [
    writer.write(clusterTopic, '', 1),
    writer.write(clusterTopic, `availability/${node}`, { stamp, availability: 'active' }),
  ];
  transport.gossip(clusterTopic, records, writer.nodeId);
  assert.deepEqual([view.isDrained(node), told], [false, 2]);
  assert.equal(await availabilities.set(node, 'drain'), true);
  assert.equal(view.isDrained(node), true);
  await cluster.stop();
});

test('only managers decide', async () => {
  const { cluster } = makeCluster(worker, memoryStore());
  await cluster.start();
  await assert.rejects(cluster.availabilities.set(self.key.nodeId, 'drain'), { code: 'not_manager' });
  await cluster.stop();
});
