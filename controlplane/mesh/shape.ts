import { createHash } from 'node:crypto';
import type { Role } from '../identity/certificates.ts';
import type { NodeId } from '../ids.ts';

/**
 * Up to so many nodes, each is connected to each: nothing is faster, and the cost is small, since a record is passed on by
 * nobody then but its author, and pings are as many for any number of connections.
 */
export const defaultFullMeshUpTo = 32;
// Gossip goes on to so many of a node's neighbours, of which a large mesh gives it about ten; what comes twice is dropped
// before its signature is looked at. What a node says itself it says to all its neighbours.
export const gossipDegree = { D: 8, Dlo: 6, Dhi: 12, floodPublish: true };
// Cycles over all nodes, each in an order of its own. One would connect them; four make eight neighbours, and a graph
// with short ways (an expander) that is still connected when several nodes fail at once and nobody has noticed yet.
const rounds = 4;
// Cycles over the members of each network, in the same orders: where all nodes are members they add nothing. And over the
// managers, who follow every network, also those whose only members are neighbours of another manager.
const networkRounds = 2;
// For requests that only managers answer; two, so that the loss of one is no wait.
const managersPerWorker = 2;
// A connection that nobody wants any more stays for a while: what is wanted may change back, and dialling costs more.
export const idleMs = 60_000;
// Connections beside the shape, made for a request or left over from another shape; the longest unused ones go first.
export const maxExtraConnections = 64;
// Ranks kept, so that no hash is computed twice; far more than 5,000 nodes need.
const maxRanks = 200_000;

export interface ShapeInput {
  readonly self: NodeId;
  /** All members that are known and not removed, this one included. */
  readonly nodes: ReadonlyMap<NodeId, Role>;
  /** Members that are taken for dead, for now. */
  readonly suspended: ReadonlySet<NodeId>;
  /** The members of each network that this node is on. */
  readonly networks: readonly ReadonlySet<NodeId>[];
  /** Each open connection, with the milliseconds since it was last wanted or used. */
  readonly present: ReadonlyMap<NodeId, number>;
  /** @default defaultFullMeshUpTo */
  readonly fullMeshUpTo?: number | undefined;
}

export interface Shape {
  /** To be connected to. */
  readonly connect: ReadonlySet<NodeId>;
  /** To be dialled though suspended: whoever comes back is found by those who would be its neighbours. */
  readonly retry: ReadonlySet<NodeId>;
  /** Connections to close. */
  readonly disconnect: readonly NodeId[];
}

/**
 * Who a node is connected to. Pure, and the same edges seen from both ends: nodes that know the same want the same.
 * A few nodes are a full mesh. Many are the union of cycles over all nodes, each ordered by SHA-256(round, id), of
 * cycles over the members of each network and over the managers, and of each worker with two managers. Suspended nodes
 * are bridged over: their neighbours in a cycle become each other's.
 */
export function shape(input: ShapeInput): Shape {
  const { self, nodes, suspended, present } = input;
  const all = [...nodes.keys()];
  const live = all.filter((id) => id === self || !suspended.has(id));
  const connect = neighbours(input, live);
  const retry = new Set([...neighbours(input, all)].filter((id) => suspended.has(id)));
  const extra = [...present].filter(([id]) => !connect.has(id) && !retry.has(id));
  const longestUnused = extra.filter(([, unusedMs]) => unusedMs > 0).sort(([, a], [, b]) => b - a);
  const tooMany = extra.length - maxExtraConnections;
  const disconnect = longestUnused.filter(([, unusedMs], i) => unusedMs >= idleMs || i < tooMany).map(([id]) => id);
  return { connect, retry, disconnect };
}

/** Whether each is to be connected to each. */
export function isFull({ nodes, fullMeshUpTo }: Pick<ShapeInput, 'nodes' | 'fullMeshUpTo'>): boolean {
  // By all that are known: a threshold on those alive would turn the whole mesh over when one node flaps.
  return nodes.size <= (fullMeshUpTo ?? defaultFullMeshUpTo);
}

/** Neighbours of this node among `among`. */
function neighbours(input: ShapeInput, among: readonly NodeId[]): Set<NodeId> {
  const { self, nodes, networks } = input;
  const found = new Set<NodeId>();
  if (isFull(input)) {
    for (const id of among) found.add(id);
  } else {
    addCycles(found, self, among, rounds);
    const managers = among.filter((id) => nodes.get(id) === 'manager');
    for (const members of [...networks, new Set(managers)]) {
      if (members.has(self))
        addCycles(
          found,
          self,
          among.filter((id) => members.has(id)),
          networkRounds,
        );
    }
    addManagers(found, self, nodes, managers, among);
  }
  found.delete(self);
  return found;
}

/** Adds who comes before and after this node in the cycle of each round. */
function addCycles(found: Set<NodeId>, self: NodeId, among: readonly NodeId[], count: number): void {
  for (let round = 0; round < count; round += 1) {
    const label = `round ${round}`;
    const own = rank(label, self);
    // First and last of all close the circle where nobody comes before or after.
    let first = own;
    let last = own;
    let before: string | null = null;
    let after: string | null = null;
    for (const id of among) {
      const each = rank(label, id);
      if (each < first) first = each;
      if (each > last) last = each;
      if (each < own && (before === null || each > before)) before = each;
      if (each > own && (after === null || each < after)) after = each;
    }
    found.add(idOf(before ?? last)).add(idOf(after ?? first));
  }
}

/** Adds this worker's managers, or this manager's workers: those who come first for it (rendezvous hashing). */
function addManagers(
  found: Set<NodeId>,
  self: NodeId,
  nodes: ReadonlyMap<NodeId, Role>,
  managers: readonly NodeId[],
  among: readonly NodeId[],
): void {
  const chosenBy = (worker: NodeId): NodeId[] => inRandomOrder(worker, managers).slice(0, managersPerWorker);
  if (nodes.get(self) === 'worker') for (const id of chosenBy(self)) found.add(id);
  if (nodes.get(self) !== 'manager') return;
  for (const id of among) if (nodes.get(id) === 'worker' && chosenBy(id).includes(self)) found.add(id);
}

/** The ids in an order that is random for each label, but the same everywhere. */
export function inRandomOrder(label: string, ids: readonly NodeId[]): NodeId[] {
  return ids
    .map((id) => rank(label, id))
    .sort()
    .map(idOf);
}

// By label, and how many they are in all.
const ranks = new Map<string, Map<NodeId, string>>();
let ranksKept = 0;
const hashDigits = 16;

/** Where an id stands in an order that is random but the same everywhere; the id at the end settles ties. */
function rank(label: string, id: NodeId): string {
  const known = ranks.get(label)?.get(id);
  if (known !== undefined) return known;
  if (ranksKept >= maxRanks) {
    ranks.clear();
    ranksKept = 0;
  }
  const computed = createHash('sha256').update(`${label} ${id}`).digest('hex').slice(0, hashDigits) + id;
  const same = ranks.get(label) ?? new Map<NodeId, string>();
  ranks.set(label, same.set(id, computed));
  ranksKept += 1;
  return computed;
}

const idOf = (ranked: string): NodeId => ranked.slice(hashDigits) as NodeId;
