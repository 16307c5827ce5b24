import type { Environment } from '../environment.ts';
import type { NodeId } from '../ids.ts';

/** Upper ends of the histogram's buckets, milliseconds; what takes longer is in none of them, only in the count. */
export const bucketEndsMs: readonly number[] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

// Nodes whose clocks are compared with; a cluster's neighbours are far fewer.
const maxClocks = 4_096;
// A comparison by a slower request than an earlier one tells less, unless that one is old: clocks drift.
const freshMs = 300_000;
// By how much two clocks may drift apart meanwhile, or be set right by slewing (500 ppm, adjtimex(2)). What differs by more
// was set anew, and the later comparison is the true one however slow.
const driftMs = 200;
// A clock that nobody has compared for longer may have been set since.
const shownForMs = 3_600_000;
// What seems older than that tells of a clock that was set since it was compared with, or of a node that was away: a year
// of either would be all that is left of the sum.
const maxLagMs = 3_600_000;

/** How far another node's clock is from this one's. */
export interface ClockOffset {
  /** Theirs less ours, milliseconds. */
  readonly offsetMs: number;
  /** Round trip of the request that told: the offset is right to half of it. */
  readonly rttMs: number;
}

/** A comparison, with the clock of this node that does not jump: when the other one is set, this node does not notice. */
interface Comparison {
  /** What their wall clock showed when our monotonic one was at zero. */
  readonly zeroMs: number;
  readonly rttMs: number;
  readonly atMs: number;
}

export interface Histogram {
  /** Cumulative, as Prometheus has it: each bucket counts what took up to its end. */
  readonly buckets: readonly { readonly endMs: number; readonly count: number }[];
  readonly count: number;
  readonly sumMs: number;
  readonly maxMs: number;
}

/**
 * How long a record takes from its owner's writing to this node's tables. The owner's time stamp is by its own clock:
 * it counts only where the two clocks have been compared, and less their difference.
 */
export class Propagation {
  readonly #clocks: Pick<Environment, 'now' | 'monotonicMs'>;
  readonly #compared = new Map<NodeId, Comparison>();
  readonly #counts = bucketEndsMs.map(() => 0);
  #count = 0;
  #sumMs = 0;
  #maxMs = 0;
  /** Records of owners whose clock was not compared with this node's, or has been set since. */
  unmeasured = 0;

  constructor(clocks: Pick<Environment, 'now' | 'monotonicMs'>) {
    this.#clocks = clocks;
  }

  /**
   * A request was answered.
   * @param sentMs by this node's clock that does not jump
   * @param theirMs the answerer's wall clock when it answered
   */
  compared(peer: NodeId, sentMs: number, theirMs: number): void {
    const nowMs = this.#clocks.monotonicMs();
    const rttMs = nowMs - sentMs;
    const zeroMs = theirMs - sentMs - rttMs / 2;
    const known = this.#compared.get(peer);
    if (known === undefined && this.#compared.size >= maxClocks) return;
    const isSlower = known !== undefined && known.rttMs < rttMs && nowMs - known.atMs < freshMs;
    if (isSlower && Math.abs(known.zeroMs - zeroMs) <= (known.rttMs + rttMs) / 2 + driftMs) return;
    this.#compared.set(peer, { zeroMs, rttMs, atMs: nowMs });
  }

  forget(peer: NodeId): void {
    this.#compared.delete(peer);
  }

  /** A new record is in the tables. @param writtenMs by its owner's clock */
  applied(owner: NodeId, writtenMs: number): void {
    const lagMs = this.#lagOf(owner, writtenMs);
    if (lagMs === null) {
      this.unmeasured += 1;
      return;
    }
    this.#count += 1;
    this.#sumMs += lagMs;
    this.#maxMs = Math.max(this.#maxMs, lagMs);
    const bucket = bucketEndsMs.findIndex((end) => lagMs <= end);
    if (bucket >= 0) this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
  }

  /** @returns null where the two clocks do not tell */
  #lagOf(owner: NodeId, writtenMs: number): number | null {
    const clock = this.#compared.get(owner);
    if (clock === undefined) return null;
    const lagMs = this.#clocks.monotonicMs() - (writtenMs - clock.zeroMs);
    if (lagMs > maxLagMs || lagMs < -(clock.rttMs / 2 + driftMs)) return null;
    return Math.max(0, lagMs);
  }

  histogram(): Histogram {
    let sum = 0;
    const buckets = bucketEndsMs.map((endMs, i) => {
      sum += this.#counts[i] ?? 0;
      return { endMs, count: sum };
    });
    return { buckets, count: this.#count, sumMs: this.#sumMs, maxMs: this.#maxMs };
  }

  /** Clocks that were compared with lately. */
  clocks(): ReadonlyMap<NodeId, ClockOffset> {
    const nowMs = this.#clocks.monotonicMs();
    const aheadMs = nowMs - this.#clocks.now();
    const lately = [...this.#compared].filter(([, { atMs }]) => nowMs - atMs <= shownForMs);
    return new Map(
      lately.map(([peer, { zeroMs, rttMs }]) => [peer, { offsetMs: Math.round(zeroMs + aheadMs), rttMs }]),
    );
  }
}
