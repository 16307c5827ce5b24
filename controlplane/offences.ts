import type { NodeId } from './ids.ts';

// Nodes remembered, and kinds of offence of each: beyond that the oldest makes room.
const maxOffenders = 1_024;
const maxKinds = 32;

/** What one node did that it must not do. */
export interface Offence {
  readonly nodeId: NodeId;
  /** What it was, in one line without anything that the offender wrote. */
  readonly what: string;
  /** How often since the start of this agent. */
  readonly count: number;
  /** Milliseconds since the epoch. */
  readonly lastMs: number;
}

/** Who did what it must not do, and how often: for `weft status`. */
export class Offences {
  readonly #now: () => number;
  readonly #byNode = new Map<NodeId, Map<string, Offence>>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** @returns whether this is the first of its kind: the one that is worth a line in the log */
  report(nodeId: NodeId, what: string, times = 1): boolean {
    const kinds = this.#byNode.get(nodeId) ?? new Map<string, Offence>();
    // Set again at the end: whoever offended last is forgotten last.
    this.#byNode.delete(nodeId);
    if (this.#byNode.size >= maxOffenders) forgetOldest(this.#byNode);
    this.#byNode.set(nodeId, kinds);
    const known = kinds.get(what);
    kinds.delete(what);
    if (kinds.size >= maxKinds) forgetOldest(kinds);
    kinds.set(what, { nodeId, what, count: (known?.count ?? 0) + times, lastMs: this.#now() });
    return known === undefined;
  }

  /** What one node was reported for is over, or turned out to be none. */
  clear(nodeId: NodeId, what: string): void {
    const kinds = this.#byNode.get(nodeId);
    if (kinds?.delete(what) && kinds.size === 0) this.#byNode.delete(nodeId);
  }

  /** All that is remembered, the latest first. */
  list(): Offence[] {
    return [...this.#byNode.values()].flatMap((kinds) => [...kinds.values()]).sort((a, b) => b.lastMs - a.lastMs);
  }
}

function forgetOldest<K>(map: Map<K, unknown>): void {
  const oldest = map.keys().next();
  if (!oldest.done) map.delete(oldest.value);
}
