import { Gateway } from '../../../agent/daemon/gateway.ts';
import { LocalNetworks } from '../../../agent/daemon/local-networks.ts';
import { Sandboxes } from '../../../agent/daemon/sandboxes/sandboxes.ts';
import type { LocalNetwork } from '../../../agent/drivers/local-network.ts';
import { plan } from '../../../agent/plan.ts';
import type { StoredSandbox } from '../../../agent/sandbox-state.ts';
import { identityWrite, loadIdentity, loadPeers } from '../../../controlplane/identity/state.ts';
import type { Key } from '../../../controlplane/store.ts';
import { clusterTopic, toWire } from '../../../controlplane/tables/record.ts';
import { identityOf, testVault } from '../../sim/identities.ts';
import { makeCluster, memoryStore, quietLog, Writer } from '../../unit/controlplane/helpers.ts';
import type { Fate, Target } from '../engine.ts';
import { documented } from '../inputs.ts';
import { mutateBytes, mutateValue, packed } from '../mutate.ts';
import { endpointId, networkId } from './nodes.ts';
import { valuesBy } from './values.ts';

type Row = readonly [key: Key, value: unknown];

/**
 * A state directory that was damaged, one target a table: the agent says so and ends, or starts without what cannot be
 * read.
 */
export async function stateTargets(): Promise<Target[]> {
  const whole = await filledStore();
  const tables = new Map<string, Row[]>();
  for (const row of whole.entries([])) tables.set(String(row[0][0]), [...(tables.get(String(row[0][0])) ?? []), row]);
  return [...tables].map(([table, rows]) => ({
    name: `state: ${table}`,
    weight: 1,
    valid: rows.map(([key, value]) => [key, packed(value)]),
    make: (random) => {
      const [key, value] = random.pick(rows) ?? [[], null];
      const bytes = random.chance(0.6) ? packed(mutateValue(random, value)) : mutateBytes(random, packed(value), []);
      return [key, bytes];
    },
    take: async ([key, bytes]: [Key, Uint8Array]): Promise<Fate> => {
      const store = memoryStore(whole.disk.copy());
      store.disk.apply([{ key, bytes }]);
      const started = await documented(null, () => start(store));
      return started === null ? 'refused' : 'taken';
    },
  }));
}

type MemoryStore = ReturnType<typeof memoryStore>;

/** What an agent reads when it starts. */
async function start(store: MemoryStore): Promise<boolean> {
  const loaded = loadIdentity(store, testVault);
  if (loaded === null) throw new Error('the identity is gone');
  const { cluster } = makeCluster(loaded, store, undefined, loadPeers(store));
  await cluster.start();
  const { self, view } = cluster;
  const tables = { self, vtep: '192.0.2.4', port: 4789, nodes: view.nodes, networks: view.networks };
  const gateway = new Gateway(store, null);
  const sandboxes = sandboxesOf(store, gateway).list();
  const localNetworks = localNetworksOf(store).list();
  const attachments = { sandboxes, gateway: gateway.address, localNetworks, underlayMtu: 1500 };
  plan(
    { ...tables, endpoints: view.endpoints, services: view.services, isUp: () => true, zoneOf: () => null },
    attachments,
  );
  await cluster.stop();
  return true;
}

const nothing = async (): Promise<void> => {};
const localNetworksOf = (store: MemoryStore): LocalNetworks =>
  new LocalNetworks({ store, nameHeld: () => null, inUse: async () => [], changed: () => {} });
const noFiles = { make: () => {}, put: () => {}, drop: () => {} };

function sandboxesOf(store: MemoryStore, gateway: Gateway): Sandboxes {
  const noCluster = (): never => {
    throw new Error('it has not started yet');
  };
  const init = {
    store,
    gateway,
    localNetworks: localNetworksOf(store),
    files: noFiles,
    log: quietLog,
    cluster: noCluster,
    changed: () => {},
    applied: nothing,
  };
  return new Sandboxes({ ...init, settled: nothing, othersLegs: () => [], reservedPorts: () => [] });
}

const lan: LocalNetwork = {
  ...{ id: 'b'.repeat(64), name: 'lan', driver: 'bridge', createdMs: 1, internal: false, options: {}, labels: {} },
  ipam: { subnet: '10.0.1.0/24', gateway: '10.0.1.1', ipRange: null, aux: { router: '10.0.1.254' } },
};

/** The disk of a manager that knows what another one wrote, and has a sandbox. */
async function filledStore(): Promise<MemoryStore> {
  const [identity, other] = [await identityOf(3, 'manager'), await identityOf(1, 'manager')];
  const store = memoryStore();
  await store.commit([identityWrite(identity, testVault), { key: ['joined'], value: true }]);
  const { cluster, transport, admit } = makeCluster(identity, store);
  await cluster.start();
  admit(other);
  await cluster.announce({ hostname: 'a', vtep: '192.0.2.4', gossip: ['192.0.2.4:7946'], version: '0', createdMs: 0 });
  const writer = new Writer(other);
  const records = [writer.write(clusterTopic, '', 1)];
  for (const { topic, key, value } of (await valuesBy(other)).slice(0, 4))
    records.push(writer.write(topic, key, value));
  transport.events?.gossip(clusterTopic, packed(records.map(toWire)), writer.nodeId);
  cluster.allocator.rest('vni', 5);
  cluster.allocator.resting.rest('vni', { start: 7, end: 20 });
  await cluster.stop();
  const device = { ifName: 'eth0', mac: '02:42:0a:00:01:09' };
  const leg = { ...device, ip: '10.0.1.9', ip6: 'fd00:10::9' };
  const sandbox: StoredSandbox = {
    ...{ id: 'a'.repeat(64), name: 'web', createdMs: 1, netns: '/run/netns/web', adopted: true, inode: 4_026_532_000 },
    ...{ hostname: 'web.example', resolver: { servers: ['192.0.2.53'], search: ['.'], options: ['ndots:2'] } },
    ...{ labels: { a: 'b' }, legs: [{ ...leg, networkId, endpointId, aliases: ['www'], createdMs: 1 }] },
    gateway: { endpointId, ...device, ifName: 'eth1', ip: '172.18.0.2' },
    local: [
      {
        ...device,
        ip: '10.0.1.9',
        networkId: lan.id,
        endpointId,
        ifName: 'eth2',
        aliases: [],
        createdMs: 1,
        device: null,
      },
    ],
    published: [{ protocol: 'tcp', hostIp: null, hostPort: 8080, port: 80 }],
  };
  await store.commit([
    { key: ['peers'], value: [[other.key.nodeId, ['192.0.2.1:7946']]] },
    { key: ['sandbox', sandbox.id], value: sandbox },
    { key: ['network', lan.id], value: lan },
    { key: ['gateway'], value: '172.18.0.1/16' },
  ]);
  return store;
}
