import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { z } from 'zod';
import { simulate } from './run.ts';

const kept = z
  .object({ seeds: z.array(z.int()) })
  .parse(JSON.parse(readFileSync(new URL('seeds.json', import.meta.url), 'utf8'))).seeds;
const freshCount = 50;
// A slow machine runs fewer seeds rather than failing.
const budgetMs = 20_000;

async function holds(seed: number): Promise<void> {
  const { failure } = await simulate(String(seed));
  assert.equal(failure, null, `replay with: node --import tsx test/sim/main.ts --seed ${seed} --verbose`);
}

test('the same seed is the same run, byte for byte', async () => {
  const [first, second, other] = [await simulate('1'), await simulate('1'), await simulate('2')];
  assert.deepEqual(second, first);
  assert.notEqual(other.trace, first.trace);
});

test('a run is worth its name: endpoints come, and the nodes have work to agree', async () => {
  const outcome = await simulate('3');
  assert.ok(outcome.endpoints > 20, `${outcome.endpoints} endpoints`);
  assert.ok(outcome.steps > 1_000, `${outcome.steps} steps`);
});

test('seeds that once failed hold', async () => {
  for (const seed of kept) await holds(seed);
});

test('fresh seeds hold', async (t) => {
  const base = randomInt(2 ** 40);
  const untilMs = performance.now() + budgetMs;
  let count = 0;
  for (; count < freshCount && performance.now() < untilMs; count += 1) await holds(base + count);
  t.diagnostic(`${count} fresh seeds from ${base} on`);
});
