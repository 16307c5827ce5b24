import { rmSync } from 'node:fs';
import { bundledSimulate, bundleWorker } from './bundle.ts';
import { type Mutant, mutants } from './mutants.ts';
import type { Outcome } from './run.ts';
import { runSeeds } from './workers.ts';

export interface Hunt {
  readonly mutant: Mutant;
  /** How many runs it took; all of them when it survived. */
  readonly seeds: number;
  /** By what it was found, and in which run; null when it survived. */
  readonly found: { readonly seed: number; readonly failure: string } | null;
  readonly seconds: number;
}

/**
 * Runs seeds from `first` on until one of them finds the mutant, `limit` at most. A run that fails without the mutant too
 * has not found it.
 */
export async function hunt(mutant: Mutant, first: number, limit: number, jobs: number): Promise<Hunt> {
  const startedMs = performance.now();
  const seconds = (): number => (performance.now() - startedMs) / 1000;
  let seeds = 0;
  while (seeds < limit) {
    const suspects: NonNullable<Hunt['found']>[] = [];
    const report = (seed: number, { failure }: Pick<Outcome, 'failure'>): boolean => {
      seeds += 1;
      if (failure !== null) suspects.push({ seed, failure });
      return failure === null;
    };
    const rest = Array.from({ length: limit - seeds }, (_, i) => first + seeds + i);
    await runSeeds({ seeds: rest, jobs, mutant, report });
    const [found] = suspects;
    if (found === undefined) break;
    const simulate = await bundledSimulate();
    if ((await simulate(String(found.seed))).failure === null) return { mutant, seeds, found, seconds: seconds() };
  }
  return { mutant, seeds, found: null, seconds: seconds() };
}

/** Hunts one after the other and prints a table. @returns whether all were found */
export async function huntAll(chosen: readonly Mutant[], first: number, limit: number, jobs: number): Promise<boolean> {
  const width = Math.max(...chosen.map(({ name }) => name.length));
  const line = (...[name = '', runs = '', seconds = '', how = '']: string[]): void => {
    process.stdout.write(`${name.padEnd(width)}  ${runs.padStart(5)}  ${seconds.padStart(7)}  ${how}\n`);
  };
  line('MUTANT', 'RUNS', 'SECONDS', 'FOUND BY');
  let survived = 0;
  for (const mutant of chosen) {
    const { seeds, found, seconds } = await hunt(mutant, first, limit, jobs);
    if (found === null) survived += 1;
    const how = found === null ? 'SURVIVED' : `seed ${found.seed}: ${found.failure}`;
    line(mutant.name, String(seeds), seconds.toFixed(1), how);
  }
  process.stdout.write(`${chosen.length - survived} of ${chosen.length} mutants found (base seed ${first})\n`);
  return survived === 0;
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
  for (const mutant of mutants) rmSync(await bundleWorker(mutant));
}
