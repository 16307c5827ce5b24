// Runs benchmarks: `npm run bench` all of them, `npm run bench -- propagation --samples 20` one, `--list` tells what there is.
// One line of JSON a result on stdout, a table for people on stderr; exit code 1 when a goal was missed.
import { readdirSync } from 'node:fs';
import type { BenchContext, Benchmark } from './benchmark.ts';
import { type Result, resultOf, tableOf } from './report.ts';

const cases = new URL('cases/', import.meta.url);

async function load(): Promise<Benchmark[]> {
  const files = readdirSync(cases).filter((name) => name.endsWith('.ts'));
  const modules = await Promise.all(
    files.map(async (name) => (await import(new URL(name, cases).href)) as { benchmark?: Benchmark }),
  );
  return modules.map((module, at) => {
    if (module.benchmark === undefined) throw new Error(`cases/${files[at]} exports no \`benchmark\``);
    return module.benchmark;
  });
}

/** Words are names of benchmarks, `--name 1,2` an option. */
function parse(argv: readonly string[]): { names: string[]; options: Map<string, number[]>; list: boolean } {
  const names: string[] = [];
  const options = new Map<string, number[]>();
  let list = false;
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] ?? '';
    if (word === '--list' || word === '--help') list = true;
    else if (word.startsWith('--')) {
      const [name = '', value = argv[++at] ?? ''] = word.slice(2).split('=');
      const numbers = value.split(',').map(Number);
      if (numbers.some((number) => !Number.isInteger(number) || number < 1)) {
        throw new Error(`--${name} ${value}: want whole numbers from 1 up, with commas between`);
      }
      options.set(name, numbers);
    } else names.push(word);
  }
  return { names, options, list };
}

async function main(): Promise<number> {
  const benchmarks = await load();
  const { names, options, list } = parse(process.argv.slice(2));
  if (list) {
    for (const { name, summary, options: known } of benchmarks) {
      process.stdout.write(`${name.padEnd(16)} ${summary}\n`);
      for (const [option, meaning] of Object.entries(known ?? {})) {
        process.stdout.write(`${''.padEnd(16)}   --${option.padEnd(12)} ${meaning}\n`);
      }
    }
    return 0;
  }
  const unknown = names.filter((name) => !benchmarks.some((benchmark) => benchmark.name === name));
  if (unknown.length > 0) throw new Error(`no benchmark ${unknown.join(', ')}; --list tells what there is`);
  const chosen = benchmarks.filter((benchmark) => names.length === 0 || names.includes(benchmark.name));
  const stray = [...options.keys()].filter((name) => !chosen.some(({ options: known }) => known?.[name] !== undefined));
  if (stray.length > 0) throw new Error(`no option --${stray.join(', --')}; --list tells what there is`);

  const results: Result[] = [];
  let failed = 0;
  for (const benchmark of chosen) {
    const context: BenchContext = {
      report: (figure) => {
        const result = resultOf(benchmark.name, figure);
        results.push(result);
        process.stdout.write(`${JSON.stringify(result)}\n`);
      },
      say: (text) => process.stderr.write(`${benchmark.name}: ${text}\n`),
      numbers: (name, fallback) => options.get(name) ?? fallback,
    };
    try {
      await benchmark.run(context);
    } catch (error) {
      failed++;
      process.stderr.write(`${benchmark.name}: ${error instanceof Error ? error.message : String(error)}\n`);
    }
  }
  process.stderr.write(`\n${tableOf(results)}\n`);
  return failed > 0 || results.some((result) => !result.ok) ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
