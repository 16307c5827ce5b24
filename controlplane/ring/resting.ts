import { damagedState } from '../errors.ts';
import type { Store } from '../store.ts';
import { isCount } from '../tables/record.ts';
import type { RingId } from '../tables/subnets.ts';
import { NumberSet } from './numbers.ts';
import type { Range } from './ring.ts';

/** A freed number rests before it is used again, so that no host still has the old entry for it. */
export const restMs = 30_000;

/** What rests in one ring, and until when, by the clock that does not jump. */
interface RingRest {
  readonly numbers: NumberSet;
  /** In the order in which they were freed. */
  readonly until: Map<number, number>;
  /** What was inherited whole: which of its numbers were in use a moment ago is not known. */
  ranges: (Range & { readonly untilMs: number })[];
}

/**
 * The numbers that were in use a moment ago. They are on disk, without a time, since no clock is the same on both sides of
 * a restart: after one they rest anew. As many as were freed within `restMs`.
 */
export class Resting {
  readonly #store: Store;
  readonly #monotonicMs: () => number;
  readonly #rings = new Map<RingId, RingRest>();

  /** @throws ControlPlaneError `damaged_state` */
  constructor(store: Store, monotonicMs: () => number) {
    this.#store = store;
    this.#monotonicMs = monotonicMs;
    const untilMs = monotonicMs() + restMs;
    for (const [key, value] of store.entries(['resting'])) {
      const [, ring, start] = key;
      const [end] = Array.isArray(value) ? (value as unknown[]) : [];
      // Left out, a number might be given away that some host still has the old entry for.
      if (typeof start !== 'number' || !isCount(end) || end <= start) throw damagedState(key.join('/'));
      this.#put(ring as RingId, { start, end }, untilMs);
    }
  }

  /** Starts the rest of these numbers. On disk soon: what a crash takes back was in use until a moment before it. */
  rest(ring: RingId, range: Range): void {
    this.#put(ring, range, this.#monotonicMs() + restMs);
    const key = ['resting', ring, range.start];
    this.#store.commit([{ key, value: [range.end] }]).catch(() => {});
  }

  /** Numbers that rest one by one. */
  numbers(ring: RingId): NumberSet {
    return this.#awake(ring).numbers;
  }

  /** Ranges that rest whole. */
  ranges(ring: RingId): readonly Range[] {
    return this.#awake(ring).ranges;
  }

  /** For how long the number rests yet; null when it does not. */
  restOf(ring: RingId, number: number): number | null {
    const { until, ranges } = this.#awake(ring);
    const range = ranges.find(({ start, end }) => start <= number && number < end);
    const untilMs = until.get(number) ?? range?.untilMs;
    return untilMs === undefined ? null : untilMs - this.#monotonicMs();
  }

  /** For how long the last of all that rests does; null when nothing rests. */
  last(ring: RingId): number | null {
    const { until, ranges } = this.#awake(ring);
    let last: number | null = null;
    for (const untilMs of until.values()) last = untilMs;
    for (const { untilMs } of ranges) last = Math.max(last ?? 0, untilMs);
    return last === null ? null : last - this.#monotonicMs();
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
    const nowMs = this.#monotonicMs();
    const over = (untilMs: number): boolean => untilMs <= nowMs;
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
