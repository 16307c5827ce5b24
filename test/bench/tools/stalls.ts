import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';

const delay = monitorEventLoopDelay({ resolution: 1 });

/** Does the work. @returns the longest that the event loop was kept meanwhile, milliseconds */
export async function stallOf(work: () => Promise<unknown>): Promise<number> {
  delay.enable();
  // What was before, the making of what is wanted above all, is over when it has ticked.
  await pause(50);
  delay.reset();
  await work();
  await pause(50);
  const stallMs = delay.max / 1e6;
  delay.disable();
  return stallMs;
}

/** The same of work that only takes turns, a millisecond each: what a process on this machine is late by for no reason of its own. */
export const stallOfNothing = (durationMs: number): Promise<number> =>
  stallOf(async () => {
    const endMs = performance.now() + durationMs;
    for (let turnMs = performance.now(); turnMs < endMs; turnMs = performance.now()) {
      while (performance.now() - turnMs < 1);
      await nextTurn();
    }
  });
