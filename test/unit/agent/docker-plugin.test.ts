import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { AwaitedPools } from '../../../agent/docker/awaited-pools.ts';
import { callsOf } from '../../../agent/docker/driver.ts';
import { DockerEndpoints } from '../../../agent/docker/endpoints.ts';
import { answerTo, pluginListener } from '../../../agent/docker/plugin.ts';
import { vniOption } from '../../../agent/docker/protocol.ts';
import { readBody } from '../../../agent/http-body.ts';
import type { Cluster } from '../../../controlplane/cluster.ts';
import type { Store } from '../../../controlplane/store.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import type { Network } from '../../../controlplane/tables/view.ts';
import { identityOf } from '../../sim/identities.ts';
import { makeCluster, memoryStore, quietLog } from '../controlplane/helpers.ts';

const spec = { internal: false, attachable: true, ingress: false, options: {}, labels: {} };
const vniOf = (network: Network): object => ({ [vniOption]: String(network.vni) });
const id = (digit: string): string => digit.repeat(64);

async function startedManager(): Promise<Cluster> {
  const { cluster } = makeCluster(await identityOf(0, 'manager'), memoryStore());
  await cluster.start();
  const settings = { root: cluster.self, pools: ['10.0.0.0/8'], subnetBits: 24, dataPathPort: 4789 };
  await cluster.tables.put(clusterTopic, 'cluster', { ...settings, stamp: [...cluster.clock.next()] });
  return cluster;
}

function pluginOf(cluster: Cluster, store: Store = memoryStore(), applied = async (): Promise<void> => {}) {
  const endpoints = new DockerEndpoints({ store, cluster: () => cluster, changed: () => {}, applied });
  const pools = new AwaitedPools();
  const plugin = { making: null as Network['id'] | null };
  const calls = callsOf({
    ...{ cluster: () => cluster, endpoints, pools, isRemoving: () => false },
    making: () => plugin.making,
    bridged: async () => {},
  });
  /** As while the mirror has Docker make it. */
  const requestPool = async (network: Network): Promise<Record<string, unknown>> => {
    plugin.making = network.id;
    return ask('IpamDriver.RequestPool', { Pool: network.subnet }).finally(() => {
      plugin.making = null;
    });
  };
  const ask = async (call: string, body: unknown = {}): Promise<Record<string, unknown>> =>
    (await answerTo(calls, call, JSON.stringify(body), quietLog as never)) as Record<string, unknown>;
  return Object.assign(plugin, { endpoints, pools, ask, calls, requestPool });
}

type Plugin = ReturnType<typeof pluginOf>;

/** A container's way onto a network, as Docker goes it. @returns its address with prefix length */
async function attach({ ask, requestPool }: Plugin, network: Network, endpoint: string, wanted = ''): Promise<string> {
  const { PoolID } = await requestPool(network);
  const { Address, Err } = await ask('IpamDriver.RequestAddress', { PoolID, Address: wanted, Options: null });
  assert.equal(Err, undefined);
  const face = { Address, AddressIPv6: '', MacAddress: '' };
  const at = { NetworkID: id('d'), EndpointID: endpoint };
  const created = await ask('NetworkDriver.CreateEndpoint', { ...at, Interface: face });
  assert.match((created['Interface'] as { MacAddress: string }).MacAddress, /^02(:[0-9a-f]{2}){5}$|^[0-9a-f]{2}:/);
  const joined = await ask('NetworkDriver.Join', { ...at, SandboxKey: '/run/docker/netns/0123456789ab' });
  const name = { SrcName: `wj${endpoint.slice(0, 12)}`, DstPrefix: 'eth' };
  assert.deepEqual(joined, { InterfaceName: name, DisableGatewayService: false, StaticRoutes: [] });
  return String(Address);
}

async function onNetwork(plugin: Plugin, network: Network): Promise<void> {
  const made = { NetworkID: id('d'), Options: { 'com.docker.network.generic': vniOf(network) } };
  const data = [{ Pool: network.subnet, Gateway: `${network.gateway}/24` }];
  assert.deepEqual(await plugin.ask('NetworkDriver.CreateNetwork', { ...made, IPv4Data: data, IPv6Data: [] }), {});
}

