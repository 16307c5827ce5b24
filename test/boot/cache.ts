import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startTicksOf } from '../lab/process.ts';

const CACHE = fileURLToPath(new URL('../../.cache/boot/', import.meta.url));
const PART = /\.part-(\d+)-(\d+)$/;

/**
 * A directory that is made once and never changed: made under another name and moved into place when it is whole.
 * `name` must change with whatever goes in.
 */
export async function cached(name: string, make: (directory: string) => Promise<void>): Promise<string> {
  const whole = join(CACHE, name);
  if (existsSync(whole)) return whole;
  mkdirSync(CACHE, { recursive: true });
  removeAbandoned();
  const part = `${whole}.part-${process.pid}-${startTicksOf(process.pid) ?? 0}`;
  try {
    mkdirSync(part);
    // Whatever the umask: it may become the root of a system whose users must get in.
    chmodSync(part, 0o755);
    await make(part);
    renameSync(part, whole);
  } catch (error) {
    rmSync(part, { recursive: true, force: true });
    // Another run may have been first; what it made is as good.
    const taken = ['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '');
    if (!(taken && existsSync(whole))) throw error;
  }
  return whole;
}

/** Removes what runs that are dead by now did not finish. */
function removeAbandoned(): void {
  for (const name of readdirSync(CACHE)) {
    const owner = PART.exec(name);
    if (owner && startTicksOf(Number(owner[1])) !== owner[2]) {
      rmSync(join(CACHE, name), { recursive: true, force: true });
    }
  }
}
