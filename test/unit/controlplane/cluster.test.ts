import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from '../../../controlplane/encoding.ts';
import type { NetworkId } from '../../../controlplane/ids.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { clusterTopic, toWire } from '../../../controlplane/tables/record.ts';
import { identityOf } from '../../sim/identities.ts';
import { simulationStartMs } from '../../sim/time.ts';
import { makeCluster, memoryStore, settled, Writer } from './helpers.ts';

const self = await identityOf(0, 'worker');
const creator = await identityOf(1, 'manager');
const remover = await identityOf(2, 'manager');
const id = 'n'.repeat(25) as NetworkId;

const network = {
  stamp: [simulationStartMs, 0],
  removed: false,
  name: 'frontend',
  vni: 4097,
  subnet: '10.0.1.0/24',
  gateway: '10.0.1.1',
  internal: false,
  attachable: false,
  ingress: false,
  options: {},
  labels: {},
  createdMs: simulationStartMs,
  // So that its own endpoints may be shown.
  root: self.key.nodeId,
};
const endpoint = {
  name: 'box',
  sandbox: 'a'.repeat(64),
  ip: '10.0.1.7',
  mac: '02:00:00:00:00:01',
  aliases: [],
  createdMs: simulationStartMs,
};
const endpointKey = `ep/${'e'.repeat(64)}`;

test('a removal that overtakes what the remover took over does not take networks away, nor what is on them', async () => {
  const store = memoryStore();
  const { cluster, transport, time, admit } = makeCluster(self, store);
  await cluster.start();
  assert.equal(admit(creator), null);
  assert.equal(admit(remover), null);
  const [old, heir] = [new Writer(creator), new Writer(remover)];
  transport.gossip(
    clusterTopic,
    [old.write(clusterTopic, '', 1), old.write(clusterTopic, `network/${id}`, network)],
    old.nodeId,
  );
  await cluster.tables.put(networkTopic(id), endpointKey, endpoint);
  let shown = true;
  cluster.view.watch(() => {
    shown &&= cluster.view.networks.has(id) && cluster.view.endpointsOf(id).size === 1;
  });
  const [opening, inherited, removal] = [
    heir.write(clusterTopic, '', 1),
    heir.write(clusterTopic, `network/${id}`, network),
    heir.write(clusterTopic, `removed/${old.nodeId}`, { stamp: [simulationStartMs, 1] }),
  ];
  transport.gossip(clusterTopic, [opening, removal], heir.nodeId);
  await time.run(5_000);
  assert.ok(cluster.tables.vector(clusterTopic).has(old.nodeId));
  transport.gossip(clusterTopic, [inherited], heir.nodeId);
  await time.run(1_000);
  assert.ok(!cluster.tables.vector(clusterTopic).has(old.nodeId));
  assert.ok(shown);
  await cluster.stop();
});

test('endpoints of a network that was removed while this node was down are forgotten', async () => {
  const store = memoryStore();
  const writer = new Writer(creator);
  const records = [writer.write(clusterTopic, '', 1), writer.write(clusterTopic, `network/${id}`, network)];
  const first = makeCluster(self, store);
  await first.cluster.start();
  first.admit(creator);
  first.transport.gossip(clusterTopic, records, writer.nodeId);
  await first.cluster.tables.put(networkTopic(id), endpointKey, endpoint);
  await first.cluster.stop();
  const second = makeCluster(self, store);
  await second.cluster.start();
  assert.equal(second.cluster.view.endpointsOf(id).size, 1);
  // The removal is stored, and the crash comes before the topic is erased.
  const removal = writer.write(clusterTopic, `network/${id}`, {
    ...network,
    removed: true,
    stamp: [simulationStartMs, 5],
  });
  second.transport.gossip(clusterTopic, [removal], writer.nodeId);
  await second.cluster.tables.flushed();
  assert.ok(store.disk.entries(['own', networkTopic(id)]).length > 0);
  const third = makeCluster(self, store);
  await third.cluster.start();
  await third.time.run(100);
  assert.equal(third.cluster.view.endpoints.size, 0);
  assert.deepEqual(store.disk.entries(['own', networkTopic(id)]), []);
});

