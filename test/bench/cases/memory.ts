import { Lab } from '../../lab/lab.ts';
import type { BenchContext, Benchmark } from '../benchmark.ts';
import { Generator } from '../generator.ts';
import { pause, processorMs, residentMb, sentBytes } from '../usage.ts';

const GOALS = { residentMb: 250, restartMs: 3_000, idleBytes: 1_000, idleShare: 1 } as const;
/** The agent has had its time to store what came, and to collect its garbage. */
const SETTLE_MS = 5_000;

/** What records cost the node that holds them, and what a cluster costs that does nothing. */
export const benchmark: Benchmark = {
  name: 'memory',
  summary: 'one node that holds many endpoint records: memory and restart; a cluster at rest: bytes and processor time',
  options: {
    records: 'endpoint records held (100000)',
    hosts: 'hosts of the cluster at rest (10)',
    seconds: 'how long it is looked at (30)',
  },
  run: async (context) => {
    const [records = 100_000] = context.numbers('records', [100_000]);
    const [hosts = 10] = context.numbers('hosts', [10]);
    const [seconds = 30] = context.numbers('seconds', [30]);
    await held(context, records);
    await atRest(context, hosts, seconds);
  },
};

async function held(context: BenchContext, records: number): Promise<void> {
  await using lab = await Lab.create({ hosts: 2 });
  const [holder, other] = [lab.host(1), lab.host(2)];
  await holder.startAgent();
  await holder.weftJson('init', '--advertise-addr', holder.address);
  const beforeMb = residentMb(holder.agent.pid);
  context.say(`${records} records: writing`);
  const generator = await Generator.start(other, holder, records);
  const startedMs = performance.now();
  await generator.shownOn(holder, await generator.write(), 500);
  const filledMs = performance.now() - startedMs;
  await pause(SETTLE_MS);
  const name = `${records} records`;
  const one = (metric: string, value: number, unit: string, limit?: number): void =>
    context.report({
      ...{ case: name, metric, value, unit, samples: 1 },
      ...(limit === undefined ? {} : { goal: { than: '<', limit } }),
    });
  one('RSS without them', beforeMb, 'MB');
  one('RSS as they came', residentMb(holder.agent.pid), 'MB', GOALS.residentMb);
  one('written to shown', filledMs / 1000, 's');
  // Without the generator, so that what is shown comes from the disk.
  await generator.stop();
  await holder.stopAgent();
  const restartedMs = performance.now();
  await holder.startAgent({ timeoutMs: 60_000 });
  one('restart to ready', performance.now() - restartedMs, 'ms', GOALS.restartMs);
  await generator.shownOn(holder, records, 500);
  one('restart to shown', performance.now() - restartedMs, 'ms');
  await pause(SETTLE_MS);
  one('RSS after the restart', residentMb(holder.agent.pid), 'MB', GOALS.residentMb);
}

async function atRest(context: BenchContext, hosts: number, seconds: number): Promise<void> {
  context.say(`${hosts} hosts at rest: ${seconds} s`);
  await using lab = await Lab.create({ hosts });
  await lab.cluster();
  await pause(SETTLE_MS);
  const look = () =>
    lab.hosts.map((host) => ({ ms: processorMs(host.agent.pid), bytes: sentBytes(host), atMs: performance.now() }));
  const before = look();
  await pause(seconds * 1000);
  const after = look();
  const rates = after.map(({ ms, bytes, atMs }, at) => {
    const from = before[at] ?? { ms: 0, bytes: 0, atMs: 0 };
    const tookMs = atMs - from.atMs;
    return { share: (100 * (ms - from.ms)) / tookMs, bytes: (1000 * (bytes - from.bytes)) / tookMs };
  });
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const common = { case: `${hosts} hosts at rest`, samples: hosts };
  const bytes = mean(rates.map((rate) => rate.bytes));
  const share = mean(rates.map((rate) => rate.share));
  context.report({
    ...{ ...common, metric: 'sent by a node, headers included', value: bytes, unit: 'B/s' },
    goal: { than: '<', limit: GOALS.idleBytes },
  });
  context.report({
    ...{ ...common, metric: 'processor time of a node', value: share, unit: '% of a core' },
    goal: { than: '<', limit: GOALS.idleShare },
  });
}
