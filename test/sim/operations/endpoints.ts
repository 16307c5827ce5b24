import { addressAt } from '../../../controlplane/addresses.ts';
import type { Cluster } from '../../../controlplane/cluster.ts';
import { type NetworkId, newEndpointId } from '../../../controlplane/ids.ts';
import type { Address } from '../../../controlplane/networks.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import type { Network } from '../../../controlplane/tables/view.ts';
import type { Host } from '../host.ts';
import type { KnownEndpoint } from '../oracle.ts';
import { tolerating } from '../refusals.ts';
import { type Operation, running, say, type World } from '../world.ts';
import { liveNetworks } from './networks.ts';

function attach(world: World, host: Host, id: NetworkId): Promise<void> {
  const { cluster } = host;
  const network = cluster?.view.networks.get(id);
  if (cluster === null || network === undefined) return Promise.resolve();
  return tolerating(world, `${host.name} attaches to ${network.name}`, async () => {
    const done = await cluster.interests.enter(id);
    try {
      await allocateAndAnnounce(world, host, cluster, network);
    } finally {
      done();
    }
  });
}

async function allocateAndAnnounce(world: World, host: Host, cluster: Cluster, network: Network): Promise<void> {
  const { oracle } = world;
  const { id } = network;
  const addresses = await allocate(world, cluster, network);
  const release = (used: boolean): void => {
    for (const { ring, number } of addresses) cluster.allocator.release(ring, number, used);
  };
  const ips = addresses.map(({ ip }) => ip);
  // Its agent has ended meanwhile: nobody will use the addresses.
  if (host.cluster !== cluster) return;
  for (const ip of ips) oracle.allocated(id, ip, host);
  if (!cluster.view.networks.has(id)) {
    release(false);
    oracle.freed(id, ips, host);
    return;
  }
  const known: KnownEndpoint = {
    ...{ id: newEndpointId(), network: id, ips, owner: host.nodeId },
    ...{ allocatedMs: host.nowMs, freedMs: null, state: 'announcing' },
  };
  oracle.endpoints.set(known.id, known);
  const mac = '02:00:00:00:00:01';
  const ip = ips.find((each) => !each.includes(':'));
  const ip6 = ips.find((each) => each.includes(':'));
  const value = {
    ...{ name: 'box', sandbox: known.id, mac, aliases: [], createdMs: world.network.time.now() },
    ...(ip === undefined ? {} : { ip }),
    ...(ip6 === undefined ? {} : { ip6 }),
  };
  await cluster.tables.put(networkTopic(id), `ep/${known.id}`, value, true);
  release(true);
  known.state = 'live';
  say(world, `${host.name} attached ${known.id.slice(0, 8)} ${ips.join(' ')} to ${network.name}`);
}

/** One address of each family of the network, or none. */
async function allocate(world: World, cluster: Cluster, network: Network): Promise<Address[]> {
  const wanted = wantedAddress(world, network);
  const addresses: Address[] = [];
  try {
    for (const family of [4, 6] as const) {
      if (!network.subnets.some(({ space }) => space.family === family)) continue;
      const own = wanted !== null && wanted.includes(':') === (family === 6) ? wanted : null;
      addresses.push(await cluster.networks.allocateAddress(network, own, family));
    }
    return addresses;
  } catch (error) {
    for (const { ring, number } of addresses) cluster.allocator.release(ring, number, false);
    throw error;
  }
}

/** Now and then a certain address, which may be anybody's. */
function wantedAddress({ prng }: World, { subnets }: Network): string | null {
  const subnet = prng.chance(0.15) ? prng.pick(subnets) : undefined;
  return subnet === undefined ? null : addressAt(subnet.space, prng.between(0, subnet.space.size - 1));
}

/** Detaches one of the host's endpoints. */
async function detach(world: World, host: Host): Promise<void> {
  const { oracle, prng } = world;
  const mine = [...oracle.endpoints.values()].filter(({ owner, state }) => owner === host.nodeId && state === 'live');
  const endpoint = prng.pick(mine);
  const network = endpoint === undefined ? undefined : host.cluster?.view.networks.get(endpoint.network);
  const { cluster } = host;
  if (endpoint === undefined || network === undefined || cluster === null) return;
  endpoint.state = 'withdrawing';
  endpoint.freedMs = host.nowMs;
  for (const ip of endpoint.ips) cluster.networks.rest(network, ip);
  await cluster.tables.remove(networkTopic(network.id), `ep/${endpoint.id}`);
  endpoint.state = 'gone';
  oracle.freed(network.id, endpoint.ips, host);
  say(world, `${host.name} detached ${endpoint.id.slice(0, 8)} from ${network.name}`);
}

export const endpointOperations: readonly Operation[] = [
  {
    name: 'attach',
    weight: 37,
    run: (world) => {
      const host = world.prng.pick(running(world));
      const id = world.prng.pick(liveNetworks(world));
      if (host === undefined || id === undefined) return;
      const burst = world.prng.chance(0.2) ? 4 : 1;
      for (let i = 0; i < burst; i += 1) world.do('attach', host, () => attach(world, host, id));
    },
  },
  {
    name: 'detach',
    weight: 18,
    run: (world) => {
      const host = world.prng.pick(running(world));
      if (host !== undefined) world.do('detach', host, () => detach(world, host));
    },
  },
];
