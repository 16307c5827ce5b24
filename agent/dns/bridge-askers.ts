import { BlockList } from 'node:net';
import type { NetworkId } from '../../controlplane/ids.ts';
import type { Asker, Askers } from './resolver.ts';

/** Somebody with an address on a bridge of this host. */
export interface OnBridge extends Asker {
  readonly address: string;
}

/** Who may ask for names of networks. */
export interface KnownAskers {
  readonly onGateway: readonly OnBridge[];
  /** On other bridges of this host. */
  readonly beside: readonly OnBridge[];
  /** Somebody has come of whom it is not known yet where he asks from. */
  readonly isBehind: boolean;
}

/** Somebody who is told no names of ours. */
export const nobodys: Asker = { networks: [] };

/**
 * Who has which address on docker_gwbridge, where those that are not known may have come a moment ago, and on other bridges of this
 * host, where most are told no names of ours, but what the host knows. Nobody else is answered: the host itself neither, or a
 * nameserver of the host that asks us would be asked by us.
 */
export class BridgeAskers implements Pick<Askers, 'of'> {
  readonly #own: string;
  readonly #subnet = new BlockList();
  readonly #onGateway: ReadonlyMap<string, Asker>;
  readonly #beside: ReadonlyMap<string, Asker>;
  readonly #isBehind: boolean;
  readonly #elsewhere: (address: string) => boolean;
  /** Networks that somebody here is on. */
  readonly networks: ReadonlySet<NetworkId>;

  /** @param bridge address of the bridge with prefix length @param elsewhere whether that is on another bridge of this host */
  constructor(bridge: string, { onGateway, beside, isBehind }: KnownAskers, elsewhere: (address: string) => boolean) {
    const [own = '', bits = ''] = bridge.split('/');
    this.#own = own;
    this.#subnet.addSubnet(own, Number(bits));
    this.#onGateway = new Map(onGateway.map((each) => [each.address, each]));
    this.#beside = new Map(beside.map((each) => [each.address, each]));
    this.#isBehind = isBehind;
    this.#elsewhere = elsewhere;
    this.networks = new Set([...onGateway, ...beside].flatMap(({ networks }) => networks));
  }

  of(address: string): Asker | null | 'unknown' {
    const known = this.#onGateway.get(address);
    if (known !== undefined) return known;
    if (address === this.#own) return null;
    if (this.#subnet.check(address)) return 'unknown';
    if (!this.#elsewhere(address)) return null;
    return this.#beside.get(address) ?? (this.#isBehind ? 'unknown' : nobodys);
  }
}
