import { type Chain, type DesiredTable, GATEWAY_TABLE, tableOf } from './tables.ts';
import type { Cidr, IfName } from './values.ts';

/** What the firewall and NAT rules of the gateway bridge follow from. */
export interface RulesInput {
  readonly bridge: IfName;
  /** The bridge's own address with its prefix length. */
  readonly address: Cidr;
  /** True when we made the bridge. Who made an adopted one (Docker) also guards it, and publishes ports through it. */
  readonly bridgeIsOurs: boolean;
  /** True when the host forwarded nothing until we switched forwarding on. */
  readonly guardForwarding: boolean;
}

/** The whole of table `inet weft`. Deterministic. */
export const rulesFor = (input: RulesInput): DesiredTable => tableOf(GATEWAY_TABLE, chainsFor(input));

function chainsFor({ bridge, address, bridgeIsOurs, guardForwarding }: RulesInput): Chain[] {
  const chains: Chain[] = [
    {
      name: 'postrouting',
      type: 'nat',
      hook: 'postrouting',
      priority: 'srcnat',
      rules: [`ip saddr ${address} oifname != "${bridge}" masquerade`],
    },
  ];
  const forward: string[] = [];
  if (bridgeIsOurs) {
    forward.push(
      `oifname "${bridge}" ct state established,related accept`,
      // Port isolation already stops bridged frames; this stops the same traffic when it is routed.
      `iifname "${bridge}" oifname "${bridge}" drop`,
      `oifname "${bridge}" drop`,
    );
  }
  // The host's owner did not ask for a router between its networks; only our bridge needs forwarding. Devices of these
  // kinds are made to be forwarded from and to by whoever made them (Docker, libvirt, a VPN), so they are left alone.
  if (guardForwarding) {
    forward.push(...['iifkind', 'oifkind'].map((key) => `meta ${key} { "bridge", "tun", "wireguard" } return`), 'drop');
  }
  if (forward.length > 0) {
    chains.push({ name: 'forward', type: 'filter', hook: 'forward', priority: 'filter', rules: forward });
  }
  return chains;
}
