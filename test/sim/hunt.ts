import { bundleWorker } from './bundle.ts';
import { type Mutant, mutants } from './mutants.ts';
import { runSeeds } from './workers.ts';

export interface Hunt {
  readonly mutant: Mutant;
  /** How many runs it took; all of them when it survived. */
  readonly seeds: number;
  /** By what it was found, and in which run; null when it survived. */
  readonly found: { readonly seed: number; readonly failure: string } | null;
  readonly seconds: number;
}

/** Runs seeds from `first` on until one of them finds the mutant, `limit` at most. */
export async function hunt(mutant: Mutant, first: number, limit: number, jobs: number): Promise<Hunt> {
  const startedMs = performance.now();
  let seeds = 0;
  let found: Hunt['found'] = null;
  const report = (seed: number, { failure }: { failure: string | null }): boolean => {
    seeds += 1;
    if (failure !== null) found = { seed, failure };
    return failure === null;
  };
  await runSeeds({ seeds: Array.from({ length: limit }, (_, i) => first + i), jobs, mutant, report });
  return { mutant, seeds, found, seconds: (performance.now() - startedMs) / 1000 };
}

/** Mutants by name; all, or the quick ones. @throws on an unknown name */
export function mutantsNamed(names: string): readonly Mutant[] {
  if (names === 'all') return mutants;
  if (names === 'quick') return mutants.filter(({ quick }) => quick === true);
  return names.split(',').map((name) => {
    const mutant = mutants.find((each) => each.name === name);
    if (mutant === undefined) throw new Error(`no mutant ${name}: ${mutants.map((each) => each.name).join(', ')}`);
    return mutant;
  });
}

/** Makes every mutant without running it. @throws when one no longer fits the code */
export async function checkMutants(): Promise<void> {
  for (const mutant of mutants) await bundleWorker(mutant);
}
