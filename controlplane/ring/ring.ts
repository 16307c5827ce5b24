import type { NodeId } from '../ids.ts';
import type { NumberSet } from './numbers.ts';

/**
 * A space of numbers [0, size), split into ranges with exactly one owner each: the addresses of a subnet, the subnets
 * of the pool, the VNIs. Only the owner of a range can hand part of it on, by a grant whose generation is one higher
 * than that of the grant it holds the range by; so per number every generation has one writer, and the highest
 * generation that counts tells the owner, in whatever order the grants arrive. Weave Net's IPAM ring is the model (weave
 * docs/ipam.md); generations per number take the place of its tokens, so that each grant can live in its writer's
 * stream.
 */
export interface Grant extends Range {
  readonly by: NodeId;
  readonly to: NodeId;
  readonly generation: number;
  /**
   * Written by a manager, which may also state what it knows (a deed: who owned this by which generation) and reclaim
   * what a removed node owned. Managers hold the CA's key: whom they want to harm they can harm otherwise.
   */
  readonly byManager: boolean;
}

/** Ranges are [start, end). */
export interface Range {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

/** A maximal run of numbers with the same owner by the same generation. */
export interface Owned extends Range {
  readonly owner: NodeId;
  readonly generation: number;
}

/** Grants of living nodes go up by one; a reclaim leaves room below it for any that its writer had not seen. */
const reclaimStep = 2 ** 20;

/** Largest generation that a record may carry: a billion reclaims of one number. */
export const maxGeneration = 2 ** 50;

/** @param ballot of the fence: a later heir's grants beat those of an earlier one that nobody had seen */
export function reclaimGeneration(generation: number, ballot: number): number {
  return (Math.floor(generation / reclaimStep) + 1 + ballot) * reclaimStep;
}

/**
 * One part of the space, split by owner; `root` owns what was never granted. A worker's grant counts only where it owned
 * the numbers by the generation before: what it signs over others' numbers is without effect. A grant whose chain is
 * not here yet has no effect yet.
 */
export function splitByOwner(space: Range, root: NodeId, grants: Iterable<Grant>): Owned[] {
  const result: Owned[] = [];
  for (const [start, end, open] of segments(space, grants)) {
    const { owner, generation } = open.custody(root);
    append(result, { start, end, owner, generation });
  }
  return result;
}

/** The grants that have no effect somewhere although they are newer than what counts there. */
export function unfounded(space: Range, root: NodeId, grants: Iterable<Grant>): Set<Grant> {
  const found = new Set<Grant>();
  for (const [, , open] of segments(space, grants)) {
    const { generation } = open.custody(root);
    for (const grant of open.unjudged) {
      if (grant.generation <= generation) continue;
      found.add(grant);
      open.unjudged.delete(grant);
    }
  }
  return found;
}

/** Grants over the number that is looked at, so kept that those without effect cost nothing: a liar writes thousands. */
class Open {
  /** Generation -> writer -> grants. */
  readonly #workers = new Map<number, Map<NodeId, Set<Grant>>>();
  /** By generation. */
  readonly #managers: Grant[] = [];
  /** Of workers, and nowhere found to be without effect yet. */
  readonly unjudged = new Set<Grant>();

  add(grant: Grant): void {
    const { by, generation, byManager } = grant;
    if (byManager) {
      const at = this.#managers.findIndex((each) => each.generation > generation);
      this.#managers.splice(at < 0 ? this.#managers.length : at, 0, grant);
      return;
    }
    const writers = this.#workers.get(generation) ?? new Map<NodeId, Set<Grant>>();
    this.#workers.set(generation, writers.set(by, (writers.get(by) ?? new Set()).add(grant)));
    this.unjudged.add(grant);
  }

  remove(grant: Grant): void {
    if (grant.byManager) this.#managers.splice(this.#managers.indexOf(grant), 1);
    else this.#workers.get(grant.generation)?.get(grant.by)?.delete(grant);
    this.unjudged.delete(grant);
  }

