import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Role } from '../../../controlplane/identity/certificates.ts';
import { newNodeKey } from '../../../controlplane/identity/keys.ts';
import { type NetworkId, nodeIdOf } from '../../../controlplane/ids.ts';
import { maxCounter } from '../../../controlplane/tables/clock.ts';
import {
  maxAliases,
  maxPorts,
  maxServes,
  networkOfTopic,
  networkTopic,
  objectionTo,
  servesWithin,
} from '../../../controlplane/tables/kinds.ts';
import { clusterTopic, maxRecordBytes, signRecord } from '../../../controlplane/tables/record.ts';
import { maxAffinityMs, maxAskedPorts, maxDrainMs, maxServicePorts } from '../../../controlplane/tables/services.ts';

const owner = nodeIdOf(Buffer.alloc(32, 1));
const topic = networkTopic('n'.repeat(25) as NetworkId);
const stamp = [1, 0];

function objection(inTopic: string, key: string, value: unknown, writer: Role | null = 'manager'): string | null {
  const record = { topic: inTopic, owner, epoch: 1, seq: 2, key, value };
  return objectionTo({ record }, writer);
}

const node = {
  hostname: 'a',
  vtep: '192.0.2.1',
  gossip: ['192.0.2.1:7946', '[fd00::1]:7946'],
  version: '1',
  createdMs: 1,
};
const network = {
  ...{ stamp, removed: false, name: 'frontend', vni: 4096, subnet: '10.0.1.0/24', gateway: '10.0.1.1', root: owner },
  ...{ internal: false, attachable: false, ingress: false, options: {}, labels: { a: 'b' }, createdMs: 1 },
};
const endpoint = {
  ...{ name: 'box', sandbox: 'a'.repeat(64), ip: '10.0.1.2', mac: '02:00:00:00:00:01' },
  ...{ aliases: ['web'], createdMs: 1 },
};
const range = { start: 0, end: 4, to: owner, generation: 1 };
const subnet = { stamp, subnet: '10.0.2.0/24', gateway: '10.0.2.1', root: owner, createdMs: 1 };
const service = {
  ...{ stamp, removed: false, ports: [['tcp', 8080, 80, 1, 'ingress']], source: 'keep', affinityMs: 0, createdMs: 1 },
};
const cluster = { stamp, root: owner, pools: ['10.0.0.0/8'], subnetBits: 24, dataPathPort: 4789 };
const token = { stamp, sealed: Buffer.alloc(44), retired: [] };

/** topic, key, a value that is right, whether workers may write it */
const right: [string, string, object, boolean][] = [
  [clusterTopic, 'node', node, true],
  [clusterTopic, 'cluster', cluster, false],
  [clusterTopic, `network/${'n'.repeat(25)}`, network, false],
  [clusterTopic, 'token/worker', token, false],
  [clusterTopic, 'token/manager', token, false],
  [clusterTopic, `removed/${owner}`, { stamp }, false],
  [clusterTopic, 'range/subnet/0-4/1', range, false],
  [clusterTopic, 'range/vni/12-14/3', { ...range, start: 12, end: 14, generation: 3 }, false],
  [clusterTopic, `subnet/${'n'.repeat(25)}/10.0.2.0_24`, subnet, false],
  [clusterTopic, `service/${'n'.repeat(25)}/web`, service, false],
  [clusterTopic, `node-labels/${owner}`, { stamp, labels: { zone: 'a' } }, false],
  [clusterTopic, `fence/${owner}/0`, { heir: owner, ballot: 0 }, false],
  [clusterTopic, `fence/${owner}/heir`, { heir: owner, ballot: 3 }, false],
  [topic, 'range/10.0.1.0_24/0-4/1', range, true],
  [topic, 'range/fd00::_64/0-4/1', range, true],
  [topic, `ep/${'e'.repeat(64)}`, endpoint, true],
];

