import { createHash } from 'node:crypto';
import { OUR_ALIAS } from './names.ts';
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

export interface Rules {
  /** Identifies the content; every rule carries it in its comment, so a listing tells whether the table is whole. */
  readonly digest: string;
  /** nft script that replaces the whole table in one transaction. */
  readonly script: string;
}

/** The whole of table `inet weft`. Deterministic. */
export function rulesFor(input: RulesInput): Rules {
  const chains = chainsFor(input);
  const digest = createHash('sha256').update(JSON.stringify(chains)).digest('hex').slice(0, 16);
  const ruleCount = chains.reduce((count, chain) => count + chain.rules.length, 0);
  const body = chains.map(
    (chain) =>
      `  chain ${chain.name} {\n    type ${chain.type} hook ${chain.name} priority ${chain.priority}; policy accept;\n` +
      `${chain.rules.map((rule) => `    ${rule} comment "weft ${digest} ${ruleCount}"\n`).join('')}  }\n`,
  );
  // Adding first makes the delete succeed whether or not there was a table; all three are one transaction.
  const script = `add table inet ${OUR_ALIAS}\ndelete table inet ${OUR_ALIAS}\ntable inet ${OUR_ALIAS} {\n${body.join('')}}\n`;
  return { digest, script };
}

interface Chain {
  readonly name: 'postrouting' | 'forward';
  readonly type: 'nat' | 'filter';
  readonly priority: 'srcnat' | 'filter';
  readonly rules: readonly string[];
}

function chainsFor({ bridge, address, bridgeIsOurs, guardForwarding }: RulesInput): Chain[] {
  const chains: Chain[] = [
    {
      name: 'postrouting',
      type: 'nat',
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
  if (forward.length > 0) chains.push({ name: 'forward', type: 'filter', priority: 'filter', rules: forward });
  return chains;
}

/**
 * Reads `nft -j list table inet weft`: the digest when every rule carries the same one and their number is the number
 * that was written, else `altered`.
 */
export function digestOfListing(json: string): string {
  return digestOfComments(rulesIn(json));
}

/** The same, of the comments of all rules. */
export function digestOfComments(listed: readonly string[]): string {
  const first = /^weft ([0-9a-f]{16}) (\d+)$/.exec(listed[0] ?? '');
  if (!first?.[1] || Number(first[2]) !== listed.length) return 'altered';
  return listed.every((comment) => comment === listed[0]) ? first[1] : 'altered';
}

function rulesIn(json: string): string[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    return [];
  }
  const list = typeof parsed === 'object' && parsed !== null && 'nftables' in parsed ? parsed.nftables : null;
  if (!Array.isArray(list)) return [];
  const comments: string[] = [];
  for (const item of list as unknown[]) {
    if (typeof item !== 'object' || item === null || !('rule' in item)) continue;
    const rule = item.rule;
    const comment = typeof rule === 'object' && rule !== null && 'comment' in rule ? rule.comment : '';
    comments.push(typeof comment === 'string' ? comment : '');
  }
  return comments;
}
