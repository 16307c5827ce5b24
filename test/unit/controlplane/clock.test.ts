import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HybridClock, maxSkewMs } from '../../../controlplane/tables/clock.ts';

test('a time stamp counts on while the wall clock stands or goes back', () => {
  let nowMs = 1_000;
  const clock = new HybridClock(() => nowMs);
  assert.deepEqual(clock.next(), [1_000, 0]);
  assert.deepEqual(clock.next(), [1_000, 1]);
  nowMs = 500;
  assert.deepEqual(clock.next(), [1_000, 2]);
  nowMs = 1_001;
  assert.deepEqual(clock.next(), [1_001, 0]);
});

test('what was seen is followed up to the largest skew, and not beyond', () => {
  const clock = new HybridClock(() => 1_000);
  assert.ok(clock.observe([1_000 + maxSkewMs, 3]));
  assert.deepEqual(clock.next(), [1_000 + maxSkewMs, 4]);
  assert.ok(!clock.observe([1_001 + maxSkewMs, 0]));
  assert.deepEqual(clock.next(), [1_000 + maxSkewMs, 5]);
});