test('each kind has its topic, its writers and its shape', () => {
  for (const [inTopic, key, value, byWorkers] of right) {
    const [prefix = ''] = key.split('/');
    assert.equal(objection(inTopic, key, value), null, key);
    assert.equal(objection(inTopic, key, null), null, `tombstone of ${key}`);
    assert.equal(objection(inTopic, key, value, 'worker'), byWorkers ? null : `${prefix} record from a worker`);
    assert.equal(objection(inTopic, key, value, null), byWorkers ? null : `${prefix} record from a worker`);
    const elsewhere = inTopic === clusterTopic ? topic : clusterTopic;
    assert.match(objection(elsewhere, key, value) ?? '', /unknown key/, key);
    for (const field of Object.keys(value)) {
      assert.equal(
        objection(inTopic, key, { ...value, [field]: undefined }),
        `malformed ${prefix} record`,
        `${key} ${field}`,
      );
      assert.notEqual(objection(inTopic, key, { ...value, [field]: { odd: true } }), null, `${key} ${field}`);
    }
    for (const odd of [0, '', [], true, 'text'])
      assert.equal(objection(inTopic, key, odd), `malformed ${prefix} record`);
  }
});

test('what a node says of itself on a network is nothing, as older ones do, or an MTU that others can live with', () => {
  const key = `on/${'n'.repeat(25)}`;
  for (const value of [{}, { mtu: 1450 }, { mtu: 1280, peer: owner }, { mtu: 65_535 }, { since: 'a newer version' }]) {
    assert.equal(objection(clusterTopic, key, value, 'worker'), null, JSON.stringify(value));
  }
  for (const value of [
    { mtu: 1279 },
    { mtu: 0 },
    { mtu: 65_536 },
    { mtu: 1400.5 },
    { mtu: '1400' },
    { peer: 'nobody' },
  ]) {
    assert.equal(objection(clusterTopic, key, value, 'worker'), 'malformed on record', JSON.stringify(value));
  }
});

test('keys that are none are refused', () => {
  const keys = [
    'node/x',
    'network/short',
    'token/king',
    'removed/nobody',
    'node-labels/nobody',
    'node-labels',
    'range/10.0.1.0_24/0-4/1',
    'range/vni/x/1',
    'subnet/short/10.0.1.0_24',
    'fence/nobody/0',
    'service/web',
    'service/short/web',
    `service/${'n'.repeat(25)}/`,
    `service/${'n'.repeat(25)}/-web`,
    `service/${'n'.repeat(25)}/web/x`,
    'ep/1',
    '__proto__',
    'constructor',
    'toString/x',
    'network',
  ];
  for (const key of keys) assert.match(objection(clusterTopic, key, {}) ?? '', /unknown key/, key);
  for (const key of [
    'ep/short',
    'range/0',
    'range/0/1',
    'range/10.0.1.0_24/00000000000-4/1',
    'range/10.0.1.0_24/-1-4/1',
    'range/vni/0-4/1',
    'node',
  ]) {
    assert.match(objection(topic, key, {}) ?? '', /unknown key/, key);
  }
});

test('values out of bounds are refused', () => {
  const bad: [string, string, object][] = [
    [clusterTopic, 'node', { ...node, vtep: 'not an address' }],
    [clusterTopic, 'node', { ...node, gossip: ['host:1'] }],
    [clusterTopic, 'node', { ...node, gossip: [] }],
    [clusterTopic, 'node', { ...node, hostname: 'x'.repeat(254) }],
    [clusterTopic, `network/${'n'.repeat(25)}`, { ...network, vni: 4095 }],
    [clusterTopic, `network/${'n'.repeat(25)}`, { ...network, vni: 2 ** 24 }],
    [clusterTopic, `network/${'n'.repeat(25)}`, { ...network, name: '-x' }],
    [clusterTopic, `network/${'n'.repeat(25)}`, { ...network, subnet: '10.0.1.0' }],
    [clusterTopic, `network/${'n'.repeat(25)}`, { ...network, root: 'nobody' }],
    [clusterTopic, 'token/worker', { ...token, sealed: Buffer.alloc(65) }],
    [topic, `ep/${'e'.repeat(64)}`, { ...endpoint, mac: '01:00:00:00:00:01' }],
    [topic, `ep/${'e'.repeat(64)}`, { ...endpoint, mac: '02:00:00:00:00:01\nx' }],
    [topic, `ep/${'e'.repeat(64)}`, { ...endpoint, aliases: Array(17).fill('a') }],
    [topic, `ep/${'e'.repeat(64)}`, { ...endpoint, sandbox: '../etc' }],
    [topic, 'range/10.0.1.0_24/0-4/1', { ...range, generation: 0 }],
    [topic, 'range/10.0.1.0_24/0-4/1', { ...range, start: -1 }],
    [topic, 'range/10.0.1.0_24/0-4/1', { ...range, end: 1.5 }],
  ];
  for (const [inTopic, key, value] of bad)
    assert.match(objection(inTopic, key, value) ?? '', /malformed/, JSON.stringify(value));
});

