import { ControlPlaneError } from '../../controlplane/errors.ts';
import { type NetworkId, newEndpointId } from '../../controlplane/ids.ts';
import { ingressName } from '../../controlplane/membership.ts';
import { addressAt, offsetOf } from '../../controlplane/networks.ts';
import { networkTopic } from '../../controlplane/tables/kinds.ts';
import { clusterTopic, decodeRecord } from '../../controlplane/tables/record.ts';
import type { Host } from './host.ts';
import type { SimNetwork } from './network.ts';
import type { KnownEndpoint, Oracle } from './oracle.ts';
import type { Prng } from './prng.ts';

/** What a run's operations need; they are what agents and people do to a cluster. */
export interface World {
  readonly network: SimNetwork;
  readonly oracle: Oracle;
  readonly prng: Prng;
  readonly hosts: Host[];
  /** Hosts on which something is under way that must not be disturbed, a restart or a leave. */
  readonly busy: Set<Host>;
  /** Hosts that are members, or were. */
  readonly joined: Set<Host>;
  start(host: Host): Promise<void>;
}

/** Hosts that run a member. */
export const running = ({ hosts, busy, oracle }: World): Host[] =>
  hosts.filter((host) => host.cluster !== null && !busy.has(host) && !oracle.removed.has(host.nodeId));

const joinTimeoutMs = 10_000;

const say = (world: World, line: string): void => world.network.trace.say(line);

/** Refusals that a person would see; anything else that is thrown is a bug. */
const expected = new Set(['exhausted', 'no_owner_reachable', 'network_exists', 'network_in_use', 'network_not_found']);

async function tolerating(world: World, what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ControlPlaneError) || !expected.has(error.code)) throw error;
    say(world, `${what}: ${error.code}`);
  }
}

export async function initCluster(world: World, host: Host, subnetBits: number): Promise<void> {
  await world.start(host);
  world.joined.add(host);
  const { cluster } = host;
  if (cluster === null) return;
  const pools = ['10.0.0.0/20'];
  const value = { stamp: [...cluster.clock.next()], root: host.nodeId, pools, subnetBits, dataPathPort: 4789 };
  await cluster.tables.put(clusterTopic, 'cluster', value);
  await createNetwork(world, host, ingressName);
}

/** `weft join`: a member is whoever has compared itself with another one, as in controlplane/membership.ts. */
export async function join(world: World, host: Host): Promise<void> {
  const { network, joined } = world;
  while (!joined.has(host)) {
    await world.start(host);
    world.busy.add(host);
    for (let waitedMs = 0; waitedMs < joinTimeoutMs && !joined.has(host); waitedMs += 100) {
      await network.time.sleep(100);
      const { transport, replica } = host.cluster ?? {};
      const peers = [...(transport?.connections().keys() ?? [])];
      if (peers.some((peer) => (replica?.exchangesWith(peer) ?? 0) > 0)) joined.add(host);
    }
    if (!joined.has(host)) host.wipe();
    say(world, `${host.name} ${joined.has(host) ? 'joined' : 'could not join'}`);
    world.busy.delete(host);
  }
}

export function createNetwork(world: World, host: Host, name: string): Promise<void> {
  return tolerating(world, `${host.name} creates ${name}`, async () => {
    const ingress = name === ingressName;
    const rest = { internal: false, attachable: true, options: {}, labels: {} };
    const network = await host.cluster?.networks.create({ name, ingress, ...rest });
    if (network === undefined) return;
    say(world, `${host.name} created ${name} ${network.subnet} vni ${network.vni}`);
    world.oracle.created(network.id, name, network.vni, host.nodeId);
  });
}

export function removeNetwork(world: World, host: Host, id: NetworkId): Promise<void> {
  const known = world.oracle.networks.get(id);
  const network = host.cluster?.view.networks.get(id);
  if (known === undefined || network === undefined || known.state !== 'live') return Promise.resolve();
  return tolerating(world, `${host.name} removes ${known.name}`, async () => {
    if ((host.cluster?.view.endpointsOf(id).size ?? 1) > 0) return;
    known.state = 'removing';
    known.writer = host.nodeId;
    await host.cluster?.networks.remove(network);
    known.state = 'removed';
    say(world, `${host.name} removed ${known.name}`);
  });
}

