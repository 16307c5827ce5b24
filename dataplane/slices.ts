import { setImmediate as nextTurn } from 'node:timers/promises';

/** How long one turn of the event loop may be kept; well under the 20 ms that the rest of the process can bear. */
export const SLICE_MS = 5;

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

/** Runs it to its end. */
export function atOnce<T>(work: Generator<void, T>): T {
  for (let next = work.next(); ; next = work.next()) if (next.done) return next.value;
}
