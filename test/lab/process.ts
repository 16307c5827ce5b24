import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** What a finished command left behind. */
export interface Output {
  readonly stdout: string;
  readonly stderr: string;
  /** 128 + signal number is not computed: a command ended by a signal has exit code -1 and names it in `signal`. */
  readonly exitCode: number;
  readonly signal: NodeJS.Signals | null;
}

export interface ExecOptions {
  /** Ends the command and everything it started. @default 15000 */
  readonly timeoutMs?: number;
  /** Throw when the exit code is not 0. @default true */
  readonly check?: boolean;
  /** Text for stdin; without it stdin is empty. */
  readonly input?: string;
  /** The whole environment. @default our own */
  readonly env?: Readonly<NodeJS.ProcessEnv>;
  readonly cwd?: string;
  readonly signal?: AbortSignal;
}

/** A command that failed or ran out of time: the message is what ran, why it ended, and its stderr. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly output: Output;
  constructor(what: string, why: string, output: Output) {
    const said = (output.stderr.trim() || output.stdout.trim()).slice(-4000);
    super(`${what}: ${why}${said === '' ? '' : `\n${said}`}`);
    this.output = output;
  }
}

/**
 * Runs a program without a shell and collects its output. It gets a process group of its own, so that a time-out
 * ends what it started too: `nsenter` forks, and killing it alone would leave its child running in the namespace.
 */
export async function exec(command: string, args: readonly string[], options: ExecOptions = {}): Promise<Output> {
  const { timeoutMs = 15_000, check = true } = options;
  const what = [command, ...args].join(' ');
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
    env: options.env ?? process.env,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  // A command that ends without reading its stdin is no error of ours.
  child.stdin.on('error', () => {});
  child.stdin.end(options.input ?? '');

  let ended = '';
  const end = (why: string): void => {
    ended = why;
    killGroup(child, 'SIGKILL');
  };
  const timer = setTimeout(() => end(`still running after ${timeoutMs} ms, killed`), timeoutMs);
  const onAbort = (): void => end('aborted');
  options.signal?.addEventListener('abort', onAbort, { once: true });
  if (options.signal?.aborted) onAbort();
  try {
    const { code, signal } = await closed(child, what);
    const output: Output = { stdout, stderr, exitCode: code ?? -1, signal };
    if (ended !== '') throw new CommandError(what, ended, output);
    if (check && output.exitCode !== 0) {
      throw new CommandError(what, signal === null ? `exit code ${output.exitCode}` : `ended by ${signal}`, output);
    }
    return output;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', onAbort);
  }
}

function closed(child: ChildProcess, what: string): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  return new Promise((resolve, reject) => {
    child.once('error', (cause) => reject(new Error(`cannot run ${what}: ${cause.message}`, { cause })));
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
}

/** Signals a child that was started with `detached` and everything in its process group; a dead one is no error. */
export function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid !== undefined) signalPid(-child.pid, signal);
}

/** Signals a process (or, negative, a group); returns false when there is none. */
export function signalPid(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/**
 * Rejects when `promise` is not settled in time, saying what was waited for.
 * @param detail asked only on failure, for what is known by then
 */
export async function within<T>(
  promise: Promise<T>,
  timeoutMs: number,
  what: string,
  detail: () => string = () => '',
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const more = detail();
      reject(new Error(`waited ${timeoutMs} ms for ${what}${more === '' ? '' : `: ${more}`}`));
    }, timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Asks until `probe` gives something other than undefined or false. For state that sends no signal of its own, such as a
 * kernel that is looked at from outside.
 */
export async function eventually<T>(
  what: string,
  probe: () => Promise<T | undefined> | T | undefined,
  { timeoutMs = 10_000, everyMs = 25 }: { timeoutMs?: number; everyMs?: number } = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let waitMs = Math.min(2, everyMs);
  let last = '';
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value;
      last = '';
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs} ms for ${what}${last === '' ? '' : `: ${last}`}`);
    }
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    waitMs = Math.min(waitMs * 2, everyMs);
  }
}

/** Children of a process, as the kernel lists them (proc(5), /proc/PID/task/TID/children). */
export function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** A process's id in its own pid namespace, from outside of it. */
export function innerPidOf(pid: number): number {
  const line = /^NSpid:\s*(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  const inner = line?.[1]?.trim().split(/\s+/).at(-1);
  if (inner === undefined) throw new Error(`no NSpid in /proc/${pid}/status`);
  return Number(inner);
}

/** Clock ticks since boot at which a process started; with its pid this names it beyond reuse. Undefined when gone. */
export function startTicksOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the command in brackets and may hold anything; starttime is field 22 (proc(5)).
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

/** Every process on the machine. */
export function allPids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}
