import { mkdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Mutant } from './mutants.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Makes one file of the simulation and the production code that it runs: it starts in a tenth of the time.
 * @param mutant a deliberate fault to put into the production code, or null
 * @returns path of the file
 * @throws when what the mutant replaces is not there exactly once: the code has changed, and the mutant has to follow
 */
export async function bundleWorker(mutant: Mutant | null): Promise<string> {
  const folder = join(root, '.cache', 'simulation');
  mkdirSync(folder, { recursive: true });
  const outfile = join(folder, `${mutant?.name ?? 'worker'}-${process.pid}.mjs`);
  let mutated = mutant === null;
  await build({
    entryPoints: [fileURLToPath(new URL('worker.ts', import.meta.url))],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    sourcemap: 'inline',
    logLevel: 'silent',
    plugins: [
      {
        name: 'mutant',
        setup: ({ onLoad }) => {
          onLoad({ filter: /controlplane\/.*\.ts$/ }, async ({ path }) => {
            const source = await readFile(path, 'utf8');
            if (mutant === null || relative(root, path) !== mutant.file) return { contents: source, loader: 'ts' };
            const parts = source.split(mutant.replace);
            if (parts.length !== 2) {
              throw new Error(`mutant ${mutant.name}: ${mutant.file} has its text ${parts.length - 1} times, not once`);
            }
            mutated = true;
            return { contents: parts.join(mutant.by), loader: 'ts' };
          });
        },
      },
    ],
  });
  if (!mutated) throw new Error(`mutant ${mutant?.name}: the simulation does not run ${mutant?.file}`);
  return outfile;
}
