import assert from 'node:assert/strict';
import type { z } from 'zod';
import type * as schema from '../../agent/api/schema.ts';
import { BackgroundPing } from '../lab/host.ts';
import type { Inside } from '../lab/inside.ts';
import { pingArgs } from '../lab/ping.ts';
import { eventually } from '../lab/process.ts';
import type { Machine } from './machine.ts';

type Sandbox = z.infer<typeof schema.Sandbox>;

/** Weft as it is installed on a booted machine, seen as an administrator sees it. */
export class Installed {
  readonly #machine: Machine;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** Runs the command line; throws when it fails. */
  async weft(...args: string[]): Promise<string> {
    return (await this.#machine.exec('weft', args, { timeoutMs: 60_000 })).stdout;
  }

  async weftJson<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.weft(...args, '--json')) as T;
  }

  async createSandbox(name: string, networks: readonly string[], ...flags: string[]): Promise<Sandbox> {
    const named = networks.flatMap((network) => ['--network', network]);
    return await this.weftJson('sandbox', 'create', ...named, ...flags, name);
  }

  /** A property of the unit as systemd has it. */
  async unit(property: string): Promise<string> {
    const { stdout } = await this.#machine.exec('systemctl', ['show', '--value', '-p', property, 'weft.service']);
    return stdout.trim();
  }

  /** Each named network namespace of the machine and its inode, looked at from outside the unit. */
  async namespaces(): Promise<string[]> {
    const { stdout } = await this.#machine.exec('ip', ['netns', 'list']);
    const names = stdout.split('\n').flatMap((line) => line.split(' ')[0] || []);
    const all = await this.#machine.exec('stat', ['-L', '-c', '%n %i', ...names.map((name) => `/run/netns/${name}`)]);
    return all.stdout.trim().split('\n').sort();
  }

  /**
   * Does something to the unit and waits for the agent that comes after. Namespaces must be the same then, and of a ping
   * that runs meanwhile not one answer may be missing.
   */
  async uninterrupted(from: Sandbox, to: string, action: (journal: Inside) => Promise<void>): Promise<void> {
    const [before, pid] = [await this.namespaces(), await this.unit('MainPID')];
    const journal = await this.#machine.journal('weft.service');
    const ping = await this.#ping(from, to);
    await action(journal);
    await journal.says(/^Started weft\.service/m, 20_000);
    await journal.end('SIGTERM');
    assert.notEqual(await this.unit('MainPID'), pid, 'this is another process');
    await eventually('the agent to find its kernel as it should be', async () => {
      const { State, Kernel } = await this.weftJson<z.infer<typeof schema.Status>>('status');
      return State === 'active' && Kernel.State === 'ok' && Kernel.Failed.length === 0 ? true : undefined;
    });
    await lost(ping);
    assert.deepEqual(await this.namespaces(), before);
  }

  async #ping({ NetnsPath: netns }: Sandbox, to: string): Promise<Pinging> {
    const args = pingArgs(to, { count: 100_000, intervalMs: 10 });
    const inside = await this.#machine.spawn('nsenter', [`--net=${netns}`, '--', 'ping', ...args]);
    const ping = new BackgroundPing(inside);
    await ping.started();
    return { ping, inside };
  }

  /** Pings some times; throws unless all are answered. */
  async reach(from: Sandbox, to: string): Promise<void> {
    await this.#machine.exec('nsenter', [`--net=${from.NetnsPath}`, '--', 'ping', ...pingArgs(to)]);
  }
}

interface Pinging {
  readonly ping: BackgroundPing;
  readonly inside: Inside;
}

/** Ends a ping and throws when answers were lost. The last request may have been on its way still. */
async function lost({ ping, inside }: Pinging): Promise<void> {
  const { sent, received } = await ping.stop();
  const last = [...inside.text.matchAll(/icmp_seq=(\d+)/g)].at(-1)?.[1];
  assert.equal(received, Number(last), 'no answer is missing before the last one');
  assert.ok(sent - received <= 1, `${sent} sent, ${received} received`);
}

/** Address of a sandbox on a network, without the prefix length. */
export function addressOf(sandbox: Sandbox, network: string): string {
  const address = sandbox.Networks.find((endpoint) => endpoint.Network === network)?.IPv4Address;
  if (address === undefined) throw new Error(`${sandbox.Name} is not on ${network}`);
  return address.replace(/\/.*/, '');
}
