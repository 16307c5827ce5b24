import { type ChildProcess, fork } from 'node:child_process';
import { rmSync } from 'node:fs';
import { bundleWorker } from './bundle.ts';
import type { Mutant } from './mutants.ts';
import type { Outcome } from './run.ts';

export interface Batch {
  /** Each is one run. */
  readonly seeds: Iterable<number>;
  readonly jobs: number;
  readonly mutant?: Mutant;
  /** Told of every run, in the order of the seeds. @returns false when no more runs are wanted */
  readonly report: (seed: number, outcome: Outcome) => boolean;
}

/** Runs the seeds, spread over processes. @throws when a worker dies, or fails outside of a run */
export async function runSeeds({ seeds, jobs, mutant, report }: Batch): Promise<void> {
  const file = await bundleWorker(mutant ?? null);
  const queue = [...seeds];
  const outcomes = new Map<number, Outcome>();
  let reported = 0;
  let wanted = true;
  const take = (seed: number, outcome: Outcome): void => {
    outcomes.set(seed, outcome);
    for (let next = queue[reported]; next !== undefined; next = queue[reported]) {
      const due = outcomes.get(next);
      if (due === undefined || !wanted) return;
      outcomes.delete(next);
      reported += 1;
      wanted = report(next, due);
    }
  };
  let started = 0;
  const work = async (worker: ChildProcess): Promise<void> => {
    try {
      while (wanted && started < queue.length) {
        const seed = queue[started] ?? 0;
        started += 1;
        take(seed, await outcomeOf(worker, seed));
      }
    } finally {
      worker.disconnect();
    }
  };
  const execArgv = [
    '--enable-source-maps',
    // Young objects die in the nursery when it has room; the default costs a tenth of the time, half of this a twentieth.
    '--min-semi-space-size=128',
    '--max-semi-space-size=128',
    // A failed run is told in one line, and replayed in a process where errors have their stacks: to note them costs.
    '--stack-trace-limit=0',
    // There is a worker for each core: collecting and compiling beside it would take from another.
    '--single-threaded',
  ];
  try {
    await Promise.all(Array.from({ length: jobs }, () => work(fork(file, { execArgv }))));
  } finally {
    rmSync(file, { force: true });
  }
}

function outcomeOf(worker: ChildProcess, seed: number): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const dead = (code: number | null): void => reject(new Error(`seed ${seed}: the worker ended with ${code}`));
    worker.once('exit', dead);
    worker.once('message', (message: Outcome | { error: string }) => {
      worker.off('exit', dead);
      if ('error' in message) reject(new Error(`seed ${seed}: ${message.error}`));
      else resolve(message);
    });
    worker.send(String(seed));
  });
}