/** A manager, a network of its cluster, and a Docker that has it. */
async function withNetwork() {
  const cluster = await startedManager();
  const network = await cluster.networks.create({ ...spec, name: 'frontend' });
  const plugin = pluginOf(cluster);
  await onNetwork(plugin, network);
  return { cluster, network, plugin };
}

test("Docker's conversation with a plugin, as it was recorded, is answered throughout, and ends with what is in use", async () => {
  const cluster = await startedManager();
  const plugin = pluginOf(cluster);
  const { entries } = JSON.parse(readFileSync('test/fixtures/docker-plugin-trace.json', 'utf8')) as {
    entries: { host?: string; plugin?: string; path?: string; marker?: string; req?: Row; res?: Row }[];
  };
  type Row = Record<string, never> & { Address?: string; PoolID?: string; Pool?: string };
  const networks = new Map<string, Network>();
  /** What was recorded, and what it is here. */
  const addresses = new Map<string, string>();
  const held = new Set<string>();
  let asked = 0;
  for (const { host, plugin: name, path = '', marker, req, res } of entries) {
    // From there on it says again what it was told: not to us, who keep it (RequiresRequestReplay).
    if (marker === 'plugin-restart') break;
    if (host !== 'a' || name !== 'omesh') continue;
    let body: Record<string, unknown> = { ...req };
    const pool = req?.Pool || req?.PoolID || (body['IPv4Data'] as { Pool: string }[] | undefined)?.[0]?.Pool || '';
    if (pool !== '' && !networks.has(pool)) {
      networks.set(pool, await cluster.networks.create({ ...spec, name: `n${networks.size}`, subnet: pool }));
    }
    const network = networks.get(pool);
    if (path === '/NetworkDriver.CreateNetwork' && network)
      body = { ...body, Options: { 'com.docker.network.generic': vniOf(network) } };
    if ('PoolID' in body) body = { ...body, PoolID: `${network?.id} ${pool}` };
    if (path === '/IpamDriver.ReleaseAddress') body = { ...body, Address: addresses.get(String(req?.Address)) };
    const face = body['Interface'] as { Address: string } | undefined;
    if (face)
      body = { ...body, Interface: { ...face, Address: `${addresses.get(face.Address.replace(/\/.*/, ''))}/24` } };
    const answer =
      path === '/IpamDriver.RequestPool' && network
        ? await plugin.requestPool(network)
        : await plugin.ask(path.slice(1), body);
    assert.equal(answer['Err'], undefined, `${path}: ${JSON.stringify(body)}`);
    asked += 1;
    if (path === '/IpamDriver.RequestAddress') {
      const ip = String(answer['Address']).replace(/\/.*/, '');
      addresses.set(String(res?.Address).replace(/\/.*/, ''), ip);
      if (!ip.endsWith('.1')) held.add(ip);
    } else if (path === '/IpamDriver.ReleaseAddress') held.delete(String(body['Address']));
  }
  assert.ok(asked > 60, `${asked} calls`);
  const inUse = [...networks.values()].flatMap((network) => plugin.endpoints.addressesOn(network.id));
  assert.deepEqual(inUse.sort(), [...held].sort());
  await cluster.stop();
});

test('a container gets an address, is told of to the others while it is joined, and gives it all back', async () => {
  const { cluster, network, plugin } = await withNetwork();
  const address = await attach(plugin, network, id('a'));
  const known = (): string[] => [...cluster.view.endpointsOf(network.id).values()].map(({ ip }) => `${ip}/24`);
  assert.deepEqual(known(), [address]);
  assert.deepEqual(
    plugin.endpoints.handed().map(({ taken, netns }) => [taken, netns]),
    [[true, '/run/docker/netns/0123456789ab']],
  );
  const at = { NetworkID: id('d'), EndpointID: id('a') };
  for (let time = 0; time < 2; time += 1) assert.deepEqual(await plugin.ask('NetworkDriver.Leave', at), {});
  assert.deepEqual(known(), []);
  for (let time = 0; time < 2; time += 1) assert.deepEqual(await plugin.ask('NetworkDriver.DeleteEndpoint', at), {});
  const released = { PoolID: `${network.id} ${network.subnet}`, Address: address.replace('/24', '') };
  for (let time = 0; time < 2; time += 1) assert.deepEqual(await plugin.ask('IpamDriver.ReleaseAddress', released), {});
  assert.deepEqual(plugin.endpoints.addressesOn(network.id), []);
  await cluster.stop();
});

