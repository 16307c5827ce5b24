import type { NetworkId } from '../../controlplane/ids.ts';
import type { Network } from '../../controlplane/tables/view.ts';
import type { NetworkSpec } from './client.ts';
import { vniOption } from './protocol.ts';
import type { DockerNetwork } from './shapes.ts';
import type { MirroredNetwork } from './state.ts';

// Which networks a Docker is to have, given those of the cluster: pure decisions.

export const driverName = 'weft';

/** docker_gwbridge as this host has it. */
export interface GatewayNetwork {
  readonly name: string;
  readonly subnet: string;
  readonly gateway: string;
  /** Where Docker takes addresses of its containers from; null: anywhere. */
  readonly range: string | null;
}

export interface MirrorPlan {
  /** Made by a user of Docker with our driver: to be made in the cluster. */
  readonly adopt: readonly Adoption[];
  /** Of Docker's networks, to be removed before others are made. */
  readonly remove: readonly DockerNetwork[];
  readonly create: readonly Creation[];
  /** What cannot be, one line each. */
  readonly objections: readonly string[];
}

export interface Adoption {
  readonly network: DockerNetwork;
  /** The id that it is to have in the cluster; null where its addresses are not ours: it has to be made again. */
  readonly as: NetworkId | null;
}

export interface Creation {
  /** The network of the cluster; null for docker_gwbridge. */
  readonly of: NetworkId | null;
  readonly spec: NetworkSpec;
}

/**
 * Steps from what Docker has to what it is to have: one network for each of the cluster. What is not of our driver is left
 * alone, also where it has a name that one of the cluster has.
 * @param known networks of ours, by Docker's ids
 */
export function mirrorPlan(
  wanted: readonly Network[],
  gateway: GatewayNetwork | null,
  there: readonly DockerNetwork[],
  known: ReadonlyMap<string, MirroredNetwork>,
): MirrorPlan {
  const adopt: Adoption[] = [];
  const remove: DockerNetwork[] = [];
  const create: Creation[] = [];
  const objections: string[] = [];
  // Of two of one name, made at once in two halves of the cluster, the older one has it.
  const oldestFirst = [...wanted].sort((a, b) => a.createdMs - b.createdMs || (a.id < b.id ? -1 : 1));
  const byName = new Map([...oldestFirst].reverse().map((network) => [network.name, network]));
  const byId = new Map<string, Network>(wanted.map((network) => [network.id, network]));
  const mirrored = new Set<string>();
  for (const network of there) {
    if (network.driver !== driverName) continue;
    const { networkId = null, awaited = false } = known.get(network.id) ?? {};
    const of = byId.get(networkId ?? '');
    const isNew = networkId === null ? !network.options.has(vniOption) : awaited;
    if (of === undefined && isNew) {
      // Of the cluster by now: an agent that was ended in between, or another host was quicker.
      if (wanted.some(({ name }) => name === network.name)) remove.push(network);
      else adopt.push({ network, as: networkId });
    } else if (of === undefined || byName.get(of.name) !== of || mirrored.has(of.id) || !isLike(network, specOf(of))) {
      remove.push(network);
    } else mirrored.add(of.id);
  }
  const bridge = gateway && there.find(({ name }) => name === gateway.name);
  // Docker would make it with the first container that needs it, and in a subnet of its own choice.
  if (gateway && !bridge) create.push({ of: null, spec: gatewaySpec(gateway) });
  if (gateway && bridge && !bridge.ipam.pools.some(({ subnet }) => subnet === gateway.subnet)) {
    const has = bridge.ipam.pools.map(({ subnet }) => subnet).join(', ');
    objections.push(
      `Docker has ${gateway.name} in ${has}, and this host in ${gateway.subnet}: with all containers off it, \
\`docker network rm ${gateway.name}\`, and it is made again`,
    );
  }
  const holders = new Map(there.filter((each) => !remove.includes(each)).map((each) => [each.name, each.driver]));
  for (const network of oldestFirst) {
    // The cluster names it among its own warnings.
    if (byName.get(network.name) !== network) continue;
    if (mirrored.has(network.id)) {
      const other = there.find(({ name, driver }) => name === network.name && driver !== driverName);
      if (other !== undefined) {
        objections.push(
          `Docker has a second network ${network.name} (driver ${other.driver}), and takes that name for neither: remove \
that one by its id, ${other.id.slice(0, 12)}`,
        );
      }
      continue;
    }
    const holder = holders.get(network.name);
    if (!network.subnets.some(({ space }) => space.family === 4)) {
      objections.push(`Docker cannot have network ${network.name}: it makes none without IPv4`);
    } else if (holder !== undefined) {
      objections.push(
        `Docker has another network ${network.name} (driver ${holder}), and so not the cluster's: remove one of them`,
      );
    } else {
      create.push({ of: network.id, spec: specOf(network) });
    }
  }
  return { adopt, remove, create, objections };
}

/** As Docker makes it for its own overlays (moby, daemon/cluster/executor and libnetwork/default_gateway_linux.go). */
const gatewaySpec = ({ name, subnet, gateway, range }: GatewayNetwork): NetworkSpec => ({
  name,
  driver: 'bridge',
  options: {
    'com.docker.network.bridge.name': name,
    'com.docker.network.bridge.enable_icc': 'false',
    'com.docker.network.bridge.enable_ip_masquerade': 'true',
  },
  ipam: { pools: [{ subnet, gateway, ...(range === null ? {} : { ipRange: range }) }] },
});

function specOf({ vni, name, internal, labels, options, subnets }: Network) {
  return {
    ...{
      name,
      driver: driverName,
      internal,
      attachable: true,
      options: { ...options, [vniOption]: String(vni) },
      labels,
    },
    ipv6: subnets.some(({ space }) => space.family === 6),
    ipam: {
      driver: driverName,
      pools: subnets.map(({ space, gateway, ipRange, aux }) => ({
        ...{ subnet: space.text, gateway, auxiliary: aux },
        ...(ipRange === null ? {} : { ipRange }),
      })),
    },
  } satisfies NetworkSpec;
}

/** Nothing of it can be changed in Docker once it is made. */
function isLike(there: DockerNetwork, wanted: ReturnType<typeof specOf>): boolean {
  const subnets = new Set(there.ipam.pools.map(({ subnet }) => subnet));
  const labels = Object.entries(wanted.labels);
  return (
    there.name === wanted.name &&
    there.internal === wanted.internal &&
    subnets.size === wanted.ipam.pools.length &&
    wanted.ipam.pools.every(({ subnet }) => subnets.has(subnet)) &&
    there.labels.size === labels.length &&
    labels.every(([key, value]) => there.labels.get(key) === value)
  );
}
