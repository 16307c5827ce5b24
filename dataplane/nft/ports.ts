import type { Desired } from '../desired.ts';
import { overlayPortName } from '../names.ts';
import { addressOf } from '../values.ts';
import { type Chain, type DesiredTable, PORTS_TABLE, tableOf } from './tables.ts';

// Neighbour discovery: source address in the IPv6 header, target behind eight bytes of ICMPv6 (RFC 4861, section 4.3, 4.4).
const SOURCE = { prefix: '@nh,64,16', whole: '@nh,64,128' };
const TARGET = { prefix: '@th,64,16', whole: '@th,64,128' };

/** Not of the link (fe80::/10) and not one that this port has; `::` asks whether an address is free. */
const claims = ({ prefix, whole }: typeof SOURCE): string =>
  `${prefix} & 0xffc0 != 0xfe80 ${whole} != 0x0 iifname . ${whole} != @nds drop`;

/**
 * The table that keeps a container from saying that another's address is its own. Which MAC is behind which port, and
 * which of other hosts is where, the kernel does not learn; but neighbours on this host believe ARP (RFC 826) and neighbour
 * discovery, and routers that announce themselves. Data itself is not looked at: what a container sends under a
 * foreign address draws nobody's traffic, and the ingress node sends under its clients'.
 */
export function portsFor({ sandboxes }: Pick<Desired, 'sandboxes'>): DesiredTable {
  const arps = new Set<string>();
  const nds = new Set<string>();
  for (const { overlayLegs } of sandboxes) {
    for (const { endpointId, mac, addresses } of overlayLegs) {
      const port = overlayPortName(endpointId);
      for (const ip of addresses.map(addressOf)) {
        if (ip.includes(':')) nds.add(`${port} ${ip}`);
        else arps.add(`${port} ${ip} ${mac}`);
      }
    }
  }
  const elements = new Map([
    ['arps', arps],
    ['nds', nds],
  ]);
  return tableOf(PORTS_TABLE, CHAINS, elements);
}

const CHAINS: readonly Chain[] = [
  {
    ...{ name: 'prerouting', type: 'filter', hook: 'prerouting', priority: 'filter' },
    rules: [
      // Nearly every packet ends here. ICMPv6 by number: its name is in /etc/protocols, which a small host may lack.
      'ether type ip return',
      'ether type ip6 meta l4proto != 58 return',
      'iifname != "wv*" return',
      'arp saddr ip != 0.0.0.0 iifname . arp saddr ip . arp saddr ether != @arps drop',
      'icmpv6 type { nd-router-advert, nd-redirect } drop',
      `icmpv6 type nd-neighbor-solicit ${claims(SOURCE)}`,
      `icmpv6 type nd-neighbor-advert ${claims(TARGET)}`,
    ],
  },
];
