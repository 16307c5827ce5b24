import ipaddr from 'ipaddr.js';
import { type Cidr, must, parseCidr } from './values.ts';

/** Docker's name of it. */
export const gatewayBridgeName = 'docker_gwbridge';

/** 172.18.0.0/16 first, as Docker's own docker_gwbridge has it; then the rest of Docker's default local pools. */
export const GATEWAY_CANDIDATES: readonly Cidr[] = [
  ...Array.from({ length: 14 }, (_, index) => must(parseCidr(`172.${18 + index}.0.0/16`))),
  ...Array.from({ length: 16 }, (_, index) => must(parseCidr(`192.168.${index * 16}.0/20`))),
];

/**
 * The first candidate that shares no address with a prefix in use on the host. IPv6 prefixes and default routes do not
 * count as use. Null when all collide: the operator must then give a subnet.
 */
export function chooseGatewaySubnet(
  inUse: readonly Cidr[],
  candidates: readonly Cidr[] = GATEWAY_CANDIDATES,
): Cidr | null {
  const taken = inUse.filter((prefix) => !prefix.includes(':') && !prefix.endsWith('/0'));
  return candidates.find((candidate) => !taken.some((prefix) => overlaps(candidate, prefix))) ?? null;
}

/** The bridge's own address: the first host address of the subnet, with its prefix length. */
export function gatewayAddressIn(subnet: Cidr): Cidr {
  const [network, bits] = ipaddr.IPv4.parseCIDR(subnet);
  const base = ipaddr.IPv4.networkAddressFromCIDR(`${network.toString()}/${bits}`).toByteArray();
  const [a = 0, b = 0, c = 0, d = 0] = base;
  return must(parseCidr(`${a}.${b}.${c}.${d + 1}/${bits}`));
}

/** True when two IPv4 prefixes share an address. */
export function overlaps(left: Cidr, right: Cidr): boolean {
  const [leftNet, leftBits] = ipaddr.IPv4.parseCIDR(left);
  const [rightNet, rightBits] = ipaddr.IPv4.parseCIDR(right);
  return leftNet.match(rightNet, Math.min(leftBits, rightBits));
}

/**
 * Addresses of the two ends of the gate's leg to its host. The same on every host: nobody else is told of them.
 * @param prefix /64 of the cluster
 */
export function gateAddresses6(prefix: Cidr): { readonly host: Cidr; readonly gate: Cidr } {
  const network = ipaddr.IPv6.networkAddressFromCIDR(prefix).toByteArray().slice(0, 8);
  const of = (number: number): Cidr =>
    must(parseCidr(`${new ipaddr.IPv6([...network, 0, 0, 0, 0, 0, 0, 0, number]).toRFC5952String()}/64`));
  return { host: of(1), gate: of(2) };
}
