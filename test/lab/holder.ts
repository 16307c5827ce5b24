import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Inside, spawned } from './inside.ts';
import {
  childrenOf,
  type ExecOptions,
  eventually,
  exec,
  innerPidOf,
  killGroup,
  type Output,
  signalPid,
  within,
} from './process.ts';

/** Marks every process of a lab in its environment, so that leavings can be told from other people's processes. */
export const LAB_VARIABLE = 'LAB_ID';

const SETUP = fileURLToPath(new URL('tools/holder.sh', import.meta.url));

export interface HolderOptions {
  readonly labId: string;
  readonly hostname: string;
  /** Directory on the machine for what the host keeps: `etc`, `lib`, `run` and a mount point `private`. */
  readonly directory: string;
}

/** As for `exec`; `env` adds to the environment that the lab gives. */
export type InsideOptions = Omit<ExecOptions, 'env'> & { readonly env?: Readonly<Record<string, string>> };

/**
 * Net, mount, uts and pid namespaces of their own, kept by one process that is init of the pid namespace. It reads a
 * pipe from us, its life line: when we die, however, the pipe closes, init ends, and the kernel kills all that runs inside and
 * frees the namespaces. Nothing is named in the machine's /run/netns.
 */
export class Holder {
  readonly labId: string;
  readonly hostname: string;
  readonly directory: string;
  /** Init of the pid namespace, in the machine's pid namespace. */
  readonly pid: number;
  readonly #unshare: ChildProcess;
  readonly #gone: Promise<void>;

  private constructor(options: HolderOptions, unshare: ChildProcess, gone: Promise<void>, pid: number) {
    this.labId = options.labId;
    this.hostname = options.hostname;
    this.directory = options.directory;
    this.#unshare = unshare;
    this.#gone = gone;
    this.pid = pid;
  }

  static async start(options: HolderOptions): Promise<Holder> {
    const namespaces = ['--net', '--mount', '--uts', '--pid', '--fork', '--kill-child', '--propagation', 'private'];
    const unshare = spawn('unshare', [...namespaces, 'bash', SETUP, options.directory, options.hostname], {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      env: labEnvironment(options.labId),
    });
    let stderr = '';
    unshare.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    unshare.stdin.on('error', () => {});
    const gone = new Promise<void>((resolve) => {
      unshare.once('exit', () => resolve());
      unshare.once('error', () => resolve());
    });
    const ready = new Promise<number>((resolve, reject) => {
      let said = '';
      unshare.stdout.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        const line = /^ready (\d+)$/m.exec(said);
        if (line?.[1]) resolve(Number(line[1]));
      });
      unshare.once('error', reject);
      unshare.once('close', (code) =>
        reject(new Error(`namespaces of ${options.hostname}: exit code ${code}\n${stderr.trim()}`)),
      );
    });
    try {
      const pid = await within(ready, 10_000, `the namespaces of ${options.hostname}`, () => stderr.trim());
      return new Holder(options, unshare, gone, pid);
    } catch (error) {
      killGroup(unshare, 'SIGKILL');
      throw error;
    }
  }

  /** Arguments to `nsenter` that put a command inside. */
  enter(command: string, args: readonly string[]): string[] {
    return ['-t', String(this.pid), '-n', '-m', '-u', '-p', '--', command, ...args];
  }

  /** Runs a command inside. Throws when it fails, unless `check` is false. */
  exec(command: string, args: readonly string[] = [], options: InsideOptions = {}): Promise<Output> {
    const env = labEnvironment(this.labId, options.env);
    return exec('nsenter', this.enter(command, args), { ...options, env });
  }

  /** Lines for `ip -batch -` inside. */
  async ip(lines: readonly string[]): Promise<void> {
    await this.exec('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
  }

  /** Starts a long-running process inside. It dies with the holder at the latest. */
  async spawn(
    command: string,
    args: readonly string[],
    options: { stdio?: (number | 'pipe' | 'ignore')[]; env?: Readonly<Record<string, string>> } = {},
  ): Promise<Inside> {
    const child = spawn('nsenter', this.enter(command, args), {
      stdio: options.stdio ?? ['ignore', 'pipe', 'pipe'],
      detached: true,
      env: labEnvironment(this.labId, options.env),
    });
    const inside = new Inside(child, `${command} on ${this.hostname}`);
    const outer = await spawned(child);
    // nsenter forks to get into the pid namespace, and does not hand signals on: it is its child that we want.
    const pid = await eventually(
      `${command} to start on ${this.hostname}`,
      () => childrenOf(outer)[0] ?? (inside.running ? undefined : -1),
      { timeoutMs: 5_000, everyMs: 5 },
    );
    return inside.identify(pid, pid === -1 ? -1 : orGone(() => innerPidOf(pid)));
  }

  /** Kills everything inside at once, without waiting; safe to call from an `exit` handler. */
  kill(): void {
    signalPid(this.pid, 'SIGKILL');
    killGroup(this.#unshare, 'SIGKILL');
  }

  /** Kills everything inside and waits until the kernel has reaped it. */
  async [Symbol.asyncDispose](): Promise<void> {
    // Init's death is final only when all inside is reaped, and `unshare` ends only then; so it is init that is killed.
    if (!signalPid(this.pid, 'SIGKILL')) killGroup(this.#unshare, 'SIGKILL');
    await within(this.#gone, 10_000, `the end of all processes on ${this.hostname}`);
  }
}

/** Our environment without what would configure an agent or point the CLI at another one, and with the lab's mark. */
function labEnvironment(labId: string, extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('WEFT_'));
  return { ...Object.fromEntries(kept), ...extra, [LAB_VARIABLE]: labId };
}

/** A process may end while it is looked at. */
function orGone(read: () => number): number {
  try {
    return read();
  } catch {
    return -1;
  }
}
