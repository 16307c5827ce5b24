import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { inNamespaces } from './namespaces.ts';
import type { EntriesResult } from './tools/entries.ts';

const SOURCE = fileURLToPath(new URL('tools/entries.c', import.meta.url));

/**
 * Runs tools/entries.ts beside tools/entries.c in namespaces that end with it.
 * @throws when there is no C compiler, or either program fails
 */
export async function measureEntries(
  what: 'fdb' | 'dump' | 'reconcile',
  entries: number,
  samples: number,
): Promise<EntriesResult> {
  const directory = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  try {
    const program = join(directory, 'entries');
    await execa('cc', ['-O2', '-o', program, SOURCE]);
    return await inNamespaces<EntriesResult>('entries.ts', what, program, String(entries), String(samples));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
