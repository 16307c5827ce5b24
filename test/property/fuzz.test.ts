import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { fuzz } from '../fuzz/engine.ts';
import { makeTargets } from '../fuzz/targets.ts';

// `npm run fuzz` takes more of them; with --seed, --target and --index it takes one again.
const inputs = Number(process.env['FUZZ_INPUTS'] ?? 50_000);
const seed = process.env['FUZZ_SEED'] ?? randomBytes(6).toString('hex');

test(`no decoder crashes, hangs or grows, whatever it is given (seed ${seed})`, async () => {
  const { findings } = await fuzz(await makeTargets(), seed, inputs);
  const lines = findings.map(
    ({ target, index, what }) => `--seed ${seed} --target ${target} --index ${index}: ${what}`,
  );
  assert.deepEqual(lines, []);
});