test('a network and its endpoints have IPv4, IPv6 or both', () => {
  const key = `network/${'n'.repeat(25)}`;
  const ipv6 = { subnet: 'fd00:10::/64', gateway: 'fd00:10::1', ipRange: 'fd00:10::/80', aux: { x: 'fd00:10::9' } };
  const { subnet: _subnet, gateway: _gateway, ...bare } = network;
  assert.equal(objection(clusterTopic, key, { ...network, ipv6 }), null);
  assert.equal(objection(clusterTopic, key, { ...bare, ipv6 }), null);
  for (const wrong of [bare, { ...bare, ipv6, gateway: '10.0.1.1' }, { ...network, ipv6: { subnet: 'fd00:10::/64' } }])
    assert.equal(objection(clusterTopic, key, wrong), 'malformed network record');
  const of = `ep/${'e'.repeat(64)}`;
  const { ip: _ip, ...nowhere } = endpoint;
  assert.equal(objection(topic, of, { ...endpoint, ip6: 'fd00:10::7' }), null);
  assert.equal(objection(topic, of, { ...nowhere, ip6: 'fd00:10::7' }), null);
  for (const wrong of [nowhere, { ...nowhere, ip6: '10.0.1.7' }, { ...nowhere, ip6: 'FD00:10::7' }])
    assert.equal(objection(topic, of, wrong), 'malformed ep record');
});

test('what an endpoint says of itself has bounds, and with all of it a record is no larger than it may be', () => {
  const key = `ep/${'e'.repeat(64)}`;
  const ports = Array.from({ length: maxPorts }, (_, at) => `${65_535 - at}/sctp`);
  const largest = {
    ...{ ...endpoint, name: 'n'.repeat(63), ip: '255.255.255.255', ip6: `${'ffff:'.repeat(7)}ffff` },
    ...{ aliases: Array.from({ length: maxAliases }, (_, at) => String(at).padStart(63, 'a')), ports, ready: false },
    createdMs: Date.UTC(2500),
  };
  assert.equal(objection(topic, key, largest), null);
  const place = { topic, owner, epoch: 2 ** 45, seq: 2 ** 31, key, value: largest, writtenMs: Date.UTC(2500) };
  assert.ok(signRecord(newNodeKey(), 'c'.repeat(25), place).payload.length <= maxRecordBytes);
  for (const wrong of [[], [...ports, '1/tcp'], ['0/tcp'], ['65536/tcp'], ['080/tcp'], ['80'], ['80/TCP'], [80]])
    assert.equal(objection(topic, key, { ...endpoint, ports: wrong }), 'malformed ep record', String(wrong));
  assert.equal(objection(topic, key, { ...endpoint, ready: true }), 'malformed ep record');
});

const keyOfService = `service/${'n'.repeat(25)}/${'s'.repeat(63)}`;
const sizeOf = (inTopic: string, key: string, value: object): number =>
  signRecord(newNodeKey(), 'c'.repeat(25), {
    ...{ topic: inTopic, owner, epoch: 2 ** 45, seq: 2 ** 31, key, value, writtenMs: Date.UTC(2500) },
  }).payload.length;

