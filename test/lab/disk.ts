import { cpSync, lstatSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Holder } from './holder.ts';

/** Trees of which each host has a copy of its own, in memory: the machine's disk may carry no overlay (holder.sh). */
const TREES = ['/etc', '/var/lib'] as const;

/**
 * Copies what a host has changed on its disk, before the host ends.
 * @returns to be called with what holds the host afterwards: puts it back, and empties /run/weft, which is no disk
 */
export function keepDisk(before: Holder): (after: Holder) => void {
  const kept = join(before.directory, 'kept');
  for (const tree of TREES) {
    const changed = join(rootOf(before), before.directory, 'private', tree, 'upper');
    cpSync(changed, join(kept, tree), { recursive: true, filter: isPlain });
  }
  return (after) => {
    const run = join(before.directory, 'run');
    for (const name of readdirSync(run)) rmSync(join(run, name), { recursive: true });
    for (const tree of TREES) cpSync(join(kept, tree), join(rootOf(after), tree), { recursive: true });
    rmSync(kept, { recursive: true });
  };
}

const rootOf = ({ pid }: Holder): string => `/proc/${pid}/root`;

/** What was removed stands in an overlay's layer as a device. */
function isPlain(path: string): boolean {
  const found = lstatSync(path);
  return found.isDirectory() || found.isFile();
}
