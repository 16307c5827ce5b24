import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeId } from '../../../controlplane/ids.ts';
import { RateLimit } from '../../../controlplane/rate.ts';
import { Propagation } from '../../../controlplane/tables/propagation.ts';
import { gossipRate } from '../../../controlplane/tables/replica.ts';

const [near, far] = ['near' as NodeId, 'far' as NodeId];

const [hourMs, yearMs] = [3_600_000, 365 * 86_400_000];

/** A node's clocks, which others' messages reach after `wayMs`. */
function make() {
  let [monotonicMs, aheadMs] = [5_000, 1_000_000];
  const propagation = new Propagation({ now: () => monotonicMs + aheadMs, monotonicMs: () => monotonicMs });
  return {
    propagation,
    now: () => monotonicMs + aheadMs,
    pass: (ms: number) => {
      monotonicMs += ms;
    },
    /** Sets the wall clock. */
    jump: (ms: number) => {
      aheadMs += ms;
    },
    compare: (wayMs: number, offsetMs: number) => {
      const sentMs = monotonicMs;
      monotonicMs += wayMs;
      const theirMs = monotonicMs + aheadMs + offsetMs;
      monotonicMs += wayMs;
      propagation.compared(near, sentMs, theirMs);
    },
  };
}

test('the lag of a record is by the clocks of both, however far they are apart', () => {
  const { propagation, compare, now } = make();
  compare(10, hourMs);
  assert.equal(propagation.clocks().get(near)?.offsetMs, hourMs);
  propagation.applied(near, now() + hourMs - 30);
  const { buckets, count, sumMs, maxMs } = propagation.histogram();
  assert.deepEqual([count, sumMs, maxMs], [1, 30, 30]);
  assert.deepEqual(
    buckets.filter((bucket) => bucket.count > 0).map(({ endMs }) => endMs),
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000],
  );
});

test('a slow answer tells less of a clock than a fast one; an owner whose clock is not known is only counted', () => {
  const { propagation, compare, pass } = make();
  compare(1, 7);
  compare(500, 100);
  assert.equal(propagation.clocks().get(near)?.offsetMs, 7);
  pass(300_000);
  compare(500, 100);
  assert.equal(propagation.clocks().get(near)?.offsetMs, 100);
  propagation.applied(far, 0);
  assert.deepEqual([propagation.unmeasured, propagation.histogram().count], [1, 0]);
});

test('a jump of the clock here changes no lag, and the offset that is shown at once', () => {
  for (const jumpMs of [-yearMs, yearMs]) {
    const { propagation, compare, jump, now } = make();
    compare(10, 0);
    const writtenMs = now() - 30;
    jump(jumpMs);
    propagation.applied(near, writtenMs);
    assert.deepEqual([propagation.histogram().sumMs, propagation.unmeasured], [30, 0]);
    assert.equal(propagation.clocks().get(near)?.offsetMs, -jumpMs);
  }
});

test("a jump of the owner's clock puts no year into the sum, and a slower comparison tells of it", () => {
  for (const jumpMs of [-yearMs, yearMs]) {
    const { propagation, compare, now } = make();
    compare(10, 0);
    propagation.applied(near, now() + jumpMs - 30);
    assert.deepEqual([propagation.histogram().count, propagation.unmeasured], [0, 1]);
    compare(20, jumpMs);
    assert.equal(propagation.clocks().get(near)?.offsetMs, jumpMs);
    propagation.applied(near, now() + jumpMs - 30);
    assert.deepEqual([propagation.histogram().sumMs, propagation.unmeasured], [30, 1]);
  }
});

test('who has too much passed on is held back, nobody else, and not for ever', () => {
  let nowMs = 0;
  const rate = new RateLimit(() => nowMs, gossipRate);
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
