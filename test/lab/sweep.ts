import { readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Holder, LAB_VARIABLE } from './holder.ts';
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

const CGROUPS = '/sys/fs/cgroup';

/** The cgroup that containers of a host are put below, as a path from the root of each hierarchy. */
export function cgroupOf({ labId, hostname }: Pick<Holder, 'labId' | 'hostname'>): string {
  return `/${labId}/${hostname}`;
}

/** Roots of the cgroup hierarchies: one in version 2, one a controller in version 1, where others of its kind are below (cgroups(7)). */
function cgroupRoots(): string[] {
  return [CGROUPS, ...directoriesIn(CGROUPS).map((name) => join(CGROUPS, name))];
}

function directoriesIn(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
  } catch {
    return [];
  }
}

/** Those that there are of a lab, a path a hierarchy. */
export function cgroupDirectories(labId: string): string[] {
  return cgroupRoots().flatMap((root) => (directoriesIn(root).includes(labId) ? [join(root, labId)] : []));
}

/**
 * Removes the cgroups of a lab. They stay for as long as a process is in them: with `waitMs` it waits for those that were
 * just killed, blocking, for it is also called from an `exit` handler.
 */
export function removeCgroups(labId: string, waitMs = 2_000): void {
  if (!LAB_ID.test(labId)) throw new RangeError(`${labId} is not the id of a lab`);
  const deadline = performance.now() + waitMs;
  for (const path of cgroupDirectories(labId)) {
    while (!removeTree(path) && performance.now() < deadline) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

/** Removes directories from the leaves up; the files of a cgroup go with it. Returns false when one is in use. */
function removeTree(path: string): boolean {
  let gone = true;
  for (const name of directoriesIn(path)) gone = removeTree(join(path, name)) && gone;
  try {
    rmdirSync(path);
  } catch (error) {
    return gone && (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
  return gone;
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
 * Removes what labs of dead processes left behind. Their namespaces went with them; what stays is the directory, the
 * cgroups of their containers, and, should one have got away, a process.
 * @returns the ids of the labs that were removed
 */
export function sweep(): string[] {
  const names = new Set([tmpdir(), ...cgroupRoots()].flatMap(directoriesIn));
  const dead = [...names].filter((name) => LAB_ID.test(name) && !ownerLives(name));
  for (const labId of dead) {
    for (const pid of processesOf(labId)) signalPid(pid, 'SIGKILL');
    removeCgroups(labId);
    rmSync(labDirectory(labId), { recursive: true, force: true });
  }
  return dead;
}
