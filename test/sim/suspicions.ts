import type { Cluster } from '../../controlplane/cluster.ts';
import type { NodeId } from '../../controlplane/ids.ts';
import type { Host } from './host.ts';

// Fewer suspensions than that are no reason to hold back a node that has returned.
const flapping = 3;

/** Who is held alive, and who was suspended how often by whom. */
export class Suspicions {
  readonly #counts = new WeakMap<Cluster, Map<NodeId, number>>();

  /** Follows what one run of a node's agent thinks of others. */
  observe(cluster: Cluster): void {
    const { liveness } = cluster;
    const counts = new Map<NodeId, number>();
    this.#counts.set(cluster, counts);
    const suspended = new Set<NodeId>();
    liveness.watch((peer) => {
      if (!liveness.isSuspended(peer)) suspended.delete(peer);
      else if (!suspended.has(peer)) {
        suspended.add(peer);
        counts.set(peer, (counts.get(peer) ?? 0) + 1);
      }
    });
  }

  /**
   * Everybody runs, and has been quiet for a while: who came back often may be held back, and nobody else.
   * @returns who is wrongly not held alive, or null
   */
  wrong(hosts: readonly Host[]): string | null {
    for (const { cluster, name } of hosts) {
      if (cluster === null) continue;
      for (const { nodeId, name: other } of hosts) {
        const { status, why } = cluster.liveness.stateOf(nodeId);
        const isHeldBack = why === 'flapping' && (this.#counts.get(cluster)?.get(nodeId) ?? 0) >= flapping;
        if (nodeId !== cluster.self && status !== 'alive' && !isHeldBack)
          return `${name}: ${other} is ${status}: ${why}`;
      }
    }
    return null;
  }
}