test('own endpoints of a network that is not known again yet are kept', async () => {
  const store = memoryStore();
  const writer = new Writer(creator);
  const first = makeCluster(self, store);
  await first.cluster.start();
  first.admit(creator);
  const records = [writer.write(clusterTopic, '', 1), writer.write(clusterTopic, `network/${id}`, network)];
  first.transport.gossip(clusterTopic, records, writer.nodeId);
  await first.cluster.tables.put(networkTopic(id), endpointKey, endpoint);
  // Others' records are written behind, so a crash may cost them.
  const lost = ['record', 'position'].flatMap((table) => store.disk.entries([table]));
  store.disk.apply(lost.map(([key]) => ({ key, bytes: null })));
  const second = makeCluster(self, store);
  await second.cluster.start();
  await second.time.run(100);
  assert.ok(!second.cluster.view.networks.has(id));
  second.transport.gossip(clusterTopic, records, writer.nodeId);
  await settled();
  assert.equal(second.cluster.view.endpointsOf(id).size, 1);
});

test('a gap is pulled at once from whoever showed it, and so is the stream of a stranger', async () => {
  const { cluster, transport, admit } = makeCluster(self, memoryStore());
  await cluster.start();
  admit(creator);
  const connection = { direction: 'inbound' as const, address: '192.0.2.1:7946', sinceMs: 0 };
  transport.open.set(remover.key.nodeId, connection);
  const asked: string[] = [];
  transport.answer = async (peer, method) => {
    asked.push(`${method} ${peer}`);
    throw new Error('later');
  };
  const writer = new Writer(creator);
  const [opening, , third] = [1, 2, 3].map((n) =>
    n === 1 ? writer.write(clusterTopic, '', 1) : writer.write(clusterTopic, `network/${id}`, network),
  );
  assert.ok(opening !== undefined && third !== undefined);
  transport.gossip(clusterTopic, [opening], remover.key.nodeId);
  await settled();
  assert.deepEqual(asked, []);
  transport.gossip(clusterTopic, [third], remover.key.nodeId);
  await settled();
  assert.deepEqual(asked, [`pull ${remover.key.nodeId}`]);
  transport.open.set(creator.key.nodeId, connection);
  const stranger = new Writer(await identityOf(3, 'worker')).write(clusterTopic, '', 1);
  transport.gossip(clusterTopic, [stranger], creator.key.nodeId);
  await settled();
  assert.deepEqual(asked.slice(1), [`pull ${creator.key.nodeId}`]);
  await cluster.stop();
});

test('a node of another cluster is not admitted, nor one under the id of another', async () => {
  const { cluster, admit } = makeCluster(self, memoryStore());
  assert.equal(admit(creator), null);
  const { certificate } = creator;
  assert.match(admit({ ...remover, certificate }) ?? '', /another node/);
  assert.match(admit({ ...creator, certificate: Buffer.from('nonsense') }) ?? '', /not an X.509/);
  assert.equal(cluster.roleOf(creator.key.nodeId), 'manager');
});

test('only managers remove nodes, not themselves, and not one that is there', async () => {
  const worker = makeCluster(self, memoryStore());
  await worker.cluster.start();
  await assert.rejects(worker.cluster.removeNode(creator.key.nodeId, true), { code: 'not_manager' });
  const manager = makeCluster(creator, memoryStore());
  await manager.cluster.start();
  await assert.rejects(manager.cluster.removeNode(creator.key.nodeId, true), { code: 'node_is_self' });
  const connection = { direction: 'inbound' as const, address: '192.0.2.1:7946', sinceMs: 0 };
  manager.transport.open.set(self.key.nodeId, connection);
  await assert.rejects(manager.cluster.removeNode(self.key.nodeId, false), { code: 'node_not_down' });
  await assert.rejects(manager.cluster.askToLeave(), { code: 'last_manager' });
  await assert.rejects(worker.cluster.askToLeave(), { code: 'no_manager_reachable' });
});

