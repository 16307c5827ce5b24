import { pingArgs } from '../../lab/ping.ts';
import type { Benchmark } from '../benchmark.ts';
import { inTurn, Labs, makePaths, type Path } from '../paths.ts';
import { percentile } from '../report.ts';

const GOAL_ADDED_US = 20;

/** What an overlay adds to the round trip. */
export const benchmark: Benchmark = {
  name: 'latency',
  summary: 'round trip of a small packet: raw, over a bridge and VXLAN made by hand, Weft, Docker Swarm; in turn',
  options: { samples: 'rounds (9)', packets: 'of each measurement (1000)' },
  run: async (context) => {
    const [samples = 9] = context.numbers('samples', [9]);
    const [packets = 1000] = context.numbers('packets', [1000]);
    await using labs = new Labs();
    const paths = await makePaths(labs, context.say);
    const times = await inTurn(paths, samples, (path) => roundTripUs(path, packets));
    for (const [name, values] of times) {
      context.report({ case: name, metric: 'round trip, p50', unit: 'µs', value: percentile(values, 0.5), samples });
    }
    /** Over raw, of each round: what else the machine did in it slowed both. */
    const added = (name: Path['name']): number => {
      const raw = times.get('raw') ?? [];
      return percentile(
        (times.get(name) ?? []).map((time, at) => time - (raw[at] ?? Number.NaN)),
        0.5,
      );
    };
    const swarm = times.has('swarm') ? added('swarm') : null;
    context.report({
      ...{ case: 'weft', metric: 'added to raw, p50', unit: 'µs', value: added('weft'), samples },
      goal: { than: '<', limit: swarm === null ? GOAL_ADDED_US : Math.min(GOAL_ADDED_US, Number(swarm.toFixed(2))) },
      ...(swarm === null ? {} : { peer: { name: 'swarm', value: swarm } }),
    });
    context.report({ case: 'hand', metric: 'added to raw, p50', unit: 'µs', value: added('hand'), samples });
  },
};

/** Mean of the middle half of one measurement: ping tells whole microseconds, which is too coarse for a median. */
async function roundTripUs({ from, address }: Path, packets: number): Promise<number> {
  const [program = 'ping', ...args] = [...from.enter, 'ping', ...pingArgs(address, { count: packets, intervalMs: 1 })];
  const { stdout } = await from.host.exec(program, args, { timeoutMs: packets * 10 + 15_000 });
  const times = [...stdout.matchAll(/ time=([\d.]+) ms/g)].map(([, ms]) => Number(ms) * 1000);
  if (times.length < packets) throw new Error(`${packets - times.length} of ${packets} answers to a ping were lost`);
  const middle = times.sort((a, b) => a - b).slice(packets >> 2, packets - (packets >> 2));
  return middle.reduce((sum, time) => sum + time, 0) / middle.length;
}
