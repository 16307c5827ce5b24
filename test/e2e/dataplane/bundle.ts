import { mkdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const FOLDER = fileURLToPath(new URL('../../../.cache/e2e', import.meta.url));

/** A program as one file, which starts in a tenth of the time that its source takes. */
export interface Bundle extends Disposable {
  readonly path: string;
}

/**
 * Makes one file of a program of these tests and the production code that it runs.
 * @param instead modules of the production code that others stand in for: path from its folder (`rtnetlink/libc.ts`) to
 * the other's path. The other itself imports the real one.
 * @throws when the program imports no such module: it has moved, and the name has to follow
 */
export async function bundleOf(program: URL, instead: Readonly<Record<string, string>> = {}): Promise<Bundle> {
  const entry = fileURLToPath(program);
  mkdirSync(FOLDER, { recursive: true });
  const path = join(FOLDER, `${basename(entry, '.ts')}-${process.pid}-${Math.random().toString(36).slice(2)}.mjs`);
  const unused = new Set(Object.keys(instead));
  await build({
    entryPoints: [entry],
    outfile: path,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    external: ['koffi', 'raw-socket'],
    banner: { js: `import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);` },
    sourcemap: 'inline',
    logLevel: 'silent',
    plugins: [
      {
        name: 'instead',
        setup: ({ onResolve }) => {
          for (const [module, other] of Object.entries(instead)) {
            const name = basename(module);
            onResolve(
              { filter: new RegExp(`/${name.replace('.', '\\.')}$`) },
              ({ path: specifier, resolveDir, importer }) => {
                const real = join(resolveDir, specifier);
                if (importer === other || !real.endsWith(`/dataplane/${module}`)) return undefined;
                unused.delete(module);
                return { path: other };
              },
            );
          }
        },
      },
    ],
  });
  if (unused.size > 0) {
    rmSync(path, { force: true });
    throw new Error(`${basename(entry)} imports no ${[...unused].join(', ')}`);
  }
  return { path, [Symbol.dispose]: () => rmSync(path, { force: true }) };
}
