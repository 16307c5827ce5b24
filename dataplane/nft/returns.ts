import type { ReturnPath } from '../desired.ts';
import { addressNumber, type Ip, isIpv6, type Mac, type NetnsPath } from '../values.ts';
import { type DesiredTable, returnTable, tableOf } from './tables.ts';

/**
 * Begins every mark of ours in a container, `W`, and every number of a routing table there. Whoever marks packets in the
 * container himself is left alone unless his marks begin with the same byte.
 */
const TAG = 0x57000000;
const TAG_MASK = 0xff000000;

/** What is ours of policy routing in a sandbox is between these. */
export const isOurMark = (mark: number): boolean => mark - (mark % 2 ** 24) === TAG;

export interface ReturnGate {
  readonly mac: Mac;
  readonly ip: Ip;
  /** Of its connections, and the number of the routing table that leads back to it. */
  readonly mark: number;
}

/**
 * Gates by the marks of their connections: the lower three bytes of a gate's address, which are its own in any subnet up to
 * /8, so that a mark stays with its gate whatever other gates come and go.
 */
export function gatesOf({ gates }: ReturnPath): ReturnGate[] {
  const byMark = new Map<number, ReturnGate>();
  for (const { mac, ip } of gates) {
    if (isIpv6(ip)) continue;
    const mark = TAG + (addressNumber(ip) % 2 ** 24);
    byMark.set(mark, { mac, ip, mark });
  }
  return [...byMark.values()];
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
 * @param local the address that the sandbox has where its default route goes; null: that is by the leg, or nowhere
 */
export function returnsFor(path: ReturnPath, where: NetnsPath, local: Ip | null): DesiredTable {
  const marked = `ct mark & 0x${TAG_MASK.toString(16)} == 0x${TAG.toString(16)}`;
  const copy = `${marked} meta mark set ct mark`;
  return tableOf(
    returnTable(where),
    [
      {
        ...{ name: 'prerouting', type: 'filter', hook: 'prerouting', priority: 'mangle' },
        rules: [
          copy,
          // All that follows is of the first packet of a connection.
          'ct state != new return',
          'meta nfproto != ipv4 return',
          `ether daddr != ${path.mac} return`,
          'ct mark set ether saddr map @gates',
          // The others there publish something, too, and are of networks that have nothing to do with each other.
          `ct mark & 0x${TAG_MASK.toString(16)} != 0x${TAG.toString(16)} drop`,
          copy,
        ],
      },
      ...(local === null
        ? []
        : [
            {
              ...({ name: 'datagrams', type: 'nat', hook: 'prerouting', priority: 'dstnat' } as const),
              rules: [`${marked} ether daddr ${path.mac} meta l4proto udp dnat ip to ${local}`],
            },
          ]),
      { ...{ name: 'output', type: 'route', hook: 'output', priority: 'mangle' }, rules: [copy] },
    ],
    new Map([['gates', new Set(gatesOf(path).map(({ mac, mark }) => `${mac} : ${mark}`))]]),
  );
}
