// Roots and mesh keys change the same way: each has a number one higher than the one before, the highest counts, and of
// two made at the same moment the one whose name sorts first. When one is done, all before it and beside it are dropped.

/** Later than any that a record may say. */
export const maxGeneration = Number.MAX_SAFE_INTEGER;

export interface Generation {
  readonly generation: number;
  readonly done: boolean;
}

/** The name of the one that counts, or null when there is none. What is done rules out what was made beside it. */
export function newest(all: ReadonlyMap<string, Generation>): string | null {
  const done = first(all, (each) => each.done);
  const since = done === null ? 0 : (all.get(done)?.generation ?? 0);
  return first(all, ({ generation }) => generation > since) ?? done;
}

/** Which of `held` are to be dropped. What is in no table is the first of all, older than any that is. */
export function outlived(all: ReadonlyMap<string, Generation>, held: readonly string[]): string[] {
  const done = first(all, (each) => each.done);
  if (done === null) return [];
  const since = all.get(done)?.generation ?? 0;
  const isKept = (name: string): boolean => name === done || (all.get(name)?.generation ?? 0) > since;
  // Whoever has not got the one that is done keeps what it has: it could not be reached otherwise.
  return held.includes(done) || held.some((name) => (all.get(name)?.generation ?? 0) > since)
    ? held.filter((name) => !isKept(name))
    : [];
}

function first(all: ReadonlyMap<string, Generation>, counts: (each: Generation) => boolean): string | null {
  let best: string | null = null;
  for (const [name, each] of all) {
    if (!counts(each)) continue;
    const known = best === null ? undefined : all.get(best);
    const order = known === undefined ? 1 : each.generation - known.generation;
    if (best === null || order > 0 || (order === 0 && name < best)) best = name;
  }
  return best;
}
