import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkId } from '../../../controlplane/ids.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { identityOf } from '../../sim/identities.ts';
import { simulationStartMs } from '../../sim/time.ts';
import { makeCluster, memoryStore, settled, Writer } from './helpers.ts';

const self = await identityOf(0, 'manager');
const manager = await identityOf(1, 'manager');
const worker = await identityOf(2, 'worker');
const promoted = await identityOf(2, 'manager');
const id = 'n'.repeat(25) as NetworkId;
const stampAt = (ms: number) => [simulationStartMs + ms, 0];

const network = {
  stamp: stampAt(0),
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
  root: manager.key.nodeId,
};
const node = (name: string) => ({
  hostname: name,
  vtep: '192.0.2.9',
  gossip: ['192.0.2.9:7946'],
  version: 'test',
  createdMs: simulationStartMs,
});

async function started(identity = self) {
  const made = makeCluster(identity, memoryStore());
  await made.cluster.start();
  for (const each of [self, manager, worker]) made.admit(each);
  return made;
}

test('a demotion counts at once: what the demoted one writes is hidden, what the demoter took over stays', async () => {
  const { cluster, transport, time } = await started(worker);
  const [old, heir] = [new Writer(manager), new Writer(self)];
  transport.gossip(
    clusterTopic,
    [old.write(clusterTopic, '', 1), old.write(clusterTopic, `network/${id}`, network)],
    old.nodeId,
  );
  let shown = true;
  cluster.view.watch(() => {
    shown &&= cluster.view.networks.has(id);
  });
  const [opening, inherited, decision] = [
    heir.write(clusterTopic, '', 1),
    heir.write(clusterTopic, `network/${id}`, network),
    heir.write(clusterTopic, `role/${old.nodeId}`, { stamp: stampAt(5), role: 'worker' }),
  ];
  // The decision overtakes what was taken over: it waits for that.
  transport.gossip(clusterTopic, [opening, decision], heir.nodeId);
  await time.run(2_000);
  assert.equal(cluster.roleOf(old.nodeId), 'manager');
  transport.gossip(clusterTopic, [inherited], heir.nodeId);
  await time.run(1_000);
  assert.equal(cluster.roleOf(old.nodeId), 'worker');
  assert.ok(shown);
  const other = 'm'.repeat(25) as NetworkId;
  transport.gossip(
    clusterTopic,
    [old.write(clusterTopic, `network/${other}`, { ...network, name: 'late' })],
    old.nodeId,
  );
  assert.ok(!cluster.view.networks.has(other));
  assert.equal(cluster.offences.list()[0]?.what, 'network record from a worker');
  await cluster.stop();
});

test('records of a new manager that came before its certificate show when it comes', async () => {
  const { cluster, transport, time } = await started(self);
  const writer = new Writer(promoted);
  transport.gossip(
    clusterTopic,
    [writer.write(clusterTopic, '', 1), writer.write(clusterTopic, `network/${id}`, network)],
    writer.nodeId,
  );
  assert.ok(!cluster.view.networks.has(id));
  const later = await identityOf(2, 'manager', 1_000);
  const holding = { certificate: later.certificate, meshKey: Buffer.alloc(32) };
  transport.gossip(clusterTopic, [writer.write(clusterTopic, 'keys', holding)], writer.nodeId);
  await time.run(100);
  assert.equal(cluster.roleOf(writer.nodeId), 'manager');
  assert.ok(cluster.view.networks.has(id));
  await cluster.stop();
});

test('only managers change roles, the last one stays, and nobody decides on itself', async () => {
  const asWorker = await started(worker);
  await assert.rejects(asWorker.cluster.roleChange.set(manager.key.nodeId, 'worker'), { code: 'not_manager' });
  const alone = makeCluster(self, memoryStore());
  await alone.cluster.start();
  await assert.rejects(alone.cluster.roleChange.set(self.key.nodeId, 'worker'), { code: 'last_manager' });
  const { cluster, transport } = await started(self);
  const other = new Writer(manager);
  const records = [other.write(clusterTopic, '', 1), other.write(clusterTopic, 'node', node('b'))];
  transport.gossip(clusterTopic, records, other.nodeId);
  await assert.rejects(cluster.roleChange.set(self.key.nodeId, 'worker'), { code: 'no_manager_reachable' });
  transport.open.set(manager.key.nodeId, { direction: 'inbound', address: '192.0.2.1:7946', sinceMs: 0 });
  const asked: string[] = [];
  transport.answer = async (peer, method) => {
    asked.push(`${method} ${peer === manager.key.nodeId}`);
    return Buffer.alloc(0);
  };
  assert.equal(await cluster.roleChange.set(self.key.nodeId, 'worker'), true);
  assert.deepEqual(asked, ['step-down true']);
  assert.equal(cluster.roleOf(self.key.nodeId), 'manager');
});

