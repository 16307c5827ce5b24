import type { NetworkId } from '../../../controlplane/ids.ts';
import { ingressName } from '../../../controlplane/networks.ts';
import type { Host } from '../host.ts';
import { tolerating } from '../refusals.ts';
import { type Operation, runningManagers, say, type World } from '../world.ts';

const maxNetworks = 5;

export const liveNetworks = ({ oracle }: World): NetworkId[] =>
  [...oracle.networks].flatMap(([id, { state }]) => (state === 'live' ? [id] : []));

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

function removeNetwork(world: World, host: Host, id: NetworkId): Promise<void> {
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

function addSubnet(world: World, host: Host, id: NetworkId): Promise<void> {
  const network = host.cluster?.view.networks.get(id);
  if (network === undefined || network.subnets.length > 1) return Promise.resolve();
  return tolerating(world, `${host.name} adds a subnet to ${network.name}`, async () => {
    const subnet = await host.cluster?.networks.addSubnet(network, {});
    say(world, `${host.name} added ${subnet} to ${network.name}`);
  });
}

export const networkOperations: readonly Operation[] = [
  {
    name: 'add subnet',
    weight: 2,
    run: (world) => {
      const manager = world.prng.pick(runningManagers(world));
      const id = world.prng.pick(liveNetworks(world));
      if (manager !== undefined && id !== undefined)
        world.do('add subnet', manager, () => addSubnet(world, manager, id));
    },
  },
  {
    name: 'create network',
    weight: 4,
    run: (world) => {
      const manager = world.prng.pick(runningManagers(world));
      if (manager === undefined || liveNetworks(world).length >= maxNetworks) return;
      // Two managers may choose one name at the same time: then both networks stay, and names lead to the older.
      const name = `net-${world.oracle.networks.size + (world.prng.chance(0.9) ? 0 : -1)}`;
      world.do('create', manager, () => createNetwork(world, manager, name));
    },
  },
  {
    name: 'remove network',
    weight: 3,
    run: (world) => {
      const manager = world.prng.pick(runningManagers(world));
      const id = world.prng.pick(liveNetworks(world));
      if (manager === undefined || id === undefined || world.oracle.networks.get(id)?.name === ingressName) return;
      world.do('remove network', manager, () => removeNetwork(world, manager, id));
    },
  },
];
