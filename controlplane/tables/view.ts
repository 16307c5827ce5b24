import { SubnetPool } from '../addresses.ts';
import type { Role } from '../identity/certificates.ts';
import type { EndpointId, NetworkId, NodeId } from '../ids.ts';
import type { Custody } from '../ring/custody.ts';
import type { Promises } from '../ring/fence.ts';
import { compareTimestamps, type HybridClock, maxSkewMs, type Timestamp } from './clock.ts';
import { type Endpoint, endpointOf } from './endpoint.ts';
import {
  type AvailabilityValue,
  addressesOf,
  type ClusterValue,
  type EndpointValue,
  type FenceValue,
  type HoldingValue,
  type NetworkValue,
  type NodeLabelsValue,
  type NodeValue,
  networkOfTopic,
  type OnValue,
  type RangeValue,
  type SubnetValue,
  type TokenValue,
  vniCount,
} from './kinds.ts';
import { Ownership } from './ownership.ts';
import type { Service, ServiceKey, ServiceValue } from './services.ts';
import { SettledServices, type VirtualNumbers } from './settled-services.ts';
import { type NetworkSubnet, type RingId, ringPools, subnetsOf } from './subnets.ts';
import type { TableChange, Tables } from './tables.ts';
import { nothing, type Touched } from './touched.ts';

export type { Endpoint } from './endpoint.ts';
export type { Touched } from './touched.ts';

export type Network = NetworkValue & {
  readonly id: NetworkId;
  /** In the order in which addresses are taken from them. */
  readonly subnets: readonly NetworkSubnet[];
};
/** Kinds of shared objects that certificates and keys hang on. */
const keyKinds: ReadonlySet<string> = new Set(['ca', 'mesh-key', 'reissued', 'removed', 'cluster']);

/** Shared objects have one record per writer; this is the value that counts. */
interface Stamped {
  readonly stamp: Timestamp;
}

