import type { Benchmark } from '../benchmark.ts';
import { inTurn, Labs, makePaths, type Path } from '../paths.ts';
import { needs } from '../peers.ts';
import { percentile } from '../report.ts';

const GOALS = { hand: 0.95, swarm: 1 } as const;

/** What TCP brings through from container to container. */
export const benchmark: Benchmark = {
  name: 'throughput',
  summary: 'TCP from container to container: raw, over a bridge and VXLAN made by hand, Weft, Docker Swarm; in turn',
  options: { samples: 'rounds (9)', seconds: 'of each measurement (2)' },
  run: async (context) => {
    const [samples = 9] = context.numbers('samples', [9]);
    const [seconds = 2] = context.numbers('seconds', [2]);
    await needs('/usr/bin/iperf3', 'iperf3', context.say);
    await using labs = new Labs();
    const paths = await makePaths(labs, context.say);
    const rates = await inTurn(paths, samples, (path) => gigabits(path, seconds));
    const ours = rates.get('weft') ?? [];
    for (const [name, values] of rates) {
      context.report({ case: name, metric: 'TCP, p50', unit: 'Gbit/s', value: percentile(values, 0.5), samples });
    }
    for (const other of ['raw', 'hand', 'swarm'] as const) {
      const theirs = rates.get(other);
      if (theirs === undefined) continue;
      // Of each round: what else the machine did in it slowed both.
      const ratios = ours.map((rate, at) => rate / (theirs[at] ?? Number.NaN));
      context.report({
        ...{ case: 'weft', metric: `against ${other}, p50`, unit: 'x', value: percentile(ratios, 0.5), samples },
        ...(other === 'raw' ? {} : { goal: { than: '>', limit: GOALS[other] } }),
      });
    }
  },
};

async function gigabits({ from, to, address }: Path, seconds: number): Promise<number> {
  const [program = 'iperf3', ...args] = [...to.enter, 'iperf3', '-s', '-1', '--forceflush'];
  const server = await to.host.spawn(program, args);
  try {
    await server.says(/Server listening/);
    const [client = 'iperf3', ...rest] = [...from.enter, 'iperf3', '-c', address, '-t', String(seconds), '-J'];
    const { stdout } = await from.host.exec(client, rest, { timeoutMs: seconds * 1000 + 15_000 });
    const result = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } };
    return result.end.sum_received.bits_per_second / 1e9;
  } finally {
    await server.end('SIGKILL');
  }
}
