// Runs the tests in order of what they cost: types, lint, then groups of node:test. `npm test -- unit e2e` runs only those.
// A group that fails does not stop the next, so that one run tells all; the last line sums up.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);

// End-to-end files share two cores with the agents they run; side by side they would test the scheduler.
const GROUPS = {
  unit: { directory: 'test/unit', concurrency: 2, timeoutMs: 120_000 },
  property: { directory: 'test/property', concurrency: 2, timeoutMs: 240_000 },
  simulation: { directory: 'test/sim', concurrency: 2, timeoutMs: 600_000 },
  e2e: { directory: 'test/e2e', concurrency: 1, timeoutMs: 240_000 },
  // The first run makes the system that it boots.
  boot: { directory: 'test/boot', concurrency: 1, timeoutMs: 300_000 },
};
const CHECKS = {
  types: ['node_modules/typescript/bin/tsc', '--noEmit'],
  lint: ['node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.'],
};
/** Of each failed test's error, said again at the end. */
const FAILURE_LINES = 30;
const FIRST_LINES = 8;
const known = [...Object.keys(CHECKS), ...Object.keys(GROUPS)];

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  process.stderr.write(`unknown: ${unknown.join(', ')}; want any of ${known.join(', ')}\n`);
  process.exit(2);
}
const chosen = asked.length === 0 ? known : known.filter((name) => asked.includes(name));

function filesBelow(directory) {
  try {
    return readdirSync(directory, { recursive: true })
      .filter((name) => name.endsWith('.test.ts'))
      .map((name) => join(directory, name))
      .sort();
  } catch (error) {
    if (error.code === 'ENOENT') return [];
    throw error;
  }
}

function node(args) {
  return spawnSync(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] });
}

const total = { passed: 0, failed: 0, skipped: 0 };
const bad = [];
const failures = [];
const scratch = mkdtempSync(join(tmpdir(), 'weft-test-'));

function runGroup(name) {
  const { directory, concurrency, timeoutMs } = GROUPS[name];
  const files = filesBelow(directory);
  if (files.length === 0) return;
  process.stdout.write(`\n== ${name}: ${files.length} files\n`);
  const tally = join(scratch, `${name}.json`);
  const { status } = node([
    ...['--import', 'tsx', '--test', `--test-concurrency=${concurrency}`, `--test-timeout=${timeoutMs}`],
    ...['--test-reporter=spec', '--test-reporter-destination=stdout'],
    ...['--test-reporter=./test/tally.mjs', `--test-reporter-destination=${tally}`],
    ...files,
  ]);
  const counts = JSON.parse(readFileSync(tally, 'utf8') || '{}');
  failures.push(...(counts.failures ?? []));
  for (const key of Object.keys(total)) total[key] += counts[key] ?? 0;
  if (status !== 0) bad.push(name);
}

try {
  for (const name of chosen) {
    if (name in GROUPS) {
      runGroup(name);
      continue;
    }
    process.stdout.write(`\n== ${name}\n`);
    if (node(CHECKS[name]).status !== 0) bad.push(name);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

for (const { name, file, why } of failures) {
  process.stdout.write(
    `\n✖ ${name} (${relative(root, file)})\n${why.split('\n').slice(0, FAILURE_LINES).join('\n')}\n`,
  );
}
// Last of all what failed first in each file: what follows it there often fails because of it.
const firsts = failures.filter(({ file }, at) => failures.findIndex((other) => other.file === file) === at);
for (const { name, file, why } of firsts) {
  const said = why.split('\n').filter((line) => line.trim() !== '' && !/^\s+at /.test(line));
  const lines = said.slice(0, FIRST_LINES).map((line) => `    ${line.trim().slice(0, 160)}\n`);
  process.stdout.write(`\nfailed first in ${relative(root, file)}: ${name}\n${lines.join('')}`);
}
if (bad.length > 0) process.stdout.write(`\nFAILED: ${bad.join(', ')}\n`);
process.stdout.write(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
process.exitCode = bad.length === 0 ? 0 : 1;
