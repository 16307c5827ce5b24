import { BlockList, isIP } from 'node:net';
import type { NetworkId } from '../../controlplane/ids.ts';
import { addressesOf } from '../../controlplane/tables/kinds.ts';
import type { Service, VirtualAddress } from '../../controlplane/tables/services.ts';
import { byAge } from '../../controlplane/tables/settled-services.ts';
import type { Endpoint, Network, Touched, View } from '../../controlplane/tables/view.ts';
import { type Named, type NetworkNames, namesOf } from './decide.ts';

/** What names are made from. */
export type NamesView = Pick<View, 'networks' | 'endpointsOf' | 'services'>;

/**
 * Names by network, as the tables say. A network is indexed when somebody on it asks for the first time, and from then on
 * each change costs what it changes; one that nobody here is on any more is dropped.
 */
export class Names {
  readonly #view: NamesView;
  readonly #indexes = new Map<NetworkId, Index>();

  constructor(view: NamesView) {
    this.#view = view;
  }

  /** null for a network that is not known (any more). */
  of(id: NetworkId): NetworkNames | null {
    const known = this.#indexes.get(id);
    if (known !== undefined) return known;
    const network = this.#view.networks.get(id);
    if (network === undefined) return null;
    const index = new Index(network);
    for (const [key, endpoint] of this.#view.endpointsOf(id)) index.set(key, endpoint);
    index.services = this.#servicesOn(id);
    this.#indexes.set(id, index);
    return index;
  }

  /** Takes in what has changed in the tables. */
  follow({ networks, endpoints, services }: Pick<Touched, 'networks' | 'endpoints' | 'services'>): void {
    for (const [id, keys] of endpoints) {
      const index = this.#indexes.get(id);
      if (index === undefined) continue;
      const shown = this.#view.endpointsOf(id);
      for (const key of keys) index.set(key, shown.get(key));
    }
    if (services) for (const [id, index] of this.#indexes) index.services = this.#servicesOn(id);
    if (!networks) return;
    // Subnets may have come, too.
    for (const [id, index] of this.#indexes) {
      const network = this.#view.networks.get(id);
      if (network === undefined) this.#indexes.delete(id);
      else index.network = network;
    }
  }

  #servicesOn(id: NetworkId): Service[] {
    return [...this.#view.services.values()].filter(({ network, vip }) => network === id && vip !== undefined);
  }

  /** Of other networks nobody asks. */
  keep(wanted: ReadonlySet<NetworkId>): void {
    for (const id of this.#indexes.keys()) if (!wanted.has(id)) this.#indexes.delete(id);
  }
}

class Index implements NetworkNames {
  /** By owner and id, as the view has them. */
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #byName = new Map<string, Set<Named>>();
  /** Two may claim one address until it is known whose it is. */
  readonly #byAddress = new Map<string, Set<Named>>();
  readonly #virtual = new Map<string, VirtualAddress>();
  readonly #virtualAt = new Map<string, string>();
  #name = '';
  #subnets = new BlockList();

  constructor(network: Network) {
    this.network = network;
  }

  get network(): string {
    return this.#name;
  }

  set network({ name, subnets }: Network) {
    this.#name = name.toLowerCase();
    this.#subnets = new BlockList();
    for (const { space } of subnets) {
      const [address = '', bits] = space.text.split('/');
      this.#subnets.addSubnet(address, Number(bits), space.family === 6 ? 'ipv6' : 'ipv4');
    }
  }

  /** Those that have a virtual address. Of two that differ by case alone the older one has the name. */
  set services(all: readonly Service[]) {
    this.#virtual.clear();
    this.#virtualAt.clear();
    for (const { name, vip } of [...all].sort(byAge)) {
      if (vip === undefined) continue;
      const known = name.toLowerCase();
      if (!this.#virtual.has(known)) this.#virtual.set(known, vip);
      for (const address of addressesOf(vip)) this.#virtualAt.set(address, name);
    }
  }

  virtual(name: string): VirtualAddress | undefined {
    return this.#virtual.get(name);
  }

  virtualAt(address: string): string | undefined {
    return this.#virtualAt.get(address);
  }

  named(name: string): ReadonlySet<Named> | undefined {
    return this.#byName.get(name);
  }

  at(address: string): ReadonlySet<Named> | undefined | null {
    const found = this.#byAddress.get(address);
    if (found !== undefined) return found;
    return this.#subnets.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4') ? undefined : null;
  }

  set(key: string, endpoint: Endpoint | undefined): void {
    const before = this.#endpoints.get(key);
    if (before !== undefined) this.#remove(key, before);
    if (endpoint === undefined) return;
    this.#endpoints.set(key, endpoint);
    for (const name of namesOf(endpoint)) add(this.#byName, name, endpoint);
    for (const address of addressesOf(endpoint)) add(this.#byAddress, address, endpoint);
  }

  #remove(key: string, endpoint: Endpoint): void {
    this.#endpoints.delete(key);
    for (const name of namesOf(endpoint)) remove(this.#byName, name, endpoint);
    for (const address of addressesOf(endpoint)) remove(this.#byAddress, address, endpoint);
  }
}

function add(sets: Map<string, Set<Named>>, key: string, endpoint: Named): void {
  const all = sets.get(key);
  if (all === undefined) sets.set(key, new Set([endpoint]));
  else all.add(endpoint);
}

function remove(sets: Map<string, Set<Named>>, key: string, endpoint: Named): void {
  const all = sets.get(key);
  all?.delete(endpoint);
  if (all?.size === 0) sets.delete(key);
}
