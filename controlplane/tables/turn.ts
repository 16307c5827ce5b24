import type { Environment } from '../environment.ts';

interface Holder {
  /** When it last showed that it goes on, on the clock that does not jump. */
  aliveMs: number;
}

/**
 * One piece of work at a time, in the order in which they were asked for. Whoever shows no sign of life for a while loses
 * its turn: it goes on beside the next.
 */
export class Turn {
  readonly #environment: Environment;
  readonly #patienceMs: number;
  readonly #waiting: ((holder: Holder) => void)[] = [];
  #holder: Holder | null = null;
  #cancelTimer: (() => void) | null = null;

  /** @param patienceMs how long whoever has the turn may be silent while others wait */
  constructor(environment: Environment, patienceMs: number) {
    this.#environment = environment;
    this.#patienceMs = patienceMs;
  }

  /** @param work is given what it calls to show that it goes on */
  async run(work: (alive: () => void) => Promise<void>): Promise<void> {
    const holder = await this.#take();
    try {
      await work(() => {
        holder.aliveMs = this.#environment.monotonicMs();
      });
    } finally {
      if (this.#holder === holder) this.#pass();
    }
  }

  /** Everybody goes on at once. */
  stop(): void {
    this.#cancelTimer?.();
    for (const go of this.#waiting.splice(0)) go(this.#newHolder());
  }

  #take(): Promise<Holder> {
    const holder = this.#holder;
    if (holder === null) {
      this.#holder = this.#newHolder();
      return Promise.resolve(this.#holder);
    }
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      if (this.#waiting.length === 1) this.#watch(holder);
    });
  }

  #pass(): void {
    this.#cancelTimer?.();
    this.#holder = null;
    const next = this.#waiting.shift();
    if (next === undefined) return;
    this.#holder = this.#newHolder();
    next(this.#holder);
    if (this.#waiting.length > 0) this.#watch(this.#holder);
  }

  /** While others wait. */
  #watch(holder: Holder): void {
    const leftMs = holder.aliveMs + this.#patienceMs - this.#environment.monotonicMs();
    if (leftMs <= 0) this.#pass();
    else this.#cancelTimer = this.#environment.timer(leftMs, () => this.#watch(holder));
  }

  #newHolder(): Holder {
    return { aliveMs: this.#environment.monotonicMs() };
  }
}
