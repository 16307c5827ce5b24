import { keyOfElement } from '../nft/elements.ts';
import { type DesiredTable, OUR_TABLES, type OurTable, tableName, UNTOUCHED, USER_TABLE } from '../nft/tables.ts';
import { leftoverObject } from '../objects.ts';
import { type ObservedTable, tablesOf } from '../observe/observed.ts';
import { type SetChange, stepWhere } from '../steps.ts';
import type { Draft, Phase } from './diff.ts';

/**
 * Makes a table whole, or its sets right: what comes in at once, in the given phase; what goes, when all else is done, so that
 * nobody misses it before. In sandboxes that is at once, too: who is a backend no more gets no connections, and a second
 * transaction would wait some 15 ms for the end of the first.
 */
export function diffTable(
  draft: Draft,
  phase: Phase,
  object: string,
  wanted: DesiredTable,
  needs: readonly string[] = [],
  /** When elements come to a table that is there. */
  phaseOf: (added: readonly SetChange[], there: ObservedTable) => Phase = () => phase,
): void {
  const { table, digest, elements } = wanted;
  const name = tableName(table);
  const there = tablesOf(draft.observed, table.where)?.get(name);
  if (there?.digest !== digest) {
    const why = !there ? 'missing' : there.digest === 'altered' ? 'was altered' : 'differs in content';
    draft.step(phase, object, `nft table ${name} ${why}`, { kind: 'table-replace', ...wanted }, needs);
    return;
  }
  const come: SetChange[] = [];
  const go: SetChange[] = [];
  const late = stepWhere({ kind: 'table-delete', table }) === null ? go : come;
  for (const set of Object.keys(table.sets)) compareSet(draft, set, elements, there, come, late);
  if (come.length > 0) {
    const added = come.filter(({ op }) => op === 'add');
    const why = added.length > 0 ? `${named(added)} of ${name} missing` : `${named(come)} of ${name} extra`;
    draft.step(phaseOf(added, there), object, why, { kind: 'elements', table, changes: come }, needs);
  }
  if (go.length > 0) {
    draft.step('unused', object, `${named(go)} of ${name} extra`, { kind: 'elements', table, changes: go }, needs);
  }
}

// Of 1,000 sandboxes with 1,000 elements each all but a few are as they were, and are asked for by the same objects.
const same = new WeakMap<ReadonlySet<string>, ReadonlySet<string>>();

/** What is known of a set is about to be changed. */
export const setChanges = (have: ReadonlySet<string>): void => void same.delete(have);

function compareSet(
  draft: Draft,
  set: string,
  wanted: DesiredTable['elements'],
  there: ObservedTable,
  come: SetChange[],
  go: SetChange[],
): void {
  const want = wanted.get(set) ?? new Set();
  const have = there.elements.get(set) ?? new Set();
  if (same.get(have) === want && have.size === want.size) return;
  const missing = [...want].filter((text) => !have.has(text));
  const extra = have.size + missing.length > want.size ? [...have].filter((text) => !want.has(text)) : [];
  if (missing.length + extra.length === 0) same.set(have, want);
  // In a map a new value takes the place of the old one, at once.
  const keys = new Set(missing.map(keyOfElement));
  const replaced = extra.filter((text) => keys.has(keyOfElement(text)));
  if (replaced.length > 0) come.push({ op: 'delete', set, elements: replaced });
  if (missing.length > 0) come.push({ op: 'add', set, elements: missing });
  const rest = draft.options.prune ? extra.filter((text) => !keys.has(keyOfElement(text))) : [];
  if (rest.length > 0) go.push({ op: 'delete', set, elements: rest });
}

/** The first few. */
const named = (changes: readonly SetChange[]): string =>
  changes.map(({ set, elements }) => `${firstOf(elements)} in set ${set}`).join(', ');
const firstOf = (keys: readonly string[]): string =>
  keys.slice(0, 3).join(', ') + (keys.length > 3 ? ` and ${keys.length - 3} more` : '');

/** Removes tables of ours that nothing wants. */
export function removeUnusedTables(draft: Draft, wanted: ReadonlySet<OurTable>): void {
  for (const table of OUR_TABLES) {
    const name = tableName(table);
    const there = draft.observed.tables.get(name);
    if (wanted.has(table) || !there || (table === USER_TABLE && there.digest !== UNTOUCHED)) continue;
    draft.step('unused', leftoverObject(`nft table ${name}`), 'extra', { kind: 'table-delete', table });
  }
}
