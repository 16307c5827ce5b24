import type { NodeId } from './ids.ts';
import type { Allocator, RingSpace } from './ring/allocator.ts';
import { inside, type Range, sizeOf } from './ring/ring.ts';
import type { Pool } from './tables/kinds.ts';
import type { NetworkSubnet, RingId } from './tables/subnets.ts';
import type { Network, View } from './tables/view.ts';

// Time to add a subnet before the first request is refused.
const warnAtShare = 0.85;

/** How many addresses of a subnet there are, and who can hand them out. As far as this node knows. */
export interface Capacity {
  readonly subnet: NetworkSubnet;
  /** Addresses for endpoints: without reserved ones, and of the address range alone where there is one. */
  readonly total: number;
  /** Held by endpoints, and by services as their virtual addresses. */
  readonly used: number;
  /** Released a moment ago, of this node's. */
  readonly resting: number;
  /** Free, and this node's to hand out. */
  readonly freeHere: number;
  /** Not held by these, and others' to hand out: who owns most first. */
  readonly freeElsewhere: readonly { readonly owner: NodeId; readonly free: number }[];
}

export function capacityOf(subnet: NetworkSubnet, view: View, allocator: Allocator, self: NodeId): Capacity {
  const { ring, window } = subnet;
  const custody = view.custody(ring);
  const here = allocator.count(ring, custody.of(self));
  const elsewhere = new Map<NodeId, number>();
  for (const run of inside(custody.runs, window)) {
    if (run.owner !== self) elsewhere.set(run.owner, (elsewhere.get(run.owner) ?? 0) + open(subnet, view, run));
  }
  return {
    subnet,
    total: totalOf(subnet),
    used: usedOf(subnet, view),
    resting: here.resting,
    freeHere: here.free,
    freeElsewhere: [...elsewhere].map(([owner, free]) => ({ owner, free })).sort((a, b) => b.free - a.free),
  };
}

/** One line when the network's addresses run out soon, or null. */
export function nearlyFull({ name, subnets }: Network, view: View): string | null {
  // Endpoints need an address of each family.
  for (const family of [4, 6] as const) {
    const all = subnets.filter(({ space }) => space.family === family);
    const total = all.reduce((sum, subnet) => sum + totalOf(subnet), 0);
    const used = all.reduce((sum, subnet) => sum + usedOf(subnet, view), 0);
    if (total === 0 || used < total * warnAtShare) continue;
    const hint = `\`weft network update --subnet-add ${family === 4 ? 'auto' : 'PREFIX'}\` gives it another subnet`;
    return `network ${name} has ${total - used} of ${total} addresses left: ${hint}`;
  }
  return null;
}

/** One line when a pool runs out soon from which networks are made, or null. */
export function poolNearlyFull(pool: Pool, { name, window, taken }: RingSpace): string | null {
  const total = sizeOf([window]);
  const used = taken.countWithin(window.start, window.end);
  if (total === 0 || used < total * warnAtShare) return null;
  const [numbers, hint] =
    pool === 'subnet'
      ? ['subnets', 'remove networks, or give new ones a `--subnet` of their own']
      : ['VNIs', 'remove networks'];
  return `${name} has ${total - used} of ${total} ${numbers} left: ${hint}`;
}

const totalOf = ({ window, reservedNumbers }: NetworkSubnet): number =>
  sizeOf([window]) - reservedNumbers.countWithin(window.start, window.end);

const usedOf = ({ ring, window }: NetworkSubnet, view: View): number => heldIn(ring, view, window);

const open = ({ ring, reservedNumbers }: NetworkSubnet, view: View, range: Range): number =>
  range.end - range.start - reservedNumbers.countWithin(range.start, range.end) - heldIn(ring, view, range);

/** No address is of both. */
const heldIn = (ring: RingId, view: View, { start, end }: Range): number =>
  (view.ownership.taken(ring)?.countWithin(start, end) ?? 0) +
  (view.virtual(ring)?.numbers.countWithin(start, end) ?? 0);
