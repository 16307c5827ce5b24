import type { NodeId } from '../ids.ts';

/** More would be a storm; what they do not cover waits for the next time. */
const maxPartners = 4;

/**
 * Whom to compare tables with, so that every topic is compared with somebody who follows it.
 * @param peers neighbours, those first whose turn it is
 */
export function partnersFor(
  topics: readonly string[],
  peers: readonly NodeId[],
  follows: (peer: NodeId, topic: string) => boolean,
): NodeId[] {
  const partners: NodeId[] = [];
  let left = topics;
  for (const peer of peers) {
    const rest = left.filter((topic) => !follows(peer, topic));
    if (rest.length === left.length && partners.length > 0) continue;
    partners.push(peer);
    left = rest;
    if (left.length === 0 || partners.length === maxPartners) break;
  }
  return partners;
}
