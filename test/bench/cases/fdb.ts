import type { Benchmark } from '../benchmark.ts';
import { measureEntries } from '../entries.ts';
import { medianAndTail, percentile } from '../report.ts';

const GOALS = { ratio: 0.75, singleUs: 50 } as const;

/** How fast FDB entries are written, against a C program that does nothing else. */
export const benchmark: Benchmark = {
  name: 'fdb',
  summary: 'FDB entries written to one VXLAN device, many and one by one, beside a C program that does the same',
  options: { entries: 'entries in each run (100000)', samples: 'runs of each (5)' },
  run: async (context) => {
    const [entries = 100_000] = context.numbers('entries', [100_000]);
    const [samples = 5] = context.numbers('samples', [5]);
    const { ours, peer, single } = await measureEntries('fdb', entries, samples);
    const rate = (ms: readonly number[]): number => entries / percentile(ms, 0.5);
    context.report({
      ...{ case: `${entries} entries`, metric: 'written in a millisecond, p50', unit: 'entries', samples },
      value: rate(ours),
      peer: { name: 'c', value: rate(peer) },
    });
    context.report({
      ...{ case: `${entries} entries`, metric: 'rate against C, p50', unit: 'x', samples },
      value: rate(ours) / rate(peer),
      goal: { than: '>', limit: GOALS.ratio },
    });
    const of = { case: 'one entry', metric: 'decision to kernel', unit: 'µs' };
    for (const figure of medianAndTail(of, single, { p50: GOALS.singleUs })) context.report(figure);
  },
};
