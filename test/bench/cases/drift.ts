import type { Endpoint } from '../../../agent/api/schema.ts';
import { converged } from '../../lab/cluster.ts';
import type { Host } from '../../lab/host.ts';
import { Lab } from '../../lab/lab.ts';
import type { Benchmark } from '../benchmark.ts';
import { medianAndTail } from '../report.ts';
import { pause } from '../usage.ts';
import { Watcher } from '../watch.ts';

const NETWORK = 'bench';
const GOAL_P99_MS = 200;
/** So that no entry is deleted so often that the agent takes it for a fight. */
const ENTRIES = 16;
/** Somebody who deletes an entry does so from rest, not amid the last repair. */
const REST_MS = 300;
const LIMIT_MS = 30_000;
const SWEEP_GOAL_MS = 10_000;
/** Short beside the sweep. */
const POLL_MS = 50;

/** How long an entry is away that somebody has deleted. */
export const benchmark: Benchmark = {
  name: 'drift',
  summary:
    'from the deletion of an FDB entry by someone else until it is back in the kernel, both as the kernel tells them',
  options: { samples: 'entries deleted (100)', sweeps: 'changes that the kernel does not tell of (3)' },
  run: async (context) => {
    const [samples = 100] = context.numbers('samples', [100]);
    const [sweeps = 3] = context.numbers('sweeps', [3]);
    await using lab = await Lab.create({ hosts: 2 });
    const [host, other] = [lab.host(1), lab.host(2)];
    await lab.cluster();
    await host.api.call('networkCreate', { body: { Name: NETWORK } });
    await converged(host, 60);
    const { VNI: vni } = await host.api.call('networkInspect', { ref: NETWORK });
    await host.createSandbox({ Name: 'anchor', Networks: [NETWORK] });
    for (let at = 0; at < ENTRIES; at++) await other.createSandbox({ Name: `box${at}`, Networks: [NETWORK] });
    await converged(host, 60);
    const all = await host.api.call('endpointList', { query: { network: NETWORK } });
    const remotes = all.filter((endpoint) => !endpoint.Local);
    const watcher = await Watcher.start(host);
    const away: number[] = [];
    for (let at = 0; at < samples; at++) {
      const { MacAddress: mac, VTEP: vtep } = remotes[at % remotes.length] as Endpoint;
      watcher.forget();
      await host.execIn('/run/netns/weft', 'bridge', ['fdb', 'del', mac, 'dev', `wx${vni}`, 'self']);
      const [gone, back] = [watcher.when('gone', vtep, mac, LIMIT_MS), watcher.when('came', vtep, mac, LIMIT_MS)];
      away.push((await back) - (await gone));
      await pause(REST_MS);
    }
    await watcher.stop();
    const untold: number[] = [];
    for (let at = 0; at < sweeps; at++) untold.push(await untilSwept(host, vni ?? 0));
    context.report({
      ...{ case: 'told by nobody', metric: 'changed to back, max', unit: 'ms', samples: untold.length },
      value: Math.max(...untold),
      goal: { than: '<', limit: SWEEP_GOAL_MS },
    });
    const of = { case: 'FDB entry', metric: 'deleted to back', unit: 'ms' };
    for (const figure of medianAndTail(of, away, { p99: GOAL_P99_MS })) context.report(figure);
  },
};

/** How long a setting of which the kernel tells nobody stays changed: what is lost is found by the sweep alone. */
async function untilSwept(host: Host, vni: number): Promise<number> {
  const setting = `net.ipv6.conf.wx${vni}.disable_ipv6`;
  await host.execIn('/run/netns/weft', 'sysctl', ['-qw', `${setting}=1`]);
  const startMs = performance.now();
  for (;;) {
    const { stdout } = await host.execIn('/run/netns/weft', 'sysctl', ['-n', setting]);
    const tookMs = performance.now() - startMs;
    if (stdout.trim() === '0') return tookMs;
    if (tookMs > LIMIT_MS) throw new Error(`${setting} is not back after ${LIMIT_MS} ms`);
    await pause(POLL_MS);
  }
}
