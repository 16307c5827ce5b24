import type { BenchContext, Benchmark } from '../benchmark.ts';
import { inNamespaces } from '../namespaces.ts';
import { medianAndTail, percentile } from '../report.ts';
import type { HostsResult } from '../tools/hosts.ts';

const GOALS = { kernelMs: 5, stallMs: 20 } as const;

/** What a host costs that has many networks, or many sandboxes on one of them. */
export const benchmark: Benchmark = {
  name: 'network',
  summary:
    'networks that come one by one to a host that has some, and sandboxes on one network: until they are in the kernel',
  options: {
    networks: 'networks of one host, each with ten endpoints elsewhere (200)',
    sandboxes: 'sandboxes of one host, all on one network (1000)',
  },
  run: async (context) => {
    const [networks = 200] = context.numbers('networks', [200]);
    const [sandboxes = 1000] = context.numbers('sandboxes', [1000]);
    await measure(context, 'networks', networks, 1, GOALS.kernelMs);
    await measure(context, 'sandboxes', sandboxes, 50, null);
  },
};

async function measure(
  context: BenchContext,
  what: 'networks' | 'sandboxes',
  count: number,
  atOnce: number,
  goal: number | null,
): Promise<void> {
  const { addedMs, kernelMs, sweepMs, stallMs, descriptors } = await inNamespaces<HostsResult>(
    'hosts.ts',
    what,
    String(count),
  );
  const each = (values: readonly number[]): number[] => values.map((value) => value / atOnce);
  const name = `${count} ${what}`;
  const of = (metric: string) => ({ case: name, metric, unit: 'ms' });
  // The kernel tells processor time by its ticks: right in sum only.
  const kernel = kernelMs.reduce((sum, value) => sum + value, 0) / count;
  context.report({
    ...{ ...of('one more, processor time in the kernel, mean'), value: kernel, samples: count },
    ...(goal === null ? {} : { goal: { than: '<', limit: goal } }),
  });
  for (const figure of medianAndTail(of('one more, wanted to in the kernel'), each(addedMs), {}))
    context.report(figure);
  context.report({ ...of('full pass, nothing to do, p50'), value: percentile(sweepMs, 0.5), samples: sweepMs.length });
  for (const [when, value] of Object.entries(stallMs)) {
    const metric = `event loop kept while ${when}, at most`;
    context.report({ ...of(metric), value, samples: 1, goal: { than: '<', limit: GOALS.stallMs } });
  }
  context.report({ case: name, metric: 'open descriptors', unit: '', value: descriptors, samples: 1 });
}
