import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSpace, spaceAround } from '../../../controlplane/addresses.ts';
import { poolNearlyFull } from '../../../controlplane/capacity.ts';
import { NumberSet } from '../../../controlplane/ring/numbers.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { gatePrefix6, uniqueLocal } from '../../../controlplane/ula.ts';
import { identityOf } from '../../sim/identities.ts';
import { makeCluster, memoryStore, quietLog } from './helpers.ts';

const spec = { internal: false, attachable: true, ingress: false, options: {}, labels: {} };

test('a pool that is nearly out of subnets is named, once in the log, until networks go', async (t) => {
  const warn = t.mock.method(quietLog, 'warn');
  const logged = () => warn.mock.calls.filter(({ arguments: [, message] }) => message.includes('pool')).length;
  const { cluster, time } = makeCluster(await identityOf(0, 'manager'), memoryStore());
  await cluster.start();
  const settings = { root: cluster.self, pools: ['10.0.0.0/21'], subnetBits: 24, dataPathPort: 4789 };
  await cluster.tables.put(clusterTopic, 'cluster', { ...settings, stamp: [...cluster.clock.next()] });
  for (let i = 0; i < 6; i += 1) await cluster.networks.create({ ...spec, name: `n${i}` });
  assert.deepEqual(cluster.warnings(), []);
  const last = await cluster.networks.create({ ...spec, name: 'n6' });
  assert.match(
    cluster.warnings().join(),
    /^the address pool 10\.0\.0\.0\/21 has 1 of 8 subnets left: remove networks, or/,
  );
  await cluster.networks.create({ ...spec, name: 'n7', subnet: '192.168.0.0/24' });
  assert.equal(logged(), 1);
  await cluster.networks.remove(last);
  assert.deepEqual(cluster.warnings(), []);
  await time.run(30_001);
  await cluster.networks.create({ ...spec, name: 'n8', subnet: '192.168.1.0/24' });
  await cluster.networks.create({ ...spec, name: 'n9' });
  assert.equal(logged(), 2, 'it was over in between');
  await cluster.stop();
});

async function startedManager() {
  const { cluster } = makeCluster(await identityOf(0, 'manager'), memoryStore());
  await cluster.start();
  const settings = { root: cluster.self, pools: ['10.0.0.0/21'], subnetBits: 24, dataPathPort: 4789 };
  await cluster.tables.put(clusterTopic, 'cluster', { ...settings, stamp: [...cluster.clock.next()] });
  return cluster;
}

test('IPv6 besides or alone: a prefix of its own for each network, or the one that was given', async () => {
  const cluster = await startedManager();
  const { networks, identity } = cluster;
  const dual = await networks.create({ ...spec, name: 'dual', ipv6: {} });
  assert.deepEqual(
    dual.subnets.map(({ space }) => space.text),
    ['10.0.0.0/24', uniqueLocal(identity.clusterId, dual.vni, 0)],
  );
  assert.notEqual(gatePrefix6(identity.clusterId), uniqueLocal(identity.clusterId, dual.vni, 0));
  const next = 'fd00:77::/64';
  const given = await networks.create({ ...spec, name: 'given', subnet: '10.9.0.0/24', ipv6: { subnet: next } });
  assert.equal(given.ipv6?.subnet, next);
  const alone = await networks.create({ ...spec, name: 'alone', ipv4: false, ipv6: {} });
  assert.equal(alone.subnet, undefined);
  assert.equal(alone.subnets.length, 1);
  for (const family of [4, 6] as const) {
    const { ip } = await networks.allocateAddress(dual, null, family);
    assert.ok(ip.includes(family === 6 ? ':' : '.'), ip);
  }
  await assert.rejects(networks.allocateAddress(alone, '10.0.0.5', 4), { code: 'invalid_address', hint: /no IPv4/ });
  assert.equal((await networks.allocateAddress(given, 'fd00:77::77', 6)).number, 0x77);
  await assert.rejects(networks.create({ ...spec, name: 'bad', ipv6: { subnet: '10.9.0.0/24' } }), {
    code: 'invalid_subnet',
  });
  await cluster.stop();
});

test('a prefix that somebody has chosen already is not given to another network', async () => {
  const cluster = await startedManager();
  const { networks, identity } = cluster;
  const { vni } = await networks.create({ ...spec, name: 'first' });
  const taken = uniqueLocal(identity.clusterId, vni + 2, 0);
  await networks.create({ ...spec, name: 'second', ipv6: { subnet: taken } });
  const third = await networks.create({ ...spec, name: 'third', ipv6: {} });
  assert.equal(third.vni, vni + 2);
  assert.equal(third.ipv6?.subnet, uniqueLocal(identity.clusterId, vni + 2, 1));
  await cluster.stop();
});

test('the prefix that an address of the host lies in', () => {
  assert.equal(spaceAround('fd00:1::5/64')?.text, 'fd00:1::/64');
  assert.equal(spaceAround('fd00:1::5/128')?.size, 1);
  for (const text of ['10.0.0.1/24', 'fd00::1', 'fd00::1/129', '']) assert.equal(spaceAround(text), null, text);
});

test('unique local prefixes: /64 of fd00::/8, each network another, those of small VNIs in one /48', () => {
  const clusterId = 'c'.repeat(25);
  assert.equal(uniqueLocal(clusterId, 4096, 0), uniqueLocal(clusterId, 4096, 0));
  assert.notEqual(uniqueLocal(clusterId, 4096, 0), uniqueLocal('d'.repeat(25), 4096, 0));
  const all = [4096, 4097, 65_535, 65_536, 2 ** 24 - 1].map((vni) => parseSpace(uniqueLocal(clusterId, vni, 0)));
  for (const space of all) assert.ok(space?.prefixLength === 64 && space.text.startsWith('fd'), space?.text);
  assert.equal(new Set(all.map((space) => space?.base)).size, all.length);
  const site = (index: number): bigint => (all[index]?.base ?? 0n) >> 80n;
  assert.equal(site(0), site(2));
  assert.notEqual(site(2), site(3));
});

test('so is a space of VNIs', () => {
  const taken = new NumberSet();
  const space = { window: { start: 0, end: 20 }, taken, name: 'the VNI space', reserved: () => null, nameOf: String };
  for (let number = 0; number < 16; number += 1) taken.add(number);
  assert.equal(poolNearlyFull('vni', space), null);
  taken.add(16);
  assert.equal(poolNearlyFull('vni', space), 'the VNI space has 3 of 20 VNIs left: remove networks');
});
