import { join, joinToken } from '../../lab/cluster.ts';
import { Lab } from '../../lab/lab.ts';
import type { Benchmark } from '../benchmark.ts';
import { percentile } from '../report.ts';

const GOAL_MS = 500;

/** How long `weft join` takes, from the start of the command to its end: a member with its tables and its ingress leg. */
export const benchmark: Benchmark = {
  name: 'join',
  summary: 'from the start of the command `weft join` to a member that is ready; and the start of an agent',
  options: { samples: 'joins (10)' },
  run: async (context) => {
    const [samples = 10] = context.numbers('samples', [10]);
    await using lab = await Lab.create({ hosts: 2 });
    const [manager, joiner] = [lab.host(1), lab.host(2)];
    const { joinAddress } = await lab.cluster();
    const joins: number[] = [];
    const starts: number[] = [];
    for (let at = 0; at < samples; at++) {
      await joiner.weftJson('leave', '--force');
      await joiner.stopAgent();
      const startedMs = performance.now();
      await joiner.startAgent();
      starts.push(performance.now() - startedMs);
      const { Token } = await joinToken(manager, 'worker');
      joins.push(await join(joiner, Token, joinAddress));
    }
    const report = (metric: string, values: readonly number[], goal?: number): void =>
      context.report({
        ...{ case: '2 hosts', metric, unit: 'ms', samples: values.length, value: percentile(values, 0.5) },
        ...(goal === undefined ? {} : { goal: { than: '<', limit: goal } }),
      });
    report('command to ready, p50', joins, GOAL_MS);
    report('agent start to answer, p50', starts);
  },
};
