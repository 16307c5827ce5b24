import type { Log } from '../../controlplane/environment.ts';

/** Work that nobody waits for: what fails is logged, and what has not begun when the agent stops never begins. */
export class Background {
  readonly #log: Log;
  readonly #timers = new Set<NodeJS.Timeout>();
  #stopped = false;

  constructor(log: Log) {
    this.#log = log;
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  later(delayMs: number, task: () => Promise<void>): void {
    if (this.#stopped) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      task().catch((error: unknown) => this.#log.error({ err: error }, 'background work failed'));
    }, delayMs);
    this.#timers.add(timer);
  }

  /** Again and again, the period after each end; the first time after one period. */
  every(periodMs: number, task: () => Promise<void>): void {
    this.later(periodMs, async () => {
      try {
        await task();
      } finally {
        this.every(periodMs, task);
      }
    });
  }
}