test('members that the join answer named are dialled until they are removed, whoever else the tables know', async () => {
  const peers = new Map([[creator.key.nodeId, [creator.advertise]]]);
  const { cluster, transport, time, admit } = makeCluster(self, memoryStore(), undefined, peers);
  await cluster.start();
  admit(remover);
  const other = new Writer(remover);
  const node = { hostname: 'b', vtep: remover.vtep, gossip: [remover.advertise], version: '', createdMs: 0 };
  const records = [other.write(clusterTopic, '', 1), other.write(clusterTopic, 'node', node)];
  transport.gossip(clusterTopic, records, other.nodeId);
  transport.dialled.length = 0;
  await time.run(5_000);
  assert.deepEqual(new Set(transport.dialled), new Set([creator.key.nodeId, remover.key.nodeId]));
  const removal = { stamp: [simulationStartMs, 1] };
  transport.gossip(clusterTopic, [other.write(clusterTopic, `removed/${creator.key.nodeId}`, removal)], other.nodeId);
  await time.run(1_000);
  transport.dialled.length = 0;
  await time.run(30_000);
  assert.deepEqual(new Set(transport.dialled), new Set([remover.key.nodeId]));
  await cluster.stop();
});

test('the clock of a node that was removed is forgotten', async () => {
  const { cluster, transport, time, admit } = makeCluster(self, memoryStore());
  await cluster.start();
  admit(remover);
  const { propagation } = cluster.tables;
  for (const { key } of [creator, remover]) propagation.compared(key.nodeId, time.now(), time.now());
  const writer = new Writer(remover);
  const opening = writer.write(clusterTopic, '', 1);
  const removal = writer.write(clusterTopic, `removed/${creator.key.nodeId}`, { stamp: [simulationStartMs, 1] });
  transport.gossip(clusterTopic, [opening, removal], writer.nodeId);
  assert.deepEqual([...propagation.clocks().keys()], [remover.key.nodeId]);
  await cluster.stop();
});

test('a removed node that was away believes who refuses it only with the signature of a manager', async () => {
  const manager = makeCluster(creator, memoryStore());
  await manager.cluster.start();
  manager.admit(self);
  await manager.cluster.removeNode(self.key.nodeId, true);
  const statement = manager.refusals.explain(self.key.nodeId);
  assert.ok(statement !== null);
  assert.equal(manager.refusals.explain(remover.key.nodeId), null);
  let removed = 0;
  const { cluster, refusals } = makeCluster(self, memoryStore(), undefined, undefined, () => {
    removed += 1;
  });
  await cluster.start();
  const worker = new Writer(await identityOf(3, 'worker'));
  const signed = worker.write(clusterTopic, `removed/${cluster.self}`, { stamp: [simulationStartMs, 0] });
  const byWorker = encode([toWire(signed), (await identityOf(3, 'worker')).certificate]);
  const ofOther = manager.refusals.explain(self.key.nodeId)?.subarray(0, 40) ?? Buffer.alloc(0);
  for (const bad of [byWorker, ofOther, Buffer.alloc(0), encode([]), encode([1, 2])]) refusals.refused(bad);
  assert.equal(removed, 0);
  refusals.refused(statement);
  refusals.refused(statement);
  assert.equal(removed, 1);
  await cluster.stop();
  await manager.cluster.stop();
});

test('a node whose removal went with the manager that removed it can be removed again', async () => {
  const { cluster, transport, time, admit } = makeCluster(await identityOf(3, 'manager'), memoryStore());
  const gone = await identityOf(4, 'worker');
  await cluster.start();
  for (const each of [creator, remover, gone]) assert.equal(admit(each), null);
  const [first, second] = [new Writer(remover), new Writer(creator)];
  const stamp = [simulationStartMs, 1];
  const removes = async (writer: Writer, nodeId: string): Promise<void> => {
    const records = [writer.write(clusterTopic, '', 1), writer.write(clusterTopic, `removed/${nodeId}`, { stamp })];
    transport.gossip(clusterTopic, records, writer.nodeId);
    await time.run(1_000);
  };
  await removes(first, gone.key.nodeId);
  assert.ok(cluster.view.isRemoved(gone.key.nodeId));
  // By one that had not heard of the first removal.
  await removes(second, first.nodeId);
  assert.ok(!cluster.view.isRemoved(gone.key.nodeId));
  await cluster.removeNode(gone.key.nodeId, true);
  assert.ok(cluster.view.isRemoved(gone.key.nodeId));
  await cluster.stop();
});
