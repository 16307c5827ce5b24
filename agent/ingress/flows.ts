import type { NodeId } from '../../controlplane/ids.ts';
import { isOf, type Service } from '../../controlplane/tables/services.ts';
import type { Endpoint } from '../../controlplane/tables/view.ts';
import type { Flow } from '../../dataplane/rtnetlink/conntrack.ts';

// Which connections to endpoints that take no new ones are to be cut. Pure, and from what the tables say now: who starts
// again loses at most the time that a drain has run.

/** What becomes of a connection: it goes on, is cut now, or so long after its endpoint was first seen to take no new ones. */
export type Fate = 'stays' | 'cut' | { readonly drainMs: number };

export interface FlowTables {
  /** Whether a node is there, drained or not. */
  readonly isThere: (node: NodeId) => boolean;
  /** Whether it is there, and not drained. */
  readonly isUp: (node: NodeId) => boolean;
}

/**
 * @param endpoint what has the address that the connection was led to: its leg on ingress, or on the network of a virtual
 * address; undefined: nothing, any more
 * @param service that the client has asked for; undefined: it is published no more
 */
export function fateOf(
  protocol: Flow['protocol'],
  service: Service | undefined,
  endpoint: Endpoint | undefined,
  { isThere, isUp }: FlowTables,
): Fate {
  // A client is told by a reset sooner than by silence.
  if (endpoint === undefined) return 'cut';
  // Datagrams go on for as long as they are sent, whether anybody answers or not; others notice.
  if (protocol === 'udp' && !isThere(endpoint.owner)) return 'cut';
  const serves = service && (endpoint.serves?.includes(service.key) || isOf(service, endpoint));
  if (!service || (serves && endpoint.ready !== false && isUp(endpoint.owner))) return 'stays';
  return service.drainMs === undefined ? 'stays' : { drainMs: service.drainMs };
}

/** What a connection is led by, `tcp 8080 10.0.0.4` or `tcp 10.0.1.200 10.0.1.4`, and what becomes of it. */
export interface Judged {
  readonly key: string;
  readonly fate: Fate;
}

/** What came of a look at connections. */
export interface Sorted<T> {
  readonly cut: readonly T[];
  /** Since when, in ms, endpoints that have connections take no new ones; of others it is forgotten. */
  readonly sinceMs: ReadonlyMap<string, number>;
  /** Until the next are due; null: none is. */
  readonly nextMs: number | null;
}

/** Endpoints that drain at once; of more, some begin anew. */
const drainsMax = 16_384;

export function sortFlows<T>(
  flows: readonly (Judged & { readonly flow: T })[],
  sinceMs: ReadonlyMap<string, number>,
  nowMs: number,
): Sorted<T> {
  const cut: T[] = [];
  const still = new Map<string, number>();
  let nextMs: number | null = null;
  for (const { key, fate, flow } of flows) {
    if (fate === 'stays') continue;
    if (fate === 'cut') {
      cut.push(flow);
      continue;
    }
    const since = sinceMs.get(key) ?? nowMs;
    const leftMs = since + fate.drainMs - nowMs;
    if (leftMs <= 0) cut.push(flow);
    else nextMs = Math.min(nextMs ?? leftMs, leftMs);
    if (still.size < drainsMax) still.set(key, since);
  }
  return { cut, sinceMs: still, nextMs };
}
