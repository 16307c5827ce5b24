import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { signalPid, within } from './process.ts';

/** How a process ended. */
export interface Ending {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A long-running process inside a lab host, seen from outside. */
export class Inside {
  readonly #child: ChildProcess;
  readonly #what: string;
  readonly #listeners = new Set<() => void>();
  #text = '';
  #onText: ((text: string) => void) | undefined;
  #pid = -1;
  #innerPid = -1;
  /** Settles when the process is gone; never rejects. */
  readonly exited: Promise<Ending>;
  /** Settles when the process is gone and all its output has been read; never rejects. */
  readonly closed: Promise<void>;

  /** Takes a child at once after its start, before any of its output or its end can be missed. */
  constructor(child: ChildProcess, what: string) {
    this.#child = child;
    this.#what = what;
    this.exited = new Promise((resolve) => {
      child.once('exit', (exitCode, signal) => resolve({ exitCode, signal }));
      child.once('error', () => resolve({ exitCode: -1, signal: null }));
    });
    this.closed = new Promise((resolve) => {
      child.once('close', () => resolve());
      child.once('error', () => resolve());
    });
    const read = (text: string): void => {
      if (this.#onText === undefined) this.#text += text;
      else this.#onText(text);
      for (const listener of this.#listeners) listener();
    };
    child.stdout?.setEncoding('utf8').on('data', read);
    child.stderr?.setEncoding('utf8').on('data', read);
  }

  /** Tells the process's ids once they are known. */
  identify(pid: number, innerPid: number): this {
    this.#pid = pid;
    this.#innerPid = innerPid;
    return this;
  }

  /** In the machine's pid namespace; -1 when it ended before it could be seen. */
  get pid(): number {
    return this.#pid;
  }

  /** In the host's own pid namespace: what a program inside would call it. */
  get innerPid(): number {
    return this.#innerPid;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Everything said so far on stdout and stderr. */
  get text(): string {
    return this.#text;
  }

  /** Waits until what was said matches. Fails when the process ends first. */
  async says(pattern: RegExp, timeoutMs = 10_000): Promise<RegExpExecArray> {
    let listener = (): void => {};
    const said = new Promise<RegExpExecArray>((resolve) => {
      listener = (): void => {
        const match = pattern.exec(this.#text);
        if (match) resolve(match);
      };
      this.#listeners.add(listener);
      listener();
    });
    const ended = this.closed.then(() => {
      const match = pattern.exec(this.#text);
      if (match) return match;
      throw new Error(`${this.#what} ended without saying ${pattern}: ${this.#text.trim().slice(-2000)}`);
    });
    ended.catch(() => {});
    try {
      const what = `${this.#what} to say ${pattern}`;
      return await within(Promise.race([said, ended]), timeoutMs, what, () => this.#text.trim().slice(-2000));
    } finally {
      this.#listeners.delete(listener);
    }
  }

  /** Hands all further output to `onText` instead of keeping it, for a process that talks without end. */
  stream(onText: (text: string) => void): void {
    if (this.#text !== '') onText(this.#text);
    this.#text = '';
    this.#onText = onText;
  }

  signal(signal: NodeJS.Signals): void {
    if (this.#pid <= 0 || !this.running) return;
    signalPid(this.#pid, signal);
    // nsenter stops itself when what it started is stopped, and would never see it end.
    if (signal === 'SIGCONT') this.#child.kill(signal);
  }

  /** Signals and waits for the end. */
  async end(signal: NodeJS.Signals, timeoutMs = 5_000): Promise<Ending> {
    this.signal(signal);
    return await within(this.exited, timeoutMs, `${this.#what} to end after ${signal}`, () => this.#text.slice(-2000));
  }
}

/** Resolves when a child has been started; rejects when its program cannot be run. */
export async function spawned(child: ChildProcess): Promise<number> {
  if (child.pid !== undefined) return child.pid;
  const [error] = (await once(child, 'error')) as [Error];
  throw error;
}
