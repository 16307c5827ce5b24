import { spawn } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Holder, LAB_VARIABLE } from '../lab/holder.ts';
import { Inside, spawned } from '../lab/inside.ts';
import { childrenOf, type ExecOptions, eventually, exec, innerPidOf, type Output } from '../lab/process.ts';
import { labDirectory, newLabId, sweep } from '../lab/sweep.ts';
import { removeGroup, sweepGroups } from './cgroup.ts';
import { installTools, librariesLacking, npmPackage, npmRegistry, packageCache, systemRoot } from './distribution.ts';

const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url));
const tool = (name: string): string => fileURLToPath(new URL(`tools/${name}`, import.meta.url));
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** The machine's address, on an interface that leads nowhere. */
export const ADDRESS = '10.98.0.1';

/**
 * A machine with an init of its own, in namespaces that end with this process, and no network but what is inside. The
 * checkout is at /mnt/weft, on a layer of its own like all else, so nothing that is done inside reaches the disk.
 */
export class Machine {
  readonly #holder: Holder;
  readonly #registry: string;
  readonly #onExit = (): void => this.#kill();
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    // Others who listen decide for themselves, and 'exit' comes after them.
    if (process.listenerCount(signal) > 0) return;
    this.#kill();
    process.kill(process.pid, signal);
  };
  /** Init of the booted system, in this process's pid namespace. */
  #init = -1;

  private constructor(holder: Holder, registry: string) {
    this.#holder = holder;
    this.#registry = registry;
    // A SIGKILL is not seen here; the holder's life line sees that.
    process.once('exit', this.#onExit);
    for (const signal of SIGNALS) process.once(signal, this.#onSignal);
  }

  /** Lays out a root; nothing is booted yet. */
  static async create(): Promise<Machine> {
    if (process.getuid?.() !== 0) throw new Error('to boot a system needs root');
    sweep();
    sweepGroups();
    await installTools();
    const registry = await npmRegistry();
    const [base, cache] = [await systemRoot(), await packageCache(registry)];
    const labId = newLabId();
    const directory = labDirectory(labId);
    for (const name of ['etc', 'lib', 'run', 'private']) mkdirSync(join(directory, name), { recursive: true });
    const machine = new Machine(await Holder.start({ labId, hostname: 'outer', directory }), registry);
    try {
      const parts = [directory, base, CHECKOUT, cache, process.execPath, npmPackage()];
      await machine.#holder.exec('bash', [tool('root.sh'), ...parts, ...(await librariesLacking(base))]);
      const links = ['link add eth0 type veth peer name nowhere', `address add ${ADDRESS}/24 dev eth0`];
      await machine.#holder.ip([...links, 'link set eth0 up', 'link set nowhere up']);
      return machine;
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  get #root(): string {
    return join(this.#holder.directory, 'root');
  }

  get #environment(): Record<string, string> {
    const npm = { npm_config_offline: 'true', npm_config_registry: this.#registry };
    const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    return { ...npm, PATH: path, HOME: '/root', LC_ALL: 'C.UTF-8', [LAB_VARIABLE]: this.#holder.labId };
  }

  /** Runs a command in the root while no system is running there. */
  async execUnbooted(command: string, args: readonly string[]): Promise<Output> {
    const env = Object.entries(this.#environment).map(([name, value]) => `--setenv=${name}=${value}`);
    const nspawn = [tool('nspawn.sh'), this.#holder.labId, '-D', this.#root, ...env, '--as-pid2', command, ...args];
    return await this.#holder.exec('bash', nspawn, { timeoutMs: 120_000 });
  }

  /** Boots and waits until all that starts by itself has started. */
  async boot(): Promise<void> {
    const args = [tool('nspawn.sh'), this.#holder.labId, '-D', this.#root, '-b'];
    const nspawn = await this.#holder.spawn('bash', args);
    this.#init = await eventually('systemd to start', () => {
      if (!nspawn.running) throw new Error(`systemd-nspawn ended: ${nspawn.text.trim().slice(-2000)}`);
      return childrenOf(nspawn.pid).find((pid) => innerPidOf(pid) === 1);
    });
    // Its answer is `degraded`, and its exit code not 0, when a unit failed; then it should be known which.
    await eventually('systemd to listen', async () => (await this.#listens()) || undefined);
    const { stdout } = await this.exec('systemctl', ['is-system-running', '--wait'], { check: false });
    if (stdout.trim() === 'running') return;
    const failed = await this.exec('systemctl', ['--failed', '--no-legend', '--plain'], { check: false });
    throw new Error(`the system is ${stdout.trim()}: ${failed.stdout}\n${nspawn.text.slice(-2000)}`);
  }

  async #listens(): Promise<boolean> {
    return (await this.exec('test', ['-S', '/run/systemd/private'], { check: false })).exitCode === 0;
  }

  #enter(command: string, args: readonly string[]): string[] {
    return ['-t', String(this.#init), '-m', '-n', '-u', '-i', '-p', '-C', '--', command, ...args];
  }

  /** Runs a command in the booted system, as from a shell of root there. Throws when it fails, unless `check` is false. */
  exec(command: string, args: readonly string[] = [], options: Omit<ExecOptions, 'env'> = {}): Promise<Output> {
    return exec('nsenter', this.#enter(command, args), { ...options, env: this.#environment });
  }

  /** As `exec`, for what is easier said to a shell; returns what it wrote. */
  async shell(script: string): Promise<string> {
    // With a socket as its stdin, bash takes itself for started by rshd and reads start-up files.
    return (await this.exec('bash', ['--norc', '-euo', 'pipefail', '-c', script], { timeoutMs: 60_000 })).stdout;
  }

  /** Starts a program in the booted system; it dies with it at the latest. */
  async spawn(command: string, args: readonly string[]): Promise<Inside> {
    const stdio = ['ignore', 'pipe', 'pipe'] as const;
    const child = spawn('nsenter', this.#enter(command, args), {
      stdio: [...stdio],
      detached: true,
      env: this.#environment,
    });
    const inside = new Inside(child, command);
    const outer = await spawned(child);
    // nsenter hands no signals on; its child is the program.
    const pid = await eventually(
      `${command} to start`,
      () => childrenOf(outer)[0] ?? (inside.running ? undefined : -1),
    );
    return inside.identify(pid, pid === -1 ? -1 : innerPidOf(pid));
  }

  /** Follows the journal of a unit from now on. */
  async journal(unit: string): Promise<Inside> {
    const cursor = /^-- cursor: (.+)$/m.exec((await this.exec('journalctl', ['-n', '0', '--show-cursor'])).stdout)?.[1];
    if (cursor === undefined) throw new Error('journalctl showed no cursor');
    return await this.spawn('journalctl', ['-f', '-u', unit, '-o', 'cat', `--after-cursor=${cursor}`]);
  }

  #kill(): void {
    this.#holder.kill();
    rmSync(this.#holder.directory, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off('exit', this.#onExit);
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
    await this.#holder[Symbol.asyncDispose]();
    removeGroup(this.#holder.labId);
    rmSync(this.#holder.directory, { recursive: true, force: true });
  }
}