/** What the tables mean: nodes, networks, endpoints and grants, merged and indexed as the records come and go. */
export class View {
  readonly nodes = new Map<NodeId, NodeValue>();
  readonly networks = new Map<NetworkId, Network>();
  /** Which keys each node says it has. */
  readonly holdings = new Map<NodeId, HoldingValue>();
  /** Who owns which numbers, and which endpoints may be shown. */
  readonly ownership: Ownership<Endpoint>;
  /** Removed node -> writer and ballot -> what was promised. */
  readonly #fences = new Map<NodeId, Map<string, FenceValue & { readonly by: NodeId; readonly settled: boolean }>>();
  readonly #roleOf: (node: NodeId) => Role | null;
  readonly #on = new Map<NetworkId, Map<NodeId, OnValue>>();
  readonly #shared = new Map<string, Map<NodeId, Stamped>>();
  readonly #watchers = new Set<(touched: Touched) => void>();
  readonly #services = new SettledServices({
    subnetsOf: (network) => this.networks.get(network)?.subnets ?? [],
    holder: (ring, number) => this.ownership.holder(ring, number)?.name ?? null,
  });
  readonly #clock: HybridClock;
  readonly #tables: Tables;
  #unwatch: () => void = () => {};
  /** Writer and key of the records that are stamped too far ahead of the clock here -> for when. */
  readonly #ahead = new Map<NodeId, Map<string, number>>();
  /** Told of each record that is stamped too far ahead of the clock here, by its owner. */
  onSkewed: (owner: NodeId) => void = () => {};

  /**
   * @param roleOf null for a node that is no member, or not any more
   * @param monotonicMs by a clock that does not jump: for how long claims have been hidden, or in doubt
   */
  constructor(tables: Tables, clock: HybridClock, roleOf: (node: NodeId) => Role | null, monotonicMs: () => number) {
    this.#clock = clock;
    this.#tables = tables;
    this.#roleOf = roleOf;
    this.ownership = new Ownership(monotonicMs);
  }

  /**
   * Endpoints that may be shown, by owner and id: a node cannot touch what another announced by using its id.
   */
  get endpoints(): ReadonlyMap<NetworkId, ReadonlyMap<string, Endpoint>> {
    return this.ownership.endpoints;
  }

  /** Takes in what the tables hold, and follows them from then on. */
  start(): void {
    this.#unwatch = this.#tables.watch((changes) => this.#apply(changes));
  }

  close(): void {
    this.#unwatch();
    this.#watchers.clear();
  }

  /** @param watcher is told which parts changed, after they did */
  watch(watcher: (touched: Touched) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Services of the networks that there are, with the ports that each has. */
  get services(): ReadonlyMap<ServiceKey, Service> {
    return this.#services.all;
  }

  /** Virtual addresses of services in a ring, which are nobody else's; null for none. */
  virtual(ring: RingId): VirtualNumbers | null {
    return this.#services.virtual(ring);
  }

  get virtualRings(): ReadonlyMap<RingId, VirtualNumbers> {
    return this.#services.virtualRings;
  }

  /** The record that counts of a service, also of one that was removed. */
  serviceRecord(key: ServiceKey): ServiceValue | null {
    return this.#winner<ServiceValue>(`service/${key}`);
  }

  get cluster(): ClusterValue | null {
    return this.#winner<ClusterValue>('cluster');
  }

  /** null for a node of which nothing was decided: it is active. */
  availability(node: NodeId): AvailabilityValue | null {
    return this.#winner<AvailabilityValue>(`availability/${node}`);
  }

  isDrained(node: NodeId): boolean {
    return this.availability(node)?.availability === 'drain';
  }

  /** null for a node that managers have said nothing of. */
  nodeLabelsRecord(node: NodeId): NodeLabelsValue | null {
    return this.#winner<NodeLabelsValue>(`node-labels/${node}`);
  }

  /** What managers say of a node, such as `zone`. */
  nodeLabels(node: NodeId): Readonly<Record<string, string>> {
    return this.nodeLabelsRecord(node)?.labels ?? noLabels;
  }

  token(role: Role): TokenValue | null {
    return this.#winner<TokenValue>(`token/${role}`);
  }

  isRemoved(nodeId: NodeId): boolean {
    return this.#shared.has(`removed/${nodeId}`);
  }

  /** Whether the network is known to have been removed, rather than not known yet. */
  isNetworkRemoved(id: NetworkId): boolean {
    return this.#winner<NetworkValue>(`network/${id}`)?.removed === true;
  }

  /**
   * Shared objects of which `owner` has written a value, as they count now, where `heir` has not written that itself. Also
   * what another heir or a later writer has said: whoever hears of the removal from this one may not have that yet.
   */
  sharedBy(owner: NodeId, heir: NodeId): { key: string; value: unknown }[] {
    return [...this.#shared].flatMap(([key, writers]) => {
      const value = writers.has(owner) ? this.#winner<Stamped>(key) : null;
      const own = writers.get(heir);
      const has = value !== null && own !== undefined && compareTimestamps(own.stamp, value.stamp) === 0;
      return value === null || has ? [] : [{ key, value }];
    });
  }

  removedNodes(): NodeId[] {
    return [...this.#shared.keys()].flatMap((key) => (key.startsWith('removed/') ? [key.slice(8) as NodeId] : []));
  }

  /** Shared objects whose key starts with `prefix/`, by the rest of it. */
  shared<T extends Stamped>(prefix: string): Map<string, T> {
    const found = new Map<string, T>();
    for (const key of this.#shared.keys()) {
      if (!key.startsWith(`${prefix}/`)) continue;
      const value = this.#winner<T>(key);
      if (value !== null) found.set(key.slice(prefix.length + 1), value);
    }
    return found;
  }

  /** Networks by name; a name that two halves of a partition both took leads to the older network. */
  networkByName(name: string): Network | null {
    let found: Network | null = null;
    for (const network of this.networks.values()) {
      if (network.name !== name) continue;
      const order = found === null ? -1 : network.createdMs - found.createdMs || (network.id < found.id ? -1 : 1);
      if (order < 0) found = network;
    }
    return found;
  }

  endpointsOf(network: NetworkId): ReadonlyMap<string, Endpoint> {
    return this.ownership.endpoints.get(network) ?? new Map();
  }

  /**
   * Nodes that are on a network: they have endpoints there, or addresses to hand out. Its topic is followed by these and
   * by all managers.
   */
  nodesOn(network: NetworkId): ReadonlySet<NodeId> {
    return new Set(this.#on.get(network)?.keys());
  }

  /** The same, with what each of them says of its part in it. */
  sayingOn(network: NetworkId): ReadonlyMap<NodeId, OnValue> {
    return this.#on.get(network) ?? new Map();
  }

  custody(ring: RingId): Custody {
    return this.ownership.custody(ring);
  }

  /** To be called when a node has become a manager. */
  promoted(): void {
    this.ownership.promoted((node) => this.#roleOf(node) === 'manager');
    this.#tell({ ...nothing, certificates: new Map(), fences: new Set(), on: new Set() });
  }

  /** Claims that have been in doubt since `beforeMs` or longer, by the clock that does not jump, are not shown any more. */
  settle(beforeMs: number): void {
    if (!this.ownership.settle(beforeMs)) return;
    this.#tell({ ...nothing, certificates: new Map(), fences: new Set(), on: new Set() });
  }

  /** Nodes with records that are stamped further ahead of the clock here than one may be off, and how far. */
  stampsAhead(): Map<NodeId, number> {
    const found = new Map<NodeId, number>();
    for (const [owner, stamps] of this.#ahead) {
      for (const wallMs of stamps.values()) {
        const aheadMs = this.#clock.aheadMs(wallMs);
        if (aheadMs > maxSkewMs) found.set(owner, Math.max(aheadMs, found.get(owner) ?? 0));
      }
    }
    return found;
  }

  /** What was promised about what a removed node owned. */
  promises(removed: NodeId): Pick<Promises, 'removers' | 'ballots' | 'settled'> {
    const ballots = new Map<number, Map<NodeId, NodeId>>();
    const settled = new Map<NodeId, number>();
    for (const { by, heir, ballot, settled: done } of this.#fences.get(removed)?.values() ?? []) {
      if (done) settled.set(by, ballot);
      else ballots.set(ballot, (ballots.get(ballot) ?? new Map<NodeId, NodeId>()).set(by, heir as NodeId));
    }
    return { removers: [...(this.#shared.get(`removed/${removed}`)?.keys() ?? [])], ballots, settled };
  }

  #winner<T extends Stamped>(key: string): T | null {
    let best: { owner: NodeId; value: Stamped } | null = null;
    for (const [owner, value] of this.#shared.get(key) ?? []) {
      const order = best === null ? 1 : compareTimestamps(value.stamp, best.value.stamp);
      if (best === null || order > 0 || (order === 0 && owner > best.owner)) best = { owner, value };
    }
    // objectionTo() has checked the shape before the record could get here.
    return best === null ? null : (best.value as T);
  }

  #apply(changes: readonly TableChange[]): void {
    let nodes = false;
    let networks = false;
    let services = false;
    let keys = false;
    const certificates = new Map<NodeId, Uint8Array>();
    const fences = new Set<NodeId>();
    const on = new Set<NetworkId>();
    const removed: NodeId[] = [];
    let roles = false;
    // Behind the grants of the same batch: an address whose grant is not known here would be shown for a moment, for as
    // long as it seems to be of whoever had it before.
    const endpoints: { networkId: NetworkId; id: EndpointId; owner: NodeId; value: EndpointValue | null }[] = [];
    for (const change of changes) {
      const { topic, owner, key } = change;
      const value = change.current?.record.value ?? null;
      const networkId = networkOfTopic(topic);
      const [prefix = '', first = '', rest = ''] = key.split('/');
      if (prefix === 'range') {
        const ring = (networkId === null ? first : `${networkId}/${first}`) as RingId;
        const grant = value as (RangeValue & { to: NodeId }) | null;
        const byManager = this.#roleOf(owner) === 'manager';
        this.ownership.setGrant(ring, `${owner} ${key}`, grant === null ? null : { ...grant, by: owner, byManager });
      } else if (networkId !== null) {
        endpoints.push({ networkId, id: first as EndpointId, owner, value: value as EndpointValue | null });
      } else if (prefix === 'node') {
        if (value === null) this.nodes.delete(owner);
        else this.nodes.set(owner, value as NodeValue);
        nodes = true;
      } else if (prefix === 'role') {
        roles = true;
        this.#observe(owner, key, value as Stamped | null);
      } else if (prefix === 'on') {
        const network = first as NetworkId;
        setIn(this.#on, network, owner, value as OnValue | null);
        on.add(network);
      } else if (prefix === 'keys') {
        if (value === null) this.holdings.delete(owner);
        else {
          this.holdings.set(owner, value as HoldingValue);
          certificates.set(owner, (value as HoldingValue).certificate);
        }
        keys = true;
      } else if (prefix === 'fence') {
        const promise = value === null ? null : { ...(value as FenceValue), by: owner, settled: rest === 'heir' };
        setIn(this.#fences, first as NodeId, `${owner} ${rest}`, promise);
        fences.add(first as NodeId);
      } else {
        setIn(this.#shared, key, owner, value as Stamped | null);
        this.#observe(owner, key, value as Stamped | null);
        if (prefix === 'network' || prefix === 'subnet') {
          services = this.#mergeNetwork(first as NetworkId) || services;
          networks = true;
        }
        if (prefix === 'service') services = this.#mergeService(`${first}/${rest}`) || services;
        services ||= prefix === 'availability' || prefix === 'node-labels';
        keys ||= keyKinds.has(prefix);
        if (prefix === 'cluster') this.#mergePools();
        if (prefix === 'removed' && value !== null) removed.push(first as NodeId);
      }
    }
    for (const { networkId, id, owner, value } of endpoints) {
      const endpoint = value === null ? null : endpointOf(value, { id, owner, networkId });
      this.ownership.setEndpoint(networkId, `${owner} ${id}`, endpoint);
    }
    this.#tell({ nodes, networks, services, removed, fences, on, roles, keys, certificates });
  }

  /** Follows the stamp of a record that has come, or gone. */
  #observe(owner: NodeId, key: string, value: Stamped | null): void {
    const ahead = value !== null && !this.#clock.observe(value.stamp);
    setIn(this.#ahead, owner, key, ahead ? value.stamp[0] : null);
    if (ahead) this.onSkewed(owner);
  }

  #tell(touched: Omit<Touched, 'endpoints' | 'rings'>): void {
    const { rings, endpoints } = this.ownership.changes();
    let { services } = touched;
    for (const [network, names] of endpoints) services = this.#freed(network, names) || services;
    for (const watcher of this.#watchers) watcher({ ...touched, services, rings, endpoints });
  }

  /** @returns whether services may have got or lost their virtual address by what became of these endpoints */
  #freed(network: NetworkId, names: Iterable<string>): boolean {
    if (!this.#services.hasVirtual(network)) return false;
    const shown = this.endpointsOf(network);
    const addresses = [...names].flatMap((name) => addressesOf(shown.get(name) ?? {}));
    return this.#services.endpointsChanged(network, addresses);
  }

  /** @returns whether services came with it, or went */
  #mergeNetwork(id: NetworkId): boolean {
    const value = this.#winner<NetworkValue>(`network/${id}`);
    const before = this.networks.has(id);
    if (value === null || value.removed) {
      this.networks.delete(id);
      this.ownership.setNetwork(id, null);
    } else {
      const added = this.#sharedUnder(`subnet/${id}/`).flatMap((key) => this.#winner<SubnetValue>(key) ?? []);
      const subnets = subnetsOf(id, value, added);
      this.networks.set(id, { ...value, id, subnets });
      this.ownership.setNetwork(id, subnets);
    }
    const others = this.#services.subnetsChanged(id);
    if (this.networks.has(id) === before) return others;
    const ofServices = this.#sharedUnder(`service/${id}/`).map((key) => key.slice('service/'.length));
    return ofServices.map((key) => this.#mergeService(key)).includes(true);
  }

  #sharedUnder(prefix: string): string[] {
    return [...this.#shared.keys()].filter((key) => key.startsWith(prefix));
  }

  /** Those of a network that is not known, or was removed, are none. @returns whether that changed anything */
  #mergeService(key: string): boolean {
    const isThere = this.networks.has(key.slice(0, key.indexOf('/')) as NetworkId);
    return this.#services.set(key, isThere ? this.#winner<ServiceValue>(`service/${key}`) : null);
  }

  #mergePools(): void {
    const { cluster } = this;
    if (cluster === null) {
      for (const ring of ringPools) this.ownership.unsetSpace(ring);
      return;
    }
    const root = cluster.root as NodeId;
    this.ownership.setSpace('vni', vniCount, root);
    this.ownership.setSpace('subnet', new SubnetPool(cluster.pools, cluster.subnetBits).size, root);
  }
}

const noLabels: Readonly<Record<string, string>> = {};

/** Sets or, with null, deletes an entry of a map of maps; no empty inner map stays. */
function setIn<Outer, Inner, V>(maps: Map<Outer, Map<Inner, V>>, outer: Outer, inner: Inner, value: V | null): void {
  const map = maps.get(outer) ?? new Map<Inner, V>();
  if (value === null) map.delete(inner);
  else map.set(inner, value);
  if (map.size === 0) maps.delete(outer);
  else maps.set(outer, map);
}
