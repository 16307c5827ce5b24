import type { NodeId } from '../ids.ts';

// Records of one owner that gossip takes at once, and per second from then on. A host with its full thousand of
// sandboxes that starts anew is far below; what is over is not passed on, and comes by the next exchange.
const burst = 4_000;
const perSecond = 400;

/** A token bucket for each owner whose records come by gossip. Only owners that are members have one. */
export class RateLimit {
  readonly #monotonicMs: () => number;
  readonly #buckets = new Map<NodeId, { tokens: number; atMs: number }>();

  constructor(monotonicMs: () => number) {
    this.#monotonicMs = monotonicMs;
  }

  /** Whether another record of that owner may be taken. */
  allows(owner: NodeId): boolean {
    return this.#bucket(owner).tokens >= 1;
  }

  /** A record whose signature holds was taken: nobody can use up what is another's. */
  charge(owner: NodeId): void {
    const bucket = this.#bucket(owner);
    bucket.tokens -= 1;
    this.#buckets.set(owner, bucket);
  }

  #bucket(owner: NodeId): { tokens: number; atMs: number } {
    const nowMs = this.#monotonicMs();
    const known = this.#buckets.get(owner);
    if (known === undefined) return { tokens: burst, atMs: nowMs };
    known.tokens = Math.min(burst, known.tokens + ((nowMs - known.atMs) / 1_000) * perSecond);
    known.atMs = nowMs;
    // A bucket that is full says nothing.
    if (known.tokens === burst) this.#buckets.delete(owner);
    return known;
  }
}
