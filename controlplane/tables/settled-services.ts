import { offsetIn } from '../addresses.ts';
import type { NetworkId } from '../ids.ts';
import { NumberSet } from '../ring/numbers.ts';
import { addressesOf } from './kinds.ts';
import {
  type LostPort,
  parseServiceKey,
  portOf,
  type Service,
  type ServiceKey,
  type ServiceValue,
  serviceKey,
} from './services.ts';
import type { NetworkSubnet, RingId } from './subnets.ts';

// Which service has what, where several ask for one port, or for one address.

/** Those who come first have what they ask for. */
export const byAge = (a: Service, b: Service): number => a.createdMs - b.createdMs || (a.key < b.key ? -1 : 1);

/**
 * Who has which port: of an entry that two services ask for the older has it, whole, and the other one none of its own. What
 * is lost keeps nobody else from a port. @param asking with all that their records say as `ports`
 */
export function settled(asking: Iterable<Service>): Map<ServiceKey, Service> {
  const holders = { tcp: new Map<number, ServiceKey>(), udp: new Map(), sctp: new Map() };
  const found = new Map<ServiceKey, Service>();
  for (const service of [...asking].sort(byAge)) {
    const lost: LostPort[] = [];
    const ports = service.ports.filter((port) => {
      const byPort: Map<number, ServiceKey> = holders[port.protocol];
      const end = port.published + port.count;
      let to: ServiceKey | undefined;
      for (let each = port.published; to === undefined && each < end; each += 1) to = byPort.get(each);
      if (to !== undefined) lost.push({ port, to });
      else for (let each = port.published; each < end; each += 1) byPort.set(each, service.key);
      return to === undefined;
    });
    found.set(service.key, lost.length === 0 ? service : { ...service, ports, lost });
  }
  return found;
}

/** What virtual addresses are settled by. */
export interface Addresses {
  /** none of a network that is not known. */
  readonly subnetsOf: (network: NetworkId) => readonly NetworkSubnet[];
  /** Name of the endpoint that is shown with this number; null for none. */
  readonly holder: (ring: RingId, number: number) => string | null;
}

/** Where in the ring of a subnet the virtual addresses of its services lie. */
export interface VirtualNumbers {
  readonly numbers: NumberSet;
  readonly services: ReadonlyMap<number, Service>;
}

/** Virtual addresses as they count. */
export interface SettledAddresses {
  readonly services: ReadonlyMap<ServiceKey, Service>;
  readonly rings: ReadonlyMap<RingId, VirtualNumbers>;
}

/**
 * Who has which virtual address. An endpoint comes before a service, since it has connections; of two services the older. Both
 * come only of a network in two halves, of which one gave the address up and the other did not know.
 */
export function settledAddresses(
  services: ReadonlyMap<ServiceKey, Service>,
  { subnetsOf, holder }: Addresses,
): SettledAddresses {
  const rings = new Map<RingId, { numbers: NumberSet; services: Map<number, Service> }>();
  let lost: Map<ServiceKey, Service> | null = null;
  for (const service of [...services.values()].filter(({ vip }) => vip !== undefined).sort(byAge)) {
    const { vip, ...without } = service;
    if (vip === undefined) continue;
    const all = addressesOf(vip);
    const places = all.flatMap((address) => placeIn(subnetsOf(service.network), address));
    let why = places.length === all.length ? null : 'it is none that the network hands out';
    for (const { ring, number } of places) {
      const endpoint = holder(ring, number);
      const other = rings.get(ring)?.services.get(number);
      if (endpoint !== null) why ??= `endpoint ${endpoint} has it`;
      else if (other !== undefined) why ??= `service ${other.name} has it, which is older`;
    }
    if (why !== null) {
      lost ??= new Map(services);
      lost.set(service.key, { ...without, lostVip: { vip, why } });
      continue;
    }
    for (const { ring, number } of places) {
      const of = rings.get(ring) ?? { numbers: new NumberSet(), services: new Map<number, Service>() };
      of.numbers.add(number);
      of.services.set(number, service);
      rings.set(ring, of);
    }
  }
  return { services: lost ?? services, rings };
}

/** None where the network has no such address, or it is nobody's to have. */
function placeIn(subnets: readonly NetworkSubnet[], address: string): { ring: RingId; number: number }[] {
  for (const { ring, space, reserved } of subnets) {
    const number = offsetIn(space, address);
    if (number !== null) return reserved.has(number) ? [] : [{ ring, number }];
  }
  return [];
}

/** The services that count, by key. */
export class SettledServices {
  readonly #addresses: Addresses;
  readonly #asking = new Map<ServiceKey, Service>();
  /** By network, addresses that records of services have, and how many of these do. */
  readonly #virtual = new Map<NetworkId, Map<string, number>>();
  #settled: SettledAddresses | null = null;

  constructor(addresses: Addresses) {
    this.#addresses = addresses;
  }

  /** As of now: of who asks for one port, the older has it. What did not change is the same object as before. */
  get all(): ReadonlyMap<ServiceKey, Service> {
    return this.#now().services;
  }

  /** Virtual addresses in a ring; null for none. */
  virtual(ring: RingId): VirtualNumbers | null {
    return this.#now().rings.get(ring) ?? null;
  }

  /** Rings in which there are any. */
  get virtualRings(): ReadonlyMap<RingId, VirtualNumbers> {
    return this.#now().rings;
  }

  #now(): SettledAddresses {
    this.#settled ??= settledAddresses(settled(this.#asking.values()), this.#addresses);
    return this.#settled;
  }

  /** @param value null where the service or its network is not, or not any more @returns whether that changed anything */
  set(key: string, value: ServiceValue | null): boolean {
    const place = parseServiceKey(key);
    if (place === null) return false;
    const known = serviceKey(place.network, place.name);
    const before = this.#asking.get(known);
    if (before !== undefined) this.#count(before, -1);
    if (value === null || value.removed) {
      if (!this.#asking.delete(known)) return false;
    } else {
      const service = { ...value, ports: value.ports.map(portOf), lost: [], key: known, ...place };
      this.#asking.set(known, service);
      this.#count(service, 1);
    }
    this.#settled = null;
    return true;
  }

  /** Whether records have virtual addresses of the network. */
  hasVirtual(network: NetworkId): boolean {
    return this.#virtual.has(network);
  }

  /** Subnets of a network have come or gone. @returns whether it may have services with other addresses by now */
  subnetsChanged(network: NetworkId): boolean {
    if (!this.#virtual.has(network)) return false;
    this.#settled = null;
    return true;
  }

  /**
   * Endpoints of a network have come or gone.
   * @param addresses of those that are there now
   * @returns whether a service may have got or lost its virtual address by that
   */
  endpointsChanged(network: NetworkId, addresses: Iterable<string>): boolean {
    const asked = this.#virtual.get(network);
    if (asked === undefined) return false;
    let touched = [...this.all.values()].some((each) => each.network === network && each.lostVip !== undefined);
    for (const address of addresses) touched ||= asked.has(address);
    if (touched) this.#settled = null;
    return touched;
  }

  #count({ network, vip }: Service, by: 1 | -1): void {
    const asked = this.#virtual.get(network) ?? new Map<string, number>();
    for (const address of vip === undefined ? [] : addressesOf(vip)) {
      const count = (asked.get(address) ?? 0) + by;
      if (count > 0) asked.set(address, count);
      else asked.delete(address);
    }
    if (asked.size > 0) this.#virtual.set(network, asked);
    else this.#virtual.delete(network);
  }
}
