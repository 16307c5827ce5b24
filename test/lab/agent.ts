import { closeSync, existsSync, openSync, readFileSync, watch } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Holder } from './holder.ts';
import type { Inside } from './inside.ts';
import { within } from './process.ts';

/** The built program; `LAB_WEFT_BIN` names another one, for comparing two builds. */
export const WEFT = process.env['LAB_WEFT_BIN'] ?? fileURLToPath(new URL('../../dist/weft.js', import.meta.url));

export interface AgentOptions {
  /** Settings for the config file; without it the agent gets the flag for no file at all. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  /** More arguments to `weft agent`. */
  readonly args?: readonly string[];
  /** Until the agent answers on its socket. @default 20000 */
  readonly timeoutMs?: number;
}

/** One run of an agent on a host. */
export class AgentProcess {
  readonly #inside: Inside;
  readonly #hostname: string;
  readonly #logPath: string;

  private constructor(inside: Inside, hostname: string, logPath: string) {
    this.#inside = inside;
    this.#hostname = hostname;
    this.#logPath = logPath;
  }

  /** Starts the agent and waits until it answers on its socket, or says with its log why it did not. */
  static async start(holder: Holder, command: readonly string[], options: AgentOptions): Promise<AgentProcess> {
    const logPath = join(holder.directory, 'agent.log');
    const run = join(holder.directory, 'run');
    const [program = 'node', ...args] = command;
    const log = openSync(logPath, 'a');
    let inside: Inside;
    try {
      inside = await holder.spawn(program, [...args, ...(options.args ?? [])], {
        stdio: ['ignore', log, log],
        ...(options.env === undefined ? {} : { env: options.env }),
      });
    } finally {
      closeSync(log);
    }
    const agent = new AgentProcess(inside, holder.hostname, logPath);
    const what = `the agent on ${holder.hostname}`;
    const tooEarly = inside.exited.then(({ exitCode, signal }) => {
      throw new AgentExit(
        `${what} ended with ${signal ?? `exit code ${exitCode}`}`,
        agent.log().slice(-4000),
        exitCode,
      );
    });
    const given = new AbortController();
    const { timeoutMs = 20_000 } = options;
    try {
      await within(
        Promise.race([answers(run, 'weft.sock', given.signal), tooEarly]),
        timeoutMs,
        `${what} to answer on its socket`,
        () => agent.log().slice(-4000),
      );
    } catch (error) {
      agent.signal('SIGKILL');
      throw error;
    } finally {
      given.abort();
      tooEarly.catch(() => {});
    }
    return agent;
  }

  /** In the machine's pid namespace. */
  get pid(): number {
    return this.#inside.pid;
  }

  get running(): boolean {
    return this.#inside.running;
  }

  /** Everything agents of this host have written so far, earlier runs included. */
  log(): string {
    return existsSync(this.#logPath) ? readFileSync(this.#logPath, 'utf8') : '';
  }

  signal(signal: NodeJS.Signals): void {
    this.#inside.signal(signal);
  }

  /** Signals and waits for the end; returns the exit code (null when a signal ended it). */
  async end(signal: 'SIGTERM' | 'SIGINT' | 'SIGKILL', timeoutMs: number): Promise<number | null> {
    this.signal(signal);
    const what = `the agent on ${this.#hostname} to end after ${signal}`;
    const { exitCode } = await within(this.#inside.exited, timeoutMs, what, () => this.log().slice(-4000));
    return exitCode;
  }
}

/** An agent that ended before it was ready. */
export class AgentExit extends Error {
  override readonly name = 'AgentExit';
  readonly log: string;
  readonly exitCode: number | null;
  constructor(message: string, log: string, exitCode: number | null) {
    super(`${message}\n${log}`);
    this.log = log;
    this.exitCode = exitCode;
  }
}

/** Resolves when something accepts connections on `directory/name`; a socket file left by a dead agent does not count. */
export async function answers(directory: string, name: string, signal: AbortSignal): Promise<void> {
  const path = join(directory, name);
  await new Promise<void>((resolve) => {
    let trying = false;
    let again: NodeJS.Timeout | undefined;
    const done = (): void => {
      watcher.close();
      clearTimeout(again);
      resolve();
    };
    const attempt = (): void => {
      if (trying || signal.aborted) return;
      trying = true;
      const socket = connect(path);
      socket.once('connect', () => {
        socket.destroy();
        done();
      });
      socket.once('error', () => {
        trying = false;
        // The file appears on bind, a moment before listen: the event alone is not enough.
        clearTimeout(again);
        if (!signal.aborted) again = setTimeout(attempt, 20);
      });
    };
    const watcher = watch(directory, attempt);
    watcher.on('error', () => {});
    signal.addEventListener('abort', done, { once: true });
    attempt();
  });
}
