import type { Endpoint } from '../../../agent/api/schema.ts';
import { converged } from '../../lab/cluster.ts';
import type { Host } from '../../lab/host.ts';
import { Lab } from '../../lab/lab.ts';
import type { BenchContext, Benchmark } from '../benchmark.ts';
import { serfEvents } from '../peers.ts';
import { percentile } from '../report.ts';
import { setClock, Watcher, wallClockMs } from '../watch.ts';

const NETWORK = 'bench';
const PROBE = 'probe';
const WARM_UP = 5;
const LIMIT_MS = 30_000;
/** Milliseconds from the request to the last kernel, by number of hosts. */
const GOALS: { readonly [hosts: number]: { readonly p50: number; readonly p99?: number } } = {
  10: { p50: 25, p99: 80 },
  25: { p50: 70 },
};
/** Serf's events beside ours: enough for a median. */
const SERF_SAMPLES = 20;
/** So many times as fast as Serf's event, at p50. */
const SERF_TIMES = 5;

interface Sample {
  readonly requestMs: number;
  /** From the request's return, and from its start, to each other host's kernel having both entries. */
  readonly fromReturnMs: readonly number[];
  readonly fromRequestMs: readonly number[];
}

/** How fast an endpoint made on one host is in the kernels of all others. */
export const benchmark: Benchmark = {
  name: 'propagation',
  summary: 'from an endpoint made on one host to FDB and neighbour entry in the kernel of all others',
  options: {
    hosts: 'hosts in each case (3,10,25)',
    samples: 'endpoints made in each case (50)',
    serf: 'cases of so many hosts or more are measured beside an event of Serf (25)',
  },
  run: async (context) => {
    const [samples = 50] = context.numbers('samples', [50]);
    const [serfFrom = 25] = context.numbers('serf', [25]);
    for (const hosts of context.numbers('hosts', [3, 10, 25])) {
      if (hosts < 2) throw new RangeError('propagation needs two hosts or more');
      const ours = await runCase(context, hosts, samples);
      report(context, hosts, ours, hosts < serfFrom ? undefined : await besideSerf(context, hosts));
    }
  },
};

async function runCase(context: BenchContext, hosts: number, count: number): Promise<Sample[]> {
  context.say(`${hosts} hosts: starting`);
  await using lab = await Lab.create({ hosts });
  await lab.cluster();
  await lab.host(1).api.call('networkCreate', { body: { Name: NETWORK } });
  await converged(lab.host(1), 60);
  // An anchor gives the host an interest in the network; the probe is a sandbox that comes and goes on it.
  for (const host of lab.hosts) {
    await host.createSandbox({ Name: 'anchor', Networks: [NETWORK] });
    await host.createSandbox({ Name: PROBE });
  }
  await converged(lab.host(1), 60);
  const watchers = await Promise.all(lab.hosts.map((host) => Watcher.start(host)));

  context.say(`${hosts} hosts: ${count} samples`);
  const samples: Sample[] = [];
  for (let at = 0; at < WARM_UP + count; at++) {
    // Each host has its turn, so that no one host's place in the mesh decides the figure.
    const host = lab.host((at % hosts) + 1);
    const sample = await takeSample(host, watchers);
    if (at >= WARM_UP) samples.push(sample);
  }
  await Promise.all(watchers.map((watcher) => watcher.stop()));
  return samples;
}

/**
 * Serf's time to the last agent for the same number of hosts, p50, in milliseconds. Less is asked of it: its event is a
 * line in a log, not an entry in a kernel, and it is timed from when its sender's agent has it.
 */
async function besideSerf(context: BenchContext, hosts: number): Promise<number> {
  context.say(`${hosts} hosts: an event of Serf, from the sender's agent to the last one`);
  return percentile(await serfEvents(hosts, SERF_SAMPLES, context.say), 0.5);
}

async function takeSample(host: Host, watchers: readonly Watcher[]): Promise<Sample> {
  const others = watchers.filter((watcher) => watcher.host !== host);
  for (const watcher of others) watcher.forget();
  setClock();
  const started = wallClockMs();
  const endpoint: Endpoint = await host.api.call('networkConnect', { ref: NETWORK, body: { Sandbox: PROBE } });
  const returned = wallClockMs();
  const ip = endpoint.IPv4Address.replace(/\/.*/, '');
  const arrived = await Promise.all(
    others.map(async (watcher) => {
      const entries = [ip, endpoint.VTEP].map((of) => watcher.when('came', of, endpoint.MacAddress, LIMIT_MS));
      return Math.max(...(await Promise.all(entries)));
    }),
  );
  await host.api.call('networkDisconnect', { ref: NETWORK, body: { Sandbox: PROBE } });
  // The next sample starts from rest, not amid the last one's end.
  await Promise.all(others.map((watcher) => watcher.when('gone', endpoint.VTEP, endpoint.MacAddress, LIMIT_MS)));
  return {
    requestMs: returned - started,
    // A kernel may have it before the caller has the reply; that is no time to wait.
    fromReturnMs: arrived.map((at) => Math.max(0, at - returned)),
    fromRequestMs: arrived.map((at) => at - started),
  };
}

function report(context: BenchContext, hosts: number, samples: readonly Sample[], serfMs: number | undefined): void {
  // The reply waits for our own kernel, and others often have it by then: 0 says only that. So the goal holds for the
  // time from the request, which hides nothing.
  const goals = GOALS[hosts];
  const series: readonly (readonly [metric: string, values: readonly number[]])[] = [
    ['request to last kernel', samples.map((sample) => Math.max(...sample.fromRequestMs))],
    ['request to each kernel', samples.flatMap((sample) => sample.fromRequestMs)],
    ['return to last kernel', samples.map((sample) => Math.max(...sample.fromReturnMs))],
    ['request', samples.map((sample) => sample.requestMs)],
  ];
  for (const [metric, values] of series) {
    for (const [name, share] of [
      ['p50', 0.5],
      ['p99', 0.99],
    ] as const) {
      const value = percentile(values, share);
      const common = {
        metric: `${metric}, ${name}`,
        case: `${hosts} hosts`,
        value,
        unit: 'ms',
        samples: values.length,
      };
      const limit = metric === 'request to last kernel' ? goals?.[name] : undefined;
      const goal = limit === undefined ? {} : { goal: { than: '<' as const, limit } };
      const beside = metric === 'request to last kernel' && name === 'p50' && serfMs !== undefined;
      context.report({ ...common, ...goal, ...(beside ? { peer: { name: 'serf', value: serfMs } } : {}) });
      if (!beside) continue;
      const faster = { metric: 'times as fast as serf, p50', value: serfMs / value, unit: 'x' };
      context.report({ ...common, ...faster, goal: { than: '>', limit: SERF_TIMES } });
    }
  }
}
