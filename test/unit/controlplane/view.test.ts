import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkId, NodeId } from '../../../controlplane/ids.ts';
import { maxCounter, maxSkewMs } from '../../../controlplane/tables/clock.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { clusterTopic, type SignedRecord } from '../../../controlplane/tables/record.ts';
import { serviceKey, tupleOf } from '../../../controlplane/tables/services.ts';
import { clockWarning, nameWarnings } from '../../../controlplane/warnings.ts';
import { identityOf } from '../../sim/identities.ts';
import { simulationStartMs } from '../../sim/time.ts';
import { Writer } from './helpers.ts';
import { makeNode, type Node } from './nodes.ts';

const id = 'n'.repeat(25) as NetworkId;
const topic = networkTopic(id);
const [one, two] = await Promise.all([identityOf(1, 'manager'), identityOf(2, 'manager')]);

const network = (stamp: readonly [number, number], fields: object = {}) => ({
  ...{ stamp, removed: false, name: 'frontend', vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1' },
  ...{ internal: false, attachable: false, ingress: false, options: {}, labels: {}, createdMs: 0 },
  ...{ root: one.key.nodeId, ...fields },
});
const endpoint = (ip: string) => ({
  ...{ name: 'box', sandbox: 'a'.repeat(64), ip, mac: '02:00:00:00:00:01', aliases: [], createdMs: 1 },
});
const endpointKey = `ep/${'e'.repeat(64)}`;

/** A third node, to which both writers' records come in each of the two orders. */
async function inBothOrders(a: readonly SignedRecord[], b: readonly SignedRecord[]): Promise<Node[]> {
  return Promise.all(
    [
      [...a, ...b],
      [...b, ...a],
    ].map(async (records) => {
      const node = await makeNode(0);
      node.tables.addInterest(topic);
      for (const { certificate } of [one, two]) node.members.admit(certificate);
      for (const signed of records) assert.equal(node.tables.ingest(signed).result, 'applied');
      return node;
    }),
  );
}

/** Records of one writer, with the opening record before them. */
function written(identity: typeof one, inTopic: string, ...entries: readonly (readonly [string, unknown])[]) {
  const writer = new Writer(identity);
  return [
    writer.write(inTopic, '', entries.length + 1),
    ...entries.map(([key, value]) => writer.write(inTopic, key, value)),
  ];
}

test('of a shared object the latest stamp counts, a removal included, in whatever order', async () => {
  const key = `network/${id}`;
  const [older, newer] = [network([10, 0]), network([10, 1], { name: 'renamed' })];
  for (const { view } of await inBothOrders(
    written(one, clusterTopic, [key, older]),
    written(two, clusterTopic, [key, newer]),
  )) {
    assert.equal(view.networks.get(id)?.name, 'renamed');
    assert.equal(view.networkByName('frontend'), null);
    // Of whichever of the two goes, an heir says the latest; the other one has said it itself.
    const heir = 'heir' as NodeId;
    for (const { key: gone } of [one, two]) assert.deepEqual(view.sharedBy(gone.nodeId, heir), [{ key, value: newer }]);
    assert.deepEqual(view.sharedBy(one.key.nodeId, two.key.nodeId), []);
  }
  for (const { view } of await inBothOrders(
    written(one, clusterTopic, [key, { ...newer, removed: true }]),
    written(two, clusterTopic, [key, older]),
  )) {
    assert.equal(view.networks.size, 0);
    assert.ok(view.isNetworkRemoved(id));
  }
});

test('two with one stamp: all readers choose the same', async () => {
  const key = `network/${id}`;
  const nodes = await inBothOrders(
    written(one, clusterTopic, [key, network([10, 0], { name: 'one' })]),
    written(two, clusterTopic, [key, network([10, 0], { name: 'two' })]),
  );
  const names = nodes.map(({ view }) => view.networks.get(id)?.name);
  assert.equal(names[0], names[1]);
});

test('a name that was taken twice leads to the older network everywhere', async () => {
  const other = 'm'.repeat(25) as NetworkId;
  for (const { view } of await inBothOrders(
    written(one, clusterTopic, [`network/${id}`, network([10, 0], { createdMs: 2 })]),
    written(two, clusterTopic, [`network/${other}`, network([11, 0], { createdMs: 1 })]),
  )) {
    assert.equal(view.networkByName('frontend')?.id, other);
    const [warning, ...more] = nameWarnings(view);
    assert.match(warning ?? '', /have the name frontend, .* means the older one, m{12}; .*`weft network rm \S{12}`$/);
    assert.deepEqual(more, []);
  }
});

test('a name that was taken twice in the same millisecond leads to the same network everywhere', async () => {
  const other = 'm'.repeat(25) as NetworkId;
  const nodes = await inBothOrders(
    written(one, clusterTopic, [`network/${id}`, network([10, 0])]),
    written(two, clusterTopic, [`network/${other}`, network([11, 0])]),
  );
  const [first, second] = nodes.map(({ view }) => view.networkByName('frontend')?.id);
  assert.equal(first, second);
});

const service = (stamp: readonly [number, number], fields: object = {}) => ({
  ...{ stamp, removed: false, ports: [['tcp', 8080, 80, 1, 'ingress']], source: 'keep', affinityMs: 0, createdMs: 1 },
  ...fields,
});

test('a service counts by its latest record, while its network is there, in whatever order they come', async () => {
  const [key, of] = [`service/${id}/web`, `network/${id}`];
  const shown = async (a: readonly SignedRecord[], b: readonly SignedRecord[]) =>
    (await inBothOrders(a, b)).map(({ view }) => [...view.services.values()].map(({ affinityMs }) => affinityMs));
  const there = [of, network([10, 0])] as const;
  const later = service([10, 2], { affinityMs: 5 });
  for (const [fromOne, fromTwo, expected] of [
    [[there], [[key, service([10, 1])]], [0]],
    [[there, [key, service([10, 1])]], [[key, later]], [5]],
    [[there, [key, service([10, 1])]], [[key, { ...later, removed: true }]], []],
    [[[of, network([10, 0], { removed: true })]], [[key, later]], []],
    [[there, [key, later]], [[of, network([10, 1], { removed: true })]], []],
  ] as const) {
    const shownBoth = await shown(written(one, clusterTopic, ...fromOne), written(two, clusterTopic, ...fromTwo));
    assert.deepEqual(shownBoth, [expected, expected]);
  }
});

test('a port that was published twice is of the older service everywhere, and the other says so', async () => {
  const [older, newer] = [serviceKey(id, 'older'), serviceKey(id, 'newer')];
  const ports = [
    ['tcp', 8079, 80, 2, 'ingress'],
    ['udp', 8080, 53, 1, 'ingress'],
  ];
  for (const { view } of await inBothOrders(
    written(
      one,
      clusterTopic,
      [`network/${id}`, network([10, 0])],
      [`service/${newer}`, service([10, 1], { ports, createdMs: 2 })],
    ),
    written(two, clusterTopic, [`service/${older}`, service([10, 1])]),
  )) {
    assert.deepEqual(view.services.get(older)?.lost, []);
    assert.deepEqual(view.services.get(newer)?.ports.map(tupleOf), ports.slice(1));
    const [lost, ...more] = view.services.get(newer)?.lost ?? [];
    assert.deepEqual([lost?.to, lost?.port.published, more], [older, 8079, []]);
    // Who asks again for what it looks up gets the same.
    assert.equal(view.services, view.services);
  }
});

test('watchers hear of services when one changes, and when its network comes or goes', async () => {
  const [node] = await inBothOrders([], []);
  assert.ok(node !== undefined);
  const heard: boolean[] = [];
  node.view.watch(({ services }) => heard.push(services));
  const writer = new Writer(one);
  for (const [key, value] of [
    ['', 1],
    [`service/${id}/web`, service([10, 0])],
    [`network/${id}`, network([10, 0])],
    [`network/${id}`, network([10, 1], { name: 'other' })],
    [`service/${id}/web`, null],
    [`network/${id}`, network([10, 2], { removed: true })],
  ] as const)
    node.tables.ingest(writer.write(clusterTopic, key, value));
  assert.deepEqual(heard.slice(-5), [false, true, false, true, false]);
});

test('a stamp from far ahead, of a decision on a role too, names its writer and does not drag the clock along', async () => {
  const ahead = simulationStartMs + maxSkewMs + 60_000;
  const records = written(
    one,
    clusterTopic,
    [`network/${id}`, network([ahead, 0])],
    [`role/${two.key.nodeId}`, { stamp: [ahead + 5, 0], role: 'worker' }],
  );
  for (const { view, clock } of await inBothOrders(records, [])) {
    assert.deepEqual([...view.stampsAhead()], [[one.key.nodeId, maxSkewMs + 60_005]]);
    assert.ok(clock.next()[0] <= simulationStartMs + maxSkewMs);
  }
});

test('what warns of clocks names nodes and how far they are off, and ends when time or a comparison says so', async () => {
  const stamp = [simulationStartMs + maxSkewMs + 90_000, 0] as const;
  for (const node of await inBothOrders(written(one, clusterTopic, [`network/${id}`, network(stamp)]), [])) {
    const { view, tables, time, environment } = node;
    const warning = () => clockWarning({ self: node.id, view, tables });
    const compare = (offsetMs: number): void =>
      tables.propagation.compared(one.key.nodeId, environment.monotonicMs(), environment.now() + offsetMs);
    assert.ok(warning()?.includes(`${one.key.nodeId}) is 150 s ahead`), `${warning()}`);
    compare(10);
    assert.equal(warning(), null, 'its clock was set right');
    compare(-7_200_000);
    assert.ok(warning()?.includes('is 7200 s behind'), `${warning()}`);
    tables.propagation.forget(one.key.nodeId);
    await time.run(100_000);
    assert.equal(warning(), null);
  }
});

test('the stamp that follows the largest one is well-formed', async () => {
  const largest = [simulationStartMs + maxSkewMs, maxCounter] as const;
  for (const { clock } of await inBothOrders(written(one, clusterTopic, [`network/${id}`, network(largest)]), [])) {
    for (const part of clock.next()) assert.ok(Number.isSafeInteger(part), String(part));
  }
});

test('what a dropped owner wrote is gone from the view, and only that', async () => {
  const [node] = await inBothOrders(
    written(one, clusterTopic, [`network/${id}`, network([10, 0])], ['range/vni/0-4/1', vniRange()]),
    written(two, topic, [endpointKey, endpoint('10.0.1.7')]),
  );
  assert.ok(node !== undefined);
  await node.tables.dropOwner(one.key.nodeId);
  assert.deepEqual([node.view.networks.size, [...node.view.custody('vni').grants].length], [0, 0]);
  assert.equal([...node.view.ownership.hidden()].length, 1);
  await node.tables.dropOwner(two.key.nodeId);
  assert.equal([...node.view.ownership.hidden()].length, 0);
});

function vniRange(): object {
  return { start: 0, end: 4, to: one.key.nodeId, generation: 1 };
}

test('pool_outlived_its_cluster: what the cluster is was taken back with the disk of its root, and so are its pools', async () => {
  const node = await makeNode(0);
  node.members.admit(one.certificate);
  const value = { stamp: [10, 0], root: one.key.nodeId, pools: ['10.0.0.0/16'], subnetBits: 24, dataPathPort: 4789 };
  for (const signed of written(one, clusterTopic, ['cluster', value])) node.tables.ingest(signed);
  assert.equal(node.view.custody('subnet').of(one.key.nodeId).length, 1);
  const later = new Writer(one, 2);
  node.tables.ingest(later.write(clusterTopic, '', 1));
  assert.equal(node.view.cluster, null);
  for (const ring of ['subnet', 'vni'] as const) assert.deepEqual(node.view.custody(ring).runs, []);
});