test('what Docker was given is known after a restart, since Docker does not say it again', async () => {
  const cluster = await startedManager();
  const network = await cluster.networks.create({ ...spec, name: 'frontend' });
  const store = memoryStore();
  const before = pluginOf(cluster, store);
  await onNetwork(before, network);
  const address = await attach(before, network, id('a'));
  const { endpoints, ask } = pluginOf(cluster, store);
  assert.deepEqual(endpoints.list(), before.endpoints.list());
  assert.deepEqual(endpoints.addressesOn(network.id), [address.replace('/24', '')]);
  assert.equal(endpoints.networkOf(id('d')).name, 'frontend');
  const again = await ask('IpamDriver.RequestAddress', {
    PoolID: `${network.id} ${network.subnet}`,
    Address: address.replace('/24', ''),
  });
  assert.match(String(again['Err']), /10\.0\.0\.2 on network frontend .* has it: choose another address/);
  await cluster.stop();
});

test('a network that is made with our addresses has them before it has a name, and a container waits for that', async () => {
  const cluster = await startedManager();
  const plugin = pluginOf(cluster);
  const { ask, pools, endpoints } = plugin;
  const four = await ask('IpamDriver.RequestPool', { AddressSpace: 'weft', Pool: '', V6: false });
  assert.match(String(four['Pool']), /^10\.\d+\.\d+\.0\/24$/);
  const gateway = await ask('IpamDriver.RequestAddress', {
    ...{ PoolID: four['PoolID'], Address: '', Options: { RequestAddressType: 'com.docker.network.gateway' } },
  });
  assert.equal(gateway['Address'], String(four['Pool']).replace('.0/', '.1/'));
  const router = String(four['Pool']).replace(/0\/.*/, '9');
  assert.equal(
    (await ask('IpamDriver.RequestAddress', { PoolID: four['PoolID'], Address: router }))['Address'],
    `${router}/24`,
  );
  const foreign = await ask('IpamDriver.RequestAddress', { PoolID: four['PoolID'], Address: '192.0.2.1' });
  assert.match(String(foreign['Err']), /192\.0\.2\.1 is not in 10\./);
  const six = await ask('IpamDriver.RequestPool', { AddressSpace: 'weft', Pool: 'fd00:9::/64', V6: true });
  const given = [four, six].map(({ Pool }) => ({ AddressSpace: 'weft', Pool }));
  const made = { NetworkID: id('d'), Options: {}, IPv4Data: given.slice(0, 1), IPv6Data: given.slice(1) };
  assert.deepEqual(await ask('NetworkDriver.CreateNetwork', made), {});
  const [row] = endpoints.networks().values();
  assert.equal(row?.awaited, true);
  assert.ok(row && [four, six].every(({ PoolID }) => String(PoolID).startsWith(row.networkId)));

  const address = ask('IpamDriver.RequestAddress', { PoolID: four['PoolID'] });
  const subnet = String(four['Pool']);
  const network = await cluster.networks.create({
    ...{ ...spec, id: row?.networkId, name: 'made', subnet, ipv6: { subnet: 'fd00:9::/64' } },
  });
  pools.arrived(network.id);
  assert.match(String((await address)['Address']), /^10\..*\/24$/);
  await endpoints.reconcile();
  assert.equal(endpoints.networks().get(id('d'))?.awaited, undefined);
  const next = await ask('IpamDriver.RequestPool', { AddressSpace: 'weft', Pool: '', V6: false });
  assert.notEqual(next['Pool'], four['Pool']);
  assert.deepEqual(await ask('IpamDriver.ReleasePool', { PoolID: next['PoolID'] }), {});
  const unasked = {
    ...made,
    NetworkID: id('e'),
    IPv4Data: [{ AddressSpace: 'weft', Pool: '10.250.0.0/24' }],
    IPv6Data: [],
  };
  assert.match(
    String((await ask('NetworkDriver.CreateNetwork', unasked))['Err']),
    /10\.250\.0\.0\/24 were not asked for/,
  );
  await cluster.stop();
});