export function attach(world: World, host: Host, id: NetworkId): Promise<void> {
  const { oracle } = world;
  const { cluster } = host;
  const network = cluster?.view.networks.get(id);
  if (cluster === null || network === undefined) return Promise.resolve();
  return tolerating(world, `${host.name} attaches to ${network.name}`, async () => {
    const offset = await cluster.allocator.allocate(id);
    const ip = addressAt(network, offset);
    oracle.allocated(id, ip, host);
    if (!cluster.view.networks.has(id)) {
      cluster.allocator.release(id, offset, false);
      oracle.freed(id, ip, host);
      return;
    }
    const known: KnownEndpoint = { id: newEndpointId(), network: id, ip, owner: host.nodeId, state: 'announcing' };
    oracle.endpoints.set(known.id, known);
    const mac = '02:00:00:00:00:01';
    const value = { name: 'box', sandbox: known.id, ip, mac, aliases: [], createdMs: world.network.time.now() };
    await cluster.tables.put(networkTopic(id), `ep/${known.id}`, value);
    cluster.allocator.release(id, offset, true);
    known.state = 'live';
    say(world, `${host.name} attached ${known.id.slice(0, 8)} ${ip} to ${network.name}`);
  });
}

/** Detaches one of the host's endpoints. */
export async function detach(world: World, host: Host): Promise<void> {
  const { oracle, prng } = world;
  const mine = [...oracle.endpoints.values()].filter(({ owner, state }) => owner === host.nodeId && state === 'live');
  const endpoint = prng.pick(mine);
  const network = endpoint === undefined ? undefined : host.cluster?.view.networks.get(endpoint.network);
  const { cluster } = host;
  if (endpoint === undefined || network === undefined || cluster === null) return;
  endpoint.state = 'withdrawing';
  cluster.allocator.rest(network.id, offsetOf(network, endpoint.ip));
  await cluster.tables.remove(networkTopic(network.id), `ep/${endpoint.id}`);
  endpoint.state = 'gone';
  oracle.freed(network.id, endpoint.ip, host);
  say(world, `${host.name} detached ${endpoint.id.slice(0, 8)} from ${network.name}`);
}

export function crash(world: World, host: Host): void {
  const silent = world.prng.chance(0.5);
  say(world, `${host.name} crashes${silent ? ' with its host' : ''}`);
  host.crash(silent);
}

export async function stop(world: World, host: Host): Promise<void> {
  say(world, `${host.name} stops`);
  world.busy.add(host);
  await host.stop();
  world.busy.delete(host);
}

const askedAnother = 'a manager did not take the leave; asking the next';

/** `weft leave`, as controlplane/membership.ts does it. */
export async function leave(world: World, host: Host): Promise<void> {
  const { oracle, busy } = world;
  busy.add(host);
  host.warned.delete(askedAnother);
  // A manager may have done it long before the leaver hears so.
  oracle.removed.add(host.nodeId);
  try {
    await host.cluster?.askToLeave();
  } catch (error) {
    busy.delete(host);
    if (!(error instanceof ControlPlaneError)) throw error;
    say(world, `${host.name} cannot leave: ${error.code}`);
    if (host.warned.has(askedAnother)) {
      // Whether a manager did it cannot be told: it is done again at the end.
      oracle.nodeRemoved(host.nodeId, false);
      host.crash(false);
    } else oracle.removed.delete(host.nodeId);
    return;
  }
  // A manager that did not answer may have done it too, and then two have taken the same ranges over.
  const once = !host.warned.has(askedAnother);
  say(world, `${host.name} left${once ? '' : ', asking more than one manager'}`);
  oracle.nodeRemoved(host.nodeId, once);
  await host.stop();
}

/** `weft node rm --force`. */
export async function removeNode(world: World, by: Host, gone: Host): Promise<void> {
  const { oracle } = world;
  const { cluster } = by;
  if (cluster === null) return;
  // Who knows too little of the others could cut itself off from them for ever, as in life.
  if ([...world.joined].some((each) => !oracle.removed.has(each.nodeId) && !cluster.view.nodes.has(each.nodeId)))
    return;
  // A second removal may come after the first has taken over a part.
  const known = gone.cluster === null && !oracle.removed.has(gone.nodeId) && hasAll(cluster, gone);
  say(world, `${by.name} removes ${gone.name}${known ? '' : ', of which it may not know all'}`);
  oracle.nodeRemoved(gone.nodeId, known);
  await cluster.removeNode(gone.nodeId, true);
}

/** Whether a node has every record that the host's disk could bring back. */
function hasAll(cluster: Host['cluster'], gone: Host): boolean {
  if (cluster === null) return false;
  return [...gone.disk.entries(['own'])].every(([, wire]) => {
    const record = decodeRecord(wire)?.record;
    return record === undefined || !cluster.tables.lacks(record.topic, gone.nodeId, record);
  });
}
