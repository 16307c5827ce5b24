import {
  type AddressSpace,
  addressAt,
  ipv4ToNumber,
  isIpv4,
  numberToIpv4,
  offsetIn,
  overlap,
  parseSpace,
} from '../../controlplane/addresses.ts';
import type { LocalIpam } from './local-network.ts';

/** Docker's default local pools (libnetwork, ipamutils): 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in /20. */
export const localPools: readonly string[] = [
  ...Array.from({ length: 15 }, (_, index) => `172.${17 + index}.0.0/16`),
  ...Array.from({ length: 16 }, (_, index) => `192.168.${index * 16}.0/20`),
];

/** The first of the pools that shares no address with a prefix in use; null when all do. IPv4. */
export function freeSubnet(inUse: readonly string[], pools: readonly string[] = localPools): string | null {
  return pools.find((pool) => !inUse.some((prefix) => shareAddress(pool, prefix))) ?? null;
}

/** Of two IPv4 prefixes, either with host bits; a default route shares nothing. */
export function shareAddress(left: string, right: string): boolean {
  const [a, b] = [spaceOf(left), spaceOf(right)];
  return a !== null && b !== null && overlap(a, b);
}

function spaceOf(prefix: string): AddressSpace | null {
  const [address = '', bits = ''] = prefix.split('/');
  const size = 2 ** (32 - Number(bits));
  if (!isIpv4(address) || bits === '0') return null;
  const first = Math.floor(ipv4ToNumber(address) / size) * size;
  return parseSpace(`${numberToIpv4(first)}/${bits}`);
}

/**
 * A free address for an endpoint; null when there is none. The one after `last` first, so that one that was freed a moment
 * ago, and is still in others' ARP caches, is used again last.
 */
export function freeAddress(ipam: LocalIpam, used: ReadonlySet<string>, last: string | null): string | null {
  const space = parseSpace(ipam.subnet);
  const window = parseSpace(ipam.ipRange ?? ipam.subnet);
  if (space === null || window === null) return null;
  const taken = new Set([...used, ipam.gateway, ...Object.values(ipam.aux)]);
  const from = last === null ? -1 : (offsetIn(window, last) ?? -1);
  for (let tried = 1; tried <= window.size; tried += 1) {
    const ip = addressAt(window, (from + tried) % window.size);
    if (!taken.has(ip) && isHost(ipam, ip)) return ip;
  }
  return null;
}

/** Neither the first nor the last address of the subnet. */
export function isHost({ subnet }: LocalIpam, ip: string): boolean {
  const space = parseSpace(subnet);
  const offset = space === null ? null : offsetIn(space, ip);
  return space !== null && offset !== null && offset > 0 && offset < space.size - 1;
}

/** `172.17.0.2` to `172.17.0.2/16`. */
export const withPrefixLength = ({ subnet }: LocalIpam, ip: string): string =>
  `${ip}${subnet.slice(subnet.indexOf('/'))}`;

/** The same as text for people and plugins; '' where there is no address. */
export const addressText = (ipam: LocalIpam | null, ip: string | null): string =>
  ipam === null || ip === null ? '' : withPrefixLength(ipam, ip);