test('pools_of_an_agent_that_ended: a network whose pools another agent gave is refused, and no container gets its gateway', async () => {
  const cluster = await startedManager();
  const network = await cluster.networks.create({ ...spec, name: 'frontend' });
  const { ask, endpoints, requestPool } = pluginOf(cluster);
  // The agent that had Docker make the network has ended since, and nobody here knows of it.
  const { PoolID } = await ask('IpamDriver.RequestPool', { AddressSpace: 'weft', Pool: network.subnet, V6: false });
  const ofContainer = await ask('IpamDriver.RequestAddress', { PoolID, Address: '', Options: null });
  assert.match(String(ofContainer['Err']), /is none of the cluster's \(yet\): try again in a moment/);
  const made = {
    ...{ NetworkID: id('d'), Options: { 'com.docker.network.generic': vniOf(network) } },
    ...{ IPv4Data: [{ AddressSpace: 'weft', Pool: network.subnet }], IPv6Data: [] },
  };
  assert.match(
    String((await ask('NetworkDriver.CreateNetwork', made))['Err']),
    /frontend was not being made by this agent/,
  );
  await ask('IpamDriver.ReleasePool', { PoolID });
  await requestPool(network);
  assert.deepEqual(await ask('NetworkDriver.CreateNetwork', made), {});
  assert.equal(endpoints.networks().size, 1);
  await cluster.stop();
});

test('what Docker takes back that it could not finish making for us, stays one of the cluster', async () => {
  const cluster = await startedManager();
  const network = await cluster.networks.create({ ...spec, name: 'frontend' });
  const plugin = pluginOf(cluster);
  plugin.making = network.id;
  await onNetwork(plugin, network);
  assert.deepEqual(await plugin.ask('NetworkDriver.DeleteNetwork', { NetworkID: id('d') }), {});
  assert.ok(cluster.view.networks.has(network.id));
  // Docker lists no network that it is removing, and so it is made again at the same time.
  await plugin.endpoints.addNetwork({ id: id('e'), networkId: network.id });
  assert.deepEqual(await plugin.ask('NetworkDriver.DeleteNetwork', { NetworkID: id('e') }), {});
  assert.ok(!cluster.view.networks.has(network.id), 'by a user of Docker');
  await cluster.stop();
});

test('a network that a user of Docker removes is waited with until its last endpoint has gone, of which word may come late', async () => {
  const { cluster, network, plugin } = await withNetwork();
  await attach(plugin, network, id('a'));
  const removed = plugin.ask('NetworkDriver.DeleteNetwork', { NetworkID: id('d') });
  await plugin.ask('NetworkDriver.Leave', { NetworkID: id('d'), EndpointID: id('a') });
  assert.deepEqual(await removed, {});
  assert.ok(!cluster.view.networks.has(network.id));
  await cluster.stop();
});

test('a container that waits for its network is told at once when another of that name is the one of the cluster', async () => {
  const cluster = await startedManager();
  const { ask, endpoints } = pluginOf(cluster);
  const { PoolID, Pool } = await ask('IpamDriver.RequestPool', { AddressSpace: 'weft', Pool: '', V6: false });
  const made = { NetworkID: id('d'), Options: {}, IPv4Data: [{ AddressSpace: 'weft', Pool }], IPv6Data: [] };
  assert.deepEqual(await ask('NetworkDriver.CreateNetwork', made), {});
  const startMs = performance.now();
  const address = ask('IpamDriver.RequestAddress', { PoolID, Address: '', Options: null });
  await endpoints.awaitNoMore(id('d'));
  assert.match(String((await address)['Err']), /is none of the cluster's \(yet\): try again in a moment/);
  assert.ok(performance.now() - startMs < 9_000, 'and not when its patience ends');
  await cluster.stop();
});

test('networks that a Docker has lost are forgotten after a while, and those that it is making are not', async () => {
  const cluster = await startedManager();
  const network = await cluster.networks.create({ ...spec, name: 'frontend' });
  const store = memoryStore();
  const plugin = pluginOf(cluster, store);
  await onNetwork(plugin, network);
  const { endpoints } = plugin;
  const [inAMoment, longAgo] = [Date.now() + 60_000, Date.now() - 60_000];
  await endpoints.keepNetworks(new Set(), longAgo);
  await endpoints.keepNetworks(new Set([id('d')]), inAMoment);
  assert.equal(endpoints.findNetwork(id('d'))?.name, 'frontend');
  await endpoints.keepNetworks(new Set(), longAgo);
  assert.equal(endpoints.networks().size, 1);
  await endpoints.keepNetworks(new Set(), inAMoment);
  assert.equal(pluginOf(cluster, store).endpoints.networks().size, 0);
  await cluster.stop();
});

test('who was killed is nobody for the others before Docker says so, and is again if it runs on', async () => {
  const { cluster, network, plugin } = await withNetwork();
  await attach(plugin, network, id('a'));
  const known = (): string[] => [...cluster.view.endpointsOf(network.id).values()].map(({ name }) => name);
  assert.equal(known().length, 1);
  await plugin.endpoints.killed(id('a'));
  await plugin.endpoints.describe(id('a'), { name: 'db', aliases: [], ready: true, ports: [], container: null });
  await plugin.endpoints.reconcile();
  await plugin.endpoints.runs(id('a'));
  assert.deepEqual(known(), []);
  assert.equal(plugin.endpoints.handed().length, 1, 'its interface is left to Docker');
  await plugin.endpoints.runs(id('a'), 0);
  assert.deepEqual(known(), ['db']);
  await plugin.endpoints.killed(id('a'));
  const at = { NetworkID: id('d'), EndpointID: id('a') };
  for (const call of ['Leave', 'DeleteEndpoint']) assert.deepEqual(await plugin.ask(`NetworkDriver.${call}`, at), {});
  await plugin.endpoints.killed(id('a'));
  assert.deepEqual([known(), plugin.endpoints.list()], [[], []]);
  await cluster.stop();
});

test('a MAC address that another endpoint of the network has is refused', async () => {
  const { cluster, network, plugin } = await withNetwork();
  await attach(plugin, network, id('a'));
  const [endpoint] = cluster.view.endpointsOf(network.id).values();
  const face = { Address: '10.0.0.99/24', AddressIPv6: '', MacAddress: endpoint?.mac };
  const of = (EndpointID: string): object => ({ NetworkID: id('d'), EndpointID, Interface: face });
  const { Err } = await plugin.ask('NetworkDriver.CreateEndpoint', of(id('b')));
  assert.match(String(Err), /is the MAC address of docker-a+ on network frontend: ask for another/);
  assert.equal((await plugin.ask('NetworkDriver.CreateEndpoint', of(id('a'))))['Err'], undefined, 'its own');
  await cluster.stop();
});

test('what the kernel refuses is told to Docker, and to no other node', async () => {
  const cluster = await startedManager();
  const network = await cluster.networks.create({ ...spec, name: 'frontend' });
  const plugin = pluginOf(cluster, memoryStore(), async () => {
    throw new Error('no room in the bridge');
  });
  await onNetwork(plugin, network);
  const { PoolID } = await plugin.requestPool(network);
  const { Address } = await plugin.ask('IpamDriver.RequestAddress', { PoolID });
  const at = { NetworkID: id('d'), EndpointID: id('a') };
  await plugin.ask('NetworkDriver.CreateEndpoint', { ...at, Interface: { Address } });
  const { Err } = await plugin.ask('NetworkDriver.Join', { ...at, SandboxKey: '/run/docker/netns/0123456789ab' });
  assert.match(String(Err), /^weft: no room in the bridge: `weft status`/);
  assert.equal(cluster.view.endpointsOf(network.id).size, 0);
  assert.deepEqual(plugin.endpoints.handed(), []);
  await cluster.stop();
});

test('bad requests are refused in words, and change nothing', async () => {
  const cluster = await startedManager();
  const network = await cluster.networks.create({ ...spec, name: 'frontend' });
  const { ask, calls, endpoints } = pluginOf(cluster);
  const errorOf = async (call: string, body: unknown): Promise<string> => String((await ask(call, body))['Err']);
  const secret = { 'com.docker.network.generic': { encrypted: '' } };
  const unknown = await errorOf('NetworkDriver.CreateNetwork', { NetworkID: id('d'), Options: secret });
  assert.match(unknown, /network option encrypted: what goes between hosts is not encrypted yet/);
  assert.match(await errorOf('NetworkDriver.CreateNetwork', { NetworkID: 'x' }), /NetworkID: want 64 hex digits/);
  const marked = { 'com.docker.network.generic': vniOf(network) };
  const other = { NetworkID: id('d'), Options: marked, IPv4Data: [{ Pool: '192.0.2.0/24' }] };
  assert.match(
    await errorOf('NetworkDriver.CreateNetwork', other),
    /network frontend has 10\..*, and not 192\.0\.2\.0\/24/,
  );
  const unheardOf = { 'com.docker.network.generic': { [vniOption]: '7' } };
  assert.match(
    await errorOf('NetworkDriver.CreateNetwork', { NetworkID: id('d'), Options: unheardOf }),
    /no network of the cluster has VNI 7.*leave com\.docker\.network\.driver\.overlay\.vxlanid_list out/,
  );
  assert.match(await errorOf('IpamDriver.RequestPool', { Pool: '192.0.2.1/24' }), /cannot be a network's subnet/);
  assert.match(await errorOf('IpamDriver.RequestAddress', { PoolID: 'x' }), /x is no pool of weft/);
  const pool = `${network.id} ${network.subnet}`;
  assert.match(await errorOf('IpamDriver.RequestAddress', { PoolID: pool, Address: '1.2.3' }), /not an IP address/);
  const at = { NetworkID: id('d'), EndpointID: id('a') };
  assert.match(
    await errorOf('NetworkDriver.CreateEndpoint', { ...at, Interface: { Address: '10.0.0.9/24' } }),
    /none of the cluster's/,
  );
  assert.match(await errorOf('NetworkDriver.Join', { ...at, SandboxKey: '../x' }), /none of the cluster's/);
  assert.match(await errorOf('Plugin.Nonsense', {}), /no call/);
  const noJson = await answerTo(calls, 'IpamDriver.RequestPool', '{', quietLog as never);
  assert.deepEqual(noJson, { Err: 'weft: the request is not JSON', Error: 'weft: the request is not JSON' });
  assert.deepEqual([endpoints.list(), endpoints.addressesOn(network.id)], [[], []]);
  await cluster.stop();
});

test("it is asked over HTTP as Docker asks: by the socket's path as the host, without a body, or with one that is too large", async (t) => {
  const cluster = await startedManager();
  const { calls } = pluginOf(cluster);
  const server = createServer(pluginListener(calls, quietLog as never));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const ask = async (path: string, body: string): Promise<unknown> => {
    const headers = { host: '/run/docker/plugins/weft.sock', connection: 'close' };
    const asked = request({ port, path, method: 'POST', headers });
    asked.on('error', () => {});
    asked.end(body);
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    assert.equal(response.headers['content-type'], 'application/vnd.docker.plugins.v1.1+json');
    return JSON.parse(await readBody(response, 10_000));
  };
  assert.deepEqual(await ask('/Plugin.Activate', ''), { Implements: ['NetworkDriver', 'IpamDriver'] });
  const tooLarge = 'weft: the request is too large';
  assert.deepEqual(await ask('/IpamDriver.RequestPool', 'x'.repeat(300_000)), { Err: tooLarge, Error: tooLarge });
  await cluster.stop();
});
