import type { Store } from '../store.ts';
import type { RingId } from '../tables/subnets.ts';
import { NumberSet } from './numbers.ts';
import type { Range } from './ring.ts';

/** A freed number rests before it is used again, so that no host still has the old entry for it. */
export const restMs = 30_000;

/** What rests in one ring, and until when (milliseconds since the epoch). */
interface RingRest {
  readonly numbers: NumberSet;
  /** In the order in which they were freed. */
  readonly until: Map<number, number>;
  /** What was inherited whole: which of its numbers were in use a moment ago is not known. */
  ranges: (Range & { readonly untilMs: number })[];
}

/**
 * The numbers that were in use a moment ago, on disk: a restart does not cut their rest short. As many as were freed
 * within `restMs`.
 */
export class Resting {
  readonly #store: Store;
  readonly #now: () => number;
  readonly #rings = new Map<RingId, RingRest>();

  constructor(store: Store, now: () => number) {
    this.#store = store;
    this.#now = now;
    for (const [[, ring, start], value] of store.entries(['resting'])) {
      const [end, untilMs] = value as [number, number];
      this.#put(ring as RingId, { start: Number(start), end }, Math.min(untilMs, now() + restMs));
    }
  }

  /** Starts the rest of these numbers. On disk soon: what a crash takes back was in use until a moment before it. */
  rest(ring: RingId, range: Range): void {
    const untilMs = this.#now() + restMs;
    this.#put(ring, range, untilMs);
    const key = ['resting', ring, range.start];
    this.#store.commit([{ key, value: [range.end, untilMs] }]).catch(() => {});
  }

  /** Numbers that rest one by one. */
  numbers(ring: RingId): NumberSet {
    return this.#awake(ring).numbers;
  }

  /** Ranges that rest whole. */
  ranges(ring: RingId): readonly Range[] {
    return this.#awake(ring).ranges;
  }

  /** Until when the number rests, milliseconds since the epoch; null when it does not. */
  until(ring: RingId, number: number): number | null {
    const { until, ranges } = this.#awake(ring);
    const range = ranges.find(({ start, end }) => start <= number && number < end);
    return until.get(number) ?? range?.untilMs ?? null;
  }

  /** When the last of all that rests may be used again; null when nothing rests. */
  last(ring: RingId): number | null {
    const { until, ranges } = this.#awake(ring);
    let last: number | null = null;
    for (const untilMs of until.values()) last = untilMs;
    for (const { untilMs } of ranges) last = Math.max(last ?? 0, untilMs);
    return last;
  }

  /** Rings of which something rests, or did. */
  get rings(): Iterable<RingId> {
    return this.#rings.keys();
  }

  forget(ring: RingId): void {
    this.#rings.delete(ring);
    this.#erase(
      [...this.#store.entries(['resting', ring])].map(([key]) => Number(key[2])),
      ring,
    );
  }

  #put(ring: RingId, { start, end }: Range, untilMs: number): void {
    const rest = this.#of(ring);
    if (end > start + 1) {
      rest.ranges.push({ start, end, untilMs });
      return;
    }
    rest.until.delete(start);
    rest.until.set(start, untilMs);
    rest.numbers.add(start);
  }

  /** Without what has rested long enough. */
  #awake(ring: RingId): RingRest {
    const rest = this.#of(ring);
    const now = this.#now();
    // A clock that was set back would have them rest for as long.
    const over = (untilMs: number): boolean => untilMs <= now || untilMs > now + restMs;
    const woken: number[] = [];
    for (const [number, untilMs] of rest.until) {
      if (!over(untilMs)) break;
      rest.until.delete(number);
      rest.numbers.delete(number);
      woken.push(number);
    }
    for (const { start, untilMs } of rest.ranges) if (over(untilMs)) woken.push(start);
    if (woken.length > 0) {
      rest.ranges = rest.ranges.filter(({ untilMs }) => !over(untilMs));
      this.#erase(woken, ring);
    }
    return rest;
  }

  #erase(starts: readonly number[], ring: RingId): void {
    if (starts.length === 0) return;
    this.#store.commit(starts.map((start) => ({ key: ['resting', ring, start], value: null }))).catch(() => {});
  }

  #of(ring: RingId): RingRest {
    const known = this.#rings.get(ring);
    if (known !== undefined) return known;
    const rest: RingRest = { numbers: new NumberSet(), until: new Map(), ranges: [] };
    this.#rings.set(ring, rest);
    return rest;
  }
}
