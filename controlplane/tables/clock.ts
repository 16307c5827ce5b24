/**
 * Hybrid logical clock (Kulkarni et al., 2014): wall time that never runs backwards and is always after whatever was
 * seen from others. [milliseconds since the epoch, counter]
 */
export type Timestamp = readonly [wallMs: number, counter: number];

/** A clock this far ahead is wrong; its time stamps do not drag ours along. */
export const maxSkewMs = 60_000;

/** Far more stamps than a clock makes in one millisecond; the next one moves to the next millisecond. */
export const maxCounter = 2 ** 31;

export function compareTimestamps(a: Timestamp, b: Timestamp): number {
  return a[0] - b[0] || a[1] - b[1];
}

export class HybridClock {
  readonly #now: () => number;
  #last: Timestamp = [0, 0];

  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * A time stamp after all that were made or observed here.
   * @param replaced what is written over: its stamp is passed also when it is too far ahead to follow
   */
  next(replaced?: Timestamp): Timestamp {
    const wall = this.#now();
    const [lastWall, counter] = this.#last;
    if (wall > lastWall) this.#last = [wall, 0];
    else this.#last = counter < maxCounter ? [lastWall, counter + 1] : [lastWall + 1, 0];
    if (replaced === undefined || compareTimestamps(this.#last, replaced) > 0) return this.#last;
    return replaced[1] < maxCounter ? [replaced[0], replaced[1] + 1] : [replaced[0] + 1, 0];
  }

  /** How far a moment is ahead of the wall clock here; negative for one that is past. */
  aheadMs(wallMs: number): number {
    return wallMs - this.#now();
  }

  /** @returns false when the time stamp is too far in the future to follow */
  observe(seen: Timestamp): boolean {
    if (this.aheadMs(seen[0]) > maxSkewMs) return false;
    if (compareTimestamps(seen, this.#last) > 0) this.#last = seen;
    return true;
  }
}
