import { decodeLink, encodeLinkDump, type Link } from './rtnetlink/links.ts';
import { decodeAddress, encodeAddressDump } from './rtnetlink/routes.ts';
import { NetlinkSocket } from './rtnetlink/socket.ts';
import { type Cidr, type IfName, type Ip, must, type NetnsPath, parseCidr, parseIfName, parseIp } from './values.ts';

const linksOf = (socket: NetlinkSocket): Promise<Link[]> => socket.dump('links', encodeLinkDump, decodeLink);

/** Names of all interfaces in a namespace. @throws SystemError, also when the path is no network namespace */
export async function interfacesIn(netns: NetnsPath): Promise<string[]> {
  using socket = NetlinkSocket.open(netns);
  return (await linksOf(socket)).map(({ name }) => name);
}

/** First IPv4 address of a device of the host, with its prefix length; null without the device or an address. */
export async function bridgeAddress(name: IfName): Promise<Cidr | null> {
  using socket = NetlinkSocket.open(null);
  const link = (await linksOf(socket)).find((each) => each.name === name);
  if (link === undefined) return null;
  const addresses = await socket.dump('addresses', encodeAddressDump, decodeAddress);
  const found = addresses.find(({ ifindex, ip }) => ifindex === link.ifindex && !ip.includes(':'));
  return found === undefined ? null : must(parseCidr(`${found.ip}/${found.prefixLength}`));
}

/** First address of global scope that a device of the host has, IPv6 or IPv4; null without the device or an address. */
export async function addressOf(name: IfName, ipv6: boolean): Promise<Ip | null> {
  using socket = NetlinkSocket.open(null);
  const link = (await linksOf(socket)).find((each) => each.name === name);
  const addresses = await socket.dump('addresses', encodeAddressDump, decodeAddress);
  const found = addresses.find(
    ({ ifindex, ip, scope, lasting }) =>
      ifindex === link?.ifindex && scope === 0 && lasting && ip.includes(':') === ipv6,
  );
  return found === undefined ? null : must(parseIp(found.ip));
}

/** The device of the host that carries an address, and its MTU in bytes; null when none does. */
export async function deviceWith(address: string): Promise<{ device: IfName; mtu: number } | null> {
  using socket = NetlinkSocket.open(null);
  const addresses = await socket.dump('addresses', encodeAddressDump, decodeAddress);
  const found = addresses.find(({ ip }) => ip === address);
  const link = (await linksOf(socket)).find(({ ifindex }) => ifindex === found?.ifindex);
  return link === undefined ? null : { device: must(parseIfName(link.name)), mtu: link.mtu };
}

/** A device of the host; null when there is none of that name. */
export async function deviceNamed(name: IfName): Promise<{ readonly mtu: number } | null> {
  using socket = NetlinkSocket.open(null);
  const link = (await linksOf(socket)).find((each) => each.name === name);
  return link === undefined ? null : { mtu: link.mtu };
}
