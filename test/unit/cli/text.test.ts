import assert from 'node:assert/strict';
import { test } from 'node:test';
import { duration, relative, table } from '../../../agent/cli/text.ts';

// As units/duration_test.go of docker/go-units has them.
const spans: [seconds: number, words: string][] = [
  [0.45, 'Less than a second'],
  [1, '1 second'],
  [45, '45 seconds'],
  [46, '46 seconds'],
  [59, '59 seconds'],
  [60, 'About a minute'],
  [90, 'About a minute'],
  [180, '3 minutes'],
  [59 * 60, '59 minutes'],
  [60 * 60, 'About an hour'],
  [89 * 60, 'About an hour'],
  [90 * 60, '2 hours'],
  [3 * 3600, '3 hours'],
  [47 * 3600, '47 hours'],
  [48 * 3600, '2 days'],
  [13 * 86400, '13 days'],
  [14 * 86400, '2 weeks'],
  [35 * 86400, '5 weeks'],
  [60 * 86400, '2 months'],
  [600 * 86400, '20 months'],
  [730 * 86400, '2 years'],
];

for (const [seconds, words] of spans) {
  test(`${seconds} s: ${words}`, () => assert.equal(duration(seconds * 1000), words));
}

test('times ahead, behind, and none', () => {
  const now = Date.parse('2026-03-01T12:00:00Z');
  assert.equal(relative('2026-03-01T11:58:00Z', now), '2 minutes ago');
  assert.equal(relative('2026-03-01T12:00:00.500Z', now), 'Less than a second ago');
  assert.equal(relative('2026-03-01T12:01:00Z', now), 'in about a minute');
  assert.equal(relative('', now), '');
});

test('a table without rows is its header', () => {
  assert.equal(table(['A', 'B'], []), 'A   B\n');
});
