import type { Network } from '../../controlplane/tables/view.ts';
import { networkOption } from './protocol.ts';

// Which networks a Docker is to have, given those of the cluster: pure decisions.

/** A network as Docker has it (Engine API, NetworkList), as far as it matters here. */
export interface NetworkInDocker {
  readonly id: string;
  readonly name: string;
  readonly driver: string;
  readonly internal: boolean;
  readonly options: { readonly [key: string]: string };
  readonly labels: { readonly [key: string]: string };
  readonly subnets: readonly string[];
}

/** Body of NetworkCreate (Engine API 1.41). */
export interface NetworkToCreate {
  readonly Name: string;
  readonly CheckDuplicate: true;
  readonly Driver: string;
  readonly Internal: boolean;
  readonly Attachable: true;
  readonly EnableIPv6: boolean;
  readonly IPAM: {
    readonly Driver: string;
    readonly Options: { readonly [key: string]: string };
    readonly Config: readonly { readonly Subnet: string; readonly Gateway: string }[];
  };
  readonly Options: { readonly [key: string]: string };
  readonly Labels: { readonly [key: string]: string };
}

export interface MirrorPlan {
  /** Of Docker's networks, to be removed before others are made. */
  readonly remove: readonly NetworkInDocker[];
  readonly create: readonly NetworkToCreate[];
  /** What cannot be, one line each. */
  readonly objections: readonly string[];
}

export const driverName = 'weft';

/**
 * Steps from what Docker has to what it is to have: one network for each of the cluster, known by an option that no user has a
 * reason to set. What is not of our driver is left alone, also where it has a name that one of the cluster has.
 */
export function mirrorPlan(wanted: readonly Network[], there: readonly NetworkInDocker[]): MirrorPlan {
  const remove: NetworkInDocker[] = [];
  const create: NetworkToCreate[] = [];
  const objections: string[] = [];
  const ours = there.filter(({ driver }) => driver === driverName);
  const kept = new Map<string, NetworkInDocker>();
  for (const network of ours) {
    const id = network.options[networkOption] ?? '';
    const of = wanted.find((each) => each.id === id);
    if (of === undefined || kept.has(id) || !isLike(network, of)) remove.push(network);
    else kept.set(id, network);
  }
  const names = new Map(there.filter((each) => !remove.includes(each)).map((each) => [each.name, each]));
  for (const network of [...wanted].sort((a, b) => a.createdMs - b.createdMs || (a.id < b.id ? -1 : 1))) {
    if (kept.has(network.id)) continue;
    const holder = names.get(network.name);
    if (!network.subnets.some(({ space }) => space.family === 4)) {
      objections.push(`Docker cannot have network ${network.name}: it makes none without IPv4`);
    } else if (holder !== undefined) {
      objections.push(
        `Docker has a network ${network.name} of its own (driver ${holder.driver}, ${holder.id.slice(0, 12)}), and so not the \
cluster's: remove one of them, or give it another name`,
      );
    } else {
      const body = bodyOf(network);
      create.push(body);
      names.set(network.name, { ...asListed(body), id: '' });
    }
  }
  return { remove, create, objections };
}

function bodyOf(network: Network): NetworkToCreate {
  const { id, name, internal, labels, subnets } = network;
  const mark = { [networkOption]: id };
  return {
    ...{ Name: name, CheckDuplicate: true, Driver: driverName, Internal: internal, Attachable: true },
    EnableIPv6: subnets.some(({ space }) => space.family === 6),
    IPAM: {
      Driver: driverName,
      Options: mark,
      Config: subnets.map(({ space, gateway }) => ({ Subnet: space.text, Gateway: gateway })),
    },
    Options: mark,
    Labels: labels,
  };
}

const asListed = ({ Name, Driver, Internal, Options, Labels, IPAM }: NetworkToCreate): Omit<NetworkInDocker, 'id'> => ({
  ...{ name: Name, driver: Driver, internal: Internal, options: Options, labels: Labels },
  subnets: IPAM.Config.map(({ Subnet }) => Subnet),
});

/** Nothing of it can be changed in Docker once it is made. */
function isLike(there: NetworkInDocker, network: Network): boolean {
  const wanted = asListed(bodyOf(network));
  return (
    there.name === wanted.name &&
    there.internal === wanted.internal &&
    there.subnets.length === wanted.subnets.length &&
    there.subnets.every((subnet) => wanted.subnets.includes(subnet)) &&
    Object.keys(there.labels).length === Object.keys(wanted.labels).length &&
    Object.entries(there.labels).every(([key, value]) => wanted.labels[key] === value)
  );
}
