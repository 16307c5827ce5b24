import { availableParallelism } from 'node:os';
import { converged } from '../../lab/cluster.ts';
import type { Host } from '../../lab/host.ts';
import { Lab } from '../../lab/lab.ts';
import type { BenchContext, Benchmark } from '../benchmark.ts';
import { percentile } from '../report.ts';
import { Statuses } from '../statuses.ts';
import { pause } from '../usage.ts';

const GOALS = { cutMs: 3_000, killedMs: 500, lost: 1, falseDeaths: 1 } as const;
const NETWORK = 'bench';
const PING_MS = 10;
const LIMIT_MS = 60_000;
/** All have round trips to go by, and what a start or a fault has stirred up is over. */
const SETTLE_MS = 3_000;

/** How fast a dead host or agent is taken for one by all others, and how often a busy one is that lives. */
export const benchmark: Benchmark = {
  name: 'detect',
  summary: 'a host cut off, an agent killed -> suspended by all others; false deaths while all processors are busy',
  options: {
    hosts: 'hosts of the cluster (10)',
    samples: 'hosts cut off, and agents killed (5)',
    seconds: 'how long all processors are kept busy (60)',
    burners: 'processes that do so (as many as there are processors)',
  },
  run: async (context) => {
    const [hosts = 10] = context.numbers('hosts', [10]);
    const [samples = 5] = context.numbers('samples', [5]);
    if (hosts < 3) throw new RangeError('detect needs three hosts or more');
    context.say(`${hosts} hosts: starting`);
    await using lab = await Lab.create({ hosts });
    await lab.cluster();
    const statuses = await Statuses.of(lab.hosts);
    await statuses.calm(LIMIT_MS);
    await cutOff(context, lab, statuses, samples);
    await killed(context, lab, statuses, samples);
    await busy(context, lab, statuses);
  },
};

/** Every other than the first has its turn, so that nobody dies often enough to be taken for one that flaps. */
function victim(lab: Lab, at: number): Host {
  return lab.host((at % (lab.hosts.length - 1)) + 2);
}

async function cutOff(context: BenchContext, lab: Lab, statuses: Statuses, samples: number): Promise<void> {
  const all: number[][] = [];
  for (let at = 0; at < samples; at++) {
    const host = victim(lab, at);
    await pause(SETTLE_MS);
    const sinceMs = Date.now();
    await lab.partition(
      lab.hosts.filter((each) => each !== host),
      [host],
    );
    all.push(await statuses.ofAllOthers(host, 'suspended', sinceMs, LIMIT_MS));
    await lab.heal();
    await statuses.calm(LIMIT_MS);
    context.say(`${host.name} cut off: ${Math.max(...(all.at(-1) ?? []))} ms`);
  }
  reportTimes(context, `${lab.hosts.length} hosts, one cut off`, all, GOALS.cutMs);
}

async function killed(context: BenchContext, lab: Lab, statuses: Statuses, samples: number): Promise<void> {
  const first = lab.host(1);
  await first.api.call('networkCreate', { body: { Name: NETWORK } });
  await converged(first);
  const from = await first.createSandbox({ Name: 'from', Networks: [NETWORK] });
  const all: number[][] = [];
  let lost = 0;
  for (let at = 0; at < samples; at++) {
    // From the far end, so that those that were cut off rest.
    const host = victim(lab, lab.hosts.length - 2 - (at % (lab.hosts.length - 1)));
    const to = await host.createSandbox({ Name: `to${at}`, Networks: [NETWORK] });
    await converged(first);
    const ping = await from.backgroundPing(to.address(NETWORK), { count: 100_000, intervalMs: PING_MS });
    await pause(SETTLE_MS);
    const sinceMs = Date.now();
    await host.killAgent();
    all.push(await statuses.ofAllOthers(host, 'suspended', sinceMs, LIMIT_MS));
    await host.startAgent();
    await statuses.calm(LIMIT_MS);
    const { sent, received } = await ping.stop();
    lost += sent - received;
    context.say(
      `agent on ${host.name} killed: ${Math.max(...(all.at(-1) ?? []))} ms, ${sent - received} of ${sent} lost`,
    );
  }
  const name = `${lab.hosts.length} hosts, an agent killed`;
  reportTimes(context, name, all, GOALS.killedMs);
  context.report({
    ...{ case: name, metric: 'answers lost on the data path', value: lost, unit: '', samples },
    goal: { than: '<', limit: GOALS.lost },
  });
}

async function busy(context: BenchContext, lab: Lab, statuses: Statuses): Promise<void> {
  const [seconds = 60] = context.numbers('seconds', [60]);
  const [burners = 1] = context.numbers('burners', [availableParallelism()]);
  context.say(`${burners} processes that take all the processors they get: ${seconds} s`);
  await pause(SETTLE_MS);
  const sinceMs = Date.now();
  // Among a host's processes, so that they end with the lab, however it ends.
  const processes = await Promise.all(
    Array.from({ length: burners }, () => lab.underlay.spawn('sh', ['-c', 'while :; do :; done'])),
  );
  await pause(seconds * 1000);
  await Promise.all(processes.map((each) => each.end('SIGKILL')));
  // Who has fallen silent is suspended some time later.
  await pause(SETTLE_MS);
  context.report({
    ...{ case: `${lab.hosts.length} hosts, ${burners} busy processes`, metric: `false deaths in ${seconds} s` },
    ...{ value: statuses.suspensions(sinceMs), unit: '', samples: 1 },
    goal: { than: '<', limit: GOALS.falseDeaths },
  });
}

function reportTimes(context: BenchContext, name: string, all: readonly (readonly number[])[], limit: number): void {
  const common = { case: name, unit: 'ms', samples: all.length };
  const last = all.map((times) => Math.max(...times));
  const each = percentile(all.flat(), 0.5);
  context.report({ ...common, metric: 'until one of the others knows, p50', value: each });
  context.report({ ...common, metric: 'until the last knows, p50', value: percentile(last, 0.5) });
  context.report({
    ...common,
    metric: 'until the last knows, worst',
    value: Math.max(...last),
    goal: { than: '<', limit },
  });
}
