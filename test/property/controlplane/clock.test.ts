import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareTimestamps, HybridClock, maxSkewMs, type Timestamp } from '../../../controlplane/tables/clock.ts';

const step = fc.oneof(
  fc.record({ wallMs: fc.integer({ min: 0, max: 10_000_000 }) }),
  fc.record({ seen: fc.tuple(fc.integer({ min: 0, max: 10_000_000 }), fc.nat(100)) }),
);

test('time stamps only grow, however the wall clock jumps, and come after all that was followed', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let wallMs = 5_000_000;
      let last: Timestamp = [0, 0];
      const clock = new HybridClock(() => wallMs);
      for (const each of steps) {
        if ('wallMs' in each) wallMs = each.wallMs;
        else {
          const followed = clock.observe(each.seen);
          assert.equal(followed, each.seen[0] <= wallMs + maxSkewMs);
          if (followed && compareTimestamps(each.seen, last) > 0) last = each.seen;
        }
        const next = clock.next();
        assert.ok(compareTimestamps(next, last) > 0);
        last = next;
      }
    }),
  );
});

test('the order of time stamps is total', () => {
  const stamp = fc.tuple(fc.nat(3), fc.nat(3));
  fc.assert(
    fc.property(stamp, stamp, stamp, (a, b, c) => {
      assert.equal(Math.sign(compareTimestamps(a, b)), -Math.sign(compareTimestamps(b, a)) + 0);
      assert.equal(compareTimestamps(a, b) === 0, a[0] === b[0] && a[1] === b[1]);
      if (compareTimestamps(a, b) <= 0 && compareTimestamps(b, c) <= 0) assert.ok(compareTimestamps(a, c) <= 0);
    }),
  );
});
