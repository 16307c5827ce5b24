import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import type { Host, LabSandbox } from '../../lab/host.ts';
import { Lab } from '../../lab/lab.ts';
import { eventually } from '../../lab/process.ts';
import { settled } from '../../lab/suite.ts';
import type { BenchContext, Benchmark } from '../benchmark.ts';
import { GateWatcher } from '../gate-watch.ts';
import { inNamespaces } from '../namespaces.ts';
import { nodeDeaths } from '../node-death.ts';
import { medianAndTail, percentile } from '../report.ts';
import type { ServicesResult } from '../tools/services.ts';

const GOALS = { rate: 0.8, steady: 0.95, addedUs: { p50: 30, p99: 100 }, changedMs: 50, fromNothingMs: 500 } as const;
const SOURCE = fileURLToPath(new URL('../tools/connections.c', import.meta.url));
const [NETWORK, SERVICE, PUBLISHED, PORT] = ['bench', 'web', 8080, 9000] as const;
/** More of them than clients: a server that has one busy is not what is measured. */
const [CLIENTS, SERVERS] = [4, 8] as const;
/** A long storm, and what of both its ends is compared. */
const [LONG_S, END_S] = [60, 10] as const;
const ROUND_TRIPS = 5_000;
const BEGINNINGS = 2_000;
const CHANGES = 40;
const [MANY, ONE] = [20_000, 8081] as const;
const LIMIT_MS = 30_000;

