import { createHash } from 'node:crypto';
import { OUR_ALIAS } from './names.ts';
import { ipAt, ipBytes } from './rtnetlink/address-bytes.ts';
import type { NftTable } from './rtnetlink/nft-wire.ts';

/** What the elements of a set are, and how the kernel holds them. */
export type ElementKind = 'ipv4' | 'ipv6' | 'vni';

/** An nft table of ours in the host's namespace, and those of its sets whose elements change while the rules stay. */
export interface OurTable extends NftTable {
  readonly sets: { readonly [name: string]: ElementKind };
}

/** Masquerade, published ports and forwarding around the bridges of the host (rules.ts). */
export const BRIDGES_TABLE: OurTable = { family: 'inet', name: OUR_ALIAS, sets: {} };
/** Who may send VXLAN frames to this host (guard.ts). */
export const GUARD_TABLE: OurTable = {
  family: 'inet',
  name: `${OUR_ALIAS}_guard`,
  sets: { vteps4: 'ipv4', vteps6: 'ipv6', vnis: 'vni' },
};
export const OUR_TABLES: readonly OurTable[] = [BRIDGES_TABLE, GUARD_TABLE];

/** `inet weft`: its name for people, and its key where tables are kept. */
export const tableName = ({ family, name }: NftTable): string => `${family} ${name}`;

/** What a table holds, elements by set; text of an address or a number. */
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

export interface Chain {
  readonly name: string;
  readonly type: 'nat' | 'filter';
  readonly hook: 'input' | 'output' | 'forward' | 'prerouting' | 'postrouting';
  readonly priority: string;
  readonly rules: readonly string[];
}

const TYPES: { readonly [K in ElementKind]: string } = {
  ipv4: 'type ipv4_addr',
  ipv6: 'type ipv6_addr',
  // Bytes 4 to 6 of the VXLAN header (RFC 7348), behind the eight of UDP.
  vni: 'typeof @th,96,24',
};

/** The whole of a table. Deterministic. */
export function tableOf(
  table: OurTable,
  chains: readonly Chain[],
  elements: ReadonlyMap<string, ReadonlySet<string>> = new Map(),
): DesiredTable {
  const digest = createHash('sha256').update(JSON.stringify(chains)).digest('hex').slice(0, 16);
  const ruleCount = chains.reduce((count, chain) => count + chain.rules.length, 0);
  const sets = Object.entries(table.sets).map(([name, kind]) => {
    const list = [...(elements.get(name) ?? [])].join(', ');
    // nft 1.0.6 wants the closing brace on a line of its own.
    return `  set ${name} {\n    ${TYPES[kind]}\n${list === '' ? '' : `    elements = { ${list} }\n`}  }\n`;
  });
  const body = chains.map(
    ({ name, type, hook, priority, rules }) =>
      `  chain ${name} {\n    type ${type} hook ${hook} priority ${priority}; policy accept;\n` +
      `${rules.map((rule) => `    ${rule} comment "weft ${digest} ${ruleCount}"\n`).join('')}  }\n`,
  );
  const name = tableName(table);
  // Adding first makes the delete succeed whether or not there was a table; all three are one transaction.
  const script = `add table ${name}\ndelete table ${name}\ntable ${name} {\n${sets.join('')}${body.join('')}}\n`;
  return { table, digest, script, elements };
}

/** The digest that the comments of all rules tell, when every rule is there and no other; else `altered`. */
export function digestOfComments(listed: readonly string[]): string {
  const first = /^weft ([0-9a-f]{16}) (\d+)$/.exec(listed[0] ?? '');
  if (!first?.[1] || Number(first[2]) !== listed.length) return 'altered';
  return listed.every((comment) => comment === listed[0]) ? first[1] : 'altered';
}

/** An element as the kernel holds it. */
export function elementBytes(kind: ElementKind, text: string): Uint8Array {
  if (kind !== 'vni') return ipBytes(text);
  const vni = Number(text);
  return Uint8Array.of(vni >> 16, (vni >> 8) & 0xff, vni & 0xff);
}

const LENGTHS: { readonly [K in ElementKind]: number } = { ipv4: 4, ipv6: 16, vni: 3 };

/** An element as text; null when it is none of that kind, as in a set that somebody else made. */
export function elementText(kind: ElementKind, bytes: Buffer): string | null {
  if (bytes.length !== LENGTHS[kind]) return null;
  return kind === 'vni' ? String(bytes.readUIntBE(0, 3)) : ipAt(bytes, 0, bytes.length);
}
