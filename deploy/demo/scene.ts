import type { Endpoint, Sandbox } from '../../agent/api/schema.ts';
import { join, joinToken } from '../../test/lab/cluster.ts';
import { type Host, LabSandbox } from '../../test/lab/host.ts';
import type { Lab } from '../../test/lab/lab.ts';
import type { Report } from './report.ts';

/** What stands when all is up. */
export interface Scene {
  readonly lab: Lab;
  /** Sandboxes made by us and each node's own on `ingress`. */
  readonly sandboxes: readonly LabSandbox[];
}

// `web` and `db` are on one network each and `app` on both; some are on ingress as well.
const PLAN: readonly { host: number; name: string; networks: readonly string[] }[] = [
  { host: 1, name: 'web-1', networks: ['frontend', 'ingress'] },
  { host: 1, name: 'db-1', networks: ['backend'] },
  { host: 2, name: 'web-2', networks: ['frontend'] },
  { host: 2, name: 'app-2', networks: ['frontend', 'backend'] },
  { host: 3, name: 'app-3', networks: ['frontend', 'backend'] },
  { host: 3, name: 'db-3', networks: ['backend', 'ingress'] },
];

export const NETWORKS = ['frontend', 'backend', 'ingress'] as const;

/** Three hosts, agents, a cluster, networks and sandboxes, each made by the command that a person would type. */
export async function build(lab: Lab, report: Report): Promise<Scene> {
  const [first, ...others] = lab.hosts;
  if (!first) throw new Error('a lab has hosts');
  report.step('Agents, and a cluster of them');
  const agents = performance.now();
  await lab.startAgents();
  report.add('agents answer on all hosts', true, performance.now() - agents, 'ms');
  const init = performance.now();
  await first.weftJson('init', '--advertise-addr', first.address);
  report.add(`${first.name}: weft init`, true, performance.now() - init, 'ms');
  const { Token: token, JoinAddr: address } = await joinToken(first, 'worker');
  for (const host of others) {
    const ms = await join(host, token, address);
    report.add(`${host.name}: weft join`, true, ms, 'ms');
  }

  report.step('Networks and sandboxes');
  for (const name of ['frontend', 'backend']) await first.weftJson('network', 'create', name);
  const made: LabSandbox[] = [];
  for (const { host, name, networks } of PLAN) made.push(await create(lab.host(host), name, networks));
  const own = await Promise.all(lab.hosts.map((host) => host.sandbox('ingress-sbox')));
  report.add('sandboxes made', true, made.length, 'sandboxes', made.map((sandbox) => sandbox.name).join(', '));
  await converge(lab, report);
  return { lab, sandboxes: [...made, ...own] };
}

async function create(host: Host, name: string, networks: readonly string[]): Promise<LabSandbox> {
  // A network made on one host a moment ago may still be on its way to this one.
  await host.weftJson('wait', '--converged');
  const flags = networks.flatMap((network) => ['--network', network]);
  return new LabSandbox(host, await host.weftJson<Sandbox>('sandbox', 'create', ...flags, name));
}

async function converge(lab: Lab, report: Report): Promise<void> {
  const reply = await lab.host(1).weft('wait', '--converged', '--timeout', '20', '--json');
  const { ElapsedMs: ms = 0 } = JSON.parse(reply.stdout || '{}') as { ElapsedMs?: number };
  report.add('tables and kernels converged', reply.exitCode === 0, ms, 'ms', reply.stderr.trim());
  const lists = await Promise.all(lab.hosts.map((host) => host.weftJson<Endpoint[]>('endpoint', 'ls')));
  const known = lists.map((list) => list.map(({ ID, IPv4Address, NodeID }) => `${ID} ${IPv4Address} ${NodeID}`).sort());
  const same = known.every((list) => list.join() === known[0]?.join());
  report.add('same endpoints known on all hosts', same, known[0]?.length ?? 0, 'endpoints');
}
