import { randomInt } from 'node:crypto';
import {
  addressAt,
  formatSubnet,
  offsetIn,
  overlap,
  parseSpace,
  parseSubnet,
  SubnetPool,
  spaceAround,
} from './addresses.ts';
import { type Capacity, capacityOf, nearlyFull, poolNearlyFull } from './capacity.ts';
import type { Log } from './environment.ts';
import { ControlPlaneError, notManager } from './errors.ts';
import { type NetworkId, newNetworkId } from './ids.ts';
import type { Allocator, RingSpace } from './ring/allocator.ts';
import { NumberSet } from './ring/numbers.ts';
import { checked, placeOf, type SubnetSpec } from './subnet-spec.ts';
import type { HybridClock } from './tables/clock.ts';
import { firstVni, type NetworkValue, type Pool, type SubnetValue, vniCount } from './tables/kinds.ts';
import { clusterTopic } from './tables/record.ts';
import { type NetworkSubnet, networkOfRing, type RingId, ringPools, subnetsOf } from './tables/subnets.ts';
import type { Tables } from './tables/tables.ts';
import type { Network, View } from './tables/view.ts';
import { uniqueLocal } from './ula.ts';

/** The network that every cluster has, as in Swarm. */
export const ingressName = 'ingress';

/** The subnet's own fields are those of IPv4. */
export interface NetworkSpec extends SubnetSpec {
  /** @default a new one */
  readonly id?: NetworkId | undefined;
  readonly name: string;
  /** False: IPv6 alone. @default true */
  readonly ipv4?: boolean | undefined;
  /** A subnet of IPv6. */
  readonly ipv6?: SubnetSpec | undefined;
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly ingress: boolean;
  readonly options: { readonly [key: string]: string };
  readonly labels: { readonly [key: string]: string };
}

// Each costs every endpoint's host a route; more than a few say that the first should have been larger.
const maxSubnets = 16;
// Only subnets that somebody chose can be in the way: a few tries find a prefix that is free.
const maxRounds = 16;

/** An address that nobody else can have. */
export interface Address {
  readonly ring: RingId;
  readonly number: number;
  readonly ip: string;
}

export interface NetworksInit {
  readonly clusterId: string;
  readonly tables: Tables;
  readonly view: View;
  readonly clock: HybridClock;
  readonly allocator: Allocator;
  readonly now: () => number;
  readonly isManager: () => boolean;
  /** Prefixes that this host routes elsewhere; no automatic subnet overlaps one. */
  readonly avoid: () => readonly string[];
  /** Addresses of endpoints that this host keeps, also before they are announced (again). @default none */
  readonly held?: ((network: NetworkId) => readonly string[]) | undefined;
  readonly log: Log;
}

/** Makes and removes networks: managers only, names unique, subnet and VNI from rings like every other number. */
export class Networks {
  readonly #init: NetworksInit;
  /** Names that are being created here right now. */
  readonly #creating = new Set<string>();
  /** Networks and pools that the log has called nearly full. */
  readonly #warned = new Set<NetworkId | Pool>();

  constructor(init: NetworksInit) {
    this.#init = init;
  }

  /** @throws ControlPlaneError `not_manager`, `network_exists`, `invalid_subnet`, `invalid_gateway`, `exhausted` */
  create(spec: NetworkSpec): Promise<Network> {
    return this.#named(spec, true);
  }

  /** What `create` would make; the numbers that it would take are free again. Throws as that does. */
  preview(spec: NetworkSpec): Promise<Network> {
    return this.#named(spec, false);
  }

