import { readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { ownerLives } from '../lab/sweep.ts';

/** As in tools/nspawn.sh. */
const HIERARCHIES = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified', '/sys/fs/cgroup/systemd'];

/** Removes a machine's control groups. Its processes must be gone: the kernel refuses a group that has any. */
export function removeGroup(name: string): void {
  for (const hierarchy of HIERARCHIES) removeTree(join(hierarchy, name));
}

/** Removes groups whose owner was killed before it could. */
export function sweepGroups(): void {
  for (const name of HIERARCHIES.flatMap(childrenOf))
    if (/^weft-lab-/.test(name) && !ownerLives(name)) removeGroup(name);
}

/** A group goes when its children have gone; its files cannot be removed and need not be. */
function removeTree(path: string): void {
  for (const child of childrenOf(path)) removeTree(join(path, child));
  try {
    rmdirSync(path);
  } catch (error) {
    // EBUSY: a process is still dying; the next run's sweep gets it.
    if (!['ENOENT', 'EBUSY'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

function childrenOf(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
  } catch {
    return [];
  }
}
