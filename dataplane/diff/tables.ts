import { type DesiredTable, OUR_TABLES, type OurTable, tableName } from '../nft/tables.ts';
import { leftoverObject } from '../objects.ts';
import type { Draft, Phase } from './diff.ts';

/** Makes a table whole, or its sets right: what comes in at once, in the given phase; what goes, when all else is done. */
export function diffTable(
  draft: Draft,
  phase: Phase,
  object: string,
  wanted: DesiredTable,
  needs: readonly string[] = [],
): void {
  const { table, digest, elements } = wanted;
  const name = tableName(table);
  const there = draft.observed.tables.get(name);
  if (there?.digest !== digest) {
    const why = !there ? 'missing' : there.digest === 'altered' ? 'was altered' : 'differs in content';
    draft.step(phase, object, `nft table ${name} ${why}`, { kind: 'table-replace', ...wanted }, needs);
    return;
  }
  for (const set of Object.keys(table.sets)) {
    const want = elements.get(set) ?? new Set();
    const have = there.elements.get(set) ?? new Set();
    const missing = [...want].filter((key) => !have.has(key));
    if (missing.length > 0) {
      const action = { kind: 'elements', op: 'add', table, set, keys: missing } as const;
      draft.step(phase, object, `${named(missing)} in set ${set} of ${name} missing`, action, needs);
    }
    const extra = draft.options.prune ? [...have].filter((key) => !want.has(key)) : [];
    if (extra.length > 0) {
      const action = { kind: 'elements', op: 'delete', table, set, keys: extra } as const;
      draft.step('unused', object, `${named(extra)} in set ${set} of ${name} extra`, action, needs);
    }
  }
}

/** The first few. */
const named = (keys: readonly string[]): string =>
  keys.slice(0, 3).join(', ') + (keys.length > 3 ? ` and ${keys.length - 3} more` : '');

/** Removes tables of ours that nothing wants. */
export function removeUnusedTables(draft: Draft, wanted: ReadonlySet<OurTable>): void {
  for (const table of OUR_TABLES) {
    const name = tableName(table);
    if (wanted.has(table) || !draft.observed.tables.has(name)) continue;
    draft.step('unused', leftoverObject(`nft table ${name}`), 'extra', { kind: 'table-delete', table });
  }
}