  async #named(spec: NetworkSpec, write: boolean): Promise<Network> {
    this.#needManager('create a network');
    const { view } = this.#init;
    if (view.networkByName(spec.name) !== null || this.#creating.has(spec.name)) {
      throw new ControlPlaneError(
        'network_exists',
        `network with name ${spec.name} already exists`,
        'choose another name',
      );
    }
    this.#creating.add(spec.name);
    try {
      return await this.#create(spec, write);
    } finally {
      this.#creating.delete(spec.name);
    }
  }

  async #create(spec: NetworkSpec, write: boolean): Promise<Network> {
    const { tables, allocator, clock } = this.#init;
    const { ipv4 = true, ipv6 } = spec;
    // What is wrong is said before any number is taken for it.
    if (ipv6?.subnet !== undefined) checked({ ...ipv6, subnet: ipv6.subnet, family: 6 });
    if (spec.subnet !== undefined) checked({ ...spec, subnet: spec.subnet, family: 4 });
    const vniIndex = await allocator.allocate('vni');
    let pooled: PooledSubnet | null = null;
    let made = false;
    try {
      if (ipv4 && spec.subnet === undefined) pooled = await this.#fromPool();
      const subnet = spec.subnet ?? pooled?.subnet;
      const four = ipv4 && subnet !== undefined ? checked({ ...spec, subnet, family: 4 }) : null;
      const six = ipv6 && checked({ ...ipv6, subnet: ipv6.subnet ?? this.uniqueLocal(firstVni + vniIndex), family: 6 });
      // The numbers may have taken their time, and who stands down meanwhile would write what nobody takes over.
      this.#needManager('create a network');
      const { id = newNetworkId() } = spec;
      const value: NetworkValue = {
        stamp: [...clock.next()],
        removed: false,
        name: spec.name,
        vni: firstVni + vniIndex,
        ...(four === null ? {} : recorded(four)),
        ...(six === undefined ? {} : { ipv6: recorded(six) }),
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: spec.ingress,
        options: { ...spec.options },
        labels: { ...spec.labels },
        createdMs: this.#init.now(),
        root: tables.self,
      };
      if (!write) {
        // The numbers were nobody's, and need no rest.
        made = true;
        return { ...value, id, subnets: subnetsOf(id, value, []) };
      }
      await tables.put(clusterTopic, `network/${id}`, value);
      made = true;
      for (const pool of ringPools) this.#warnOnce(pool, { pool }, this.#poolWarning(pool));
      return this.#init.view.networks.get(id) ?? { ...value, id, subnets: [] };
    } finally {
      allocator.release('vni', vniIndex, made);
      if (pooled !== null) allocator.release('subnet', pooled.index, made);
    }
  }

  /**
   * Gives a network one more subnet; addresses come from it when those before it are full.
   * @throws ControlPlaneError `not_manager`, `invalid_subnet`, `invalid_gateway`, `subnet_exists`, `exhausted`
   */
  async addSubnet(network: Network, spec: SubnetSpec): Promise<string> {
    this.#needManager('add a subnet to a network');
    const { tables, allocator, clock } = this.#init;
    const pooled = spec.subnet === undefined ? await this.#fromPool() : null;
    let made = false;
    try {
      const found = checked({ ...spec, subnet: spec.subnet ?? pooled?.subnet ?? '' });
      const { space } = found;
      const other = network.subnets.find((each) => overlap(each.space, space));
      if (other !== undefined) {
        throw new ControlPlaneError(
          'subnet_exists',
          `network ${network.name} has ${other.space.text} already, which overlaps ${space.text}`,
          'choose a subnet that shares no address with those of the network',
        );
      }
      if (network.subnets.length >= maxSubnets) {
        throw new ControlPlaneError(
          'too_many_subnets',
          `network ${network.name} has ${maxSubnets} subnets, as many as it can`,
          'make another network for what is to come: `weft network create`',
        );
      }
      if (!network.subnets.some((each) => each.space.family === space.family)) {
        throw new ControlPlaneError(
          'invalid_subnet',
          `network ${network.name} has no IPv${space.family} subnet, and its endpoints no such address`,
          'make another network',
        );
      }
      this.#needManager('add a subnet to a network');
      const value: SubnetValue = {
        stamp: [...clock.next()],
        ...recorded(found),
        root: tables.self,
        createdMs: this.#init.now(),
      };
      await tables.put(clusterTopic, `subnet/${network.id}/${space.text.replace('/', '_')}`, value);
      made = true;
      return space.text;
    } finally {
      if (pooled !== null) allocator.release('subnet', pooled.index, made);
    }
  }

  /**
   * A /64 of this cluster's for a network that was given none, which no network and no route of this host overlaps.
   * @param number tells it from those of other networks: its VNI, or for a network that is made later any, at random
   * @throws ControlPlaneError `exhausted`
   */
  uniqueLocal(number: number = randomInt(0xffffff)): string {
    const { view, avoid, clusterId } = this.#init;
    const taken = [
      ...[...view.networks.values()].flatMap(({ subnets }) => subnets.map(({ space }) => space)),
      ...avoid().flatMap((text) => spaceAround(text) ?? []),
      // One that holds all of them is no reason to avoid any, like the default route.
    ].filter(({ family, prefixLength }) => family === 6 && prefixLength > 8);
    for (let round = 0; round < maxRounds; round += 1) {
      const subnet = uniqueLocal(clusterId, number, round);
      const space = parseSpace(subnet);
      if (space !== null && !taken.some((each) => overlap(each, space))) return subnet;
    }
    throw new ControlPlaneError(
      'exhausted',
      'every unique local prefix that was tried overlaps a network or a route of this host',
      'give the network an IPv6 subnet of your own: `--subnet`',
    );
  }

  /** A subnet of the cluster's pool for a network that is made later. @throws ControlPlaneError `exhausted` */
  async reserveSubnet(): Promise<{ subnet: string; release: (kept: boolean) => void }> {
    const { index, subnet } = await this.#fromPool();
    return { subnet, release: (kept) => this.#init.allocator.release('subnet', index, kept) };
  }

  /** @throws ControlPlaneError `not_manager` */
  mustBeAbleToCreate(): void {
    this.#needManager('create a network');
  }

  async #fromPool(): Promise<PooledSubnet> {
    const index = await this.#init.allocator.allocate('subnet');
    return { index, subnet: formatSubnet(poolOf(this.#init.view).at(index)) };
  }

  /**
   * An address of the network for an endpoint of this node. It stays reserved until it is released (`Allocator`).
   * @param wanted that address and no other
   * @throws ControlPlaneError as `Allocator.allocate`; `invalid_address` when it is none of the network's
   */
  async allocateAddress(network: Network, wanted: string | null = null, family: 4 | 6 = 4): Promise<Address> {
    const { allocator } = this.#init;
    const subnets = network.subnets.filter(({ space }) => space.family === family);
    if (wanted !== null) {
      const { subnet, number } = placeOf(network, wanted, family);
      return { ring: subnet.ring, number: await allocator.allocate(subnet.ring, number), ip: wanted };
    }
    let failure: unknown = new ControlPlaneError(
      'exhausted',
      `network ${network.name} has no IPv${family} subnet`,
      'use a network that has one: `weft network inspect` shows the subnets',
    );
    for (const [i, { ring, space }] of subnets.entries()) {
      try {
        const number = await allocator.allocate(ring);
        return { ring, number, ip: addressAt(space, number) };
      } catch (error) {
        // The last subnet's refusal is the one to act on: what is before it is full, or its owners are away.
        if (!(error instanceof ControlPlaneError) || i === subnets.length - 1) throw error;
        failure = error;
      }
    }
    throw failure;
  }

  /** An address of the network was freed: it rests before anybody gets it again. */
  rest(network: Network, ip: string): void {
    for (const { ring, space } of network.subnets) {
      const number = offsetIn(space, ip);
      if (number !== null) this.#init.allocator.rest(ring, number);
    }
  }

  capacity(network: Network): Capacity[] {
    const { view, allocator, tables } = this.#init;
    return network.subnets.map((subnet) => capacityOf(subnet, view, allocator, tables.self));
  }

  /** Networks that will run out of addresses soon, and pools that will of subnets or VNIs, one line each. */
  warnings(): string[] {
    const { view } = this.#init;
    const networks = [...view.networks.values()].flatMap((network) => nearlyFull(network, view) ?? []);
    return [...networks, ...ringPools.flatMap((pool) => this.#poolWarning(pool) ?? [])];
  }

  #poolWarning(pool: Pool): string | null {
    const space = this.spaceOf(pool);
    return space === null ? null : poolNearlyFull(pool, space);
  }

  /** Says once in the log that a network will be full soon. */
  follow(networks: Iterable<NetworkId>): void {
    for (const id of networks) {
      const network = this.#init.view.networks.get(id);
      this.#warnOnce(id, { network: id }, network === undefined ? null : nearlyFull(network, this.#init.view));
    }
  }

  #warnOnce(what: NetworkId | Pool, fields: object, warning: string | null): void {
    if (warning !== null && !this.#warned.has(what)) this.#init.log.warn(fields, warning);
    if (warning === null) this.#warned.delete(what);
    else this.#warned.add(what);
  }

  /** @throws ControlPlaneError `not_manager`, `network_in_use`, `network_predefined` */
  async remove(network: Network): Promise<void> {
    this.mustBeRemovable(network);
    const { id, subnets, ...value } = network;
    await this.#init.tables.put(clusterTopic, `network/${id}`, {
      ...value,
      removed: true,
      stamp: [...this.#init.clock.next(network.stamp)],
    });
    for (const index of pooledIn(poolOf(this.#init.view), subnets)) this.#init.allocator.rest('subnet', index);
    this.#init.allocator.rest('vni', network.vni - firstVni);
  }

  /** @throws ControlPlaneError `not_manager`, `network_predefined`, `network_in_use` */
  mustBeRemovable(network: Network): void {
    this.#needManager('remove a network');
    if (network.ingress) {
      throw new ControlPlaneError(
        'network_predefined',
        `${network.name} is the ingress network and cannot be removed`,
        'it stays: every node is on it',
      );
    }
    const endpoints = this.#init.view.endpointsOf(network.id);
    if (endpoints.size > 0) {
      const nodes = new Set(
        [...endpoints.values()].map(({ owner }) => this.#init.view.nodes.get(owner)?.hostname ?? owner),
      );
      throw new ControlPlaneError(
        'network_in_use',
        `network ${network.name} has active endpoints: ${endpoints.size} on ${[...nodes].sort().join(', ')}`,
        `disconnect them first: \`weft endpoint ls --network ${network.name}\` lists them`,
      );
    }
  }

  /** What the allocator has to know of a ring. */
  spaceOf(ring: RingId): RingSpace | null {
    const { view } = this.#init;
    const { cluster } = view;
    if (cluster === null) return null;
    const anyNumber = { reserved: () => null, nameOf: String };
    if (ring === 'vni') {
      const taken = numbers([...view.networks.values()].map(({ vni }) => vni - firstVni));
      return { ...anyNumber, window: { start: 0, end: vniCount }, taken, name: 'the VNI space' };
    }
    if (ring === 'subnet') {
      const pool = poolOf(view);
      const avoided = this.#init.avoid().flatMap((text) => parseSubnet(text) ?? []);
      const all = [...view.networks.values()].flatMap(({ subnets }) => [...pooledIn(pool, subnets)]);
      // The default route overlaps everything and is no reason to avoid anything.
      for (const prefix of avoided) if (prefix.prefixLength > 0) all.push(...pool.overlapping(prefix));
      const name = `the address pool ${cluster.pools.join(', ')}`;
      return { ...anyNumber, window: { start: 0, end: pool.size }, taken: numbers(all), name };
    }
    const id = networkOfRing(ring);
    const network = id === null ? undefined : view.networks.get(id);
    const subnet = network?.subnets.find((each) => each.ring === ring);
    if (network === undefined || subnet === undefined) return null;
    const { space, window, reserved, reservedNumbers } = subnet;
    const held = this.#init.held?.(network.id).flatMap((ip) => offsetIn(space, ip) ?? []) ?? [];
    const virtual = view.virtual(ring);
    const size = virtual?.numbers.size ?? 0;
    const ofServices = virtual === null ? [] : virtual.services.keys();
    return {
      window,
      taken: held.length + size === 0 ? reservedNumbers : numbers([...reserved.keys(), ...held, ...ofServices]),
      reserved: (number) => reserved.get(number) ?? null,
      heldBy: (number) => {
        const service = virtual?.services.get(number);
        return service === undefined ? null : `it is the virtual address of service ${service.name}`;
      },
      name: `network ${network.name} (${space.text})`,
      nameOf: (number) => addressAt(space, number),
    };
  }

  #needManager(what: string): void {
    if (this.#init.isManager()) return;
    throw notManager(`this node is not a manager, and only a manager can ${what}`);
  }
}

/** A subnet as records hold it. */
function recorded({ subnet, gateway, ipRange, aux }: ReturnType<typeof checked>) {
  return {
    subnet,
    gateway,
    ...(ipRange === undefined ? {} : { ipRange }),
    ...(aux === undefined ? {} : { aux }),
  };
}

/** A subnet that was taken from the cluster's pool. */
interface PooledSubnet {
  readonly index: number;
  readonly subnet: string;
}

function poolOf(view: View): SubnetPool {
  return new SubnetPool(view.cluster?.pools ?? [], view.cluster?.subnetBits ?? 24);
}

/** Numbers of the pool's subnets that share an address with one of these. */
function* pooledIn(pool: SubnetPool, subnets: readonly NetworkSubnet[]): Generator<number> {
  for (const { space } of subnets) {
    const prefix = parseSubnet(space.text);
    if (prefix !== null) yield* pool.overlapping(prefix);
  }
}

function numbers(all: Iterable<number>): NumberSet {
  const set = new NumberSet();
  for (const number of all) set.add(number);
  return set;
}
