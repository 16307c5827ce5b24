import { setImmediate as nextTurn } from 'node:timers/promises';

/**
 * How long one piece of work may keep one turn of the event loop. Two or three pieces can share a turn, and the collector may
 * come in between and take 10 ms of the 20 that the rest of the process can bear.
 */
export const SLICE_MS = 1;

/** Runs work that yields now and then, and lets the event loop go on in between. */
export async function inSlices<T>(work: Generator<void, T>): Promise<T> {
  let sliceStart = performance.now();
  for (let next = work.next(); ; next = work.next()) {
    if (next.done) return next.value;
    if (performance.now() - sliceStart <= SLICE_MS) continue;
    await nextTurn();
    sliceStart = performance.now();
  }
}

/** Items that are looked at before it is asked whether the turn has taken long enough: a fraction of a millisecond. */
const ITEMS_AT_ONCE = 512;

/** Says after each so many items that it is time to yield. */
export class Counter {
  #items = 0;

  isFull(): boolean {
    this.#items = (this.#items + 1) % ITEMS_AT_ONCE;
    return this.#items === 0;
  }
}

/** Visits each of many, and yields now and then. */
export function* eachOf<T>(items: Iterable<T>, visit: (item: T) => void): Generator<void> {
  const count = new Counter();
  for (const item of items) {
    visit(item);
    if (count.isFull()) yield;
  }
}

/** Runs it to its end. */
export function atOnce<T>(work: Generator<void, T>): T {
  for (let next = work.next(); ; next = work.next()) if (next.done) return next.value;
}
