import type { Benchmark } from '../benchmark.ts';
import { measureEntries } from '../entries.ts';
import { percentile } from '../report.ts';

const GOALS = { ratio: 2, stallMs: 20 } as const;

/** What it costs to find that nothing is to be done. */
export const benchmark: Benchmark = {
  name: 'reconcile',
  summary: 'a full pass over endpoints that are all as wanted, beside a C program that only lists their entries',
  options: { entries: 'remote endpoints, each an FDB and a neighbour entry (100000)', samples: 'passes (5)' },
  run: async (context) => {
    const [entries = 100_000] = context.numbers('entries', [100_000]);
    const [samples = 5] = context.numbers('samples', [5]);
    const { ours, peer, stallMs } = await measureEntries('reconcile', entries, samples);
    const common = { case: `${entries} endpoints`, samples };
    const [passMs, dumpMs] = [percentile(ours, 0.5), percentile(peer, 0.5)];
    context.report({
      ...{ ...common, metric: 'full pass, nothing to do, p50', unit: 'ms', value: passMs },
      peer: { name: 'c', value: dumpMs },
    });
    context.report({
      ...{ ...common, metric: 'against the listing in C, p50', unit: 'x', value: passMs / dumpMs },
      goal: { than: '<', limit: GOALS.ratio },
    });
    context.report({
      ...{ ...common, metric: 'event loop kept, at most, also while they were programmed', unit: 'ms', value: stallMs },
      goal: { than: '<', limit: GOALS.stallMs },
    });
  },
};
