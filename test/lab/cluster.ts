import type { InitReply, JoinTokenReply, WaitReply } from '../../agent/api/schema.ts';
import type { AgentOptions } from './agent.ts';
import type { Host } from './host.ts';
import type { Lab } from './lab.ts';

export interface ClusterOptions {
  /** The first hosts, so many of them, join as managers. @default 1 */
  readonly managers?: number;
  readonly agent?: AgentOptions;
  /** More arguments to `weft init`. */
  readonly initArgs?: readonly string[];
}

/** A cluster of all hosts of a lab. */
export interface Cluster {
  readonly clusterId: string;
  /** `HOST:PORT` of the first manager's join listener. */
  readonly joinAddress: string;
  readonly tokens: { readonly worker: string; readonly manager: string };
  /** How long `weft init` or `weft join` took on each host. */
  readonly joinMs: readonly number[];
}

/** Starts an agent on every host, `weft init` on the first, `weft join` on the others, and waits until all agree. */
export async function formCluster(lab: Lab, options: ClusterOptions = {}): Promise<Cluster> {
  const { managers = 1 } = options;
  await lab.startAgents(options.agent);
  const [first, ...others] = lab.hosts;
  if (!first) throw new Error('a lab has at least one host');
  const [initMs, init] = await timed(() =>
    first.weftJson<InitReply>('init', '--advertise-addr', first.address, ...(options.initArgs ?? [])),
  );
  const tokens = { worker: init.JoinTokens.Worker, manager: init.JoinTokens.Manager };
  // Two cores: joining all at once would measure the queue, not the join.
  const joinMs = [initMs];
  for (const host of others) {
    const token = host.index <= managers ? tokens.manager : tokens.worker;
    joinMs.push(await join(host, token, init.JoinAddr));
  }
  await converged(first);
  return { clusterId: init.ClusterID, joinAddress: init.JoinAddr, tokens, joinMs };
}

/** `weft join` on a host; returns how long it took, in milliseconds. */
export async function join(host: Host, token: string, address: string): Promise<number> {
  const [ms] = await timed(() => host.weftJson('join', '--advertise-addr', host.address, '--token', token, address));
  return ms;
}

/** Waits until all live nodes have the same tables, and kernels that follow them. */
export async function converged(host: Host, timeoutSeconds = 30): Promise<WaitReply> {
  const timeoutMs = timeoutSeconds * 1000 + 5_000;
  const reply = await host.api.call('wait', { body: { TimeoutSeconds: timeoutSeconds }, timeoutMs });
  if (!reply.Converged) {
    const lag = reply.Nodes.filter((node) => node.Lag !== '').map((node) => `${node.Hostname}: ${node.Lag}`);
    throw new Error(
      `not converged after ${timeoutSeconds} s, asked from ${host.name}: ${lag.join('; ') || 'no node lags'}`,
    );
  }
  return reply;
}

/** The token of a role as a manager gives it now. */
export async function joinToken(manager: Host, role: 'worker' | 'manager', ...args: string[]): Promise<JoinTokenReply> {
  return await manager.weftJson<JoinTokenReply>('join-token', role, ...args);
}

async function timed<T>(run: () => Promise<T>): Promise<[ms: number, value: T]> {
  const started = performance.now();
  const value = await run();
  return [performance.now() - started, value];
}
