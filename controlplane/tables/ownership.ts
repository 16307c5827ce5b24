import type { NetworkId, NodeId } from '../ids.ts';
import { Custody } from '../ring/custody.ts';
import type { NumberSet } from '../ring/numbers.ts';
import type { Grant, Range } from '../ring/ring.ts';
import { type Claimed, Claims, type Hidden } from './claims.ts';
import { type NetworkSubnet, networkOfRing, type RingId } from './subnets.ts';

/**
 * Who owns which numbers, and which endpoints may therefore be shown: the custody of every ring and the claims on every
 * network, kept in step.
 */
export class Ownership<E extends Claimed> {
  /** What readers see: by network, then by owner and id. */
  readonly endpoints = new Map<NetworkId, Map<string, E>>();
  readonly #custodies = new Map<RingId, Custody>();
  readonly #claims = new Map<NetworkId, Claims<E>>();
  readonly #monotonicMs: () => number;
  /** Since the last call of `changes`. */
  #rings = new Set<RingId>();
  #networks = new Set<NetworkId>();

  constructor(monotonicMs: () => number) {
    this.#monotonicMs = monotonicMs;
  }

  custody(ring: RingId): Custody {
    const known = this.#custodies.get(ring);
    if (known !== undefined) return known;
    const custody = new Custody();
    this.#custodies.set(ring, custody);
    return custody;
  }

  get rings(): Iterable<RingId> {
    return this.#custodies.keys();
  }

  /** Numbers of a network's ring that endpoints have which are shown; null for a pool. */
  taken(ring: RingId): NumberSet | null {
    const network = networkOfRing(ring);
    return network === null ? null : this.#claimsOf(network).taken(ring);
  }

  /** The endpoint that is shown with this number. */
  holder(ring: RingId, number: number): E | null {
    const network = networkOfRing(ring);
    return network === null ? null : (this.#claims.get(network)?.holder(ring, number) ?? null);
  }

  /** Claims that are not shown, on all networks. */
  *hidden(): Generator<Hidden<E>> {
    for (const claims of this.#claims.values()) yield* claims.hidden.values();
  }

  setSpace(ring: RingId, size: number, root: NodeId): void {
    this.#changed(ring, this.custody(ring).setSpace(size, root));
  }

  /** Nobody owns anything of the ring until its space is known again. */
  unsetSpace(ring: RingId): void {
    const custody = this.#custodies.get(ring);
    if (custody === undefined) return;
    custody.close();
    this.#rings.add(ring);
    if (custody.isEmpty) this.#custodies.delete(ring);
  }

  setGrant(ring: RingId, name: string, grant: Grant | null): void {
    const custody = this.custody(ring);
    this.#changed(ring, custody.set(name, grant));
    if (custody.isEmpty) this.#custodies.delete(ring);
  }

  setEndpoint(network: NetworkId, name: string, endpoint: E | null): void {
    if (this.#claimsOf(network).set(name, endpoint)) this.#networks.add(network);
    this.#keep(network);
  }

  /** @param subnets null when the network is not known, or not any more */
  setNetwork(network: NetworkId, subnets: readonly NetworkSubnet[] | null): void {
    for (const { ring, space, root } of subnets ?? []) this.setSpace(ring, space.size, root);
    if (subnets === null) this.#close(network);
    if (this.#claimsOf(network).setSubnets(subnets)) this.#networks.add(network);
    this.#keep(network);
  }

  /** A node became a manager: what it signed over more than its own counts from now on. */
  promoted(isManager: (node: NodeId) => boolean): void {
    for (const [ring, custody] of this.#custodies) {
      for (const range of custody.promoted(isManager)) this.#changed(ring, range);
    }
  }

  /** Claims that have been in doubt since `beforeMs` or longer are not shown any more. @returns whether there were any */
  settle(beforeMs: number): boolean {
    let changed = false;
    for (const [network, claims] of this.#claims) {
      if (!claims.settle(beforeMs)) continue;
      changed = true;
      this.#networks.add(network);
      this.#keep(network);
    }
    return changed;
  }

  /** What has changed since this was asked last: rings, and by network the names of endpoints. */
  changes(): { rings: ReadonlySet<RingId>; endpoints: ReadonlyMap<NetworkId, ReadonlySet<string>> } {
    const endpoints = [...this.#networks].map((id) => [id, this.#claimsOf(id).takeTouched()] as const);
    const changes = { rings: this.#rings, endpoints: new Map(endpoints) };
    this.#rings = new Set();
    this.#networks = new Set();
    return changes;
  }

  /** Of a network that is not known nobody owns anything. */
  #close(network: NetworkId): void {
    for (const ring of this.#custodies.keys()) if (networkOfRing(ring) === network) this.unsetSpace(ring);
  }

  #changed(ring: RingId, range: Range | null): void {
    if (range === null) return;
    this.#rings.add(ring);
    const network = networkOfRing(ring);
    if (network === null) return;
    if (this.#claims.get(network)?.recheck(ring, range)) this.#networks.add(network);
    this.#keep(network);
  }

  #claimsOf(network: NetworkId): Claims<E> {
    const known = this.#claims.get(network);
    if (known !== undefined) return known;
    const ownerOf = (ring: RingId, number: number): NodeId | null => this.custody(ring).at(number)?.owner ?? null;
    const claims = new Claims<E>({ ownerOf, monotonicMs: this.#monotonicMs });
    this.#claims.set(network, claims);
    return claims;
  }

  /** No empty inner map is shown. */
  #keep(network: NetworkId): void {
    const shown = this.#claims.get(network)?.shown;
    if (shown === undefined || shown.size === 0) this.endpoints.delete(network);
    else this.endpoints.set(network, shown);
  }
}
