import type { NodeId } from './ids.ts';

/** What a bucket holds, and what comes into it each second. */
export interface Rate {
  readonly burst: number;
  readonly perSecond: number;
}

/** A token bucket for each node. Only members have one. */
export class RateLimit {
  readonly #monotonicMs: () => number;
  readonly #rate: Rate;
  readonly #buckets = new Map<NodeId, { tokens: number; atMs: number }>();

  constructor(monotonicMs: () => number, rate: Rate) {
    this.#monotonicMs = monotonicMs;
    this.#rate = rate;
  }

  /** Whether the node may have another one. */
  allows(node: NodeId): boolean {
    return this.#bucket(node).tokens >= 1;
  }

  /** It had one: to be called only for what it has proved to be its own, or nobody's bucket would be safe. */
  charge(node: NodeId): void {
    const bucket = this.#bucket(node);
    bucket.tokens -= 1;
    this.#buckets.set(node, bucket);
  }

  /** The node is no member any more. */
  forget(node: NodeId): void {
    this.#buckets.delete(node);
  }

  #bucket(node: NodeId): { tokens: number; atMs: number } {
    const { burst, perSecond } = this.#rate;
    const nowMs = this.#monotonicMs();
    const known = this.#buckets.get(node);
    if (known === undefined) return { tokens: burst, atMs: nowMs };
    known.tokens = Math.min(burst, known.tokens + ((nowMs - known.atMs) / 1_000) * perSecond);
    known.atMs = nowMs;
    // A bucket that is full says nothing.
    if (known.tokens === burst) this.#buckets.delete(node);
    return known;
  }
}
