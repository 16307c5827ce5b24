import type { NodeId } from '../ids.ts';

/** Upper ends of the histogram's buckets, milliseconds; what takes longer is in none of them, only in the count. */
export const bucketEndsMs: readonly number[] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

// Nodes whose clocks are compared with; a cluster's neighbours are far fewer.
const maxClocks = 4_096;
// A comparison by a slower request than an earlier one tells less, unless that one is old: clocks drift.
const freshMs = 300_000;

/** How far another node's clock is from this one's. */
export interface ClockOffset {
  /** Theirs less ours, milliseconds. */
  readonly offsetMs: number;
  /** Round trip of the request that told: the offset is right to half of it. */
  readonly rttMs: number;
}

/**
 * How long a record takes from its owner's writing to this node's tables. The owner's time stamp is by its own clock:
 * it counts only where the two clocks have been compared, and less their difference.
 */
export class Propagation {
  readonly #now: () => number;
  readonly #clocks = new Map<NodeId, ClockOffset & { readonly atMs: number }>();
  readonly #counts = bucketEndsMs.map(() => 0);
  #count = 0;
  #sumMs = 0;
  /** Records of owners whose clock was never compared with this node's. */
  unmeasured = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** A request was answered. @param theirMs the answerer's clock when it did */
  compared(peer: NodeId, sentMs: number, theirMs: number): void {
    const nowMs = this.#now();
    const rttMs = Math.max(0, nowMs - sentMs);
    const known = this.#clocks.get(peer);
    if (known !== undefined && known.rttMs < rttMs && nowMs - known.atMs < freshMs) return;
    if (known === undefined && this.#clocks.size >= maxClocks) return;
    this.#clocks.set(peer, { offsetMs: Math.round(theirMs - sentMs - rttMs / 2), rttMs, atMs: nowMs });
  }

  forget(peer: NodeId): void {
    this.#clocks.delete(peer);
  }

  /** A new record is in the tables. @param writtenMs by its owner's clock */
  applied(owner: NodeId, writtenMs: number): void {
    const clock = this.#clocks.get(owner);
    if (clock === undefined) {
      this.unmeasured += 1;
      return;
    }
    const lagMs = Math.max(0, this.#now() - (writtenMs - clock.offsetMs));
    this.#count += 1;
    this.#sumMs += lagMs;
    const bucket = bucketEndsMs.findIndex((end) => lagMs <= end);
    if (bucket >= 0) this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
  }

  /** Cumulative, as Prometheus has it: each bucket counts what took up to its end. */
  histogram(): { readonly buckets: readonly { endMs: number; count: number }[]; count: number; sumMs: number } {
    let sum = 0;
    const buckets = bucketEndsMs.map((endMs, i) => {
      sum += this.#counts[i] ?? 0;
      return { endMs, count: sum };
    });
    return { buckets, count: this.#count, sumMs: this.#sumMs };
  }

  clocks(): ReadonlyMap<NodeId, ClockOffset> {
    return this.#clocks;
  }
}
