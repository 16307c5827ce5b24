import { Lab } from '../../lab/lab.ts';
import type { Benchmark } from '../benchmark.ts';
import { Generator } from '../generator.ts';
import { medianAndTail } from '../report.ts';
import { pause } from '../usage.ts';

const GOAL_MS = 2_000;
/** The cut is long enough for the others to have given the host up: its connections are gone, and are redialled. */
const CUT_MS = 4_000;

/** How fast a host that was cut off has what it missed: a new version of every record that it knows. */
export const benchmark: Benchmark = {
  name: 'resync',
  summary: 'from the end of a cut to a host that has all records that it missed',
  options: { records: 'records missed in each run (10000)', samples: 'cuts (5)' },
  run: async (context) => {
    const [records = 10_000] = context.numbers('records', [10_000]);
    const [samples = 5] = context.numbers('samples', [5]);
    await using lab = await Lab.create({ hosts: 3 });
    const [one, cut, writer] = [lab.host(1), lab.host(2), lab.host(3)];
    await Promise.all([one.startAgent(), cut.startAgent()]);
    const { JoinAddr, JoinTokens } = await one.weftJson<{ JoinAddr: string; JoinTokens: { Manager: string } }>(
      'init',
      '--advertise-addr',
      one.address,
    );
    // A manager is interested in every network, also one that none of its sandboxes is on.
    await cut.weftJson('join', '--advertise-addr', cut.address, '--token', JoinTokens.Manager, JoinAddr);
    const generator = await Generator.start(writer, one, records);
    await generator.shownOn(cut, await generator.write());
    const values: number[] = [];
    for (let at = 0; at < samples; at++) {
      await lab.partition([one, writer], [cut]);
      const digest = await generator.rewrite();
      await generator.equalOn(one, digest);
      await pause(CUT_MS);
      const startedMs = performance.now();
      await lab.heal();
      await generator.equalOn(cut, digest);
      values.push(performance.now() - startedMs);
      context.say(`cut ${at + 1}: ${Math.round(values.at(-1) ?? 0)} ms`);
    }
    await generator.stop();
    const of = { case: `${records} records`, metric: 'heal to equal tables', unit: 'ms' };
    for (const figure of medianAndTail(of, values, { p99: GOAL_MS })) context.report(figure);
  },
};
