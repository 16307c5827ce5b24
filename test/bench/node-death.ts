import { Lab } from '../lab/lab.ts';
import { eventually } from '../lab/process.ts';
import { settled } from '../lab/suite.ts';
import { Beginning, serveIn, tally } from '../lab/who.ts';
import type { BenchContext } from './benchmark.ts';
import { percentile } from './report.ts';

const GOAL_MS = 3_000;
const [NETWORK, SERVICE, PUBLISHED, PORT] = ['bench', 'web', 8080, 9000] as const;
/** They die in turn, so that nobody does so often enough to be taken for one that flaps. */
const VICTIMS = [2, 3, 4] as const;
const LIMIT_MS = 60_000;

/**
 * The cable of a node with an endpoint is pulled while new connections begin through another: when the last one began that was
 * not answered.
 */
export async function nodeDeaths(context: BenchContext): Promise<void> {
  const [samples = 9] = context.numbers('deaths', [9]);
  await using lab = await Lab.create({ hosts: 5 });
  await lab.cluster();
  const [gate, client] = [lab.host(1), lab.host(5)];
  await gate.api.call('networkCreate', { body: { Name: NETWORK } });
  await settled(lab);
  for (const index of VICTIMS) {
    const request = { Name: `${SERVICE}-${index}`, Networks: [NETWORK], Aliases: [SERVICE] };
    await serveIn(await lab.host(index).createSandbox(request), PORT);
  }
  const { exitCode, stderr } = await gate.weft('publish', '--network', NETWORK, SERVICE, `${PUBLISHED}:${PORT}`);
  if (exitCode !== 0) throw new Error(stderr);
  const allAnswer = async (): Promise<boolean> => {
    const found = Object.keys(await tally(client, gate.address, PUBLISHED, 30));
    return found.length === VICTIMS.length && found.every((name) => name.startsWith(SERVICE));
  };
  await eventually('all endpoints to answer', allAnswer, { timeoutMs: LIMIT_MS });
  const beginning = await Beginning.open(client, gate.address, PUBLISHED);
  const all: number[] = [];
  for (let at = 0; at < samples; at += 1) {
    const host = lab.host(VICTIMS[at % VICTIMS.length] ?? VICTIMS[0]);
    await host.linkDown();
    all.push(await beginning.wellAgain(Date.now()));
    context.say(`${host.name} cut off: ${all.at(-1)} ms`);
    await host.linkUp();
    await settled(lab);
    await eventually('all endpoints to answer', allAnswer, { timeoutMs: LIMIT_MS });
  }
  await beginning.end();
  const common = { case: 'a node dies', unit: 'ms', samples };
  const metric = 'the last connection that was not answered began after';
  context.report({ ...common, metric: `${metric}, p50`, value: percentile(all, 0.5) });
  context.report({
    ...{ ...common, metric: `${metric}, worst`, value: Math.max(...all) },
    goal: { than: '<', limit: GOAL_MS },
  });
}
