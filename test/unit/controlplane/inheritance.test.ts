import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkId } from '../../../controlplane/ids.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { ringOf } from '../../../controlplane/tables/subnets.ts';
import { identityOf } from '../../sim/identities.ts';
import { simulationStartMs } from '../../sim/time.ts';
import { makeCluster, memoryStore, settled, Writer } from './helpers.ts';

const [self, other, dead, heirless] = await Promise.all([
  identityOf(0, 'manager'),
  identityOf(1, 'manager'),
  identityOf(2, 'worker'),
  identityOf(3, 'worker'),
]);
const id = 'n'.repeat(25) as NetworkId;
const topic = networkTopic(id);
const ring = ringOf(id, '10.0.1.0/29');

const node = (hostname: string) => ({
  ...{ hostname, vtep: '192.0.2.9', gossip: ['192.0.2.9:7946'], version: '0', createdMs: simulationStartMs },
});
const network = {
  ...{ stamp: [simulationStartMs, 0], removed: false, name: 'frontend', vni: 4097, subnet: '10.0.1.0/29' },
  ...{ gateway: '10.0.1.1', internal: false, attachable: false, ingress: false, options: {}, labels: {} },
  ...{ createdMs: simulationStartMs, root: dead.key.nodeId },
};

/** A manager, in a network whose root is a node that dies; it has given [4, 8) to another worker. @param root of the pools */
async function scene(root = self) {
  const made = makeCluster(self, memoryStore());
  const { cluster, transport } = made;
  await cluster.start();
  for (const each of [other, dead, heirless]) assert.equal(made.admit(each), null);
  const [manager, gone, receiver] = [new Writer(other), new Writer(dead), new Writer(heirless)];
  const say = (writer: Writer, inTopic: string, ...entries: [string, unknown][]): void => {
    const records = entries.map(([key, value]) => writer.write(inTopic, key, value));
    transport.gossip(inTopic, records, writer.nodeId);
  };
  say(manager, clusterTopic, ['', 1], ['node', node('manager-2')], [`network/${id}`, network]);
  const pools = { root: root.key.nodeId, pools: ['10.0.0.0/16'], subnetBits: 24, dataPathPort: 4789 };
  await cluster.tables.put(clusterTopic, 'cluster', { stamp: [...cluster.clock.next()], ...pools });
  say(gone, clusterTopic, ['', 1], ['node', node('dead')]);
  say(receiver, clusterTopic, ['', 1], ['node', node('receiver')]);
  const given = { start: 4, end: 8, to: heirless.key.nodeId, generation: 1 };
  say(gone, topic, ['', 1], ['range/10.0.1.0_29/4-8/1', given]);
  return { ...made, manager, say };
}

test('what a dead node owned rests until every manager has agreed to its heir, and then goes to that one', async () => {
  const { cluster, time, manager, say } = await scene();
  const owner = (number: number) => cluster.view.custody(ring).at(number)?.owner;
  await cluster.removeNode(dead.key.nodeId, true);
  await time.run(3_000);
  assert.equal(owner(2), dead.key.nodeId);
  assert.deepEqual(
    cluster.inheritance.waiting().map((each) => each.for),
    [[other.key.nodeId]],
  );
  assert.match(cluster.warnings().join(), /rests until manager-2 has agreed/);
  const frontend = cluster.view.networks.get(id);
  assert.ok(frontend !== undefined);
  await assert.rejects(cluster.networks.allocateAddress(frontend), {
    code: 'no_owner_reachable',
    message: /rests until manager-2 has agreed/,
  });
  say(manager, clusterTopic, [`fence/${dead.key.nodeId}/0`, { heir: self.key.nodeId, ballot: 0 }]);
  await time.run(1_000);
  assert.equal(owner(2), self.key.nodeId);
  assert.deepEqual(cluster.inheritance.waiting(), []);
  // They rest a while: who had one of them a moment ago is not known.
  await assert.rejects(cluster.networks.allocateAddress(frontend), { code: 'exhausted', message: /free again in/ });
  await time.run(30_000);
  assert.match((await cluster.networks.allocateAddress(frontend)).ip, /^10\.0\.1\.[23]$/);
  await cluster.stop();
});

