import type { NodeId } from '../ids.ts';

/**
 * A space of numbers [0, size), split into ranges with exactly one owner each: the addresses of a network, the subnets
 * of the pool, the VNIs. Only the owner of a range can hand part of it on, by a grant whose generation is one higher
 * than that of the grant it holds the range by; so per number every generation has one writer, and the highest
 * generation tells the owner, in whatever order the grants arrive. Weave Net's IPAM ring is the model (weave
 * docs/ipam.md); versions per number take the place of its tokens, so that each grant can live in its writer's stream.
 */
export interface Grant {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  readonly to: NodeId;
  readonly generation: number;
}

/** Ranges are [start, end). */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** A maximal run of numbers with the same owner by the same generation. */
export interface Owned extends Range {
  readonly owner: NodeId;
  readonly generation: number;
}

/** The whole space, split by owner; `root` owns what was never granted. */
export function splitByOwner(size: number, root: NodeId, grants: Iterable<Grant>): Owned[] {
  const starts = new Map<number, Grant[]>();
  const ends = new Map<number, Grant[]>();
  const cuts = new Set<number>([0, size]);
  for (const grant of grants) {
    if (grant.start < 0 || grant.end > size || grant.start >= grant.end) continue;
    cuts.add(grant.start).add(grant.end);
    starts.set(grant.start, [...(starts.get(grant.start) ?? []), grant]);
    ends.set(grant.end, [...(ends.get(grant.end) ?? []), grant]);
  }
  const sorted = [...cuts].sort((a, b) => a - b);
  const open = new Set<Grant>();
  const result: Owned[] = [];
  for (const [i, start] of sorted.entries()) {
    const end = sorted[i + 1];
    if (end === undefined) break;
    for (const grant of ends.get(start) ?? []) open.delete(grant);
    for (const grant of starts.get(start) ?? []) open.add(grant);
    const top = highest(open);
    const [owner, generation] = top === null ? [root, 0] : [top.to, top.generation];
    const last = result.at(-1);
    if (last !== undefined && last.owner === owner && last.generation === generation) {
      result[result.length - 1] = { ...last, end };
    } else {
      result.push({ start, end, owner, generation });
    }
  }
  return result;
}

/** Two grants of one generation over one number can only come from a writer that lies; all readers then agree on one. */
function highest(grants: Iterable<Grant>): Grant | null {
  let top: Grant | null = null;
  for (const grant of grants) {
    if (
      top === null ||
      grant.generation > top.generation ||
      (grant.generation === top.generation && grant.to < top.to)
    ) {
      top = grant;
    }
  }
  return top;
}

/** The parts of `owned` in which no number is taken, in order. */
export function freeRanges(owned: readonly Range[], taken: ReadonlySet<number>): Range[] {
  const free: Range[] = [];
  const sorted = [...taken].sort((a, b) => a - b);
  for (const range of owned) {
    let start = range.start;
    for (const number of sorted) {
      if (number < start) continue;
      if (number >= range.end) break;
      if (number > start) free.push({ start, end: number });
      start = number + 1;
    }
    if (start < range.end) free.push({ start, end: range.end });
  }
  return free;
}

/**
 * What an owner gives to one who asks: the upper half of its largest free run, so that what it uses stays in one piece.
 * @returns null when it has nothing to spare
 */
export function halfToGive(owned: readonly Owned[], taken: ReadonlySet<number>): Owned | null {
  let best: Owned | null = null;
  for (const range of owned) {
    for (const free of freeRanges([range], taken)) {
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
export function nextFree(owned: readonly Range[], taken: ReadonlySet<number>, cursor: number): number | null {
  const free = freeRanges(owned, taken);
  for (const range of free) if (range.end > cursor) return Math.max(range.start, cursor);
  return free[0]?.start ?? null;
}

/** How many numbers the ranges hold. */
export function sizeOf(ranges: readonly Range[]): number {
  return ranges.reduce((sum, { start, end }) => sum + end - start, 0);
}
