import { type AddressSpace, offsetIn } from '../../controlplane/addresses.ts';
import type { Cluster } from '../../controlplane/cluster.ts';
import { type NetworkId, newNetworkId } from '../../controlplane/ids.ts';
import { checked } from '../../controlplane/subnet-spec.ts';
import { conflict, invalid } from '../daemon/api-error.ts';
import { poolId } from './protocol.ts';

/** Docker makes a network within a moment of asking for its subnets. */
const patienceMs = 60_000;
const maxPools = 256;

/** A subnet as Docker asks for it. */
export interface PoolAsked {
  /** '' for any. */
  readonly subnet: string;
  readonly family: 4 | 6;
}

interface AwaitedPool {
  readonly networkId: NetworkId;
  readonly space: AddressSpace;
  readonly sinceMs: number;
  /** Docker has said which network it is of. */
  assigned: boolean;
  /** @param kept the cluster has a network with it now */
  readonly release: (kept: boolean) => void;
}

/**
 * Subnets that Docker was given for a network of which nothing else is known: one that a user makes with our addresses
 * (`docker network create -d weft --ipam-driver weft`). Docker asks for subnets first, then has the network made, and tells its
 * name last of all. The network gets its id in the cluster with its first subnet.
 */
export class AwaitedPools {
  readonly #pools = new Map<string, AwaitedPool>();

  /** @returns the pool's id and its subnet. @throws ControlPlaneError, RequestError */
  async request(cluster: Cluster, { subnet, family }: PoolAsked): Promise<{ id: string; subnet: string }> {
    this.#dropOld();
    if (this.#pools.size >= maxPools) {
      throw conflict('too_many_pools', 'too many networks are being made at once', 'try again in a moment');
    }
    const { networks } = cluster;
    networks.mustBeAbleToCreate();
    const pooled = subnet === '' && family === 4 ? await networks.reserveSubnet() : null;
    const { space } = checked({ subnet: (pooled?.subnet ?? subnet) || networks.uniqueLocal(), family });
    const networkId = (family === 6 ? this.#last()?.networkId : undefined) ?? newNetworkId();
    const id = poolId(networkId, space.text);
    const release = pooled?.release ?? (() => undefined);
    this.#pools.set(id, { networkId, space, sinceMs: performance.now(), assigned: false, release });
    return { id, subnet: space.text };
  }

  /**
   * An address that the network itself has: Docker asks for those before it makes it.
   * @param wanted null: the gateway's, whichever it is, and no other
   * @returns with its prefix length; null for a pool that no network is awaited for. @throws ControlPlaneError, RequestError
   */
  address(id: string, wanted: string | null, isForGateway: boolean): string | null {
    const pool = this.#pools.get(id);
    if (pool === undefined || pool.assigned || (wanted === null && !isForGateway)) return null;
    const { space } = pool;
    if (wanted !== null && offsetIn(space, wanted) === null) throw invalid(`${wanted} is not in ${space.text}`);
    return `${wanted ?? checked({ subnet: space.text }).gateway}/${space.prefixLength}`;
  }

  /** The id in the cluster of the network that Docker makes with these subnets. @throws RequestError where it has not asked for them */
  assign(subnets: readonly string[]): NetworkId {
    const pools = subnets.map((text) =>
      [...this.#pools.values()].find(({ space, assigned }) => space.text === text && !assigned),
    );
    const ids = new Set(pools.map((pool) => pool?.networkId));
    const [networkId] = ids;
    if (networkId === undefined || ids.size > 1) {
      throw conflict('subnets_of_many', `${subnets.join(', ')} were not asked for together`, 'try again');
    }
    for (const pool of pools) if (pool !== undefined) pool.assigned = true;
    return networkId;
  }

  /** Whether one of these subnets was given for a network that nobody knew then, and is nobody's yet. */
  includes(subnets: readonly string[]): boolean {
    this.#dropOld();
    return [...this.#pools.values()].some(({ space, assigned }) => !assigned && subnets.includes(space.text));
  }

  /** Docker has given up making it. */
  drop(id: string): void {
    const pool = this.#pools.get(id);
    if (pool !== undefined && !pool.assigned) this.#end(id, pool, false);
  }

  /** The cluster has the network. */
  arrived(networkId: NetworkId): void {
    for (const [id, pool] of this.#pools) if (pool.networkId === networkId) this.#end(id, pool, true);
  }

  #last(): AwaitedPool | undefined {
    return [...this.#pools.values()].filter(({ assigned, space }) => !assigned && space.family === 4).at(-1);
  }

  #dropOld(): void {
    for (const [id, pool] of this.#pools) {
      if (performance.now() - pool.sinceMs > patienceMs) this.#end(id, pool, false);
    }
  }

  #end(id: string, pool: AwaitedPool, kept: boolean): void {
    this.#pools.delete(id);
    pool.release(kept);
  }
}
