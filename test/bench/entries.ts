import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import type { EntriesResult } from './tools/entries.ts';

const SOURCE = fileURLToPath(new URL('tools/entries.c', import.meta.url));
const SCRIPT = fileURLToPath(new URL('tools/entries.ts', import.meta.url));
const TSX = import.meta.resolve('tsx');

/**
 * Runs tools/entries.ts beside tools/entries.c in namespaces that end with it.
 * @throws when there is no C compiler, or either program fails
 */
export async function measureEntries(
  what: 'fdb' | 'reconcile',
  entries: number,
  samples: number,
): Promise<EntriesResult> {
  const directory = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  try {
    const program = join(directory, 'entries');
    await execa('cc', ['-O2', '-o', program, SOURCE]);
    const inside = 'mount -t tmpfs tmpfs /run && exec "$@"';
    const namespaces = ['--net', '--mount', '--propagation', 'private'];
    const script = [process.execPath, '--import', TSX, SCRIPT, what, program, String(entries), String(samples)];
    const { stdout } = await execa('unshare', [...namespaces, 'sh', '-c', inside, 'sh', ...script]);
    return JSON.parse(stdout) as EntriesResult;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
