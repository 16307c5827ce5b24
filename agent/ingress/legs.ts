import type { NodeId } from '../../controlplane/ids.ts';
import type { Endpoint } from '../../controlplane/tables/view.ts';
import { order } from '../order.ts';

/** The node's own sandbox on the ingress network, where connections to published ports are spread. */
export const ingressSandboxName = 'ingress-sbox';

/** What the tables say of legs on the ingress network. */
export interface LegTables {
  readonly self: NodeId;
  /** By owner and id. */
  readonly legs: ReadonlyMap<string, Endpoint>;
  /** Whether a node is there, and not drained: no new connection is led to another. */
  readonly isUp: (node: NodeId) => boolean;
}

const none: readonly Endpoint[] = [];

/** Legs on the ingress network by what they are to the mesh. There may be 10,000, and of these one changes. */
export class MeshLegs {
  readonly #known = new Map<string, Endpoint>();
  readonly #backends = new Map<string, readonly Endpoint[]>();
  readonly #gates = new Map<string, Endpoint>();
  readonly #own = new Map<string, Endpoint>();

  /** Those that take connections of a service, in an order that is the same on all nodes. The same array while they are the same. */
  backendsOf(service: string): readonly Endpoint[] {
    return this.#backends.get(service) ?? none;
  }

  get gates(): Iterable<Endpoint> {
    return this.#gates.values();
  }

  /** Of this host, that serve something. */
  get own(): Iterable<Endpoint> {
    return this.#own.values();
  }

  /** @param touched of the legs, since the last time; null: all, and whether nodes are up */
  update(tables: LegTables, touched: Iterable<string> | null): void {
    const services = new Map<string, Endpoint[]>();
    if (touched === null) for (const all of [this.#known, this.#backends, this.#gates, this.#own]) all.clear();
    for (const name of touched ?? tables.legs.keys()) this.#put(name, tables, services);
    for (const [service, legs] of services) {
      legs.sort((a, b) => order(a.id, b.id) || order(a.owner, b.owner));
      if (legs.length === 0) this.#backends.delete(service);
      else this.#backends.set(service, legs);
    }
  }

  #put(name: string, { self, legs, isUp }: LegTables, services: Map<string, Endpoint[]>): void {
    const before = this.#known.get(name);
    for (const key of before?.serves ?? []) {
      const those = services.get(key) ?? this.backendsOf(key);
      services.set(
        key,
        those.filter((leg) => leg !== before),
      );
    }
    const leg = legs.get(name);
    if (leg === undefined) {
      for (const all of [this.#known, this.#gates, this.#own]) all.delete(name);
      return;
    }
    this.#known.set(name, leg);
    if (leg.name === ingressSandboxName) this.#gates.set(name, leg);
    else this.#gates.delete(name);
    const { serves = [], owner } = leg;
    if (serves.length > 0 && owner === self) this.#own.set(name, leg);
    else this.#own.delete(name);
    if (leg.ready === false || !isUp(owner)) return;
    for (const key of serves) {
      const those = services.get(key);
      if (those === undefined) services.set(key, [...this.backendsOf(key), leg]);
      else those.push(leg);
    }
  }
}
