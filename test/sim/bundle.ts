import { mkdirSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import type { Mutant } from './mutants.ts';
import type { simulate } from './run.ts';

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
  const missing = new Set(mutant?.edits);
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
            let contents = await readFile(path, 'utf8');
            for (const edit of mutant?.edits ?? []) {
              if (relative(join(root, 'controlplane'), path) !== edit.file) continue;
              const parts = contents.split(edit.replace);
              if (parts.length !== 2) {
                throw new Error(
                  `mutant ${mutant?.name}: ${edit.file} has its text ${parts.length - 1} times, not once`,
                );
              }
              contents = parts.join(edit.by);
              missing.delete(edit);
            }
            return { contents, loader: 'ts' };
          });
        },
      },
    ],
  });
  const [edit] = missing;
  if (edit !== undefined) throw new Error(`mutant ${mutant?.name}: the simulation does not run ${edit.file}`);
  return outfile;
}

/**
 * `simulate` out of such a file, for this process. From source it would not be the same run each time: production code
 * loads some modules when it needs them first, and the loader of source does that on a thread.
 */
export async function bundledSimulate(): Promise<typeof simulate> {
  const file = await bundleWorker(null);
  try {
    const bundle = (await import(pathToFileURL(file).href)) as { simulate: typeof simulate };
    return bundle.simulate;
  } finally {
    rmSync(file, { force: true });
  }
}
