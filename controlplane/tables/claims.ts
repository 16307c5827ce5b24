import { offsetIn } from '../addresses.ts';
import type { NodeId } from '../ids.ts';
import { NumberSet } from '../ring/numbers.ts';
import type { Range } from '../ring/ring.ts';
import { addressesOf, type EndpointValue } from './kinds.ts';
import type { NetworkSubnet, RingId } from './subnets.ts';

/** What a claim says of itself: the endpoint's addresses, and who signed it. */
export type Claimed = EndpointValue & { readonly owner: NodeId };

/** A claim that is not true by what is known here: not shown to readers, looked at again when rings or networks change. */
export interface Hidden<E> {
  readonly endpoint: E;
  /** One of a few lines, without anything that the writer chose. */
  readonly why: string;
  /** By the clock that does not jump. */
  readonly sinceMs: number;
}

export interface ClaimsInit {
  /** Owner of a number by the grants that are known here. */
  readonly ownerOf: (ring: RingId, number: number) => NodeId | null;
  /** Milliseconds on a clock that does not jump. */
  readonly monotonicMs: () => number;
}

/** Where an address lies. */
interface Place {
  readonly ring: RingId;
  readonly number: number;
  readonly reserved: boolean;
}

/** Names of the claims at each number of a ring, and the numbers of those that are shown. */
interface Index {
  /** One name without a list around it: two claims of a number are rare. */
  readonly names: Map<number, string | readonly string[]>;
  readonly claimed: NumberSet;
  readonly taken: NumberSet;
}

/**
 * The endpoints that records claim on one network, each shown only while its addresses lie in ranges that its writer
 * owns. Bounded by what the tables hold of the network, of which it is an index.
 */
export class Claims<E extends Claimed> {
  readonly shown = new Map<string, E>();
  readonly hidden = new Map<string, Hidden<E>>();
  readonly #init: ClaimsInit;
  readonly #rings = new Map<RingId, Index>();
  /** Shown claims whose address seems to have passed to another node, and since when. */
  readonly #doubted = new Map<string, number>();
  #subnets: readonly NetworkSubnet[] | null = null;
  #touched = new Set<string>();

  constructor(init: ClaimsInit) {
    this.#init = init;
  }

  get size(): number {
    return this.shown.size + this.hidden.size;
  }

  /** Numbers of a ring that endpoints have which are shown. */
  taken(ring: RingId): NumberSet {
    return this.#indexOf(ring).taken;
  }

  /** Name of an endpoint that is shown with this number. */
  holder(ring: RingId, number: number): E | null {
    for (const name of namesAt(this.#rings.get(ring), number)) {
      const found = this.shown.get(name);
      if (found !== undefined) return found;
    }
    return null;
  }

  /** Names whose endpoint was shown, hidden or replaced since this was asked last. */
  takeTouched(): ReadonlySet<string> {
    const touched = this.#touched;
    this.#touched = new Set();
    return touched;
  }

  #show(name: string, endpoint: E): void {
    this.shown.set(name, endpoint);
    this.#touched.add(name);
  }

