/**
 * Events come together: a device that goes takes its entries along. As long as this one of them waits for the others,
 * and no longer, since what it waits to see repaired is somebody's traffic.
 */
const DEBOUNCE_MS = 5;
/** Listings that may follow upon one another; more than a person makes necessary by hand. */
const BURST = 64;
/** After those, one in this time: a few percent of a processor, and a repair within the time that was promised. */
const REFILL_MS = 200;
/** Of a large kernel a listing takes long; this many times as long it then rests. */
const REST = 4;

/** When the kernel may be listed because somebody changed it, however often that happens. Times are monotonic milliseconds. */
export class Pace {
  #tokens = BURST;
  #refilledMs = 0;
  #restUntilMs = 0;

  /** When a listing may begin that something heard at `heardMs` asks for. */
  dueMs(heardMs: number, nowMs: number): number {
    this.#refill(nowMs);
    const allowedMs = this.#tokens > 0 ? 0 : this.#refilledMs + REFILL_MS;
    return Math.max(heardMs + DEBOUNCE_MS, this.#restUntilMs, allowedMs);
  }

  /** A listing for that reason was made. True when the next one will have to wait, because there were so many. */
  listed(nowMs: number, tookMs: number): boolean {
    this.#refill(nowMs);
    this.#restUntilMs = nowMs + REST * tookMs;
    this.#tokens = Math.max(0, this.#tokens - 1);
    return this.#tokens === 0;
  }

  #refill(nowMs: number): void {
    const more = Math.floor((nowMs - this.#refilledMs) / REFILL_MS);
    if (more <= 0) return;
    this.#tokens = Math.min(BURST, this.#tokens + more);
    this.#refilledMs = this.#tokens === BURST ? nowMs : this.#refilledMs + more * REFILL_MS;
  }
}

/** The same thing repaired this often within this time: somebody else puts it back. */
const FIGHT_REPAIRS = 25;
const FIGHT_WINDOW_MS = 10_000;
/** How long the object is then left as somebody else wants it: the sweep's time, so no longer than without events. */
export const TRUCE_MS = 10_000;
/** Objects under watch; a host on which more of them drift at once has no fight but a flood. */
const WATCHED_MAX = 1_000;

/** Finds objects that somebody else changes again each time they are repaired. */
export class Fights {
  readonly #repairs = new Map<string, { count: number; readonly sinceMs: number }>();

  /** Counts one repair; the key names object and reason. True when it is one too many: the object is to be left alone for a while. */
  repaired(key: string, nowMs: number): boolean {
    const before = this.#repairs.get(key);
    if (before && nowMs - before.sinceMs < FIGHT_WINDOW_MS) {
      before.count++;
      if (before.count < FIGHT_REPAIRS) return false;
      this.#repairs.delete(key);
      return true;
    }
    if (this.#repairs.size >= WATCHED_MAX) this.#repairs.clear();
    this.#repairs.set(key, { count: 1, sinceMs: nowMs });
    return false;
  }
}

/** What there is to say about it. */
export const FIGHT_WORDS =
  `somebody else changed it again each of ${FIGHT_REPAIRS} times that it was repaired within ${FIGHT_WINDOW_MS / 1000} s; ` +
  `left as it is for ${TRUCE_MS / 1000} s`;
