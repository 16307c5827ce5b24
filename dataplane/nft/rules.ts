import type { DesiredBridge, PublishedPort } from '../desired.ts';
import { type IfName, type Ip, isIpv6, prefixOf } from '../values.ts';
import { BRIDGES_TABLE, type Chain, type DesiredTable, tableOf } from './tables.ts';

/** What the firewall and NAT rules of the host follow from. */
export interface RulesInput {
  readonly bridges: readonly GuardedBridge[];
  /** The host's ends of legs to itself. */
  readonly links: readonly GuardedLink[];
  /** True when the host forwarded nothing until we switched forwarding on. */
  readonly guardForwarding: boolean;
  /** The same of IPv6. */
  readonly guardForwarding6: boolean;
}

export interface GuardedBridge extends DesiredBridge {
  /** True when we made the bridge. Who made an adopted one (Docker) also guards it. */
  readonly isOurs: boolean;
  /** Ports of the host that lead to its legs. */
  readonly published: readonly PublishedTo[];
}

export interface GuardedLink {
  readonly name: IfName;
  /** Ports of the host that lead to its other end. */
  readonly published: readonly PublishedTo[];
}

/** A published port, and the address of the leg that it leads to. */
export interface PublishedTo extends PublishedPort {
  readonly ip: Ip;
}

/** The whole of table `inet weft`, by the subjects that have chains in it; null when there is nothing to be in it. Deterministic. */
export function rulesFor(input: RulesInput): DesiredTable | null {
  const all = [...natOf(input), ...loopbackGuardOf(input.bridges), ...redirectsOf(input.bridges), ...forwardOf(input)];
  const chains = all.filter(({ rules }) => rules.length > 0);
  return chains.length === 0 ? null : tableOf(BRIDGES_TABLE, chains);
}

const setOf = (members: readonly string[]): string => `{ ${members.join(', ')} }`;
const quoted = (bridges: readonly { readonly name: IfName }[]): string => setOf(bridges.map(({ name }) => `"${name}"`));

function natOf({ bridges, links }: RulesInput): Chain[] {
  const rules = dnatOf([...bridges, ...links].flatMap(({ published }) => published));
  const published = bridges.filter((bridge) => bridge.published.length > 0);
  const postrouting = bridges.flatMap(({ name, address, masquerade, internal }) =>
    masquerade && !internal ? [`ip saddr ${prefixOf(address)} oifname != "${name}" masquerade`] : [],
  );
  for (const { name, address } of published) {
    // From a port of the same bridge: the answer would go there directly, and not be known as one.
    postrouting.push(`ip saddr ${prefixOf(address)} oifname "${name}" ct status dnat masquerade`);
  }
  if (published.length > 0) {
    postrouting.push(`ip saddr 127.0.0.0/8 oifname ${quoted(published)} masquerade`);
  }
  if (links.length > 0) postrouting.push(`ip6 saddr ::1 oifname ${quoted(links)} masquerade`);
  // As a number, since nft 1.0.6 knows no word for it in this hook: dstnat.
  return [
    { name: 'prerouting', type: 'nat', hook: 'prerouting', priority: 'dstnat', rules },
    { name: 'output', type: 'nat', hook: 'output', priority: '-100', rules },
    { name: 'postrouting', type: 'nat', hook: 'postrouting', priority: 'srcnat', rules: postrouting },
  ];
}

/** Maps, and not a rule for each port: a packet that begins a connection is looked up once. */
const dnatOf = (published: readonly PublishedTo[]): string[] =>
  [false, true].flatMap((ipv6) =>
    dnatIn(
      ipv6 ? SIX : FOUR,
      published.filter(({ ip }) => isIpv6(ip) === ipv6),
    ),
  );

/** Who is known by an address of a link alone, has no way through a gate: what is from there is not forwarded (RFC 4291, 2.5.6). */
const FOUR = { nfproto: 'ipv4', family: 'ip', local: 'fib daddr type local' } as const;
const SIX = { nfproto: 'ipv6', family: 'ip6', local: 'ip6 daddr != fe80::/10 fib daddr type local' } as const;

