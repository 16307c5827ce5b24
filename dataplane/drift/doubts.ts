import type { Log } from '../log.ts';
import { Pace } from './pace.ts';

/** That the kernel was heard not to be as it is known to be, and when it may be listed for that. */
export class Doubts {
  readonly #log: Log;
  readonly #now: () => number;
  readonly #pace = new Pace();
  #heard: { readonly atMs: number; readonly why: string } | null = null;
  #listings = 0;
  #waiting = false;

  constructor(log: Log, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  /** Listings that were made for what was heard. */
  get listings(): number {
    return this.#listings;
  }

  /** When the kernel may be listed; never while nothing was heard. */
  get dueMs(): number {
    return this.#heard ? this.#pace.dueMs(this.#heard.atMs, this.#now()) : Number.POSITIVE_INFINITY;
  }

  /** What asks for a listing now; null when nothing does. */
  due(): string | null {
    return this.dueMs <= this.#now() ? (this.#heard?.why ?? null) : null;
  }

  /** True for the first doubt since the last listing. */
  hear(why: string): boolean {
    if (this.#heard) return false;
    this.#heard = { atMs: this.#now(), why };
    this.#log.debug({ why }, `somebody changed the kernel: ${why}`);
    return true;
  }

  /** The kernel is about to be listed, for whatever reason. */
  clear(): void {
    this.#heard = null;
  }

  /** It was, because of a doubt. */
  listed(why: string, tookMs: number): void {
    this.#listings++;
    const waits = this.#pace.listed(this.#now(), tookMs);
    if (waits && !this.#waiting) {
      this.#log.warn({ why }, `somebody keeps changing the kernel (${why}): looked at a few times a second at most`);
    }
    this.#waiting = waits;
  }
}
