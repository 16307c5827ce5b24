import { BlockList } from 'node:net';
import type { NetworkId } from '../../controlplane/ids.ts';
import type { Asker, Askers } from './resolver.ts';

/** Somebody with an address on the bridge. */
export interface OnBridge extends Asker {
  readonly address: string;
}

/** Somebody who is told no names of ours. */
export const nobodys: Asker = { networks: [] };

/**
 * Who has which address on docker_gwbridge. What is there and not known may have come a moment ago. What else is on bridges of this host is told no names of ours, but what the host
 * knows. Nobody else is answered: the host itself neither, or a nameserver of the host that asks us would be asked by us.
 */
export class BridgeAskers implements Pick<Askers, 'of'> {
  readonly #own: string;
  readonly #subnet = new BlockList();
  readonly #byAddress: ReadonlyMap<string, Asker>;
  readonly #elsewhere: (address: string) => boolean;
  /** Networks that somebody here is on. */
  readonly networks: ReadonlySet<NetworkId>;

  /** @param bridge address of the bridge with prefix length @param elsewhere whether that is on another bridge of this host */
  constructor(bridge: string, known: readonly OnBridge[], elsewhere: (address: string) => boolean) {
    this.#elsewhere = elsewhere;
    const [own = '', bits = ''] = bridge.split('/');
    this.#own = own;
    this.#subnet.addSubnet(own, Number(bits));
    this.#byAddress = new Map(known.map((each) => [each.address, each]));
    this.networks = new Set(known.flatMap(({ networks }) => networks));
  }

  of(address: string): Asker | null | 'unknown' {
    const known = this.#byAddress.get(address);
    if (known !== undefined) return known;
    if (address === this.#own) return null;
    if (this.#subnet.check(address)) return 'unknown';
    return this.#elsewhere(address) ? nobodys : null;
  }
}
