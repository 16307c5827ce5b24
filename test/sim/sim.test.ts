import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { z } from 'zod';
import { bundledSimulate } from './bundle.ts';
import { checkMutants, hunt, mutantsNamed } from './hunt.ts';
import { noTricks, type Trick } from './operations/byzantine.ts';
import type { Outcome } from './run.ts';
import { runSeeds } from './workers.ts';

const kept = z
  .object({ seeds: z.array(z.int()) })
  .parse(JSON.parse(readFileSync(new URL('seeds.json', import.meta.url), 'utf8'))).seeds;
const jobs = availableParallelism();
// Less than a minute on two cores; a slow machine runs fewer rather than failing. `npm run sim -- --seeds 10000` is the
// real search.
const freshCount = 150;
const budgetMs = 90_000;

/** @returns how many runs held, and a line for each that did not */
async function run(seeds: readonly number[], untilMs: number): Promise<{ held: number; failed: string[] }> {
  let held = 0;
  const failed: string[] = [];
  const report = (seed: number, { failure }: { failure: string | null }): boolean => {
    if (failure === null) held += 1;
    else failed.push(`${failure}\n  replay with: npm run sim -- --seed ${seed} --verbose`);
    return performance.now() < untilMs;
  };
  await runSeeds({ seeds, jobs, report });
  return { held, failed };
}

test('the same seed is the same run, byte for byte, whatever ran before it in that process', async () => {
  const seeds = Array.from({ length: 12 }, (_, i) => i + 1);
  const tracesOf = async (order: readonly number[]): Promise<Map<number, string>> => {
    const traces = new Map<number, string>();
    const report = (seed: number, { trace }: { trace: string }): boolean => traces.set(seed, trace).size > 0;
    await runSeeds({ seeds: order, jobs, report });
    return traces;
  };
  const traces = await tracesOf(seeds);
  assert.deepEqual(new Map([...(await tracesOf(seeds.toReversed()))].reverse()), traces);
  assert.equal(new Set(traces.values()).size, seeds.length);
  const alone = await (await bundledSimulate())('12');
  assert.equal(alone.trace, traces.get(12));
});

// Of several runs: in any one of them the faults may have come before the endpoints, and few have a liar.
test('runs are worth their name: nodes have work to agree, and honest ones to judge what a liar does', async (t) => {
  const seeds = Array.from({ length: 120 }, (_, i) => i + 1);
  const total = { endpoints: 0, steps: 0, tricks: noTricks() };
  const report = (_: number, { endpoints, steps, tricks }: Outcome): boolean => {
    total.endpoints += endpoints;
    total.steps += steps;
    for (const [trick, { played, met }] of Object.entries(total.tricks) as [Trick, { played: number; met: number }][]) {
      total.tricks[trick].played = played + tricks[trick].played;
      total.tricks[trick].met = met + tricks[trick].met;
    }
    return true;
  };
  await runSeeds({ seeds, jobs, report });
  assert.ok(total.endpoints > 12 * seeds.length, `${total.endpoints} endpoints in ${seeds.length} runs`);
  assert.ok(total.steps > 2_500 * seeds.length, `${total.steps} steps in ${seeds.length} runs`);
  for (const [trick, { played, met }] of Object.entries(total.tricks)) {
    t.diagnostic(`${trick}: played ${played} times, met ${met} times`);
    assert.ok(played > 0 && met > 0, `${trick}: played ${played} times, met ${met} times`);
  }
});

test('seeds that once failed hold', async () => {
  const { failed } = await run(kept, Number.POSITIVE_INFINITY);
  assert.deepEqual(failed, []);
});

test('fresh seeds hold', async (t) => {
  const base = randomInt(2 ** 40);
  const seeds = Array.from({ length: freshCount }, (_, i) => base + i);
  const { held, failed } = await run(seeds, performance.now() + budgetMs);
  t.diagnostic(`${held + failed.length} fresh seeds from ${base} on`);
  assert.deepEqual(failed, []);
});

test('every mutant still fits the code', checkMutants);

test('the quick mutants are found', async (t) => {
  for (const mutant of mutantsNamed('quick')) {
    const { found, seeds } = await hunt(mutant, 1, 60, jobs);
    assert.ok(found !== null, `${mutant.name} survived ${seeds} runs`);
    t.diagnostic(`${mutant.name}: run ${seeds}, ${found.failure}`);
  }
});