  #hide(name: string): void {
    if (this.shown.delete(name)) this.#touched.add(name);
  }

  /** @param endpoint null takes the claim back @returns whether readers see a difference */
  set(name: string, endpoint: E | null): boolean {
    const before = this.shown.get(name);
    const known = before ?? this.hidden.get(name)?.endpoint;
    if (known !== undefined) {
      this.#hide(name);
      this.hidden.delete(name);
      this.#doubted.delete(name);
      for (const { ring, number } of this.#places(known)) this.#unplace(ring, number, name);
    }
    if (endpoint === null) return before !== undefined;
    const places = this.#places(endpoint);
    for (const { ring, number } of places) {
      const index = this.#indexOf(ring);
      const others = namesAt(index, number);
      index.names.set(number, others.length === 0 ? name : [...others, name]);
      index.claimed.add(number);
    }
    return this.#judge(name, endpoint, places) || before !== undefined;
  }

  /**
   * What was in doubt stays so: a network is said again with each start of its writer, and with each subnet that it gets.
   * @param subnets null when the network is not known
   * @returns whether readers see a difference
   */
  setSubnets(subnets: readonly NetworkSubnet[] | null): boolean {
    const all = [...this.shown, ...[...this.hidden].map(([name, { endpoint }]) => [name, endpoint] as const)];
    const doubted = new Map(this.#doubted);
    const before = this.shown.size;
    for (const name of this.shown.keys()) this.#touched.add(name);
    this.shown.clear();
    this.#doubted.clear();
    this.#rings.clear();
    this.#subnets = subnets;
    for (const [name, endpoint] of all) this.set(name, endpoint);
    for (const [name, sinceMs] of doubted) this.#doubt(name, sinceMs);
    return before > 0 || this.shown.size > 0;
  }

  /** Shows again what seems to have passed to another node, unless that one claims it. */
  #doubt(name: string, sinceMs: number): void {
    const { endpoint, why } = this.hidden.get(name) ?? {};
    if (endpoint === undefined || why !== notOwned) return;
    const places = this.#places(endpoint);
    if (places.some(({ ring, number }) => this.holder(ring, number) !== null)) return;
    this.hidden.delete(name);
    this.#show(name, endpoint);
    this.#doubted.set(name, sinceMs);
    for (const { ring, number } of places) this.#indexOf(ring).taken.add(number);
  }

  /**
   * Who owns these numbers has changed. A claim that was true stays shown for the time being: of two grants that follow
   * each other the later one may be on its way still. `settle` ends that.
   * @returns whether readers see a difference
   */
  recheck(ring: RingId, { start, end }: Range): boolean {
    const index = this.#rings.get(ring);
    if (index === undefined) return false;
    let changed = false;
    for (const number of index.claimed.within(start, end)) {
      for (const name of namesAt(index, number)) {
        const shown = this.shown.get(name);
        const endpoint = shown ?? this.hidden.get(name)?.endpoint;
        if (endpoint === undefined) continue;
        const places = this.#places(endpoint);
        if (shown !== undefined && this.#objection(endpoint, places) === notOwned) {
          if (!this.#doubted.has(name)) this.#doubted.set(name, this.#init.monotonicMs());
          continue;
        }
        this.#doubted.delete(name);
        this.#hide(name);
        const shows = this.#judge(name, endpoint, places);
        changed ||= shows !== (shown !== undefined);
      }
    }
    return changed;
  }

  /** Hides what has been in doubt since `beforeMs` or longer. @returns whether readers see a difference */
  settle(beforeMs: number): boolean {
    let changed = false;
    for (const [name, sinceMs] of this.#doubted) {
      const endpoint = this.shown.get(name);
      if (sinceMs > beforeMs || endpoint === undefined) continue;
      this.#doubted.delete(name);
      this.#hide(name);
      if (!this.#judge(name, endpoint, this.#places(endpoint))) changed = true;
    }
    return changed;
  }

  /** Shows or hides the claim. @returns whether it is shown */
  #judge(name: string, endpoint: E, places: readonly Place[]): boolean {
    const why = this.#objection(endpoint, places);
    if (why === null) {
      for (const { ring, number } of places) this.#concede(ring, number);
      this.hidden.delete(name);
      this.#show(name, endpoint);
      for (const { ring, number } of places) this.#indexOf(ring).taken.add(number);
      return true;
    }
    const sinceMs = this.hidden.get(name)?.sinceMs ?? this.#init.monotonicMs();
    this.hidden.set(name, { endpoint, why, sinceMs });
    for (const { ring, number } of places) {
      if (this.holder(ring, number) === null) this.#indexOf(ring).taken.delete(number);
    }
    return false;
  }

  /** Who owns the number claims it: no doubt is left about the others that did. */
  #concede(ring: RingId, number: number): void {
    for (const name of namesAt(this.#rings.get(ring), number)) {
      const endpoint = this.shown.get(name);
      if (endpoint === undefined || !this.#doubted.delete(name)) continue;
      this.#hide(name);
      this.hidden.set(name, { endpoint, why: notOwned, sinceMs: this.#init.monotonicMs() });
    }
  }

  #objection(endpoint: E, places: readonly Place[]): string | null {
    if (this.#subnets === null) return 'endpoint on a network that is not there';
    if (places.length < addressesOf(endpoint).length) return 'endpoint with an address outside its network';
    for (const { ring, number, reserved } of places) {
      if (reserved) return 'endpoint with a reserved address';
      if (this.#init.ownerOf(ring, number) !== endpoint.owner) return notOwned;
    }
    return null;
  }

  #places(endpoint: E): Place[] {
    return addressesOf(endpoint).flatMap((address) => {
      for (const { ring, space, reserved } of this.#subnets ?? []) {
        const number = offsetIn(space, address);
        if (number !== null) return [{ ring, number, reserved: reserved.has(number) }];
      }
      return [];
    });
  }

  #unplace(ring: RingId, number: number, name: string): void {
    const index = this.#indexOf(ring);
    const rest = namesAt(index, number).filter((each) => each !== name);
    if (rest.length > 0) index.names.set(number, rest);
    else {
      index.names.delete(number);
      index.claimed.delete(number);
    }
    if (this.holder(ring, number) === null) index.taken.delete(number);
  }

  #indexOf(ring: RingId): Index {
    const known = this.#rings.get(ring);
    if (known !== undefined) return known;
    const index: Index = { names: new Map(), claimed: new NumberSet(), taken: new NumberSet() };
    this.#rings.set(ring, index);
    return index;
  }
}

const notOwned = 'endpoint with an address of another node';

function namesAt(index: Index | undefined, number: number): readonly string[] {
  const names = index?.names.get(number) ?? [];
  return typeof names === 'string' ? [names] : names;
}
