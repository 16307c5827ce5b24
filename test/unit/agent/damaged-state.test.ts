import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gateway } from '../../../agent/daemon/gateway.ts';
import { LocalNetworks } from '../../../agent/daemon/local-networks.ts';
import { Sandboxes } from '../../../agent/daemon/sandboxes/sandboxes.ts';
import type { StoredSandbox } from '../../../agent/sandbox-state.ts';
import type { EndpointId, NetworkId } from '../../../controlplane/ids.ts';
import { memoryStore, quietLog } from '../controlplane/helpers.ts';

const sandbox: StoredSandbox = {
  ...{
    id: 'a'.repeat(64),
    name: 'web',
    createdMs: 1,
    netns: '/run/netns/web',
    adopted: false,
    inode: null,
    labels: {},
    hostname: null,
    resolver: { servers: [], search: ['corp.example'], options: [] },
  },
  legs: [
    {
      ...{ networkId: 'n'.repeat(25) as NetworkId, endpointId: 'e'.repeat(64) as EndpointId, ifName: 'eth0' },
      ...{ mac: '02:42:0a:00:01:09', ip: '10.0.1.9', ip6: null, aliases: [], createdMs: 1 },
    },
  ],
  gateway: null,
  local: [],
  published: [{ protocol: 'tcp', hostIp: null, hostPort: 8080, port: 80 }],
};

const noFiles = { make: () => {}, put: () => {}, drop: () => {} };

async function sandboxesFrom(row: unknown): Promise<Sandboxes> {
  const store = memoryStore();
  await store.commit([{ key: ['sandbox', sandbox.id], value: row }]);
  const settled = async (): Promise<void> => {};
  const cluster = (): never => assert.fail('nothing is asked of the cluster');
  const localNetworks = new LocalNetworks({ store, nameHeld: () => null, inUse: async () => [], changed: () => {} });
  const init = { store, gateway: new Gateway(store, null), localNetworks, files: noFiles, log: quietLog, cluster };
  return new Sandboxes({
    ...init,
    othersLegs: () => [],
    reservedPorts: () => [],
    changed: () => {},
    applied: settled,
    settled,
  });
}

test('a sandbox whose row cannot be read is said to be so, before the kernel is planned without it', async () => {
  assert.deepEqual((await sandboxesFrom(sandbox)).list(), [sandbox]);
  const [leg] = sandbox.legs;
  for (const damaged of [
    7,
    { ...sandbox, legs: null },
    { ...sandbox, netns: '../web' },
    { ...sandbox, legs: [{ ...leg, mac: 'none' }] },
    { ...sandbox, legs: [{ ...leg, ip: null }] },
    { ...sandbox, legs: [{ ...leg, ip6: 'fd00::x' }] },
    { ...sandbox, gateway: {} },
    { ...sandbox, published: [{ protocol: 'icmp', hostIp: null, hostPort: 8080, port: 80 }] },
    { ...sandbox, hostname: 'a b' },
    { ...sandbox, resolver: { ...sandbox.resolver, servers: ['1.2.3.4\nnameserver 9.9.9.9'] } },
  ]) {
    await assert.rejects(sandboxesFrom(damaged), { code: 'damaged_state' });
  }
});

test('rows of before there was IPv6, and of endpoints with IPv6 alone', async () => {
  const [leg] = sandbox.legs;
  assert.ok(leg);
  const { ip6: _, ...older } = leg;
  assert.deepEqual((await sandboxesFrom({ ...sandbox, legs: [older] })).list(), [sandbox]);
  const alone = { ...sandbox, legs: [{ ...leg, ip: null, ip6: 'fd00:10::9' }] };
  assert.deepEqual((await sandboxesFrom(alone)).list(), [alone]);
});

test('an address of docker_gwbridge that cannot be read is chosen again', async () => {
  for (const [row, address] of [
    ['172.18.0.1/16', '172.18.0.1/16'],
    ['172.18.0.1/16172.18.0.1/16', null],
    ['2001:db8::1/64', null],
    [7, null],
  ]) {
    const store = memoryStore();
    await store.commit([{ key: ['gateway'], value: row }]);
    assert.equal(new Gateway(store, null).address, address);
  }
});