test('a service has ports of its own, each once, and with as many as there may be a record is no larger than it may be', () => {
  const largest = {
    stamp: [Date.UTC(2500), maxCounter],
    removed: false,
    ports: Array.from({ length: maxServicePorts }, (_, at) => ['sctp', 65_535 - at, 65_535 - at, 1, 'ingress']),
    source: 'local',
    affinityMs: maxAffinityMs,
    createdMs: Date.UTC(2500),
  };
  assert.equal(objection(clusterTopic, keyOfService, largest), null);
  const all = {
    ...{ ...largest, prefer: 'local', drainMs: maxDrainMs },
    vip: { ip: '255.255.255.255', ip6: `${'ffff:'.repeat(7)}ffff` },
  };
  assert.equal(objection(clusterTopic, keyOfService, all), null);
  // What a later version may say of it in addition, has room too.
  const size = sizeOf(clusterTopic, keyOfService, all);
  assert.ok(size <= maxRecordBytes - 64, `${size} bytes`);
  const ranges = [
    ['tcp', 8000, 80, 1024, 'ingress'],
    ['udp', 8000, 80, 1024, 'host'],
    ['tcp', 9024, 64_512, 1024, 'ingress'],
  ];
  assert.equal(objection(clusterTopic, keyOfService, { ...service, ports: ranges }), null);
  const wrong = [
    [],
    [...largest.ports, ['tcp', 1, 1, 1, 'ingress']],
    [['tcp', 0, 1, 1, 'ingress']],
    [['tcp', 65_535, 1, 2, 'ingress']],
    [['tcp', 1, 65_535, 2, 'ingress']],
    [['tcp', 1, 1, 0, 'ingress']],
    [['tcp', 1, 1, 1025, 'ingress']],
    [['icmp', 1, 1, 1, 'ingress']],
    [['tcp', 1, 1, 1, 'nowhere']],
    [['tcp', 1, 1, 1]],
    [...ranges, ['tcp', 9023, 1, 1, 'host']],
  ];
  for (const ports of wrong)
    assert.equal(
      objection(clusterTopic, keyOfService, { ...service, ports }),
      'malformed service record',
      `${ports.at(-1)}`,
    );
  for (const fields of [
    ...[{ source: 'proxy' }, { affinityMs: -1 }, { affinityMs: maxAffinityMs + 1 }, { prefer: 'region' }],
    ...[{ drainMs: 0 }, { drainMs: 1.5 }, { drainMs: maxDrainMs + 1 }, { vip: {} }, { vip: { ip: 'fd00::1' } }],
    ...[{ vip: { ip: '010.0.0.1' } }, { vip: { ip6: '10.0.1.2' } }, { vip: { ip6: 'FD00::1' } }, { vip: '10.0.1.2' }],
  ])
    assert.equal(objection(clusterTopic, keyOfService, { ...service, ...fields }), 'malformed service record');
});

test('a service without a port has a virtual address, of a family or of both', () => {
  for (const vip of [{ ip: '10.0.1.9' }, { ip6: 'fd00::9' }, { ip: '10.0.1.9', ip6: 'fd00::9' }])
    assert.equal(objection(clusterTopic, keyOfService, { ...service, ports: [], vip }), null);
  assert.equal(objection(clusterTopic, keyOfService, { ...service, ports: [] }), 'malformed service record');
});

