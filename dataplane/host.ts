import { EHOSTUNREACH, ENETUNREACH, SystemError } from './rtnetlink/libc.ts';
import { decodeLink, encodeLinkDump, type Link } from './rtnetlink/links.ts';
import {
  decodeAddress,
  decodeRoute,
  encodeAddressDump,
  encodeRouteDump,
  encodeRouteTo,
  isLinkLocal,
  type Route,
} from './rtnetlink/routes.ts';
import { NetlinkSocket } from './rtnetlink/socket.ts';
import { AF_INET, AF_INET6 } from './rtnetlink/wire.ts';
import { type Cidr, type IfName, type Ip, must, parseCidr, parseIfName, parseIp } from './values.ts';

/**
 * Every prefix in use on the host, of either family: destinations of its routes in all tables, and the networks of its
 * addresses, those of down devices too; not those that every link has (fe80::/64). Prefixes of `except` (our own gateway bridge) are left out. Throws SystemError.
 */
export async function hostRoutes(except?: IfName): Promise<Cidr[]> {
  using socket = NetlinkSocket.open(null);
  const links = await socket.dump('links', encodeLinkDump, decodeLink);
  const excepted = links.find((link) => link.name === except)?.ifindex ?? null;
  const prefixes = new Set<string>();
  for (const family of [AF_INET, AF_INET6]) {
    const routes = await socket.dump('routes', (writer, seq) => encodeRouteDump(writer, seq, family), decodeRoute);
    for (const { unicast, destination, prefixLength, ifindex } of routes) {
      if (!unicast || destination === null || isLinkLocal(destination) || ifindex === excepted) continue;
      prefixes.add(`${destination}/${prefixLength}`);
    }
  }
  for (const { ip, prefixLength, ifindex, scope } of await socket.dump('addresses', encodeAddressDump, decodeAddress)) {
    if ((scope === 0 || !ip.includes(':')) && ifindex !== excepted) prefixes.add(`${ip}/${prefixLength}`);
  }
  return [...prefixes].map((prefix) => must(parseCidr(prefix)));
}

/** How the host would send to an address. */
export interface HostPath {
  /** Source address: the VTEP, unless one is configured. */
  readonly address: Ip;
  readonly device: IfName;
  /** Bytes, of the device; the path may hold less. */
  readonly mtu: number;
}

/**
 * Source address, device and MTU towards `destination`; without one, of the host's default route, that of IPv4 first. Null
 * when there is no such route. Nothing is sent. Throws SystemError.
 */
export async function defaultAddress(destination?: Ip): Promise<HostPath | null> {
  using socket = NetlinkSocket.open(null);
  const links = await socket.dump('links', encodeLinkDump, decodeLink);
  const route = destination === undefined ? await defaultRoute(socket) : routeTo(socket, destination);
  const link = links.find(({ ifindex }) => ifindex === route?.ifindex);
  if (!route || !link) return null;
  const source = route.source ?? (await sourceFor(socket, route, link));
  if (!source) return null;
  return { address: must(parseIp(source)), device: must(parseIfName(link.name)), mtu: link.mtu };
}

async function defaultRoute(socket: NetlinkSocket): Promise<Route | null> {
  for (const family of [AF_INET, AF_INET6]) {
    const routes = await socket.dump('routes', (writer, seq) => encodeRouteDump(writer, seq, family), decodeRoute);
    const defaults = routes.filter((route) => route.inMainTable && route.unicast && route.prefixLength === 0);
    const [best] = defaults.sort((left, right) => left.metric - right.metric);
    if (best) return best;
  }
  return null;
}

/** A gateway of IPv6 is most often known by its link-local address, from which nothing follows. */
async function sourceFor(socket: NetlinkSocket, route: Route, link: Link): Promise<string | null | undefined> {
  if (route.gateway && !route.ipv6) return routeTo(socket, route.gateway)?.source;
  return firstAddress(socket, link, route.ipv6);
}

function routeTo(socket: NetlinkSocket, destination: string): Route | null {
  try {
    return socket.ask(`route to ${destination}`, (writer, seq) => encodeRouteTo(writer, seq, destination), decodeRoute);
  } catch (error) {
    if (error instanceof SystemError && (error.errno === ENETUNREACH || error.errno === EHOSTUNREACH)) return null;
    throw error;
  }
}

async function firstAddress(socket: NetlinkSocket, link: Link, ipv6: boolean): Promise<string | undefined> {
  const addresses = await socket.dump('addresses', encodeAddressDump, decodeAddress);
  return addresses.find(
    ({ ifindex, ip, scope, lasting }) =>
      ifindex === link.ifindex && scope === 0 && lasting && ip.includes(':') === ipv6,
  )?.ip;
}
