import type { Endpoint } from '../../../agent/api/schema.ts';
import { converged, join, joinToken } from '../../lab/cluster.ts';
import { Lab } from '../../lab/lab.ts';
import { eventually } from '../../lab/process.ts';
import type { Benchmark } from '../benchmark.ts';
import { Generator } from '../generator.ts';
import { percentile } from '../report.ts';
import { pause, processorMs } from '../usage.ts';
import { setClock, Watcher, wallClockMs } from '../watch.ts';

const GOAL_MS = 1_500;
const LIMIT_MS = 60_000;
/** Others, on the same processors, have had their time to take in the last restart. */
const REST_MS = 3_000;
/** That the generator makes, and the network that it makes them on. */
const NETWORK = 'many';

/** How long an agent that starts needs until its kernel is as wanted, with all that it forwards going on. */
export const benchmark: Benchmark = {
  name: 'restart',
  summary:
    'from the start of an agent to the repair of what was changed in its kernel while there was none, under a ping each millisecond',
  options: { endpoints: 'endpoints on other hosts (10000)', samples: 'restarts, every other one by SIGKILL (10)' },
  run: async (context) => {
    const [endpoints = 10_000] = context.numbers('endpoints', [10_000]);
    const [samples = 10] = context.numbers('samples', [10]);
    await using lab = await Lab.create({ hosts: 3 });
    const [host, peer, other] = [lab.host(1), lab.host(2), lab.host(3)];
    await host.startAgent();
    const { JoinAddr } = await host.weftJson<{ JoinAddr: string }>('init', '--advertise-addr', host.address);
    await peer.startAgent();
    await join(peer, (await joinToken(host, 'worker')).Token, JoinAddr);
    const generator = await Generator.start(other, host, endpoints);
    await generator.shownOn(host, await generator.write(), 100);
    const from = await host.createSandbox({ Name: 'from', Networks: [NETWORK] });
    const to = await peer.createSandbox({ Name: 'to', Networks: [NETWORK] });
    const isReconciled = async (): Promise<true | undefined> =>
      (await host.api.call('status')).Kernel.State === 'ok' || undefined;
    const within = { timeoutMs: LIMIT_MS, everyMs: 20 };
    await eventually('the kernel to be as wanted', isReconciled, within);
    const { VNI: vni } = await host.api.call('networkInspect', { ref: NETWORK });
    const all = await host.api.call('endpointList', { query: { network: NETWORK } });
    const remotes = all.filter(({ Local, VTEP }) => !Local && VTEP === other.address);
    const watcher = await Watcher.start(host);
    await eventually(
      'answers from the peer',
      async () => (await from.ping(to.address(NETWORK))).received > 0 || undefined,
    );
    const ping = await from.backgroundPing(to.address(NETWORK), { count: 1_000_000, intervalMs: 1 });
    const repaired: number[] = [];
    const processor: number[] = [];
    for (let at = 0; at < samples; at++) {
      const { MacAddress: mac, VTEP: vtep } = remotes[at % remotes.length] as Endpoint;
      await converged(host);
      await pause(REST_MS);
      if (at % 2 === 0) await host.killAgent();
      else await host.stopAgent();
      await host.execIn('/run/netns/weft', 'bridge', ['fdb', 'del', mac, 'dev', `wx${vni}`, 'self']);
      await watcher.when('gone', vtep, mac, LIMIT_MS);
      watcher.forget();
      setClock();
      const startMs = wallClockMs();
      const back = watcher.when('came', vtep, mac, LIMIT_MS);
      await host.startAgent({ timeoutMs: LIMIT_MS });
      repaired.push((await back) - startMs);
      processor.push(processorMs(host.agent.pid));
      await eventually('the kernel to be as wanted', isReconciled, within);
    }
    const { received, missing } = await ping.stopAndCount();
    await watcher.stop();
    await generator.stop();
    const common = { case: `${endpoints} endpoints`, samples };
    context.report({
      ...{ ...common, metric: 'started to reconciled, p50', unit: 'ms', value: percentile(repaired, 0.5) },
      goal: { than: '<', limit: GOAL_MS },
    });
    context.report({ ...common, metric: 'started to reconciled, max', unit: 'ms', value: Math.max(...repaired) });
    context.report({
      ...{ ...common, metric: 'processor time of it, all threads, p50', unit: 'ms', value: percentile(processor, 0.5) },
    });
    context.report({
      ...{
        ...common,
        metric: `answers lost of ${received}`,
        unit: 'answers',
        value: missing.length,
        samples: received,
      },
      goal: { than: '<', limit: 1 },
    });
  },
};
