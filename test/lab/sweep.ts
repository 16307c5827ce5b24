import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LAB_VARIABLE } from './holder.ts';
import { allPids, signalPid, startTicksOf } from './process.ts';

const PREFIX = 'weft-lab-';
// Nothing but a name of our own making may be removed.
const LAB_ID = /^weft-lab-(\d+)-(\d+)-[a-z0-9]+$/;

/** A lab's id: it names the process that owns the lab beyond reuse of its pid, and is unique within it. */
export function newLabId(): string {
  const random = Math.random().toString(36).slice(2, 6).padEnd(4, '0');
  return `${PREFIX}${process.pid}-${startTicksOf(process.pid) ?? 0}-${random}`;
}

/** True while the process that made the lab runs. */
export function ownerLives(labId: string): boolean {
  const match = LAB_ID.exec(labId);
  return match !== null && startTicksOf(Number(match[1])) === match[2];
}

export function labDirectory(labId: string): string {
  return join(tmpdir(), labId);
}

/** Processes of a lab, found by the mark in their environment. */
export function processesOf(labId: string): number[] {
  const mark = `${LAB_VARIABLE}=${labId}\0`;
  return allPids().filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(mark);
    } catch {
      return false;
    }
  });
}

/**
 * Removes what labs of dead processes left behind. Their namespaces went with them; what stays is the directory, and,
 * should one have got away, a process.
 * @returns the ids of the labs that were removed
 */
export function sweep(): string[] {
  const dead = readdirSync(tmpdir()).filter((name) => LAB_ID.test(name) && !ownerLives(name));
  for (const labId of dead) {
    for (const pid of processesOf(labId)) signalPid(pid, 'SIGKILL');
    rmSync(labDirectory(labId), { recursive: true, force: true });
  }
  return dead;
}