/** What the routing mesh costs, beside the overlay that it goes over. */
export const benchmark: Benchmark = {
  name: 'ingress',
  summary: 'the routing mesh beside the overlay: connections a second, latency; and how fast 1,000 services get there',
  options: {
    samples: 'rounds of storms of connections, in turn (9)',
    seconds: 'of each storm (5)',
    long: 'storms of a minute through the mesh (3)',
    latency: 'rounds of latency, in turn (9)',
    services: 'services, one published port and ten endpoints each (1000)',
    changes: 'of an endpoint in a cluster of three (30)',
    deaths: 'nodes with an endpoint that are cut off (9)',
    runs: 'nodes that learn of the services from nothing (7)',
  },
  run: async (context) => {
    await kernels(context);
    const directory = mkdtempSync(join(tmpdir(), 'weft-bench-'));
    try {
      const program = join(directory, 'connections');
      await execa('cc', ['-O2', '-o', program, SOURCE]);
      await traffic(context, program);
      await nodeDeaths(context);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
};

/** From the tables of a node to its kernel. */
async function kernels(context: BenchContext): Promise<void> {
  const [services = 1000] = context.numbers('services', [1000]);
  const [runs = 7] = context.numbers('runs', [7]);
  const results: ServicesResult[] = [];
  for (let run = 0; run < runs; run += 1) {
    context.say(`${services} services: node ${run + 1} of ${runs}`);
    results.push(await inNamespaces<ServicesResult>('services.ts', String(services), '10', String(CHANGES)));
  }
  const median = (of: (result: ServicesResult) => number): number => percentile(results.map(of), 0.5);
  const common = { case: `${services} services with 10 endpoints each`, unit: 'ms' };
  context.report({
    ...{ ...common, metric: 'all from nothing, tables to kernel, p50', samples: runs },
    value: median(({ fromNothingMs }) => fromNothingMs),
    goal: { than: '<', limit: GOALS.fromNothingMs },
  });
  context.report({
    ...{ ...common, metric: 'all published, their endpoints known, p50', samples: runs },
    value: median(({ publishedMs }) => publishedMs),
  });
  const changed = { ...common, metric: 'one endpoint changes, tables to kernel' };
  const limits = { p50: GOALS.changedMs, p99: GOALS.changedMs };
  for (const figure of medianAndTail(
    changed,
    results.flatMap(({ changedMs }) => changedMs),
    limits,
  )) {
    context.report(figure);
  }
  context.report({
    ...{ ...common, metric: 'of that until it is planned, p50', samples: runs * CHANGES },
    value: median(({ plannedMs }) => percentile(plannedMs, 0.5)),
  });
  for (const when of ['all come', 'one changes'] as const) {
    context.report({
      ...{ ...common, metric: `event loop kept while ${when}, at most in a run, p50`, samples: runs },
      value: median(({ stallMs }) => stallMs[when]),
    });
  }
}

/**
 * A way to the same server: `direct`, over the overlay, from a sandbox; `mesh`, from the host of that sandbox to its published
 * port; `outside`, to that from another host, which is one link more.
 */
interface Way {
  readonly name: 'direct' | 'mesh' | 'outside';
  readonly from: Host | LabSandbox;
  readonly address: string;
  readonly port: number;
}

async function traffic(context: BenchContext, program: string): Promise<void> {
  await using lab = await Lab.create({ hosts: 3 });
  await lab.cluster();
  const [node, remote, outside] = [lab.host(1), lab.host(2), lab.host(3)];
  await node.api.call('networkCreate', { body: { Name: NETWORK } });
  await settled(lab);
  const from = await node.createSandbox({ Name: 'from', Networks: [NETWORK] });
  const to = await remote.createSandbox({ Name: 'to', Networks: [NETWORK], Aliases: [SERVICE] });
  const args = [`--net=${to.info.NetnsPath}`, '--', program, 'serve', String(PORT), String(SERVERS)];
  const server = await remote.spawn('nsenter', args);
  await server.says(/^listening$/m);
  const published = await node.weft('publish', '--network', NETWORK, SERVICE, `${PUBLISHED}:${PORT}`);
  if (published.exitCode !== 0) throw new Error(published.stderr);
  await settled(lab);
  const ways: readonly Way[] = [
    { name: 'direct', from, address: to.address(NETWORK), port: PORT },
    { name: 'mesh', from: node, address: node.address, port: PUBLISHED },
    { name: 'outside', from: outside, address: node.address, port: PUBLISHED },
  ];
  for (const { from: place, address, port, name } of ways) {
    await eventually(`an answer by the way ${name}`, async () => {
      const { exitCode } = await place.exec(program, ['round', address, String(port), '1'], { check: false });
      return exitCode === 0 || undefined;
    });
  }
  await changes(context, lab);
  await latency(context, program, ways);
  await storms(context, program, ways);
  await server.end('SIGKILL');
}

/** An endpoint of a host comes and goes, until all hosts lead to it, or do no more, each with 1,000 other published ports. */
async function changes(context: BenchContext, lab: Lab): Promise<void> {
  const [samples = 30] = context.numbers('changes', [30]);
  const [first, second, third] = [lab.host(1), lab.host(2), lab.host(3)];
  const sandbox = (host: Host, name: string) =>
    host.createSandbox({ Name: name, Networks: [NETWORK], Aliases: [name] });
  await sandbox(third, 'many');
  for (const ports of [
    ['many', `${MANY}-${MANY + 999}:${MANY}-${MANY + 999}`],
    ['one', `${ONE}:${ONE}`],
  ]) {
    const { exitCode, stderr } = await first.weft('publish', '--network', NETWORK, ...ports);
    if (exitCode !== 0) throw new Error(stderr);
  }
  await settled(lab);
  const comes = () => sandbox(second, 'one');
  const goes = () => second.api.call('sandboxRemove', { ref: 'one' });
  const watchers = await Promise.all(lab.hosts.map((host) => GateWatcher.start(host)));
  const hear = async (): Promise<true | undefined> => {
    await comes();
    await settled(lab);
    await goes();
    await settled(lab);
    return watchers.every(({ hasHeard }) => hasHeard) || undefined;
  };
  await eventually('monitors of all gates to hear', hear, { timeoutMs: 2 * LIMIT_MS });
  /** Milliseconds from the request to the last kernel. */
  const timed = async (verb: 'add' | 'delete', change: () => Promise<unknown>): Promise<number> => {
    const told = watchers.map((watcher) => watcher.next(verb, ONE, LIMIT_MS));
    const startMs = performance.now();
    const [ends] = await Promise.all([Promise.all(told), change()]);
    return Math.max(...ends) - startMs;
  };
  const [cameMs, wentMs]: [number[], number[]] = [[], []];
  for (let at = 0; at < samples; at += 1) {
    cameMs.push(await timed('add', comes));
    await settled(lab);
    wentMs.push(await timed('delete', goes));
    await settled(lab);
  }
  const common = { case: '3 hosts, 1000 ports', unit: 'ms' };
  for (const [metric, values, limits] of [
    ['an endpoint goes, request to last kernel', wentMs, { p50: GOALS.changedMs, p99: GOALS.changedMs }],
    ['an endpoint comes, with its sandbox and legs, request to last kernel', cameMs, {}],
  ] as const) {
    for (const figure of medianAndTail({ ...common, metric }, values, limits)) context.report(figure);
  }
  for (const watcher of watchers) await watcher.stop();
  await third.api.call('sandboxRemove', { ref: 'many' });
  await settled(lab);
}

/** Numbers that the program prints. */
async function run({ from, address, port }: Way, program: string, what: string, ...args: number[]): Promise<number[]> {
  const [seconds = 0] = args;
  const { stdout } = await from.exec(program, [what, address, String(port), ...args.map(String)], {
    timeoutMs: (what === 'storm' ? seconds * 1000 : 0) + 60_000,
  });
  return JSON.parse(stdout) as number[];
}

/** Each way has its turn in a round, and is compared within it: what else the machine did hit all alike. */
async function inTurn<T>(
  ways: readonly Way[],
  rounds: number,
  measure: (way: Way) => Promise<T>,
): Promise<Map<Way['name'], T[]>> {
  const found = new Map<Way['name'], T[]>(ways.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (let turn = 0; turn < ways.length; turn += 1) {
      const way = ways[(round + turn) % ways.length];
      if (way !== undefined) found.get(way.name)?.push(await measure(way));
    }
  }
  return found;
}

async function latency(context: BenchContext, program: string, ways: readonly Way[]): Promise<void> {
  const [rounds = 9] = context.numbers('latency', [9]);
  const kinds = [
    ['round', ROUND_TRIPS, 'a byte and its answer'],
    ['begin', BEGINNINGS, 'a connection, a byte and its answer'],
  ] as const;
  for (const [what, count, words] of kinds) {
    const times = await inTurn(ways, rounds, async (way) => {
      const us = (await run(way, program, what, count)).map((ns) => ns / 1000);
      return { p50: percentile(us, 0.5), p99: percentile(us, 0.99) };
    });
    const direct = times.get('direct') ?? [];
    for (const share of ['p50', 'p99'] as const) {
      for (const [name, values] of times) {
        const value = percentile(
          values.map((each) => each[share]),
          0.5,
        );
        context.report({ case: name, metric: `${words}, ${share}`, unit: 'µs', value, samples: rounds });
        if (name === 'direct') continue;
        const added = values.map((each, at) => each[share] - (direct[at]?.[share] ?? Number.NaN));
        context.report({
          ...{ case: name, metric: `${words}: added to direct, ${share}`, unit: 'µs', samples: rounds },
          value: percentile(added, 0.5),
          ...(name === 'mesh' ? { goal: { than: '<', limit: GOALS.addedUs[share] } as const } : {}),
        });
      }
    }
  }
}

async function storms(context: BenchContext, program: string, ways: readonly Way[]): Promise<void> {
  const [rounds = 9] = context.numbers('samples', [9]);
  const [seconds = 5] = context.numbers('seconds', [5]);
  const [long = 3] = context.numbers('long', [3]);
  context.say(`${rounds} rounds of storms, ${seconds} s by each of ${ways.length} ways`);
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const rates = await inTurn(ways, rounds, async (way) => mean(await run(way, program, 'storm', seconds, CLIENTS)));
  const direct = rates.get('direct') ?? [];
  for (const [name, values] of rates) {
    const common = { case: name, samples: rounds };
    context.report({ ...common, metric: 'connections, p50', unit: '/s', value: percentile(values, 0.5) });
    if (name === 'direct') continue;
    const ratios = values.map((rate, at) => rate / (direct[at] ?? Number.NaN));
    context.report({
      ...{ ...common, metric: 'connections against direct, p50', unit: 'x', value: percentile(ratios, 0.5) },
      ...(name === 'mesh' ? { goal: { than: '>', limit: GOALS.rate } as const } : {}),
    });
  }
  const steady: number[] = [];
  for (const way of ways.filter(({ name }) => name === 'mesh')) {
    for (let at = 0; at < long; at += 1) {
      context.say(`storm ${at + 1} of ${long}, ${LONG_S} s`);
      const counts = await run(way, program, 'storm', LONG_S, CLIENTS);
      steady.push(mean(counts.slice(-END_S)) / mean(counts.slice(0, END_S)));
    }
  }
  context.report({
    ...{ case: 'mesh', metric: `last ${END_S} s of ${LONG_S} against the first, p50`, unit: 'x', samples: long },
    value: percentile(steady, 0.5),
    goal: { than: '>', limit: GOALS.steady },
  });
}
