import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeId } from '../../../controlplane/ids.ts';
import { Propagation } from '../../../controlplane/tables/propagation.ts';
import { RateLimit } from '../../../controlplane/tables/rate.ts';

const [near, far] = ['near' as NodeId, 'far' as NodeId];

test('the lag of a record is by the clocks of both, however far they are apart', () => {
  let nowMs = 1_000_000;
  const propagation = new Propagation(() => nowMs);
  const hourMs = 3_600_000;
  const sentMs = nowMs;
  nowMs += 20;
  propagation.compared(near, sentMs, sentMs + 10 + hourMs);
  assert.equal(propagation.clocks().get(near)?.offsetMs, hourMs);
  propagation.applied(near, nowMs + hourMs - 30);
  const { buckets, count, sumMs } = propagation.histogram();
  assert.deepEqual([count, sumMs], [1, 30]);
  assert.deepEqual(
    buckets.filter((bucket) => bucket.count > 0).map(({ endMs }) => endMs),
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000],
  );
});

test('a slow answer tells less of a clock than a fast one; an owner whose clock is not known is only counted', () => {
  let nowMs = 0;
  const propagation = new Propagation(() => nowMs);
  propagation.compared(near, nowMs, 7);
  nowMs = 1_000;
  propagation.compared(near, 0, 900);
  assert.equal(propagation.clocks().get(near)?.offsetMs, 7);
  propagation.applied(far, 0);
  assert.deepEqual([propagation.unmeasured, propagation.histogram().count], [1, 0]);
});

test('who has too much passed on is held back, nobody else, and not for ever', () => {
  let nowMs = 0;
  const rate = new RateLimit(() => nowMs);
  let taken = 0;
  while (rate.allows(near) && taken < 1e6) {
    rate.charge(near);
    taken += 1;
  }
  assert.equal(taken, 4_000);
  assert.ok(rate.allows(far));
  nowMs += 1_000;
  assert.ok(rate.allows(near));
});