test('labels of a node have a bound', () => {
  const key = `node-labels/${owner}`;
  const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${at}`, 'v']));
  for (const labels of [{}, { zone: '' }, many(64)])
    assert.equal(objection(clusterTopic, key, { stamp, labels }), null, JSON.stringify(labels));
  for (const labels of [many(65), { zone: 1 }, { ['k'.repeat(129)]: 'v' }, { zone: 'v'.repeat(1025) }, ['zone']])
    assert.equal(objection(clusterTopic, key, { stamp, labels }), 'malformed node-labels record');
});

test('an endpoint tells of the services it is a backend of, as many as there is room for besides its aliases', () => {
  const key = `ep/${'e'.repeat(64)}`;
  const services = Array.from({ length: 20 }, (_, at) => `${'n'.repeat(25)}/${String(at).padStart(63, 's')}`);
  const base = {
    ...{ ...endpoint, name: 'n'.repeat(63), ip: '255.255.255.255', ip6: `${'ffff:'.repeat(7)}ffff`, ready: false },
    ...{ ports: Array.from({ length: maxPorts }, (_, at) => `${65_535 - at}/sctp`), createdMs: Date.UTC(2500) },
  };
  for (const count of [0, 1, 5, 15]) {
    const aliases = Array.from({ length: count }, (_, at) => String(at).padStart(63, 'a'));
    const serves = servesWithin(aliases, services);
    assert.equal(serves.length, Math.floor(((maxAliases - count) * 63) / 89));
    const value = { ...base, aliases, ...(serves.length === 0 ? {} : { serves }) };
    assert.equal(objection(topic, key, value), null);
    assert.ok(sizeOf(topic, key, value) <= maxRecordBytes);
    const more = { ...value, serves: services.slice(0, serves.length + 1) };
    assert.equal(objection(topic, key, more), 'malformed ep record');
  }
  const short = services.map((_, at) => `${'n'.repeat(25)}/${at}`);
  assert.equal(servesWithin([], short).length, maxServes);
  assert.equal(objection(topic, key, { ...endpoint, serves: servesWithin([], short) }), null);
  for (const wrong of [[], short.slice(0, maxServes + 1), ['web'], ['short/web'], [`${'n'.repeat(25)}/`], [1]])
    assert.equal(objection(topic, key, { ...endpoint, serves: wrong }), 'malformed ep record', String(wrong));
});

test('an endpoint asks for ports, as many as there is room for beside all else that it says', () => {
  const key = `ep/${'e'.repeat(64)}`;
  const ports = Array.from({ length: maxAskedPorts }, (_, at) => ['sctp', 64_000 - at, 60_000, 1024]);
  const asks = { service: 's'.repeat(63), ports };
  const value = {
    ...{ ...endpoint, name: 'n'.repeat(63), ip: '255.255.255.255', ip6: `${'ffff:'.repeat(7)}ffff`, ready: false },
    ...{ ports: Array.from({ length: maxPorts }, (_, at) => `${65_535 - at}/sctp`), createdMs: Date.UTC(2500), asks },
    aliases: Array.from({ length: maxAliases }, (_, at) => String(at).padStart(63, 'a')),
  };
  assert.equal(objection(topic, key, value), null);
  assert.ok(sizeOf(topic, key, value) <= maxRecordBytes, `${sizeOf(topic, key, value)} bytes`);
  const wrong = [
    { ...asks, ports: [] },
    { ...asks, ports: [...ports, ['tcp', 1, 1, 1]] },
    { ...asks, service: '' },
    { ...asks, ports: [['tcp', 65_535, 1, 2]] },
    { ...asks, ports: [['icmp', 1, 1, 1]] },
  ];
  for (const each of wrong) assert.equal(objection(topic, key, { ...endpoint, asks: each }), 'malformed ep record');
  const serves = [`${'n'.repeat(25)}/web`];
  assert.equal(objection(topic, key, { ...endpoint, asks, serves }), 'malformed ep record', 'of a leg of the mesh');
});

test('the opening record has a number', () => {
  assert.equal(objection(clusterTopic, '', 3), null);
  assert.equal(objection(clusterTopic, '', 'three'), 'opening record without a size');
});

test('topics name their network', () => {
  assert.equal(networkOfTopic(topic), 'n'.repeat(25));
  for (const text of [clusterTopic, 'net/', 'net/short', `nets/${'n'.repeat(25)}`])
    assert.equal(networkOfTopic(text), null);
});
