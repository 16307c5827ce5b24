import { ControlPlaneError } from '../../../controlplane/errors.ts';
import { ingressName } from '../../../controlplane/networks.ts';
import { clusterTopic, decodeRecord } from '../../../controlplane/tables/record.ts';
import type { Host } from '../host.ts';
import { type Operation, running, say, stopped, type World } from '../world.ts';
import { createNetwork } from './networks.ts';

const joinTimeoutMs = 10_000;
/** How many nodes go in a run: some have to stay. */
const maxRemoved = 2;

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

const askedAnother = 'a manager did not take the leave; asking the next';

/** Hosts that have given what they own to a manager, which does not know yet what of it was freed a moment ago. */
export const handedOver = new WeakSet<Host>();

/** `weft leave`, as controlplane/membership.ts does it. */
async function leave(world: World, host: Host): Promise<void> {
  const { oracle, busy } = world;
  busy.add(host);
  host.warned.delete(askedAnother);
  handedOver.add(host);
  // A manager may have done it long before the leaver hears so.
  oracle.removed.add(host.nodeId);
  try {
    await host.cluster?.askToLeave();
  } catch (error) {
    busy.delete(host);
    if (!(error instanceof ControlPlaneError)) throw error;
    say(world, `${host.name} cannot leave: ${error.code}`);
    if (host.warned.has(askedAnother)) {
      // Whether a manager did it cannot be told: it is done again at the end. It had all of it before it did.
      oracle.nodeRemoved(host.nodeId, true);
      host.crash(false);
    } else oracle.removed.delete(host.nodeId);
    return;
  }
  say(world, `${host.name} left${host.warned.has(askedAnother) ? ', asking more than one manager' : ''}`);
  oracle.nodeRemoved(host.nodeId, true);
  await host.stop();
}

/** `weft node rm --force`. */
export async function removeNode(world: World, by: Host, gone: Host): Promise<void> {
  const { oracle } = world;
  const { cluster } = by;
  if (cluster === null) return;
  // Who knows too little of the others could cut itself off from them for ever, as in life. Of one that lost its disk
  // nobody may know.
  const others = [...world.joined].filter((each) => !oracle.removed.has(each.nodeId) && !world.lost.has(each));
  if (others.some(({ nodeId }) => !cluster.view.nodes.has(nodeId))) return;
  // Who still lives, or has signed what the remover has not seen, may have given a range that is reclaimed now.
  const known = gone.cluster === null && hasAll(cluster, gone);
  say(world, `${by.name} removes ${gone.name}${known ? '' : ', of which it may not know all'}`);
  oracle.nodeRemoved(gone.nodeId, known);
  await cluster.removeNode(gone.nodeId, true);
}

/** Whether a node has every record that the host's disk could bring back. */
function hasAll(cluster: Host['cluster'], gone: Host): boolean {
  if (cluster === null) return false;
  return [...gone.disk.entries(['own'])].every(([, wire]) => {
    const record = decodeRecord(wire)?.record;
    return record === undefined || !cluster.tables.isBehind(record.topic, gone.nodeId, record);
  });
}

/**
 * Whether the cluster can spare the host: always a manager and another node stay, and nobody is known to the host alone,
 * or joins by it. That one would be cut off for ever, as in life.
 */
export function canSpare(world: World, host: Host): boolean {
  const { hosts, joined, lost, oracle, network } = world;
  const stay = running(world).filter((each) => each !== host && !network.liars.has(each.nodeId));
  const others = hosts.filter(
    (each) => each !== host && !oracle.removed.has(each.nodeId) && (joined.has(each) || each.cluster !== null),
  );
  return (
    oracle.removed.size + lost.size < maxRemoved + 1 &&
    stay.length >= 2 &&
    stay.some(({ isManager }) => isManager) &&
    others.every((each) => stay.some((other) => other !== each && other.cluster?.view.nodes.has(each.nodeId)))
  );
}

export const membershipOperations: readonly Operation[] = [
  {
    name: 'leave',
    weight: 1,
    run: (world) => {
      const host = world.prng.pick(running(world));
      if (host === undefined || !canSpare(world, host) || !world.isIdle(host)) return;
      world.do('leave', host, () => leave(world, host));
    },
  },
  {
    name: 'remove node',
    weight: 2,
    run: (world) => {
      const { prng } = world;
      // Seldom one that is well.
      const gone = prng.pick(prng.chance(0.2) ? running(world) : stopped(world));
      if (gone === undefined || !canSpare(world, gone)) return;
      const managers = running(world).filter((each) => each.isManager && each !== gone);
      // Two people, or one that is in a hurry, may use two managers that do not hear each other.
      for (const by of managers.slice(0, prng.chance(0.5) ? 2 : 1)) {
        world.do('remove node', by, () => removeNode(world, by, gone));
      }
    },
  },
];
