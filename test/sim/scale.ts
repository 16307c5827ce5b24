import { createHash } from 'node:crypto';
import type { Role } from '../../controlplane/identity/certificates.ts';
import { type NodeId, nodeIdOf } from '../../controlplane/ids.ts';
import { defaultFullMeshUpTo, inRandomOrder, shape } from '../../controlplane/mesh/shape.ts';
import type { Prng } from './prng.ts';

// How a gossip message spreads among many nodes: the connections of controlplane/mesh/shape.ts, gossipsub's own rules on
// top (libp2p specs, pubsub/gossipsub v1.1), and a cost for each message that a node handles. Not the production code,
// which would need some gigabytes for 5,000 nodes.

/** Gossipsub's parameters, as mesh/libp2p.ts leaves or sets them. */
export interface Gossip {
  readonly D: number;
  readonly Dhi: number;
  readonly Dlazy: number;
  readonly gossipFactor: number;
  readonly heartbeatMs: number;
  /** Heartbeats for which a message is offered to others. */
  readonly historyGossip: number;
}

export interface Costs {
  /** One way, the same for all links; each frame draws up to `jitterMs` more. */
  readonly linkMs: number;
  readonly jitterMs: number;
  /** Decoding, checking the signature and storing a record that is new. */
  readonly firstMs: number;
  /** Finding that a message is known. */
  readonly againMs: number;
  /** Writing a message to one neighbour. */
  readonly sendMs: number;
  readonly messageBytes: number;
  /** An IHAVE or IWANT of one id. */
  readonly offerBytes: number;
}

export interface Spread {
  /** From the publication until the last node had handled it. */
  readonly toAllMs: number;
  /** Copies of the message that a node got, on average; and bytes, offers included. */
  readonly copies: number;
  readonly bytes: number;
}

const managers = 5;
// As shape.ts has them.
const rounds = 4;
const managersPerWorker = 2;

/**
 * Neighbours of each node, as the production code chooses them: each node asks it alone, which for all of 5,000 would
 * take minutes. So the cycles are laid once for all here, and compared with what it says for some of the nodes.
 */
export function connections(count: number): number[][] {
  const ids = Array.from({ length: count }, (_, i) => nodeIdOf(createHash('sha256').update(`node ${i}`).digest()));
  const roles = new Map<NodeId, Role>(ids.map((id, i) => [id, i < managers ? 'manager' : 'worker']));
  const all = new Map<NodeId, Set<NodeId>>(ids.map((id) => [id, new Set()]));
  const join = (a: NodeId, b: NodeId): void => {
    if (a === b) return;
    all.get(a)?.add(b);
    all.get(b)?.add(a);
  };
  if (count <= defaultFullMeshUpTo) for (const a of ids) for (const b of ids) join(a, b);
  else {
    for (let round = 0; round < rounds; round += 1) {
      const cycle = inRandomOrder(`round ${round}`, ids);
      for (const [i, id] of cycle.entries()) join(id, cycle[(i + 1) % count] ?? id);
    }
    for (const worker of ids.slice(managers)) {
      for (const manager of inRandomOrder(worker, ids.slice(0, managers)).slice(0, managersPerWorker))
        join(worker, manager);
    }
  }
  for (const self of ids.slice(0, 2 * managers)) {
    const state = { suspended: new Set<NodeId>(), networks: [], present: new Map<NodeId, number>() };
    const { connect } = shape({ self, nodes: roles, ...state });
    const mine = all.get(self);
    if (connect.size !== mine?.size || [...connect].some((id) => !mine.has(id))) {
      throw new Error('controlplane/mesh/shape.ts chooses other neighbours than this model');
    }
  }
  const numbers = new Map(ids.map((id, i) => [id, i]));
  return ids.map((id) => [...(all.get(id) ?? [])].map((other) => numbers.get(other) ?? 0));
}

