import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { emptyResolver } from '../../../agent/files/resolv-conf.ts';
import { ingressSandboxName } from '../../../agent/ingress/legs.ts';
import { type Attachments, plan, type TablesForPlan } from '../../../agent/plan.ts';
import { nextIfName, type StoredLeg, type StoredSandbox } from '../../../agent/sandbox-state.ts';
import type { EndpointId, NetworkId, NodeId } from '../../../controlplane/ids.ts';
import type { NetworkValue } from '../../../controlplane/tables/kinds.ts';
import { subnetsOf } from '../../../controlplane/tables/subnets.ts';
import type { Endpoint, Network } from '../../../controlplane/tables/view.ts';

const self = 'self' as NodeId;
const networkId = 'n'.repeat(25) as NetworkId;

const value = {
  stamp: [1, 0] as [number, number],
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
  createdMs: 1,
  root: self,
} satisfies NetworkValue;
const network: Network = { ...value, id: networkId, subnets: subnetsOf(networkId, value, []) };

const hexId = (number: number): EndpointId => number.toString(16).padStart(64, '0') as EndpointId;

function endpoint(number: number, owner: string, more: Partial<Endpoint> = {}): Endpoint {
  return {
    id: hexId(number),
    networkId,
    owner: owner as NodeId,
    name: `box-${number}`,
    sandbox: hexId(1000 + number),
    ip: `10.0.1.${number}`,
    mac: `02:00:00:00:00:${number.toString(16).padStart(2, '0')}`,
    aliases: [],
    createdMs: number,
    ...more,
  };
}

const node = (vtep: string) => ({ hostname: `at-${vtep}`, vtep, gossip: [`${vtep}:7946`], version: '0', createdMs: 1 });

function tables(endpoints: readonly Endpoint[], more: Partial<TablesForPlan> = {}): TablesForPlan {
  return {
    self,
    vtep: '192.0.2.1',
    port: 4789,
    services: new Map(),
    isUp: () => true,
    zoneOf: () => null,
    nodes: new Map([
      [self, node('192.0.2.1')],
      ['b' as NodeId, node('192.0.2.2')],
      ['c' as NodeId, node('192.0.2.3')],
    ]),
    networks: new Map([[networkId, network]]),
    endpoints: new Map([[networkId, new Map(endpoints.map((each) => [each.id, each]))]]),
    ...more,
  };
}

const leg: StoredLeg = {
  networkId,
  endpointId: hexId(10),
  ifName: 'eth0',
  mac: '02:00:00:00:00:0a',
  ip: '10.0.1.10',
  ip6: null,
  aliases: [],
  createdMs: 10,
};
const sandbox: StoredSandbox = {
  id: hexId(1010),
  name: 'web',
  createdMs: 1,
  netns: '/run/netns/weft-web',
  adopted: false,
  inode: null,
  hostname: null,
  resolver: emptyResolver,
  labels: {},
  legs: [leg],
  gateway: { endpointId: hexId(11), ifName: 'eth1', mac: '02:00:00:00:00:0b', ip: '172.18.0.2' },
  local: [],
  published: [],
};
const attached: Attachments = {
  sandboxes: [sandbox],
  gateway: '172.18.0.1/16',
  localNetworks: [],
  underlayMtu: 1500,
};

test('outside a cluster nothing is wanted', () => {
  const { desired } = plan(null, { sandboxes: [], gateway: null, localNetworks: [], underlayMtu: 1500 });
  assert.deepEqual(desired, { overlays: [], sandboxes: [], bridges: [], parents: [], guard: null, agentPorts: [] });
});

test('a network without an endpoint here needs no device here', () => {
  const { desired } = plan(tables([endpoint(2, 'b')]), { ...attached, sandboxes: [] });
  assert.deepEqual(desired.overlays, []);
});

test('an endpoint here brings its network, with an entry for each endpoint elsewhere', () => {
  const { desired } = plan(tables([endpoint(2, 'b'), endpoint(3, 'c'), endpoint(10, self)]), attached);
  const [overlay] = desired.overlays;
  assert.equal(overlay?.mtu, 1450);
  assert.deepEqual(overlay?.remotes, [
    { ip: '10.0.1.2', mac: '02:00:00:00:00:02', vtep: '192.0.2.2' },
    { ip: '10.0.1.3', mac: '02:00:00:00:00:03', vtep: '192.0.2.3' },
  ]);
  const [wanted] = desired.sandboxes;
  assert.deepEqual(wanted?.overlayLegs[0]?.addresses, ['10.0.1.10/24']);
  assert.deepEqual(wanted?.bridgeLegs[0]?.addresses, ['172.18.0.2/16']);
});

