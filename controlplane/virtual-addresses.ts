import type { NetworkId, NodeId } from './ids.ts';
import type { Address, Networks } from './networks.ts';
import type { Allocator } from './ring/allocator.ts';
import type { VirtualAddress } from './tables/services.ts';
import { networkOfRing, type RingId } from './tables/subnets.ts';
import type { Network, View } from './tables/view.ts';

export interface VirtualAddressesInit {
  readonly self: NodeId;
  readonly view: View;
  readonly networks: Networks;
  readonly allocator: Allocator;
}

/**
 * Virtual addresses come from the rings of their networks, as those of endpoints do. Which there are the records of services
 * say, which every node has; so no owner of a number hands one out again, whoever that is by now.
 */
export class VirtualAddresses {
  readonly #init: VirtualAddressesInit;
  /** Numbers that were virtual addresses when they were looked at last. */
  #known: ReadonlyMap<RingId, ReadonlySet<number>> = new Map();

  constructor(init: VirtualAddressesInit) {
    this.#init = init;
  }

  /**
   * Takes an address of each family of the network, which are nobody else's until `then` is over; what stands in the tables by
   * then stays so. @throws ControlPlaneError as `Allocator.allocate`
   */
  async with<T>(network: Network, then: (vip: VirtualAddress) => Promise<T>): Promise<T> {
    const { networks, allocator } = this.#init;
    const taken: Address[] = [];
    try {
      const vip: { ip?: string; ip6?: string } = {};
      for (const family of [4, 6] as const) {
        if (!network.subnets.some(({ space }) => space.family === family)) continue;
        const address = await networks.allocateAddress(network, null, family);
        taken.push(address);
        vip[family === 4 ? 'ip' : 'ip6'] = address.ip;
      }
      return await then(vip);
    } finally {
      // One that stands in the tables rests when it leaves them, and the others nobody had.
      for (const { ring, number } of taken) allocator.release(ring, number, true);
    }
  }

  /**
   * One that a service gave back, on whatever node that was said, rests like that of an endpoint; who owns its number sees to that.
   * To be called whenever services have changed, before anybody takes an address.
   */
  follow(): void {
    const { self, view, allocator } = this.#init;
    const now = new Map(
      [...view.virtualRings].map(([ring, { services }]) => [ring, new Set(services.keys())] as const),
    );
    for (const [ring, before] of this.#known) {
      // Of a network that is gone nobody gets an address.
      if (!view.networks.has(networkOfRing(ring) as NetworkId)) continue;
      for (const number of before) {
        if (!now.get(ring)?.has(number) && view.custody(ring).at(number)?.owner === self) allocator.rest(ring, number);
      }
    }
    this.#known = now;
  }
}
