import type { Cluster } from '../../../controlplane/cluster.ts';
import type { Address } from '../../../controlplane/networks.ts';
import type { Network } from '../../../controlplane/tables/view.ts';
import { randomMac } from '../../../dataplane/mac.ts';
import { type StoredLeg, type StoredSandbox, unusedEndpointId } from '../../sandbox-state.ts';
import { conflict } from '../api-error.ts';
import { type Attachment, type Family, familiesOf, ifNameFor } from './attachment.ts';

/** Addresses on networks of the cluster for one sandbox: reserved from `take` to `release`. */
export class OverlayClaims {
  readonly #cluster: Cluster;
  readonly #entered: (() => void)[] = [];
  readonly #claimed: { network: Network; family: Family; address: Address }[] = [];
  #networks: readonly Network[] = [];

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** @throws ControlPlaneError of the first network that has no address to give; what others gave is released all the same */
  async take(networks: readonly Network[], wanted: Attachment['wanted']): Promise<void> {
    const { networks: addresses, interests } = this.#cluster;
    // What the others have there is known before anything is made there.
    for (const { id } of networks) this.#entered.push(await interests.enter(id));
    const asked = networks.flatMap((network) => familiesOf(network, wanted).map((family) => ({ network, family })));
    const got = await Promise.allSettled(
      asked.map(({ network, family }) => addresses.allocateAddress(network, wanted[family], family)),
    );
    for (const [i, each] of asked.entries()) {
      const address = got[i];
      if (address?.status === 'fulfilled') this.#claimed.push({ ...each, address: address.value });
    }
    const failed = got.find((each) => each.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    this.#networks = networks;
  }

  /**
   * The sandbox with a leg on each network.
   * @param taken names of interfaces that its namespace has already
   * @param all those of this host
   * @throws RequestError `interface_taken`, `mac_taken`
   */
  attach(
    sandbox: StoredSandbox,
    taken: readonly string[],
    { aliases, ifName, mac }: Attachment,
    all: readonly StoredSandbox[],
  ): StoredSandbox {
    let next = sandbox;
    for (const network of this.#networks) {
      const ipOf = (family: Family): string | null =>
        this.#claimed.find((each) => each.network === network && each.family === family)?.address.ip ?? null;
      const base = {
        networkId: network.id,
        endpointId: unusedEndpointId([...all, next]),
        mac: mac === null ? randomMac() : unusedMac(this.#cluster, network, mac),
        ip: ipOf(4),
        ip6: ipOf(6),
      };
      const leg: StoredLeg = { ...base, ifName: ifNameFor(next, taken, ifName), aliases, createdMs: Date.now() };
      next = { ...next, legs: [...next.legs, leg] };
    }
    return next;
  }

  /** @param kept the addresses are a sandbox's now */
  release(kept: boolean): void {
    for (const { address } of this.#claimed) this.#cluster.allocator.release(address.ring, address.number, kept);
    for (const leave of this.#entered) leave();
  }
}

/**
 * A MAC that is asked for, since of two endpoints with one MAC only the older is reached.
 * @param except an endpoint that may have it
 * @throws RequestError `mac_taken`
 */
export function unusedMac({ view }: Cluster, { id, name }: Network, mac: string, except?: string): string {
  const other = [...view.endpointsOf(id).values()].find((each) => each.mac === mac && each.id !== except);
  if (other === undefined) return mac;
  throw conflict('mac_taken', `${mac} is the MAC address of ${other.name} on network ${name}`, 'ask for another');
}
