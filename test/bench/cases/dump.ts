import type { Benchmark } from '../benchmark.ts';
import { measureEntries } from '../entries.ts';
import { percentile } from '../report.ts';

const GOAL_STALL_MS = 20;

/** What it costs to know what the kernel holds. */
export const benchmark: Benchmark = {
  name: 'dump',
  summary: 'FDB entries of one VXLAN device listed and decoded, beside a C program that only lists them',
  options: { entries: 'entries (100000)', samples: 'listings of each (5)' },
  run: async (context) => {
    const [entries = 100_000] = context.numbers('entries', [100_000]);
    const [samples = 5] = context.numbers('samples', [5]);
    const { ours, peer, stallMs } = await measureEntries('dump', entries, samples);
    const common = { case: `${entries} entries`, samples };
    context.report({
      ...{ ...common, metric: 'listed and decoded, p50', unit: 'ms', value: percentile(ours, 0.5) },
      peer: { name: 'c', value: percentile(peer, 0.5) },
    });
    context.report({
      ...{ ...common, metric: 'event loop kept, at most', unit: 'ms', value: stallMs },
      goal: { than: '<', limit: GOAL_STALL_MS },
    });
  },
};
