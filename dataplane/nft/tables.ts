import { createHash } from 'node:crypto';
import { OUR_ALIAS, OVERLAY_NETNS } from '../names.ts';
import type { NftTable } from '../rtnetlink/nft-wire.ts';
import type { Where } from '../steps.ts';
import type { NetnsPath } from '../values.ts';
import { declarationOf, type ElementKind, elementInScript } from './elements.ts';

/** An nft table of ours, and those of its sets and maps whose elements change while the rules stay. */
export interface OurTable extends NftTable {
  readonly where: Where;
  readonly sets: { readonly [name: string]: ElementKind };
  /** Those of `sets` that are there only where something is wanted of them. @default none */
  readonly optional?: readonly string[];
}

/** Masquerade, published ports and forwarding around the bridges of the host (rules.ts). */
export const BRIDGES_TABLE: OurTable = { where: null, family: 'inet', name: OUR_ALIAS, sets: {} };
/** Who may send VXLAN frames to this host (guard.ts). */
export const GUARD_TABLE: OurTable = {
  where: null,
  family: 'inet',
  name: `${OUR_ALIAS}_guard`,
  sets: { vteps4: 'ipv4', vteps6: 'ipv6', vnis: 'vni' },
};
/** What containers may say of themselves on the overlays' bridges (ports.ts). */
export const PORTS_TABLE: OurTable = {
  where: OVERLAY_NETNS,
  family: 'bridge',
  name: `${OUR_ALIAS}_ports`,
  sets: { arps: 'arp', nds: 'nd' },
};
/** How long TCP segments may be on networks that take less than Ethernet leaves (clamp.ts). */
export const CLAMP_TABLE: OurTable = {
  where: OVERLAY_NETNS,
  family: 'bridge',
  name: `${OUR_ALIAS}_mss`,
  sets: {},
};
/** The same of the connections between agents (clamp.ts). */
export const AGENTS_TABLE: OurTable = { where: null, family: 'inet', name: `${OUR_ALIAS}_agents`, sets: {} };
/** Rules of the host's owner (user.ts): we make it and, as long as nothing was put in it, remove it. */
export const USER_TABLE: OurTable = { where: null, family: 'inet', name: `${OUR_ALIAS}_user`, sets: {} };
export const OUR_TABLES: readonly OurTable[] = [
  BRIDGES_TABLE,
  GUARD_TABLE,
  PORTS_TABLE,
  CLAMP_TABLE,
  AGENTS_TABLE,
  USER_TABLE,
];

/** What a gate leads where (mesh.ts). In the host's ingress sandbox. */
export const meshTable = (where: NetnsPath): OurTable => ({
  ...{ where, family: 'inet', name: `${OUR_ALIAS}_mesh` },
  sets: {
    ...{ ports: 'service', backends: 'slot', ids: 'ipv4Mark' },
    ...{ ports6: 'service', backends6: 'slot6', ids6: 'ipv6Mark' },
  },
  optional: ['ports6', 'backends6', 'ids6'],
});
/** By which gate answers go back (returns.ts). In the sandbox of a backend. */
export const returnTable = (where: NetnsPath): OurTable => ({
  ...{ where, family: 'inet', name: `${OUR_ALIAS}_return` },
  sets: { gates: 'macMark' },
});
/** Where connections to virtual addresses are led (vips.ts). In the sandbox that they come from. */
export const vipTable = (where: NetnsPath): OurTable => ({
  ...{ where, family: 'inet', name: `${OUR_ALIAS}_vip` },
  sets: { slots4: 'turn4', slots6: 'turn6', vips4: 'goto4', vips6: 'goto6' },
});
/** All tables of ours that can be in a namespace. */
export function tablesIn(where: Where): readonly OurTable[] {
  if (where !== null && where !== OVERLAY_NETNS) return [meshTable(where), returnTable(where), vipTable(where)];
  return OUR_TABLES.filter((table) => table.where === where);
}

/** `inet weft`: its name for people, and its key among those of its namespace. */
export const tableName = ({ family, name }: NftTable): string => `${family} ${name}`;