test('promotion and demotion are decisions in the tables; the same again changes nothing', async () => {
  const { cluster, time } = await started(self);
  assert.equal(await cluster.roleChange.set(worker.key.nodeId, 'manager'), true);
  await time.run(100);
  assert.equal(cluster.roles.wanted(worker.key.nodeId), 'manager');
  // Not before it has the certificate.
  assert.equal(cluster.roleOf(worker.key.nodeId), 'worker');
  assert.equal(await cluster.roleChange.set(worker.key.nodeId, 'manager'), false);
  assert.equal(await cluster.roleChange.set(manager.key.nodeId, 'worker'), true);
  await time.run(100);
  assert.equal(cluster.roleOf(manager.key.nodeId), 'worker');
  assert.equal(await cluster.roleChange.set(manager.key.nodeId, 'manager'), true);
  await time.run(100);
  assert.equal(cluster.roleOf(manager.key.nodeId), 'manager');
  await cluster.stop();
});

test('of two managers that demote each other the later loses, also on itself', async () => {
  const { cluster, transport, time } = await started(self);
  const other = new Writer(manager);
  transport.gossip(
    clusterTopic,
    [other.write(clusterTopic, '', 1), other.write(clusterTopic, 'node', node('b'))],
    other.nodeId,
  );
  await cluster.roleChange.set(manager.key.nodeId, 'worker');
  const earlier = { stamp: [simulationStartMs - 5, 0], role: 'worker' };
  transport.gossip(clusterTopic, [other.write(clusterTopic, `role/${self.key.nodeId}`, earlier)], other.nodeId);
  await time.run(100);
  assert.ok(!cluster.isManager);
  assert.equal(cluster.roleOf(manager.key.nodeId), 'manager');
  // Its own decision was void, and is taken back.
  await settled();
  assert.equal(cluster.tables.own(clusterTopic, `role/${manager.key.nodeId}`), null);
  await cluster.stop();
});

test('a manager that was asked to stand down acts as none until it is demoted, or for a while', async () => {
  const { cluster, transport, time } = await started(self);
  await assert.rejects(Promise.resolve(transport.events?.request('stand-down', Buffer.alloc(0), worker.key.nodeId)));
  await transport.events?.request('stand-down', Buffer.alloc(0), manager.key.nodeId);
  assert.ok(!cluster.isManager);
  await time.run(31_000);
  assert.ok(cluster.isManager);
  await cluster.stop();
});

test('a network that was being made when its manager stood down is not made: nobody would take it over', async () => {
  const { cluster, transport } = await started(self);
  const pools = { root: self.key.nodeId, pools: ['10.0.0.0/16'], subnetBits: 24, dataPathPort: 4789 };
  await cluster.tables.put(clusterTopic, 'cluster', { stamp: [...cluster.clock.next()], ...pools });
  const spec = {
    name: 'late',
    subnet: '10.9.0.0/24',
    internal: false,
    attachable: false,
    ingress: false,
    options: {},
    labels: {},
  };
  const creating = cluster.networks.create(spec);
  const standing = transport.events?.request('stand-down', Buffer.alloc(0), manager.key.nodeId);
  await assert.rejects(creating, { code: 'not_manager' });
  await standing;
  assert.equal(cluster.view.networkByName('late'), null);
  await cluster.stop();
});

test('a manager that is demoted while it demotes another one says so', async () => {
  const { cluster, transport, time } = await started(self);
  const other = new Writer(manager);
  const says = (...entries: [string, unknown][]) => {
    const records = entries.map(([key, value]) => other.write(clusterTopic, key, value));
    transport.gossip(clusterTopic, records, other.nodeId);
  };
  says(['', 1], ['node', node('b')]);
  transport.open.set(manager.key.nodeId, { direction: 'inbound', address: '192.0.2.1:7946', sinceMs: 0 });
  transport.answer = async () => {
    says([`role/${self.key.nodeId}`, { stamp: stampAt(-5), role: 'worker' }]);
    await time.run(100);
    return Buffer.alloc(0);
  };
  await assert.rejects(cluster.roleChange.set(manager.key.nodeId, 'worker'), {
    code: 'not_manager',
    message: 'this node was demoted while it was about to demote b',
  });
  assert.equal(cluster.roleOf(manager.key.nodeId), 'manager');
  await cluster.stop();
});
