import type { Endpoint } from '../../../agent/api/schema.ts';
import { converged } from '../../lab/cluster.ts';
import type { Host } from '../../lab/host.ts';
import { Lab } from '../../lab/lab.ts';
import type { BenchContext, Benchmark } from '../benchmark.ts';
import { networkDbEntries } from '../networkdb.ts';
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
/** Of what runs beside ours: enough for a median. */
const PEER_SAMPLES = 20;

/**
 * What does the same job, as far as it can be measured, run for the same number of hosts just after ours. Less is asked of
 * each: an event of Serf is a line in a log and an entry of NetworkDB is one in memory, where ours is in a kernel; and both
 * are timed from when their sender has them.
 */
const PEERS = [
  { name: 'serf', cases: [25], times: 5, what: 'an event of Serf', measure: serfEvents },
  { name: 'networkdb', cases: [10], times: 10, what: 'an entry of NetworkDB', measure: networkDbEntries },
] as const;

/** What ran beside ours: how long it took to the last node at p50, and what is asked of us. */
interface Beside {
  readonly name: string;
  readonly ms: number;
  /** So many times as fast, at p50. */
  readonly times: number;
}

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
    serf: 'cases of these numbers of hosts are measured beside an event of Serf (25)',
    networkdb: "cases of these numbers of hosts are measured beside an entry of Docker Swarm's NetworkDB (10)",
  },
  run: async (context) => {
    const [samples = 50] = context.numbers('samples', [50]);
    for (const hosts of context.numbers('hosts', [3, 10, 25])) {
      if (hosts < 2) throw new RangeError('propagation needs two hosts or more');
      const ours = await runCase(context, hosts, samples);
      report(context, hosts, ours, await beside(context, hosts));
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

async function beside(context: BenchContext, hosts: number): Promise<Beside[]> {
  const found: Beside[] = [];
  for (const { name, cases, times, what, measure } of PEERS) {
    if (!context.numbers(name, cases).includes(hosts)) continue;
    context.say(`${hosts} hosts: ${what}, from its sender to the last one`);
    found.push({ name, times, ms: percentile(await measure(hosts, PEER_SAMPLES, context.say), 0.5) });
  }
  return found;
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

function report(context: BenchContext, hosts: number, samples: readonly Sample[], peers: readonly Beside[]): void {
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
      const beside = metric === 'request to last kernel' && name === 'p50' ? peers : [];
      if (beside.length === 0) context.report({ ...common, ...goal });
      for (const peer of beside) {
        context.report({ ...common, ...goal, peer: { name: peer.name, value: peer.ms } });
        const faster = { metric: `times as fast as ${peer.name}, p50`, value: peer.ms / value, unit: 'x' };
        context.report({ ...common, ...faster, goal: { than: '>', limit: peer.times } });
      }
    }
  }
}