  /** Follows the chain of custody from its beginning. */
  custody(root: NodeId): { owner: NodeId; generation: number } {
    let [owner, generation] = [root, 0];
    let at = 0;
    for (;;) {
      while ((this.#managers[at]?.generation ?? Number.POSITIVE_INFINITY) <= generation) at += 1;
      const handed = [...(this.#workers.get(generation + 1)?.get(owner) ?? [])];
      const next = handed.length > 0 ? generation + 1 : this.#managers[at]?.generation;
      if (next === undefined) return { owner, generation };
      for (; this.#managers[at]?.generation === next; at += 1) handed.push(this.#managers[at] as Grant);
      // Two of one generation can only come from a writer that lies; all readers then agree on one.
      owner = (handed[0] as Grant).to;
      for (const { to } of handed) if (to < owner) owner = to;
      generation = next;
    }
  }
}

/** Cuts the space where any grant begins or ends. */
function* segments(space: Range, grants: Iterable<Grant>): Generator<[number, number, Open]> {
  const starts = new Map<number, Grant[]>();
  const ends = new Map<number, Grant[]>();
  const put = (map: Map<number, Grant[]>, at: number, grant: Grant): void => {
    const there = map.get(at);
    if (there === undefined) map.set(at, [grant]);
    else there.push(grant);
  };
  for (const grant of grants) {
    const [start, end] = [Math.max(grant.start, space.start), Math.min(grant.end, space.end)];
    if (grant.start >= grant.end || start >= end) continue;
    put(starts, start, grant);
    put(ends, end, grant);
  }
  const sorted = [...new Set([space.start, space.end, ...starts.keys(), ...ends.keys()])].sort((a, b) => a - b);
  const open = new Open();
  for (const [i, start] of sorted.entries()) {
    const end = sorted[i + 1];
    if (end === undefined) break;
    for (const grant of ends.get(start) ?? []) open.remove(grant);
    for (const grant of starts.get(start) ?? []) open.add(grant);
    yield [start, end, open];
  }
}

/** Adds a run behind the others, as part of the last one where that has the same owner by the same generation. */
export function append(runs: Owned[], next: Owned): void {
  const last = runs.at(-1);
  if (last?.end === next.start && last.owner === next.owner && last.generation === next.generation) {
    runs[runs.length - 1] = { ...last, end: next.end };
  } else runs.push(next);
}

/** Numbers that are not to be handed out. */
export type Taken = readonly NumberSet[];

/** The parts of `range` in which no number is taken, in order. */
export function* freeRanges(range: Range, taken: Taken): Generator<Range> {
  let start = firstFree(range.start, range.end, taken);
  while (start !== null) {
    let { end } = range;
    for (const set of taken) end = set.nextPresent(start, end) ?? end;
    yield { start, end };
    start = firstFree(end, range.end, taken);
  }
}

/** The first number of [from, end) that is in none of the sets. */
function firstFree(from: number, end: number, taken: Taken): number | null {
  let number = from;
  for (;;) {
    const before = number;
    for (const set of taken) {
      const next = set.nextAbsent(number, end);
      if (next === null) return null;
      number = next;
    }
    if (number >= end) return null;
    if (number === before) return number;
  }
}

/**
 * What an owner gives to one who asks: the upper half of its largest free run, so that what it uses stays in one piece.
 * @returns null when it has nothing to spare
 */
export function halfToGive(owned: readonly Owned[], taken: Taken): Owned | null {
  let best: Owned | null = null;
  for (const range of owned) {
    for (const free of freeRanges(range, taken)) {
      if (best === null || free.end - free.start > best.end - best.start) best = { ...range, ...free };
    }
  }
  if (best === null) return null;
  // A single free number stays with its owner.
  const size = best.end - best.start;
  if (size === 1) return null;
  return { ...best, start: best.end - Math.floor(size / 2) };
}

/** The next free number at or after `cursor`, wrapping: what was freed last is used again last. */
export function nextFree(owned: readonly Range[], taken: Taken, cursor: number): number | null {
  for (const { start, end } of owned) {
    const number = end <= cursor ? null : firstFree(Math.max(start, cursor), end, taken);
    if (number !== null) return number;
  }
  for (const { start, end } of owned) {
    const number = start >= cursor ? null : firstFree(start, Math.min(end, cursor), taken);
    if (number !== null) return number;
  }
  return null;
}

/** The parts of the ranges that lie inside `window`. */
export function inside<R extends Range>(ranges: readonly R[], window: Range): R[] {
  return ranges.flatMap((range) => {
    const [start, end] = [Math.max(range.start, window.start), Math.min(range.end, window.end)];
    return start < end ? [{ ...range, start, end }] : [];
  });
}

/** The parts of the ranges that lie outside `window`. */
export function outside<R extends Range>(ranges: readonly R[], window: Range): R[] {
  return ranges.flatMap((range) => [
    ...inside([range], { start: range.start, end: window.start }),
    ...inside([range], { start: window.end, end: range.end }),
  ]);
}

/** How many numbers the ranges hold. */
export function sizeOf(ranges: readonly Range[]): number {
  return ranges.reduce((sum, { start, end }) => sum + end - start, 0);
}