/** Which connections gossipsub makes part of its mesh: each node grafts D of them, and prunes those above Dhi. */
export function mesh(links: readonly (readonly number[])[], { D, Dhi }: Gossip, prng: Prng): number[][] {
  const edges: Set<number>[] = links.map(() => new Set());
  for (const [node, neighbours] of links.entries()) {
    const wanted = prng.shuffled(neighbours.filter((other) => edges[node]?.has(other) === false));
    for (const other of wanted.slice(0, Math.max(0, D - (edges[node]?.size ?? 0)))) {
      edges[node]?.add(other);
      edges[other]?.add(node);
    }
  }
  for (const [node, mine] of edges.entries()) {
    for (const other of mine.size > Dhi ? prng.shuffled([...mine]).slice(D) : []) {
      mine.delete(other);
      edges[other]?.delete(node);
    }
  }
  return edges.map((mine) => [...mine]);
}

type Event = readonly [atMs: number, kind: 'message' | 'offer' | 'wanted' | 'heartbeat', node: number, from: number];

/** One message from `origin` to all. */
export function spread(
  links: readonly (readonly number[])[],
  meshed: readonly (readonly number[])[],
  origin: number,
  gossip: Gossip,
  costs: Costs,
  prng: Prng,
): Spread {
  const queue = new Queue();
  const busyMs = new Float64Array(links.length);
  const had = new Float64Array(links.length).fill(-1);
  let [copies, bytes, reached, toAllMs] = [0, 0, 0, 0];
  const work = (node: number, atMs: number, costMs: number): number => {
    const endMs = Math.max(atMs, busyMs[node] ?? 0) + costMs;
    busyMs[node] = endMs;
    return endMs;
  };
  const send = (kind: Event[1], from: number, to: number, atMs: number): void => {
    const leftMs = work(from, atMs, costs.sendMs);
    bytes += kind === 'message' ? costs.messageBytes : costs.offerBytes;
    queue.push([leftMs + costs.linkMs + prng.next() * costs.jitterMs, kind, to, from]);
  };
  const take = (node: number, from: number, atMs: number, targets: readonly number[]): void => {
    const doneMs = work(node, atMs, costs.firstMs);
    had[node] = doneMs;
    reached += 1;
    toAllMs = Math.max(toAllMs, doneMs);
    for (const to of targets) if (to !== from) send('message', node, to, doneMs);
    for (let beat = 0; beat < gossip.historyGossip; beat += 1) {
      const firstBeatMs = doneMs + prng.next() * gossip.heartbeatMs;
      queue.push([firstBeatMs + beat * gossip.heartbeatMs, 'heartbeat', node, -1]);
    }
  };
  // The publisher floods: all neighbours, not only those of the mesh.
  take(origin, -1, 0, links[origin] ?? []);
  for (let event = queue.pop(); event !== null; event = queue.pop()) {
    const [atMs, kind, node, from] = event;
    const known = (had[node] ?? -1) >= 0;
    if (kind === 'message') {
      copies += 1;
      if (known) work(node, atMs, costs.againMs);
      else take(node, from, atMs, meshed[node] ?? []);
    } else if (kind === 'offer') {
      if (!known) send('wanted', node, from, atMs);
    } else if (kind === 'wanted') send('message', node, from, atMs);
    else {
      const others = (links[node] ?? []).filter((other) => meshed[node]?.includes(other) === false);
      const offers = Math.max(gossip.Dlazy, Math.ceil(others.length * gossip.gossipFactor));
      for (const other of prng.shuffled(others).slice(0, offers)) send('offer', node, other, atMs);
    }
  }
  if (reached < links.length) throw new Error(`${links.length - reached} nodes were never reached`);
  return { toAllMs, copies: copies / links.length, bytes: bytes / links.length };
}

/** Events by time. */
class Queue {
  readonly #heap: Event[] = [];

  push(event: Event): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    for (let up = (at - 1) >> 1; at > 0 && event[0] < timeOf(heap[up]); up = (at - 1) >> 1) {
      heap[at] = heap[up] as Event;
      at = up;
    }
    heap[at] = event;
  }

  pop(): Event | null {
    const heap = this.#heap;
    const [top] = heap;
    const last = heap.pop();
    if (top === undefined || last === undefined) return null;
    if (heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (timeOf(heap[child + 1]) < timeOf(heap[child])) child += 1;
      if (timeOf(heap[child]) >= last[0]) break;
      heap[at] = heap[child] as Event;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}

const timeOf = (event: Event | undefined): number => event?.[0] ?? Number.POSITIVE_INFINITY;