test('the VTEP is an attribute of the node: it moves, and the entries follow', () => {
  const moved = new Map([['b' as NodeId, node('192.0.2.99')]]);
  const { desired } = plan(tables([endpoint(2, 'b')], { nodes: moved }), attached);
  assert.equal(desired.overlays[0]?.remotes[0]?.vtep, '192.0.2.99');
});

test('an endpoint whose node is not known yet waits, without a complaint', () => {
  const { desired, objections } = plan(tables([endpoint(2, 'unknown')]), attached);
  assert.deepEqual([desired.overlays[0]?.remotes, objections], [[], []]);
});

test('an address claimed twice goes to the older claim, and the other is named', () => {
  const both = [endpoint(2, 'c', { ip: '10.0.1.7', createdMs: 5 }), endpoint(3, 'b', { ip: '10.0.1.7', createdMs: 4 })];
  const { desired, objections } = plan(tables(both), attached);
  assert.deepEqual(
    desired.overlays[0]?.remotes.map(({ vtep }) => vtep),
    ['192.0.2.2'],
  );
  assert.match(objections[0] ?? '', /of at-192\.0\.2\.3: 10\.0\.1\.7 .* is held by at-192\.0\.2\.2/);
});

test('nobody elsewhere takes the address or MAC of an endpoint here', () => {
  const thieves = [
    endpoint(2, 'b', { ip: '10.0.1.10', createdMs: 0 }),
    endpoint(3, 'c', { mac: leg.mac, createdMs: 0 }),
  ];
  const { desired, objections } = plan(tables(thieves), attached);
  assert.deepEqual([desired.overlays[0]?.remotes.length, objections.length], [0, 2]);
});

const six = { ipv6: { subnet: 'fd00:10::/64', gateway: 'fd00:10::1' } };
const dualValue = { ...value, ...six } satisfies NetworkValue;
const dual: Network = { ...dualValue, id: networkId, subnets: subnetsOf(networkId, dualValue, []) };

test('a dual-stack endpoint is two neighbours with one MAC, and all of it or nothing', () => {
  const networks = new Map([[networkId, dual]]);
  const box: StoredSandbox = { ...sandbox, legs: [{ ...leg, ip6: 'fd00:10::a' }] };
  const endpoints = [
    endpoint(2, 'b', { ip6: 'fd00:10::2' }),
    endpoint(3, 'c', { ip6: 'fd00:10::2' }),
    endpoint(4, 'c', { ip6: 'fd00:10::a', createdMs: 0 }),
  ];
  const { desired, objections } = plan(tables(endpoints, { networks }), { ...attached, sandboxes: [box] });
  assert.deepEqual(desired.overlays[0]?.remotes, [
    { ip: '10.0.1.2', mac: '02:00:00:00:00:02', vtep: '192.0.2.2' },
    { ip: 'fd00:10::2', mac: '02:00:00:00:00:02', vtep: '192.0.2.2' },
  ]);
  assert.deepEqual(desired.sandboxes[0]?.overlayLegs[0]?.addresses, ['10.0.1.10/24', 'fd00:10::a/64']);
  assert.deepEqual(objections.map((line) => /: (\S+) .* is held by (.*)$/.exec(line)?.slice(1)).sort(), [
    ['fd00:10::2', 'at-192.0.2.2'],
    ['fd00:10::a', 'this host'],
  ]);
});

test('an endpoint with IPv6 alone, and routes to further subnets of its family only', () => {
  const { subnet: _subnet, gateway: _gateway, ...rest } = value;
  const only = { ...rest, ...six } satisfies NetworkValue;
  const added = ['10.9.0.0/24', 'fd00:11::/64'].map((subnet) => ({
    ...{
      stamp: [1, 0] as [number, number],
      subnet,
      gateway: subnet.replace(/0\/24|\/64/, '1'),
      root: self,
      createdMs: 2,
    },
  }));
  const networks = new Map([[networkId, { ...only, id: networkId, subnets: subnetsOf(networkId, only, added) }]]);
  const box: StoredSandbox = { ...sandbox, legs: [{ ...leg, ip: null, ip6: 'fd00:10::a' }] };
  const endpoints = [endpoint(2, 'b', { ip: undefined, ip6: 'fd00:10::2' })];
  const { desired, objections } = plan(tables(endpoints, { networks }), { ...attached, sandboxes: [box] });
  assert.deepEqual(objections, []);
  assert.deepEqual(
    desired.overlays[0]?.remotes.map(({ ip }) => ip),
    ['fd00:10::2'],
  );
  const [wanted] = desired.sandboxes[0]?.overlayLegs ?? [];
  assert.deepEqual([wanted?.addresses, wanted?.onLink], [['fd00:10::a/64'], ['fd00:11::/64']]);
});

