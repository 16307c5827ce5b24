// What is known of the path to one peer, from one look to the next. Pure.

export interface PathState {
  /** Bytes of the largest IP packet that the path takes; null when nothing is known. */
  readonly mtu: number | null;
  /** Found to be larger than `mtu` at the last look; it counts when the next one finds it too. */
  readonly candidate: number | null;
}

export const unknownPath: PathState = { mtu: null, candidate: null };

/**
 * Less counts at once: packets are being lost. More counts when it was found twice: the price of waiting is small, and a
 * path that swings shall not take every network along.
 * @param found null: nobody answered; what was known stays, since a dead peer is not a small MTU
 */
export function learned({ mtu, candidate }: PathState, found: number | null): PathState {
  if (found === null) return { mtu, candidate };
  if (mtu === null || found < mtu) return { mtu: found, candidate: null };
  if (found === mtu) return { mtu, candidate: null };
  const confirmed = candidate === null ? mtu : Math.min(candidate, found);
  return confirmed > mtu ? { mtu: confirmed, candidate: null } : { mtu, candidate: found };
}
