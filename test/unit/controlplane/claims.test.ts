import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkId, NodeId } from '../../../controlplane/ids.ts';
import { Offences } from '../../../controlplane/offences.ts';
import { Standing } from '../../../controlplane/standing.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { ringOf } from '../../../controlplane/tables/subnets.ts';
import { View } from '../../../controlplane/tables/view.ts';
import { identityOf } from '../../sim/identities.ts';
import { makeCluster, memoryStore, quietLog, Writer } from './helpers.ts';
import { makeNode, type Node } from './nodes.ts';

// A record is shown only while what it claims is true by what is known here. Whatever a member that lies may sign, it
// is without effect on the others.

const id = 'n'.repeat(25) as NetworkId;
const topic = networkTopic(id);
const ring = ringOf(id, '10.0.1.0/24');
const [manager, honest, thief] = await Promise.all([
  identityOf(1, 'manager'),
  identityOf(3, 'worker'),
  identityOf(4, 'worker'),
]);

const network = (fields: object = {}) => ({
  ...{ stamp: [10, 0], removed: false, name: 'frontend', vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1' },
  ...{ internal: false, attachable: false, ingress: false, options: {}, labels: {}, createdMs: 0 },
  ...{ root: manager.key.nodeId, ...fields },
});
const endpoint = (ip: string, fields: object = {}) => ({
  ...{ name: 'box', sandbox: 'a'.repeat(64), ip, mac: '02:00:00:00:00:01', aliases: [], createdMs: 1, ...fields },
});
const key = (n: number): string => `ep/${n.toString(16).padStart(64, '0')}`;
const grantKey = (start: number, end: number, generation: number): string =>
  `range/10.0.1.0_24/${start}-${end}/${generation}`;

/** A reader, and what the three others have written so far: the honest worker owns 128 to 255. */
async function scene() {
  const node = await makeNode(0);
  node.tables.addInterest(topic);
  for (const { certificate } of [manager, honest, thief]) node.members.admit(certificate);
  const writers = { manager: new Writer(manager), honest: new Writer(honest), thief: new Writer(thief) };
  const say = (by: keyof typeof writers, inTopic: string, at: string, value: unknown): void => {
    assert.equal(node.tables.ingest(writers[by].write(inTopic, at, value)).result, 'applied');
  };
  // As after a start: the cluster's records come before those of networks.
  say('manager', clusterTopic, '', 1);
  for (const by of ['manager', 'honest', 'thief'] as const) say(by, topic, '', 1);
  const give = (by: keyof typeof writers, start: number, end: number, to: NodeId, generation: number): void =>
    say(by, topic, grantKey(start, end, generation), { start, end, to, generation });
  return { node, say, give };
}

async function opened() {
  const made = await scene();
  made.say('manager', clusterTopic, `network/${id}`, network());
  made.give('manager', 128, 256, honest.key.nodeId, 1);
  return made;
}

const shown = ({ view }: Node): string[] => [...view.endpointsOf(id).values()].map(({ ip = '' }) => ip).sort();
const hidden = ({ view }: Node): string[] => [...view.ownership.hidden()].map(({ why }) => why);

test('a claim that is true is shown, in whatever order its reasons arrive', async () => {
  const { node, say, give } = await scene();
  say('honest', topic, key(1), endpoint('10.0.1.200'));
  assert.deepEqual(hidden(node), ['endpoint on a network that is not there']);
  give('manager', 128, 256, honest.key.nodeId, 1);
  assert.deepEqual(shown(node), []);
  say('manager', clusterTopic, `network/${id}`, network());
  assert.deepEqual([shown(node), hidden(node)], [['10.0.1.200'], []]);
});

test('watchers are told when a grant makes a claim true', async () => {
  const { node, say, give } = await scene();
  say('manager', clusterTopic, `network/${id}`, network());
  say('honest', topic, key(1), endpoint('10.0.1.200'));
  const told: boolean[] = [];
  node.view.watch(({ endpoints }) => told.push(endpoints.has(id)));
  give('manager', 128, 256, honest.key.nodeId, 1);
  assert.deepEqual(told, [true]);
});

test("another's address is not had by claiming it", async () => {
  const { node, say } = await opened();
  say('honest', topic, key(1), endpoint('10.0.1.200'));
  say('thief', topic, key(1), endpoint('10.0.1.200', { createdMs: 0 }));
  assert.deepEqual([shown(node), hidden(node)], [['10.0.1.200'], ['endpoint with an address of another node']]);
  assert.equal(node.view.endpointsOf(id).values().next().value?.owner, honest.key.nodeId);
});

test('a free address of another is not had either, nor taken from it', async () => {
  const { node, say } = await opened();
  say('thief', topic, key(1), endpoint('10.0.1.201'));
  assert.deepEqual(shown(node), []);
  assert.equal(node.view.ownership.taken(ring)?.has(201), false);
});

test('reserved addresses and those outside the network are nobody’s', async () => {
  const { node, say } = await opened();
  for (const [n, ip] of ['10.0.1.255', '10.0.2.7'].entries()) say('honest', topic, key(n), endpoint(ip));
  assert.deepEqual(shown(node), []);
  assert.deepEqual(hidden(node), ['endpoint with a reserved address', 'endpoint with an address outside its network']);
});

test('endpoints on a network that was removed go', async () => {
  const { node, say } = await opened();
  say('honest', topic, key(1), endpoint('10.0.1.200'));
  say('manager', clusterTopic, `network/${id}`, network({ removed: true, stamp: [11, 0] }));
  assert.deepEqual(shown(node), []);
  say('thief', topic, key(2), endpoint('10.0.1.3'));
  assert.deepEqual([...node.view.endpoints], []);
});

test('a grant over what its writer does not own changes nothing, whatever its generation', async () => {
  const { node, say, give } = await opened();
  say('honest', topic, key(1), endpoint('10.0.1.200'));
  const before = [...node.view.custody(ring).runs];
  for (const generation of [1, 2, 3, 10 ** 9]) give('thief', 0, 256, thief.key.nodeId, generation);
  assert.deepEqual([node.view.custody(ring).runs, shown(node)], [before, ['10.0.1.200']]);
  assert.equal(node.view.custody(ring).unfounded().size, 4);
});

test('an owner gives what it has, a generation at a time, and a jump of its own changes nothing', async () => {
  const { node, give } = await opened();
  give('honest', 192, 256, thief.key.nodeId, 3);
  assert.equal(node.view.custody(ring).at(200)?.owner, honest.key.nodeId);
  give('honest', 192, 256, thief.key.nodeId, 2);
  assert.equal(node.view.custody(ring).at(200)?.owner, thief.key.nodeId);
  // And more than it has: the part that is its own.
  give('thief', 0, 256, thief.key.nodeId, 3);
  assert.deepEqual(
    node.view.custody(ring).runs.map(({ start, owner }) => [start, owner]),
    [
      [0, manager.key.nodeId],
      [128, honest.key.nodeId],
      [192, thief.key.nodeId],
    ],
  );
});

test('what was given away goes with its claims', async () => {
  const { node, say, give } = await opened();
  say('honest', topic, key(1), endpoint('10.0.1.200'));
  say('honest', topic, key(2), endpoint('10.0.1.201'));
  give('honest', 192, 256, thief.key.nodeId, 2);
  // A grant that gives them back may be on its way.
  assert.deepEqual(shown(node).sort(), ['10.0.1.200', '10.0.1.201']);
  say('thief', topic, key(3), endpoint('10.0.1.200'));
  assert.deepEqual(shown(node).sort(), ['10.0.1.200', '10.0.1.201']);
  assert.deepEqual(hidden(node), ['endpoint with an address of another node']);
  let told = 0;
  node.view.watch(({ endpoints }) => {
    told += endpoints.size;
  });
  node.view.settle(Number.POSITIVE_INFINITY);
  node.view.settle(Number.POSITIVE_INFINITY);
  assert.deepEqual(shown(node), ['10.0.1.200']);
  assert.equal(told, 1);
});

test('an endpoint does not blink while the grant that gives its address back is on its way', async () => {
  const { node, say, give } = await opened();
  say('honest', topic, key(1), endpoint('10.0.1.200'));
  give('honest', 192, 256, thief.key.nodeId, 2);
  assert.deepEqual(shown(node), ['10.0.1.200']);
  give('thief', 192, 256, honest.key.nodeId, 3);
  node.view.settle(Number.POSITIVE_INFINITY);
  assert.deepEqual(shown(node), ['10.0.1.200']);
});

test('what is in doubt is shown for three seconds, and its writer named after half a minute, however the clock jumps', async () => {
  const yearMs = 365 * 86_400_000;
  for (const jumpMs of [-yearMs, yearMs]) {
    const { node, say, give } = await opened();
    const { environment, view, time } = node;
    const offences = new Offences(() => 0);
    const standing = new Standing({
      self: node.id,
      view,
      offences,
      isSuspended: () => false,
      environment,
      log: quietLog,
    });
    standing.start();
    say('honest', topic, key(1), endpoint('10.0.1.200'));
    give('honest', 192, 256, thief.key.nodeId, 2);
    environment.now = () => time.now() + jumpMs;
    await time.run(2_500);
    assert.deepEqual(shown(node), ['10.0.1.200'], `${jumpMs}`);
    await time.run(2_500);
    assert.deepEqual(shown(node), [], `${jumpMs}`);
    await time.run(12_000);
    assert.deepEqual(offences.list(), [], 'what makes it true may be on its way');
    await time.run(15_000);
    assert.deepEqual(
      offences.list().map(({ nodeId, what }) => [nodeId, what]),
      [[honest.key.nodeId, 'endpoint with an address of another node']],
    );
    standing.stop();
  }
});

test("who claims this node's VTEP is named, unless it is down, and forgotten when it does not any more", async () => {
  const { node, say } = await opened();
  const { view, environment, time } = node;
  const offences = new Offences(() => 0);
  const isSuspended = (id: NodeId): boolean => id === honest.key.nodeId;
  const standing = new Standing({ self: node.id, view, offences, isSuspended, environment, log: quietLog });
  standing.start();
  const record = { hostname: 'x', vtep: '192.0.2.7', gossip: ['192.0.2.7:7946'], version: '', createdMs: 0 };
  await node.tables.put(clusterTopic, 'node', record);
  for (const by of ['honest', 'thief'] as const) {
    say(by, clusterTopic, '', 1);
    say(by, clusterTopic, 'node', record);
  }
  await time.run(16_000);
  assert.deepEqual(offences.list(), [], 'the two may be about to swap addresses');
  await time.run(15_000);
  assert.deepEqual(
    offences.list().map(({ nodeId, what }) => [nodeId, what]),
    [[thief.key.nodeId, 'node record with the VTEP of this node']],
  );
  say('thief', clusterTopic, 'node', { ...record, vtep: '192.0.2.8' });
  await time.run(15_000);
  assert.deepEqual(offences.list(), []);
  standing.stop();
});

test('nodes with the same VTEP are named with it, and which of them is down', async () => {
  const { cluster, transport, admit } = makeCluster(manager, memoryStore());
  await cluster.start();
  const record = { hostname: 'x', vtep: '192.0.2.7', gossip: ['192.0.2.7:7946'], version: '', createdMs: 0 };
  for (const identity of [honest, thief]) {
    admit(identity);
    const writer = new Writer(identity);
    const records = [writer.write(clusterTopic, '', 1), writer.write(clusterTopic, 'node', record)];
    transport.gossip(clusterTopic, records, writer.nodeId);
  }
  assert.match(cluster.warnings().join(), /say they have the same VTEP 192\.0\.2\.7: all of them live/);
  cluster.liveness.isSuspended = (id) => id === thief.key.nodeId;
  assert.ok(cluster.warnings().join().endsWith(`of those that are down, x (${thief.key.nodeId})`));
  await cluster.stop();
});

test('a manager keeps what others own from being lost with the records of one that goes', async () => {
  const { node, say, give } = await opened();
  give('honest', 192, 256, thief.key.nodeId, 2);
  say('thief', topic, key(1), endpoint('10.0.1.200'));
  assert.deepEqual(
    node.view
      .custody(ring)
      .dependingOn(honest.key.nodeId)
      .map(({ start, end, owner }) => [start, end, owner]),
    [[192, 256, thief.key.nodeId]],
  );
  give('manager', 192, 256, thief.key.nodeId, 2);
  assert.deepEqual(node.view.custody(ring).dependingOn(honest.key.nodeId), []);
  await node.tables.dropOwner(honest.key.nodeId);
  assert.deepEqual(shown(node), ['10.0.1.200']);
});

test('a worker that becomes a manager is believed from then on', async () => {
  const { node, give } = await opened();
  give('thief', 128, 256, thief.key.nodeId, 5);
  node.members.admit((await identityOf(4, 'manager')).certificate);
  node.view.promoted();
  const role = node.members.roleOf(thief.key.nodeId);
  assert.equal(node.view.custody(ring).at(200)?.owner, role === 'manager' ? thief.key.nodeId : honest.key.nodeId);
});

test('an IPv6 address is claimed like the other, and both have to be true', async () => {
  const { node, say } = await scene();
  const ipv6 = { subnet: 'fd00:10::/64', gateway: 'fd00:10::1' };
  say('manager', clusterTopic, `network/${id}`, network({ root: honest.key.nodeId, ipv6 }));
  say('honest', topic, key(1), endpoint('10.0.1.7', { ip6: 'fd00:10::7' }));
  say('honest', topic, key(2), endpoint('10.0.1.8', { ip6: 'fd00:11::8' }));
  say('honest', topic, key(3), endpoint('10.0.1.9', { ip6: 'fd00:10::1' }));
  const value = { start: 8, end: 16, to: thief.key.nodeId, generation: 1 };
  say('honest', topic, 'range/fd00:10::_64/8-16/1', value);
  say('honest', topic, key(4), endpoint('10.0.1.10', { ip6: 'fd00:10::a' }));
  assert.deepEqual(shown(node), ['10.0.1.7']);
  assert.deepEqual(hidden(node).sort(), [
    'endpoint with a reserved address',
    'endpoint with an address of another node',
    'endpoint with an address outside its network',
  ]);
});

test('a subnet that was added makes its addresses true', async () => {
  const { node, say } = await opened();
  say('honest', topic, key(1), endpoint('10.0.9.7'));
  assert.deepEqual(shown(node), []);
  const added = { stamp: [12, 0], subnet: '10.0.9.0/24', gateway: '10.0.9.1', createdMs: 5 };
  say('manager', clusterTopic, `subnet/${id}/10.0.9.0_24`, { ...added, root: honest.key.nodeId });
  assert.deepEqual(shown(node), ['10.0.9.7']);
  assert.deepEqual(
    node.view.networks.get(id)?.subnets.map(({ space }) => space.text),
    ['10.0.1.0/24', '10.0.9.0/24'],
  );
});

test('hid_what_was_in_doubt: a network that is said again, or gets a subnet, does not end the benefit of doubt', async () => {
  const { node, say, give } = await opened();
  say('honest', topic, key(1), endpoint('10.0.1.200'));
  // The grant back is on its way still.
  give('honest', 200, 201, thief.key.nodeId, 2);
  say('manager', clusterTopic, `network/${id}`, network({ stamp: [11, 0], createdMs: 5 }));
  assert.deepEqual(shown(node), ['10.0.1.200']);
  say('thief', topic, key(2), endpoint('10.0.1.200', { createdMs: 2 }));
  say('manager', clusterTopic, `network/${id}`, network({ stamp: [12, 0], createdMs: 6 }));
  assert.deepEqual(
    [...node.view.endpointsOf(id).values()].map(({ owner }) => owner),
    [thief.key.nodeId],
  );
  assert.deepEqual(hidden(node), ['endpoint with an address of another node']);
});

test('showed_for_a_moment: what is loaded is judged by all grants that are there, in whatever order it lies', async () => {
  const { node, say, give } = await opened();
  say('manager', topic, key(1), endpoint('10.0.1.100'));
  // The grant back is not here, and was not when this node stopped.
  give('manager', 64, 128, honest.key.nodeId, 2);
  const again = new View(
    node.tables,
    node.clock,
    (each) => node.members.roleOf(each),
    () => 0,
  );
  again.start();
  assert.equal(again.endpointsOf(id).size, 0);
  give('honest', 100, 101, manager.key.nodeId, 3);
  assert.equal(again.endpointsOf(id).size, 1);
  again.close();
});
