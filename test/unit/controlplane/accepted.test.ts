import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ipv4ToNumber, parseSubnet } from '../../../controlplane/addresses.ts';
import { type NetworkId, nodeIdOf } from '../../../controlplane/ids.ts';
import { parseHostPort } from '../../../controlplane/mesh/address.ts';
import { networkTopic, objectionTo } from '../../../controlplane/tables/kinds.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';

// Whatever passes validation is worked with everywhere, without a further look: it has to be fit for that.

const owner = nodeIdOf(Buffer.alloc(32, 1));
const id = 'n'.repeat(25) as NetworkId;
const topic = networkTopic(id);
const node = { hostname: 'a', vtep: '192.0.2.1', gossip: ['192.0.2.1:7946'], version: '1', createdMs: 1 };
const cluster = { stamp: [1, 0], root: owner, pools: ['10.0.0.0/8'], subnetBits: 24, dataPathPort: 4789 };
const network = {
  ...{ stamp: [1, 0], removed: false, name: 'frontend', vni: 4096, subnet: '10.0.1.0/24', gateway: '10.0.1.1' },
  ...{ internal: false, attachable: false, ingress: false, options: {}, labels: {}, createdMs: 1, root: owner },
};
const endpoint = {
  ...{ name: 'box', sandbox: 'a'.repeat(64), ip: '10.0.1.2', mac: '02:00:00:00:00:01', aliases: [], createdMs: 1 },
};
const range = { start: 0, end: 4, to: owner, generation: 1 };

function passes(inTopic: string, key: string, value: unknown): boolean {
  const record = { topic: inTopic, owner, epoch: 1, seq: 2, key, value };
  return objectionTo({ record }, 'manager') === null;
}

test('an object has one key', () => {
  assert.equal(passes(clusterTopic, 'node/', node), false);
  assert.equal(passes(clusterTopic, 'cluster/', cluster), false);
});

test('a range is not empty, and written under what would make it another one', () => {
  assert.ok(passes(topic, 'range/10.0.1.0_24/0-4/1', range));
  for (const fields of [{ start: 1 }, { generation: 2 }, { end: 0 }, { end: 5 }]) {
    assert.equal(passes(topic, 'range/10.0.1.0_24/0-4/1', { ...range, ...fields }), false, JSON.stringify(fields));
  }
});

test('a subnet that passes can be counted in', () => {
  for (const subnet of ['10.0.1.0/24', '10.0.1.5/24', '010.0.1.0/24']) {
    if (passes(clusterTopic, `network/${id}`, { ...network, subnet })) assert.ok(parseSubnet(subnet) !== null, subnet);
  }
});

test('a pool that passes can be counted in', () => {
  for (const pool of ['10.0.0.0/8', '10.0.0.1/8']) {
    if (passes(clusterTopic, 'cluster', { ...cluster, pools: [pool] })) assert.ok(parseSubnet(pool) !== null, pool);
  }
});

test('an address that passes can be counted in', () => {
  for (const ip of ['10.0.1.7', '010.0.1.7', 'fd00::1', '10.1', '1', '0x0a.0.1.7']) {
    if (!passes(topic, `ep/${'e'.repeat(64)}`, { ...endpoint, ip })) continue;
    assert.ok(Number.isInteger(ipv4ToNumber(ip)) && parseSubnet(`${ip}/32`) !== null, ip);
  }
});

test('a gossip address that passes can be dialled', () => {
  for (const address of ['192.0.2.1:7946', '192.0.2.1:0', '192.0.2.1:99999', '999.0.2.1:7946']) {
    if (!passes(clusterTopic, 'node', { ...node, gossip: [address] })) continue;
    assert.ok(parseSubnet(`${parseHostPort(address)?.host ?? ''}/32`) !== null, address);
  }
});
