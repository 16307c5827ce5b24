import type { ReturnPath } from '../desired.ts';
import { addressNumber, type Cidr, type IfName, type Ip, isIpv6, type Mac, type NetnsPath } from '../values.ts';
import { type Chain, type DesiredTable, returnTable, tableOf } from './tables.ts';

/**
 * Begins every mark of ours in a container, `W`, and every number of a routing table there. Whoever marks packets in the
 * container himself is left alone unless his marks begin with the same byte.
 */
const TAG = 0x57000000;
const TAG_MASK = 0xff000000;

/** Number of the routing table for what of IPv6 no other has a route for. No gate has that mark: it would be a network's first address. */
export const LAST_TABLE = TAG;

/** What is ours of policy routing in a sandbox is between these. */
export const isOurMark = (mark: number): boolean => mark - (mark % 2 ** 24) === TAG;

export interface ReturnGate {
  readonly mac: Mac;
  readonly ip: Ip;
  readonly ip6: Ip | null;
  /** Of its connections, and the number of the routing table that leads back to it. */
  readonly mark: number;
}

/**
 * Gates by the marks of their connections: the lower three bytes of a gate's address, which are its own in any subnet up to
 * /8, so that a mark stays with its gate whatever other gates come and go.
 */
export function gatesOf({ gates }: ReturnPath): ReturnGate[] {
  const byMark = new Map<number, ReturnGate>();
  for (const { mac, ip, ip6 = null } of gates) {
    if (isIpv6(ip)) continue;
    const mark = TAG + (addressNumber(ip) % 2 ** 24);
    byMark.set(mark, { mac, ip, ip6, mark });
  }
  return [...byMark.values()];
}

/** The leg that connections come in by, and the rest of its sandbox. */
export interface ReturnLeg {
  readonly name: IfName;
  /** What is reached by it without a gateway. None: it has no IPv6. */
  readonly prefixes6: readonly Cidr[];
  /** The address that the sandbox has where its default route goes; null: that is by the leg, or nowhere. */
  readonly local: Ip | null;
  /** The same of IPv6. */
  readonly local6: Ip | null;
}

/**
 * The table of a backend. What comes in by the leg has come through a gate, whose MAC says which, or is dropped; the
 * connection is marked with that, and so is every packet of it, that one before it is routed: reverse path filters then
 * look where an answer would go. What answers locally is routed anew by its mark, and what is forwarded to others behind the
 * sandbox, as Docker in a container does, comes by the first chain, too.
 *
 * A datagram is answered from an address that the kernel chooses by the default route, before it is marked, and not by the one
 * that was asked (RFC 1122, section 4.1.3.5, leaves that to the program; few care). So what is asked is said to be that address.
 *
 * A backend has mostly no route of IPv6 to where clients are, and an answer is routed once before it is marked. So what no
 * other table has a route for has one by the leg; what takes it and is no answer is refused at once, so that no program waits
 * for an IPv6 that it does not have. TCP by a reset: a process that is just connecting heeds no ICMP (net/ipv6/tcp_ipv6.c,
 * tcp_v6_err), and would wait for a second.
 */
export function returnsFor(path: ReturnPath, where: NetnsPath, leg: ReturnLeg): DesiredTable {
  const { local, local6, prefixes6 } = leg;
  const ipv6 = prefixes6.length > 0;
  const marked = `ct mark & 0x${TAG_MASK.toString(16)} == 0x${TAG.toString(16)}`;
  const copy = `${marked} meta mark set ct mark`;
  const datagrams = [
    ...(local === null ? [] : [`dnat ip to ${local}`]),
    ...(local6 === null || !ipv6 ? [] : [`dnat ip6 to ${local6}`]),
  ].map((led) => `${marked} ether daddr ${path.mac} meta l4proto udp ${led}`);
  return tableOf(
    returnTable(where),
    [
      {
        ...{ name: 'prerouting', type: 'filter', hook: 'prerouting', priority: 'mangle' },
        rules: [
          copy,
          // All that follows is of the first packet of a connection.
          'ct state != new return',
          ...(ipv6 ? [] : ['meta nfproto != ipv4 return']),
          `ether daddr != ${path.mac} return`,
          'ct mark set ether saddr map @gates',
          // The others there publish something, too, and are of networks that have nothing to do with each other.
          `ct mark & 0x${TAG_MASK.toString(16)} != 0x${TAG.toString(16)} drop`,
          copy,
        ],
      },
      ...(datagrams.length === 0
        ? []
        : [
            {
              ...({ name: 'datagrams', type: 'nat', hook: 'prerouting', priority: 'dstnat' } as const),
              rules: datagrams,
            },
          ]),
      { ...{ name: 'output', type: 'route', hook: 'output', priority: 'mangle' }, rules: [copy] },
      ...(ipv6 ? [astray(leg)] : []),
    ],
    new Map([['gates', new Set(gatesOf(path).map(({ mac, mark }) => `${mac} : ${mark}`))]]),
  );
}

/** What of IPv6 goes by the leg to others than those on its network, and is no answer. */
function astray({ name, prefixes6 }: ReturnLeg): Chain {
  const elsewhere = `ip6 daddr != { ${[...prefixes6, 'fe80::/10', 'ff00::/8'].join(', ')} }`;
  const begun = `oifname "${name}" ct state new ${elsewhere}`;
  return {
    ...{ name: 'astray', type: 'filter', hook: 'output', priority: 'filter' },
    rules: [`${begun} meta l4proto tcp reject with tcp reset`, `${begun} reject with icmpv6 no-route`],
  };
}