/** What a table holds, elements by set, each as text (elements.ts). */
export interface TableContent {
  /** Identifies all but the elements; every rule carries it in its comment, so a listing tells whether the table is whole. */
  readonly digest: string;
  readonly elements: ReadonlyMap<string, ReadonlySet<string>>;
}

export interface DesiredTable extends TableContent {
  readonly table: OurTable;
  /** nft script that replaces the whole table in one transaction. */
  readonly script: string;
}

export interface Chain extends Partial<Hooked> {
  readonly name: string;
  readonly rules: readonly string[];
}

/** Of a chain that packets come to by themselves; to others rules lead. */
interface Hooked {
  readonly type: 'nat' | 'filter' | 'route';
  readonly hook: 'input' | 'output' | 'forward' | 'prerouting' | 'postrouting';
  readonly priority: string;
}

/** The whole of a table. Deterministic. @param kept declarations of sets whose elements are the kernel's own business */
export function tableOf(
  table: OurTable,
  chains: readonly Chain[],
  elements: ReadonlyMap<string, ReadonlySet<string>> = new Map(),
  kept = '',
): DesiredTable {
  const digest = contentDigest(chains, kept);
  return {
    ...{ table, digest, elements },
    // Of 10,000 elements it is long, and nearly always only elements change.
    get script() {
      return scriptOf(table, chains, elements, kept, digest);
    },
  };
}

// Of 1,000 sandboxes all may have the same chains.
const digests = new WeakMap<readonly Chain[], { readonly kept: string; readonly digest: string }>();

function contentDigest(chains: readonly Chain[], kept: string): string {
  const known = digests.get(chains);
  if (known?.kept === kept) return known.digest;
  const digest = createHash('sha256').update(JSON.stringify(chains)).update(kept).digest('hex').slice(0, 16);
  digests.set(chains, { kept, digest });
  return digest;
}

function scriptOf(
  table: OurTable,
  chains: readonly Chain[],
  elements: ReadonlyMap<string, ReadonlySet<string>>,
  kept: string,
  digest: string,
): string {
  const ruleCount = chains.reduce((count, chain) => count + chain.rules.length, 0);
  const declared = Object.entries(table.sets).filter(([name]) => elements.has(name) || !table.optional?.includes(name));
  const sets = declared.map(([name, kind]) => {
    const list = [...(elements.get(name) ?? [])].map((text) => elementInScript(kind, text)).join(', ');
    // nft 1.0.6 wants the closing brace on a line of its own.
    const { word, type } = declarationOf(kind);
    return `  ${word} ${name} {\n    ${type}\n${list === '' ? '' : `    elements = { ${list} }\n`}  }\n`;
  });
  const body = chains.map(
    ({ name, type, hook, priority, rules }) =>
      `  chain ${name} {\n${hook ? `    type ${type} hook ${hook} priority ${priority}; policy accept;\n` : ''}` +
      `${rules.map((rule) => `    ${rule} comment "weft ${digest} ${ruleCount}"\n`).join('')}  }\n`,
  );
  const name = tableName(table);
  // Adding first makes the delete succeed whether or not there was a table; all three are one transaction.
  return `add table ${name}\ndelete table ${name}\ntable ${name} {\n${sets.join('')}${kept}${body.join('')}}\n`;
}

/** Digest of the users' table while nothing is in it. */
export const UNTOUCHED = 'untouched';

/** The digest of a table with these comments, one for each rule. */
export function digestOf(table: OurTable, comments: readonly string[]): string {
  if (table !== USER_TABLE) return digestOfComments(comments);
  return comments.length === 0 ? UNTOUCHED : 'altered';
}

/** The digest that the comments of all rules tell, when every rule is there and no other; else `altered`. */
export function digestOfComments(listed: readonly string[]): string {
  const first = /^weft ([0-9a-f]{16}) (\d+)$/.exec(listed[0] ?? '');
  if (!first?.[1] || Number(first[2]) !== listed.length) return 'altered';
  return listed.every((comment) => comment === listed[0]) ? first[1] : 'altered';
}
