import { randomInt } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { bundledSimulate } from './bundle.ts';
import { huntAll, mutantsNamed } from './hunt.ts';
import type { Outcome } from './run.ts';
import { runSeeds } from './workers.ts';

// A third of the runs of a real search; half of them are found within ten.
const huntLimit = 3_000;

const usage = `usage: npm run sim -- [--seeds N] [--seed S] [--jobs J] [--verbose]

       npm run sim -- --mutants [--only NAMES] [--seeds N] [--seed S] [--jobs J]

       npm run sim -- --scale N,N,…

Runs the control plane under simulated faults; or, with --scale, measures how a record spreads among so many nodes, as
\`npm run bench -- scale --nodes N,N,…\` does.

  --seeds N    N runs, from a random base seed on or from S: S, S+1, … (default 100)
  --seed S     that one run; with --seeds, the first of them
  --jobs J     processes to spread the runs over (default: one a core)
  --verbose    tell the story of each run, one after the other
  --mutants    put deliberate faults into the code, one at a time, and tell how soon each is found: within N
               runs (default 3000), or it has survived and the exit code is 1
  --only       these mutants: names with commas between, or quick
`;

interface Totals {
  readonly failed: number[];
  readonly agreedAfterMs: number[];
  steps: number;
  operations: number;
}

/** Arguments as whole numbers. @throws on anything else */
function whole(text: string, what: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${what} ${text}: want a whole number`);
  return value;
}

function take(totals: Totals, seed: number, { failure, agreedAfterMs, steps, operations }: Outcome): void {
  totals.steps += steps;
  totals.operations += operations;
  if (failure === null) totals.agreedAfterMs.push(agreedAfterMs);
  else {
    totals.failed.push(seed);
    process.stdout.write(`seed ${seed} failed: ${failure}\n`);
    process.stdout.write(`  replay: npm run sim -- --seed ${seed} --verbose\n`);
  }
}

/** On a terminal a line that is written over. */
function progress(done: number, count: number, failed: number): void {
  if (!process.stderr.isTTY) return;
  process.stderr.write(done < count ? `\r${done} of ${count} runs, ${failed} failed\u001b[K` : '\r\u001b[K');
}

function summary(totals: Totals, count: number, first: number, seconds: number): string {
  const { failed, agreedAfterMs, steps, operations } = totals;
  agreedAfterMs.sort((a, b) => a - b);
  const at = (share: number): string => String(agreedAfterMs[Math.floor((agreedAfterMs.length - 1) * share)] ?? '-');
  return [
    `${count - failed.length} of ${count} runs held (base seed ${first}) in ${seconds.toFixed(1)} s`,
    `a run: ${Math.round(operations / count)} operations and faults, ${Math.round(steps / count)} steps`,
    `agreed after p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`,
    ...(failed.length === 0 ? [] : [`failed seeds: ${failed.join(', ')}`]),
  ].join('\n');
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string' },
      seed: { type: 'string' },
      jobs: { type: 'string' },
      verbose: { type: 'boolean', default: false },
      mutants: { type: 'boolean', default: false },
      only: { type: 'string', default: 'all' },
      scale: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return 0;
  }
  if (values.scale !== undefined) {
    process.argv.splice(2, Number.POSITIVE_INFINITY, 'scale', '--nodes', values.scale);
    await import('../bench/main.ts');
    return Number(process.exitCode);
  }
  const first = values.seed === undefined ? randomInt(2 ** 40) : whole(values.seed, 'seed');
  const jobs = values.jobs === undefined ? availableParallelism() : Math.max(1, whole(values.jobs, 'jobs'));
  if (values.mutants) {
    const limit = values.seeds === undefined ? huntLimit : whole(values.seeds, 'seeds');
    return (await huntAll(mutantsNamed(values.only), first, limit, jobs)) ? 0 : 1;
  }
  const count = values.seeds === undefined ? (values.seed === undefined ? 100 : 1) : whole(values.seeds, 'seeds');
  const seeds = Array.from({ length: count }, (_, i) => first + i);
  const totals: Totals = { failed: [], agreedAfterMs: [], steps: 0, operations: 0 };
  const startedMs = performance.now();
  if (values.verbose || count === 1) {
    const print = (line: string): boolean => process.stdout.write(`${line}\n`);
    const simulate = await bundledSimulate();
    for (const seed of seeds) {
      const outcome = await simulate(String(seed), values.verbose ? print : null);
      print(`seed ${seed}: trace ${outcome.trace}`);
      take(totals, seed, outcome);
    }
  } else {
    let done = 0;
    const report = (seed: number, outcome: Outcome): boolean => {
      done += 1;
      take(totals, seed, outcome);
      progress(done, count, totals.failed.length);
      return true;
    };
    await runSeeds({ seeds, jobs: Math.min(jobs, count), report });
  }
  process.stdout.write(`${summary(totals, count, first, (performance.now() - startedMs) / 1000)}\n`);
  return totals.failed.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`sim: ${error instanceof Error ? error.message : String(error)}\n${usage}`);
  process.exitCode = 2;
}
