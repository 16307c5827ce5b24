import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { DataPlaneStats } from '../../../dataplane/dataplane.ts';
import type { Desired } from '../../../dataplane/desired.ts';
import type { Drift, DriftMode } from '../../../dataplane/drift/drift.ts';
import type { Preview } from '../../../dataplane/preview.ts';
import type { ObjectStatus } from '../../../dataplane/status.ts';
import { within } from '../../lab/process.ts';
import type { Listing, Reply, Request } from './host-process.ts';

/** Private /run, so that namespaces and run files of one host are seen by no other and vanish with it. */
const IN_NAMESPACES = [
  '--net',
  '--mount',
  '--propagation',
  'private',
  'sh',
  '-c',
  'mount -t tmpfs tmpfs /run && exec "$@"',
];
const LINE_MS = 10_000;
const SCRIPT = fileURLToPath(new URL('./host-process.ts', import.meta.url));

export interface Ran {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** A host with a kernel network of its own and a data plane in it. Dispose it, and nothing of it is left. */
export class Host implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #nextId = 1;

  private constructor(child: ChildProcess) {
    this.#process = child;
  }

  static async start(): Promise<Host> {
    const child = spawn('unshare', [...IN_NAMESPACES, 'sh', process.execPath, '--import', 'tsx', SCRIPT], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const host = new Host(child);
    await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(() => Promise.reject(new Error('the host process ended at its start'))),
    ]);
    child.on('message', (reply: Reply) => {
      const waiting = host.#waiting.get(reply.id);
      host.#waiting.delete(reply.id);
      if (reply.error === undefined) waiting?.resolve(reply.value);
      else waiting?.reject(new Error(reply.error));
    });
    child.on('exit', () => {
      for (const { reject } of host.#waiting.values()) reject(new Error('the host process ended'));
      host.#waiting.clear();
    });
    return host;
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  #call(method: Request['method'], ...args: readonly unknown[]): Promise<unknown> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#process.send({ id, method, args } satisfies Request);
    });
  }

  /** @param sweepMs null: no sweep unless it is asked for */
  async restart(sweepMs: number | null = null, drift?: DriftMode): Promise<void> {
    await this.#call('restart', sweepMs, ...(drift === undefined ? [] : [drift]));
  }

  /** Milliseconds from `set` to settled. */
  async set(desired: Desired, prune = true): Promise<number> {
    return (await this.#call('set', desired, prune)) as number;
  }

  async whenApplied(endpointId: string): Promise<void> {
    await this.#call('whenApplied', endpointId);
  }

  async sweep(): Promise<void> {
    await this.#call('sweep');
  }

  async drift(): Promise<Drift[]> {
    return (await this.#call('drift')) as Drift[];
  }

  /** Steps that it took. */
  async repair(): Promise<number> {
    return (await this.#call('repair')) as number;
  }

  /** The first line of the log since the last `log` that matches; waits for it, ten seconds at most. */
  async line(pattern: RegExp): Promise<string> {
    const line = this.#call('line', pattern.source) as Promise<string>;
    return await within(line, LINE_MS, `no line ${pattern} in the log`);
  }

  async status(): Promise<Record<string, ObjectStatus>> {
    return (await this.#call('status')) as Record<string, ObjectStatus>;
  }

  async stats(): Promise<DataPlaneStats> {
    return (await this.#call('stats')) as DataPlaneStats;
  }

  /** Messages since the last call. */
  async log(): Promise<string[]> {
    return (await this.#call('log')) as string[];
  }

  async cleanUp(): Promise<void> {
    await this.#call('cleanUp');
  }

  async preview(desired: Desired): Promise<Preview> {
    return (await this.#call('preview', desired)) as Preview;
  }

  /** Starts a program for Node, in a named namespace or the host's; resolves to its pid when it has sent a message. */
  async start(script: string, netns?: string): Promise<number> {
    return (await this.#call('start', script, ...(netns === undefined ? [] : [netns]))) as number;
  }

  async end(pid: number): Promise<void> {
    await this.#call('end', pid);
  }

  async hostRoutes(): Promise<string[]> {
    return (await this.#call('hostRoutes')) as string[];
  }

  async defaultAddress(): Promise<{ address: string; device: string; mtu: number } | null> {
    return (await this.#call('defaultAddress')) as { address: string; device: string; mtu: number } | null;
  }

  /** Listings of a table, one after the other, the last after a change by somebody else; no data plane runs after it. */
  async listings(desired: Desired, netns: string, table: string, change: readonly string[]): Promise<Listing[]> {
    return (await this.#call('listings', desired, netns, table, change)) as Listing[];
  }

  async try(...command: readonly string[]): Promise<Ran> {
    return (await this.#call('exec', command)) as Ran;
  }

  /** Runs a command on the host and returns its output; throws when it fails. */
  async run(...command: readonly string[]): Promise<string> {
    const ran = await this.try(...command);
    if (ran.exitCode !== 0) throw new Error(`${command.join(' ')}: ${ran.stderr || ran.stdout}`);
    return ran.stdout;
  }

  /** Runs a command while the host's data plane stands still. Throws when it fails. */
  async runBlocked(...command: readonly string[]): Promise<void> {
    await this.#call('execBlocked', command);
  }

  /** True when an echo request from the namespace is answered; a first one that gets lost is known to be so after a second. */
  async pings(netns: string, address: string, ...options: readonly string[]): Promise<boolean> {
    const ran = await this.try('ip', 'netns', 'exec', netns, 'ping', '-c1', '-W3', ...options, address);
    return ran.exitCode === 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exit = once(this.#process, 'exit');
    this.#process.disconnect();
    await exit;
  }
}

/** Joins two hosts by a cable: `u0` on each, 10.99.0.1/24 and 10.99.0.2/24. */
export async function connect(a: Host, b: Host): Promise<void> {
  await a.run('ip', 'link', 'add', 'u0', 'type', 'veth', 'peer', 'name', 'u0', 'netns', String(b.pid));
  for (const [host, address] of [
    [a, '10.99.0.1/24'],
    [b, '10.99.0.2/24'],
  ] as const) {
    await host.run('ip', 'address', 'add', address, 'dev', 'u0');
    await host.run('ip', 'link', 'set', 'u0', 'up');
  }
}
