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
    const families = familiesOf(world.oracle.networks.size);
    const network = await host.cluster?.networks.create({ name, ingress, ...rest, ...families });
    if (network === undefined) return;
    const subnets = [network.subnet, network.ipv6?.subnet].flatMap((subnet) => subnet ?? []);
    say(world, `${host.name} created ${name} ${subnets.join(' ')} vni ${network.vni}`);
    world.oracle.created(network.id, name, network.vni, host.nodeId);
  });
}

/** IPv4 first, then both, then IPv6 alone with as many addresses as the others have of IPv4, and so on. */
function familiesOf(count: number) {
  if (count % 3 === 0) return {};
  return count % 3 === 1 ? { ipv6: {} } : { ipv4: false, ipv6: { subnet: `fd00:${count.toString(16)}::/120` } };
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
  const isFull = (network?.subnets.filter(({ space }) => space.family === 4).length ?? 0) > 1;
  if (network?.subnet === undefined || isFull) return Promise.resolve();
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
