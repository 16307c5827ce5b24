import assert from 'node:assert/strict';
import type { Host } from './host.ts';

/** Runs one more sweep and says how many steps it took. */
export const stepsOfSweep = async (host: Host): Promise<number> => {
  const before = await host.stats();
  await host.sweep();
  return (await host.stats()).steps - before.steps;
};
/** Waits until every object of the host is as wanted, five seconds at most. */
export const allOk = async (host: Host): Promise<void> => {
  const deadlineMs = Date.now() + 5000;
  for (;;) {
    const status = await host.status();
    if (Object.values(status).every(({ state }) => state === 'ok')) return;
    assert.ok(Date.now() < deadlineMs, JSON.stringify(status, null, 2));
  }
};