test('subnets and VNIs of a removed manager can be used at once: which are in use the networks tell', async () => {
  const { cluster, time } = await scene(other);
  await cluster.removeNode(other.key.nodeId, true);
  await time.run(3_000);
  assert.ok(cluster.view.networks.has(id), 'the network of the removed one is there');
  const spec = { name: 'backend', internal: false, attachable: false, ingress: false, options: {}, labels: {} };
  const { vni, subnet } = await cluster.networks.create(spec);
  assert.notEqual(vni, network.vni);
  assert.match(subnet ?? '', /^10\.0\.\d+\.0\/24$/);
  await cluster.stop();
});

test('what it had given away stays with who got it, though nobody hears the giver any more', async () => {
  const { cluster, time } = await scene();
  await cluster.removeNode(dead.key.nodeId, true);
  await time.run(3_000);
  assert.ok(![...cluster.tables.owners(topic)].includes(dead.key.nodeId), 'its records are gone');
  assert.equal(cluster.view.custody(ring).at(5)?.owner, heirless.key.nodeId);
  await cluster.stop();
});

test('who was promised the inheritance by another ballot is left to take it', async () => {
  const { cluster, time, manager, say } = await scene();
  say(manager, clusterTopic, [`fence/${dead.key.nodeId}/0`, { heir: other.key.nodeId, ballot: 0 }]);
  await cluster.removeNode(dead.key.nodeId, true);
  await time.run(3_000);
  const promised = cluster.tables.own(clusterTopic, `fence/${dead.key.nodeId}/0`)?.record.value;
  assert.deepEqual(promised, { heir: other.key.nodeId, ballot: 0 });
  assert.equal(cluster.view.custody(ring).at(2)?.owner, dead.key.nodeId);
  assert.equal(cluster.tables.own(clusterTopic, `fence/${dead.key.nodeId}/heir`), null);
  await cluster.stop();
});

test('records that stay untrue are named with who writes them, until they are true or gone', async () => {
  const { cluster, time, manager, say } = await scene();
  const thief = new Writer(heirless);
  const theft = { start: 0, end: 8, to: heirless.key.nodeId, generation: 9 };
  const endpoint = { name: 'box', sandbox: 'a'.repeat(64), mac: '02:00:00:00:00:01', aliases: [], createdMs: 1 };
  say(thief, topic, ['', 1], ['range/10.0.1.0_29/0-8/9', theft]);
  for (const [n, ip] of ['10.0.1.2', '10.0.1.3', '10.0.1.5'].entries()) {
    say(thief, topic, [`ep/${String(n).repeat(64)}`, { ...endpoint, ip }]);
  }
  const named = () => cluster.offences.list().map(({ nodeId, what, count }) => [nodeId, what, count]);
  await time.run(14_000);
  assert.deepEqual(named(), []);
  await time.run(32_000);
  assert.deepEqual(named().sort(), [
    [heirless.key.nodeId, 'endpoint with an address of another node', 2],
    [heirless.key.nodeId, 'grant over numbers that it does not own', 1],
  ]);
  for (const n of [0, 1]) say(thief, topic, [`ep/${String(n).repeat(64)}`, null]);
  say(thief, topic, ['range/10.0.1.0_29/0-8/9', null]);
  await time.run(31_000);
  assert.deepEqual(named(), []);
  // Two that say they have one VTEP are for a person to look at.
  assert.match(cluster.warnings().join('\n'), /manager-2 .* and dead .* and receiver .* say they have the same VTEP/);
  say(manager, clusterTopic, ['node', { ...node('manager-2'), vtep: '192.0.2.1' }]);
  await settled();
  await cluster.stop();
});
