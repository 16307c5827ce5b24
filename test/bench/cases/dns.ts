import { fileURLToPath } from 'node:url';
import type { LabSandbox } from '../../lab/host.ts';
import { Lab } from '../../lab/lab.ts';
import { nameserver } from '../../lab/names.ts';
import { eventually } from '../../lab/process.ts';
import { settled } from '../../lab/suite.ts';
import type { BenchContext, Benchmark } from '../benchmark.ts';
import { percentile } from '../report.ts';
import { processorMs } from '../usage.ts';

const GOALS = { perSecond: 20_000, p99Ms: 2, addedMs: 1 } as const;
const upstream = '198.51.100.1';
const tool = fileURLToPath(new URL('../tools/queries.mjs', import.meta.url));

/** What the agent's resolver answers by itself, and what it adds to asking a nameserver of the host. */
export const benchmark: Benchmark = {
  name: 'dns',
  summary:
    "the agent's resolver, from a sandbox: names of its own, kept answers, forwarded ones; beside the nameserver asked directly",
  options: {
    samples: 'rounds (5)',
    queries: 'of each round and kind of name (100000)',
    endpoints: 'on the network of the asker (50)',
  },
  run: async (context) => {
    const [samples = 5] = context.numbers('samples', [5]);
    const [queries = 100_000] = context.numbers('queries', [100_000]);
    const [endpoints = 50] = context.numbers('endpoints', [50]);
    await using lab = await Lab.create({ hosts: 2 });
    const { app, own, pid } = await scene(lab, endpoints);
    const gateway = app.info.Gateway?.Gateway ?? '';
    await flood(
      context,
      app,
      pid,
      [
        ...[{ name: 'own name', server: gateway, asked: own, goal: true }],
        ...[{ name: 'kept answer', server: gateway, asked: 'www.example', goal: true }],
        ...[{ name: 'nameserver', server: upstream, asked: 'www.example', goal: false }],
      ],
      { samples, queries },
    );
    await forwarded(context, app, gateway, samples);
  },
};

async function scene(lab: Lab, endpoints: number): Promise<{ app: LabSandbox; own: string; pid: number }> {
  await nameserver(lab, upstream);
  await lab.cluster();
  const [one, two] = [lab.host(1), lab.host(2)];
  await one.exec('tee', ['/etc/resolv.conf'], { input: `nameserver ${upstream}\n` });
  await one.weftJson('network', 'create', 'front');
  await settled(lab);
  const app = await one.createSandbox({ Name: 'app', Networks: ['front'] });
  for (let at = 0; at < endpoints; at += 1) await two.createSandbox({ Name: `db${at}`, Networks: ['front'] });
  await settled(lab);
  await eventually('the resolver to know its nameserver', async () => {
    const { lost } = await ask(app, app.info.Gateway?.Gateway ?? '', 'www.example', 1, 1);
    return lost === 0 || undefined;
  });
  return { app, own: `db${Math.floor(endpoints / 2)}`, pid: one.agent.pid };
}

interface Asked {
  readonly allMs: number;
  readonly tookMs: readonly number[];
  readonly lost: number;
}

async function ask(from: LabSandbox, server: string, name: string, count: number, atOnce: number): Promise<Asked> {
  const args = [tool, server, '53', name, String(count), String(atOnce)];
  const { stdout } = await from.exec(process.execPath, args, { timeoutMs: 120_000 });
  return JSON.parse(stdout) as Asked;
}

interface Kind {
  readonly name: string;
  readonly server: string;
  readonly asked: string;
  readonly goal: boolean;
}

/** Sixteen at once: as fast as they are answered. */
async function flood(
  context: BenchContext,
  app: LabSandbox,
  pid: number,
  kinds: readonly Kind[],
  { samples, queries }: { readonly samples: number; readonly queries: number },
): Promise<void> {
  const atOnce = 16;
  for (const { server, asked } of kinds) await ask(app, server, asked, 20_000, atOnce);
  const rounds = new Map<string, { perSecond: number[]; p99: number[]; lost: number; cpuUs: number[] }>();
  for (let sample = 0; sample < samples; sample += 1) {
    for (const { name, server, asked } of kinds) {
      const before = processorMs(pid);
      const { allMs, tookMs, lost } = await ask(app, server, asked, queries, atOnce);
      const round = rounds.get(name) ?? { perSecond: [], p99: [], lost: 0, cpuUs: [] };
      round.perSecond.push((queries / allMs) * 1000);
      round.p99.push(percentile(tookMs, 0.99));
      round.lost += lost;
      round.cpuUs.push(((processorMs(pid) - before) / queries) * 1000);
      rounds.set(name, round);
    }
  }
  const peer = rounds.get('nameserver');
  for (const { name, goal } of kinds) {
    const round = rounds.get(name);
    if (round === undefined || peer === undefined) continue;
    const beside = (value: number) => (goal ? { peer: { name: 'nameserver', value } } : {});
    context.report({
      ...{ case: name, metric: 'answered, p50', unit: '/s', value: percentile(round.perSecond, 0.5), samples },
      ...(goal ? { goal: { than: '>', limit: GOALS.perSecond } } : {}),
      ...beside(percentile(peer.perSecond, 0.5)),
    });
    context.report({
      ...{ case: name, metric: 'one of 16 at once, p99', unit: 'ms', value: percentile(round.p99, 0.5), samples },
      ...(goal ? { goal: { than: '<', limit: GOALS.p99Ms } } : {}),
      ...beside(percentile(peer.p99, 0.5)),
    });
    if (!goal) continue;
    context.report({
      case: name,
      metric: "agent's processor time a query",
      unit: 'µs',
      value: percentile(round.cpuUs, 0.5),
      samples,
    });
    context.report({
      case: name,
      metric: 'not answered',
      unit: '',
      value: round.lost,
      samples,
      goal: { than: '<', limit: 1 },
    });
  }
}

/** One after the other, each another name; in turn, so that what else the machine does slows both. */
async function forwarded(context: BenchContext, app: LabSandbox, gateway: string, samples: number): Promise<void> {
  const each = 1_000;
  const direct: number[] = [];
  const through: number[] = [];
  for (let sample = 0; sample <= samples; sample += 1) {
    for (const [server, took] of [
      [upstream, direct],
      [gateway, through],
    ] as const) {
      const { tookMs, lost } = await ask(app, server, '*.example', each, 1);
      if (lost > 0) throw new Error(`${lost} of ${each} queries to ${server} were not answered`);
      if (sample > 0) took.push(...tookMs);
    }
  }
  for (const [metric, share] of [
    ['p50', 0.5],
    ['p99', 0.99],
  ] as const) {
    const [one, other] = [percentile(through, share), percentile(direct, share)];
    context.report({
      ...{
        case: 'forwarded',
        metric: `added to asking directly, ${metric}`,
        unit: 'ms',
        value: one - other,
        samples: through.length,
      },
      ...(share === 0.5 ? { goal: { than: '<', limit: GOALS.addedMs } } : {}),
    });
    context.report({
      ...{ case: 'forwarded', metric: `answer, ${metric}`, unit: 'ms', value: one, samples: through.length },
      peer: { name: 'nameserver', value: other },
    });
  }
}
