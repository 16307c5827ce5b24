import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { recordKinds } from '../../controlplane/tables/kinds.ts';
import { fuzz } from '../fuzz/engine.ts';
import { makeTargets } from '../fuzz/targets.ts';

// `npm run fuzz` takes more of them; with --seed, --target and --index it takes one again.
const inputs = Number(process.env['FUZZ_INPUTS'] ?? 50_000);
const seed = process.env['FUZZ_SEED'] ?? randomBytes(6).toString('hex');
// Of so many inputs made from valid ones, one in a hundred gets past a decoder's first look.
const enough = 300;

test('every kind of record and every request has a target', async () => {
  const names = new Set((await makeTargets()).map(({ name }) => name));
  const source = readFileSync(new URL('../../controlplane/cluster.ts', import.meta.url), 'utf8');
  const methods = [...source.matchAll(/^ {6}case '([a-z-]+)':$/gm)].map(([, method]) => `request ${method}`);
  assert.ok(methods.includes('request pull') && methods.length >= 12);
  const kinds = recordKinds.map(({ prefix, scope }) => `${scope} record ${prefix}`);
  assert.deepEqual(
    [...methods, ...kinds].filter((name) => !names.has(name)),
    [],
  );
});

test('each decoder takes what an honest sender makes', async () => {
  const wrong: string[] = [];
  for (const { name, valid, take } of await makeTargets()) {
    for (const [i, input] of valid.entries()) {
      const fate = await take(input as never);
      if (fate !== 'taken') wrong.push(`${name}: valid input ${i} is ${fate}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test(`no decoder crashes, hangs or grows, whatever it is given (seed ${seed})`, async () => {
  const targets = await makeTargets();
  const { findings, fates } = await fuzz(targets, seed, inputs);
  const lines = findings.map(
    ({ target, index, what }) => `--seed ${seed} --target ${target} --index ${index}: ${what}`,
  );
  assert.deepEqual(lines, []);
  // Otherwise it would be the first look that is tried, again and again, and nothing behind it.
  for (const { name, exact } of targets) {
    const { given, past } = fates.get(name) ?? { given: 0, past: 0 };
    if (given >= enough && exact === undefined) assert.ok(past >= given / 100, `${name}: ${past} of ${given} get past`);
  }
});
