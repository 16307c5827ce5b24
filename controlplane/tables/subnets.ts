import { type AddressSpace, offsetIn, parseSpace } from '../addresses.ts';
import type { NetworkId, NodeId } from '../ids.ts';
import { NumberSet } from '../ring/numbers.ts';
import type { Range } from '../ring/ring.ts';
import { type NetworkValue, networkTopic, type Pool, type SubnetValue } from './kinds.ts';
import { clusterTopic } from './record.ts';

/** A ring is one of the cluster's pools, or the addresses of one subnet of a network: `<network id>/10.0.1.0_24`. */
export type RingId = Pool | `${string}/${string}`;

/** The rings of the cluster topic. */
export const ringPools: readonly Pool[] = ['subnet', 'vni'];

export const isPool = (ring: RingId): ring is Pool => ring === 'subnet' || ring === 'vni';

export const ringOf = (network: NetworkId, subnet: string): RingId => `${network}/${subnet.replace('/', '_')}`;

/** null for a pool. */
export function networkOfRing(ring: RingId): NetworkId | null {
  return isPool(ring) ? null : (ring.slice(0, ring.indexOf('/')) as NetworkId);
}

/** Where the grants of a ring stand: their topic, and what their keys begin with. */
export function grantsOf(ring: RingId): { readonly topic: string; readonly prefix: string } {
  const network = networkOfRing(ring);
  if (network === null) return { topic: clusterTopic, prefix: `range/${ring}/` };
  return { topic: networkTopic(network), prefix: `range/${ring.slice(network.length + 1)}/` };
}

/** One subnet of a network, ready to compute with. */
export interface NetworkSubnet {
  readonly ring: RingId;
  readonly space: AddressSpace;
  readonly gateway: string;
  readonly root: NodeId;
  /** Where addresses are taken from that nobody asked for by name. */
  readonly window: Range;
  /** As it was given; null for the whole subnet. */
  readonly ipRange: string | null;
  readonly aux: { readonly [name: string]: string };
  /** Network and broadcast address, gateway, auxiliary addresses: no endpoint has one of these. */
  readonly reserved: ReadonlyMap<number, string>;
  readonly reservedNumbers: NumberSet;
}

type Defined = Pick<SubnetValue, 'subnet' | 'gateway' | 'root' | 'ipRange' | 'aux'>;

/** All subnets of a network, in the order in which addresses are taken from them. */
export function subnetsOf(id: NetworkId, value: NetworkValue, added: readonly SubnetValue[]): NetworkSubnet[] {
  const { root, ipv6, subnet: first, gateway } = value;
  const ordered = [...added].sort((a, b) => a.createdMs - b.createdMs || (a.subnet < b.subnet ? -1 : 1));
  const defined: Defined[] = [
    ...(first === undefined || gateway === undefined ? [] : [{ ...value, subnet: first, gateway }]),
    ...(ipv6 === undefined ? [] : [{ ...ipv6, root }]),
    ...ordered,
  ];
  const found = new Map<string, NetworkSubnet>();
  for (const each of defined) {
    const subnet = subnetOf(id, each);
    if (subnet !== null && !found.has(subnet.space.text)) found.set(subnet.space.text, subnet);
  }
  return [...found.values()];
}

function subnetOf(id: NetworkId, { subnet, gateway, root, ipRange, aux = {} }: Defined): NetworkSubnet | null {
  const space = parseSpace(subnet);
  if (space === null) return null;
  const reserved = new Map<number, string>([[0, 'the address of the subnet itself']]);
  if (space.family === 4) reserved.set(space.size - 1, 'the broadcast address');
  for (const [name, address] of Object.entries(aux)) {
    const offset = offsetIn(space, address);
    if (offset !== null) reserved.set(offset, `the auxiliary address ${name}`);
  }
  const gatewayOffset = offsetIn(space, gateway);
  if (gatewayOffset !== null) reserved.set(gatewayOffset, 'the gateway');
  const reservedNumbers = new NumberSet();
  for (const number of reserved.keys()) reservedNumbers.add(number);
  const part = ipRange === undefined ? null : parseSpace(ipRange);
  return {
    ring: ringOf(id, subnet),
    space,
    gateway,
    root: root as NodeId,
    window: (part === null ? null : windowIn(space, part)) ?? { start: 0, end: space.size },
    ipRange: ipRange ?? null,
    aux,
    reserved,
    reservedNumbers,
  };
}

/** @returns null when `part` does not lie inside what the ring of `space` counts */
export function windowIn(space: AddressSpace, part: AddressSpace): Range | null {
  if (part.family !== space.family || part.prefixLength < space.prefixLength || part.base < space.base) return null;
  const start = Number(part.base - space.base);
  return start < space.size ? { start, end: Math.min(start + part.size, space.size) } : null;
}
