import type { NodeId } from '../../../controlplane/ids.ts';
import type { RingId } from '../../../controlplane/tables/subnets.ts';
import { type Invariant, running } from '../world.ts';

/** Nobody hands out what another may hand out too, however little each knows of the others. */
export const oneOwner: Invariant = {
  name: 'every number has at most one owner that knows itself to be it',
  when: 'always',
  check: (world) => {
    if (world.oracle.removedBlindly) return null;
    const owned = new Map<RingId, { start: number; end: number; by: NodeId }[]>();
    for (const { nodeId, cluster } of running(world)) {
      for (const ring of cluster?.view.ownership.rings ?? []) {
        const runs = cluster?.view.custody(ring).of(nodeId) ?? [];
        const all = owned.get(ring) ?? [];
        for (const { start, end } of runs) all.push({ start, end, by: nodeId });
        owned.set(ring, all);
      }
    }
    for (const [ring, runs] of owned) {
      runs.sort((a, b) => a.start - b.start);
      for (const [i, run] of runs.entries()) {
        const next = runs[i + 1];
        if (next !== undefined && next.start < run.end) {
          return `${next.start} of ${ring} is owned by ${run.by} and by ${next.by}`;
        }
      }
    }
    return null;
  },
};
