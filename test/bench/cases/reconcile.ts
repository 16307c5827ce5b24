import type { Benchmark } from '../benchmark.ts';
import { measureEntries } from '../entries.ts';
import { percentile } from '../report.ts';
import type { EntriesResult } from '../tools/entries.ts';

const GOALS = { ratio: 2, stallMs: 20 } as const;

/** What it costs to find that nothing is to be done. */
export const benchmark: Benchmark = {
  name: 'reconcile',
  summary: 'a full pass over endpoints that are all as wanted, beside a C program that only lists their entries',
  options: {
    entries: 'remote endpoints, each an FDB and a neighbour entry (100000)',
    samples: 'passes of a run (3)',
    runs: 'runs, each of which programs them all first (7)',
  },
  run: async (context) => {
    const [entries = 100_000] = context.numbers('entries', [100_000]);
    const [passes = 3] = context.numbers('samples', [3]);
    const [runs = 7] = context.numbers('runs', [7]);
    const results: EntriesResult[] = [];
    for (let run = 0; run < runs; run++) results.push(await measureEntries('reconcile', entries, passes));
    const common = { case: `${entries} endpoints`, samples: runs };
    const median = (of: (result: EntriesResult) => number): number => percentile(results.map(of), 0.5);
    context.report({
      ...{ ...common, metric: 'full pass, nothing to do, p50', unit: 'ms' },
      value: median(({ ours }) => percentile(ours, 0.5)),
      peer: { name: 'c', value: median(({ peer }) => percentile(peer, 0.5)) },
    });
    context.report({
      ...{ ...common, metric: 'against the listing in C, p50', unit: 'x' },
      value: median(({ ours, peer }) => percentile(ours, 0.5) / percentile(peer, 0.5)),
      goal: { than: '<', limit: GOALS.ratio },
    });
    context.report({
      ...{ ...common, metric: 'event loop kept, at most in a run, also while they were programmed, p50', unit: 'ms' },
      value: median(({ stallMs }) => stallMs),
      peer: { name: 'nothing', value: median(({ stallOfNothingMs }) => stallOfNothingMs) },
      goal: { than: '<', limit: GOALS.stallMs },
    });
    context.report({
      ...{ ...common, metric: 'the same, worst run', unit: 'ms' },
      value: Math.max(...results.map(({ stallMs }) => stallMs)),
      peer: { name: 'nothing', value: Math.max(...results.map(({ stallOfNothingMs }) => stallOfNothingMs)) },
    });
  },
};
