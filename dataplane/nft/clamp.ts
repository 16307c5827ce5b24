import type { DesiredOverlay } from '../desired.ts';
import { vxlanName } from '../names.ts';
import { isIpv6 } from '../values.ts';
import { AGENTS_TABLE, type Chain, CLAMP_TABLE, type DesiredTable, tableOf } from './tables.ts';

/** IP and TCP header without options: RFC 9293, section 3.7.1; RFC 8200, section 8.3. */
const headerBytes = { ip: 40, ip6: 60 } as const;
const ethernetMtu = 1500;
/** VXLAN over IPv4 and IPv6 (RFC 7348). */
const overheadBytes = { 4: 50, 6: 70 } as const;

/**
 * The table that keeps TCP connections from agreeing on segments that the network does not take: where it takes less than
 * Ethernet leaves, hosts come to know so one after the other, and what is behind a sandbox (another namespace, a machine)
 * never does. By the VXLAN devices' names and not the bridges', since not every kernel can match those (nft_meta_bridge);
 * between sandboxes of one host everything has one MTU. `maxseg` only ever lowers. Null when no network needs it, as
 * mostly, so that then no frame is looked at.
 */
export function clampFor(overlays: readonly DesiredOverlay[]): DesiredTable | null {
  const rules = overlays
    .filter(isSmall)
    .flatMap(({ vni, mtu }) =>
      ['iifname', 'oifname'].flatMap((side) =>
        (['ip', 'ip6'] as const).map(
          (type) =>
            `${side} "${vxlanName(vni)}" ether type ${type} tcp option maxseg size set ${mtu - headerBytes[type]}`,
        ),
      ),
    );
  if (rules.length === 0) return null;
  const chain: Chain = {
    ...{ name: 'forward', type: 'filter', hook: 'forward', priority: 'filter' },
    // Of all that goes on after the first packets of a connection nothing comes this far.
    rules: ['meta l4proto != tcp return', 'tcp flags & (fin | syn | rst) != syn return', ...rules],
  };
  return tableOf(CLAMP_TABLE, [chain]);
}

/** What IPv6 asks of every link (RFC 8200), less the headers: what gets that far gets everywhere. */
const agentsMss = 1280 - headerBytes.ip6;

/**
 * The table that makes connections between agents start with segments that nearly every path takes: where a path loses
 * larger packets without a word (a black hole), that is found by probes, and it is over these connections that others hear
 * of it. Waiting for a connection to die and dial again took half a minute, and a join would have failed. They carry little.
 * Of what goes out and of what comes in, so that one end suffices: who joins has no such table yet. Null without ports.
 */
export function agentsClampFor(ports: readonly number[]): DesiredTable | null {
  if (ports.length === 0) return null;
  const set = `{ ${ports.join(', ')} }`;
  const rules = [
    'meta l4proto != tcp return',
    'tcp flags & (fin | syn | rst) != syn return',
    ...['dport', 'sport'].map((end) => `tcp ${end} ${set} tcp option maxseg size set ${agentsMss}`),
  ];
  const chains = (['input', 'output'] as const).map(
    (hook): Chain => ({ name: hook, type: 'filter', hook, priority: 'filter', rules }),
  );
  return tableOf(AGENTS_TABLE, chains);
}

const isSmall = ({ mtu, vtep }: DesiredOverlay): boolean => mtu < ethernetMtu - overheadBytes[isIpv6(vtep) ? 6 : 4];