test('a node whose VTEP is of the other family is left out, and named once', () => {
  const nodes = new Map([
    [self, node('192.0.2.1')],
    ['b' as NodeId, node('fd00::2')],
    ['c' as NodeId, node('192.0.2.3')],
  ]);
  const { desired, objections } = plan(
    tables([endpoint(2, 'b'), endpoint(3, 'b'), endpoint(4, 'c')], { nodes }),
    attached,
  );
  assert.deepEqual(
    desired.overlays[0]?.remotes.map(({ vtep }) => vtep),
    ['192.0.2.3'],
  );
  assert.deepEqual(desired.guard?.vteps, ['192.0.2.3']);
  assert.equal(objections.length, 1);
  assert.match(
    objections[0] ?? '',
    /^node at-fd00::2 has the VTEP fd00::2 \(IPv6\), and this one has 192\.0\.2\.1 \(IPv4\)/,
  );
});

test('what does not parse is left out and named, and the rest is done', () => {
  const bad = [
    endpoint(2, 'b', { ip: '10.0.1.2\nlink delete eth0' }),
    endpoint(3, 'c', { mac: 'x' }),
    endpoint(4, 'b'),
  ];
  const { desired, objections } = plan(tables(bad), attached);
  assert.deepEqual(
    desired.overlays[0]?.remotes.map(({ ip }) => ip),
    ['10.0.1.4'],
  );
  assert.equal(objections.length, 2);
});

test('the MTU follows the underlay, or the option, or IPv6 below', () => {
  const mtu = (more: Partial<TablesForPlan>, underlayMtu = 1500): number | undefined =>
    plan(tables([], more), { ...attached, underlayMtu }).desired.overlays[0]?.mtu;
  assert.equal(mtu({}, 9000), 8950);
  assert.equal(mtu({ vtep: 'fd00::1' }), 1430);
  const options = { 'com.docker.network.driver.mtu': '1280' };
  assert.equal(mtu({ networks: new Map([[networkId, { ...network, options }]]) }), 1280);
});

test('property: the order in which records arrived does not show', () => {
  const claims = fc.array(
    fc.record({
      owner: fc.constantFrom('b', 'c'),
      ip: fc.integer({ min: 2, max: 9 }),
      createdMs: fc.integer({ min: 0, max: 3 }),
    }),
    { maxLength: 12 },
  );
  const shuffled = claims
    .map((list) =>
      list.map(({ owner, ip, createdMs }, i) => endpoint(20 + i, owner, { ip: `10.0.1.${ip}`, createdMs })),
    )
    .chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })));
  fc.assert(
    fc.property(shuffled, ([one, other]) => {
      assert.deepEqual(plan(tables(one), attached).desired, plan(tables(other), attached).desired);
    }),
  );
});

test('interfaces are named in the order of attachment, around what is taken', () => {
  assert.equal(nextIfName({ legs: [], gateway: null, local: [] }, []), 'eth0');
  assert.equal(nextIfName(sandbox, []), 'eth2');
  assert.equal(nextIfName({ ...sandbox, gateway: null }, ['lo', 'eth1']), 'eth2');
});

test('a host leads to its gate over IPv6 where the gate has that on ingress, by a leg that is the same each time', () => {
  const gate = (ip6: string | null): StoredSandbox => ({
    ...sandbox,
    name: ingressSandboxName,
    legs: sandbox.legs.map((each) => ({ ...each, ip6 })),
  });
  const hostLegOf = (box: StoredSandbox, gatePrefix6: string | null) =>
    plan(tables([]), { ...attached, sandboxes: [box], gatePrefix6 }).desired.sandboxes[0]?.hostLeg;
  const prefix = 'fdaa:bbcc:dd00::/64';
  const leg = hostLegOf(gate('fd00:10::2'), prefix);
  assert.deepEqual([leg?.addresses, leg?.hostAddress], [['fdaa:bbcc:dd00::2/64'], 'fdaa:bbcc:dd00::1/64']);
  assert.deepEqual(leg, hostLegOf(gate('fd00:10::2'), prefix));
  assert.equal(hostLegOf(gate(null), prefix), undefined);
  assert.equal(hostLegOf(gate('fd00:10::2'), null), undefined);
  assert.equal(hostLegOf({ ...gate('fd00:10::2'), name: 'web' }, prefix), undefined);
});