function dnatIn({ nfproto, family, local }: typeof FOUR | typeof SIX, published: readonly PublishedTo[]): string[] {
  const target = ({ protocol, hostPort, ip, port }: PublishedTo): string =>
    `${protocol} . ${hostPort} : ${ip} . ${port}`;
  // A key that is twice in a map would fail the whole table.
  const unique = [
    ...new Map(published.map((each) => [`${each.protocol} ${each.hostIp} ${each.hostPort}`, each])).values(),
  ];
  const ofOne = unique.filter(({ hostIp }) => hostIp !== null);
  const ofAll = unique.filter(({ hostIp }) => hostIp === null);
  const rules: string[] = [];
  if (ofOne.length > 0) {
    const map = setOf(ofOne.map((port) => `${port.hostIp} . ${target(port)}`));
    rules.push(`meta nfproto ${nfproto} dnat ${family} to ${family} daddr . meta l4proto . th dport map ${map}`);
  }
  if (ofAll.length > 0) {
    const map = setOf(ofAll.map(target));
    rules.push(`meta nfproto ${nfproto} ${local} dnat ${family} to meta l4proto . th dport map ${map}`);
  }
  return rules;
}

/**
 * With route_localnet, which published ports need to be reached at 127.0.0.1, a bridge would also take packets for the
 * host's loopback, where services listen that are meant for nobody else. Always there, so before the setting.
 */
function loopbackGuardOf(bridges: readonly GuardedBridge[]): Chain[] {
  const ours = bridges.filter(({ isOurs }) => isOurs);
  if (ours.length === 0) return [];
  // The address first: it is in no packet of a sane network, and a set of names takes longer to look through.
  const rules = ['daddr', 'saddr'].map((end) => `ip ${end} 127.0.0.0/8 iifname ${quoted(ours)} drop`);
  return [{ name: 'loopback', type: 'filter', hook: 'prerouting', priority: 'raw', rules }];
}

/**
 * What comes from a bridge and is led back to it would be answered with a redirect: that the host's address is better reached
 * by the sandbox that the port leads to. Whoever believes it never reaches the port again.
 */
function redirectsOf(bridges: readonly GuardedBridge[]): Chain[] {
  const published = bridges.filter((bridge) => bridge.published.length > 0);
  const rules = published.length === 0 ? [] : [`oifname ${quoted(published)} icmp type redirect drop`];
  return [{ name: 'redirects', type: 'filter', hook: 'output', priority: 'filter', rules }];
}

function forwardOf({ bridges, links, guardForwarding, guardForwarding6 }: RulesInput): Chain[] {
  const ours = bridges.filter(({ isOurs }) => isOurs);
  const rules: string[] = [];
  for (const { name } of ours.filter(({ internal }) => internal)) {
    rules.push(`iifname "${name}" oifname != "${name}" drop`, `iifname != "${name}" oifname "${name}" drop`);
  }
  const ends = [...ours, ...links];
  if (ends.length > 0) rules.push(`oifname ${quoted(ends)} ct state established,related accept`);
  // Led there on purpose, by us or by Docker, which publishes ports of its containers through docker_gwbridge.
  if (ends.length > 0) rules.push(`oifname ${quoted(ends)} ct status dnat accept`);
  // Without icc, isolated ports already stop bridged frames; the last of these stops the same traffic when it is routed.
  const open = ours.filter(({ icc }) => icc);
  if (open.length > 0) {
    rules.push(`iifname . oifname ${setOf(open.map(({ name }) => `"${name}" . "${name}"`))} accept`);
  }
  if (ends.length > 0) rules.push(`oifname ${quoted(ends)} drop`);
  // The host's owner did not ask for a router between its networks; only our bridges need forwarding. Devices of these
  // kinds are made to be forwarded from and to by whoever made them (Docker, libvirt, a VPN), so they are left alone.
  const guarded = [...(guardForwarding ? ['ipv4'] : []), ...(guardForwarding6 ? ['ipv6'] : [])];
  if (guarded.length > 0 && bridges.length > 0) {
    if (links.length > 0) rules.push(`iifname ${quoted(links)} return`);
    rules.push(...['iifkind', 'oifkind'].map((key) => `meta ${key} { "bridge", "tun", "wireguard" } return`));
    rules.push(guarded.length === 2 ? 'drop' : `meta nfproto ${guarded[0]} drop`);
  }
  return [{ name: 'forward', type: 'filter', hook: 'forward', priority: 'filter', rules }];
}
