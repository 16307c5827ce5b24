import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { simulate } from './run.ts';

const usage = `usage: node --import tsx test/sim/main.ts [--seeds N] [--seed S] [--verbose]

Runs the control plane under simulated faults: N runs from base seed S on (S, S+1, …), or with --seed alone that one.
`;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    seed: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const first = Number(values.seed ?? randomInt(2 ** 40));
const count = Number(values.seeds ?? (values.seed === undefined ? 100 : 1));

if (values.help || !Number.isSafeInteger(first) || !Number.isSafeInteger(count) || count < 1) {
  process.stderr.write(usage);
  process.exit(values.help ? 0 : 2);
}

const startedMs = performance.now();
const failed: number[] = [];
const agreed: number[] = [];
let steps = 0;
for (let seed = first; seed < first + count; seed += 1) {
  const outcome = await simulate(String(seed), values.verbose ? (line) => process.stdout.write(`${line}\n`) : null);
  steps += outcome.steps;
  if (outcome.failure === null) agreed.push(outcome.agreedAfterMs);
  if (outcome.failure !== null) {
    failed.push(seed);
    process.stdout.write(`seed ${seed} failed: ${outcome.failure}\n`);
    process.stdout.write(`  replay: node --import tsx test/sim/main.ts --seed ${seed} --verbose\n`);
  } else if (count === 1) process.stdout.write(`seed ${seed}: trace ${outcome.trace}\n`);
}
agreed.sort((a, b) => a - b);
const seconds = (performance.now() - startedMs) / 1000;
process.stdout.write(
  `${count - failed.length} of ${count} runs held (base seed ${first}), ${steps} steps in ${seconds.toFixed(1)} s; ` +
    `agreed after p50 ${agreed[Math.floor(agreed.length / 2)] ?? '-'} ms, max ${agreed.at(-1) ?? '-'} ms\n`,
);
if (failed.length > 0) process.stdout.write(`failed seeds: ${failed.join(', ')}\n`);
process.exitCode = failed.length === 0 ? 0 : 1;
