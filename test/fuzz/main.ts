// `npm run fuzz -- --inputs 1000000 [--seed S]`; `--seed S --target NAME --index N` takes one input again and shows it.
import { randomBytes } from 'node:crypto';
import { inspect, parseArgs } from 'node:util';
import { attempt, fuzz, inputOf } from './engine.ts';
import { makeTargets } from './targets.ts';

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '50000' },
    seed: { type: 'string', default: randomBytes(6).toString('hex') },
    target: { type: 'string' },
    index: { type: 'string' },
  },
});
const targets = await makeTargets();
const chosen = values.target === undefined ? targets : targets.filter(({ name }) => name === values.target);
if (chosen.length === 0) {
  process.stderr.write(`fuzz: no target ${values.target}; there are ${targets.map(({ name }) => name).join(', ')}\n`);
  process.exit(2);
}
if (values.index !== undefined) {
  for (const target of chosen) {
    process.stdout.write(`${inspect(inputOf(target, values.seed, Number(values.index)), { depth: 8 })}\n`);
    const { fate, wrong } = await attempt(target, values.seed, Number(values.index));
    process.stdout.write(`${wrong ?? fate}\n`);
  }
  process.exit(0);
}
const startMs = performance.now();
const { inputs, findings, slowestMs, slowest, grownBytes } = await fuzz(chosen, values.seed, Number(values.inputs));
for (const { target, index, what } of findings) {
  process.stdout.write(`--seed ${values.seed} --target ${target} --index ${index}: ${what}\n`);
}
process.stdout.write(
  `${inputs} inputs to ${chosen.length} decoders, seed ${values.seed}: ${findings.length} findings, ` +
    `${((performance.now() - startMs) / 1000).toFixed(1)} s, slowest ${slowestMs.toFixed(1)} ms (${slowest}), ` +
    `memory grew by ${(grownBytes / 1e6).toFixed(0)} MB\n`,
);
process.exit(findings.length > 0 ? 1 : 0);
