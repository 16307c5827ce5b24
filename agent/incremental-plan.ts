import type { NetworkId } from '../controlplane/ids.ts';
import type { Touched } from '../controlplane/tables/view.ts';
import type { DesiredGuard, Vip } from '../dataplane/desired.ts';
import { MeshLegs } from './ingress/legs.ts';
import { ingressIn, type MeshPlan, meshOf } from './ingress/mesh.ts';
import { vipsOn } from './ingress/vips.ts';
import { type Attachments, guardOf, type Plan, plan, type TablesForPlan } from './plan.ts';
import { RemoteList } from './remote-list.ts';

/** What the view says was touched, as far as a plan is concerned. */
export type TouchedForPlan = Pick<Touched, 'nodes' | 'networks' | 'services' | 'endpoints'>;

/** What was touched by several changes together. Holds names of endpoints, and each once. */
export class TouchedSince {
  nodes = false;
  networks = false;
  services = false;
  readonly endpoints = new Map<NetworkId, Set<string>>();

  add({ nodes, networks, services, endpoints }: TouchedForPlan): void {
    this.nodes ||= nodes;
    this.networks ||= networks;
    this.services ||= services;
    for (const [id, names] of endpoints) {
      const known = this.endpoints.get(id) ?? new Set<string>();
      for (const name of names) known.add(name);
      this.endpoints.set(id, known);
    }
  }
}

const nobody: ReadonlySet<string> = new Set();
const noOne = { self: '' as TablesForPlan['self'], vtep: '' };

const ingressTouched = ({ endpoints }: TouchedForPlan, { networks }: TablesForPlan): ReadonlySet<string> => {
  const ingress = ingressIn(networks);
  return (ingress && endpoints.get(ingress.id)) ?? nobody;
};

/** Plans again and again; each plan equals the whole one, and costs what has changed. */
export class IncrementalPlan {
  readonly #lists = new Map<NetworkId, RemoteList>();
  #of: Pick<TablesForPlan, 'self' | 'vtep'> = noOne;
  #port = 0;
  #guard: DesiredGuard | null = null;
  #mesh: MeshPlan | null = null;
  readonly #meshLegs = new MeshLegs();
  readonly #vips = new Map<NetworkId, { readonly vips: readonly Vip[]; isOld: boolean }>();

  /** Of the last plan; null: there was none in a cluster. */
  get mesh(): MeshPlan | null {
    return this.#mesh;
  }

  /** @param touched since the last plan; null: anything may have been */
  next(tables: TablesForPlan | null, attachments: Attachments, touched: TouchedForPlan | null): Plan {
    if (tables === null) {
      this.#lists.clear();
      this.#guard = null;
      this.#mesh = null;
      this.#of = noOne;
      this.#vips.clear();
      return plan(null, attachments);
    }
    const { self, vtep, port } = tables;
    const same = touched !== null && this.#of.self === self && this.#of.vtep === vtep && this.#port === port;
    if (!same) this.#lists.clear();
    if (!same || touched.nodes || touched.networks) this.#guard = null;
    // Services are said to be touched, too, when nodes come to be up or down.
    const legs = !same || touched.services || touched.networks ? null : ingressTouched(touched, tables);
    if (legs === null || legs.size > 0) this.#mesh = null;
    for (const [id, known] of this.#vips) known.isOld ||= legs === null || (touched?.endpoints.has(id) ?? true);
    this.#of = { self, vtep };
    this.#port = port;
    const used = new Set<NetworkId>();
    const led = new Set<NetworkId>();
    const next = plan(tables, attachments, {
      remotesOn: (network, own) => {
        const { id } = network;
        used.add(id);
        const known = this.#lists.get(id);
        const list = known ?? new RemoteList(network);
        this.#lists.set(id, list);
        const names = known && same ? (touched.endpoints.get(id) ?? nobody) : null;
        return list.update(tables, own, names, !same || touched.nodes);
      },
      guard: () => {
        this.#guard ??= guardOf(tables);
        return this.#guard;
      },
      mesh: () => {
        this.#mesh ??= meshOf(tables, { kept: this.#meshLegs, touched: legs });
        return this.#mesh;
      },
      vipsOn: (id) => {
        led.add(id);
        const known = this.#vips.get(id);
        if (known && !known.isOld) return known.vips;
        const vips = vipsOn(tables, id, known?.vips);
        this.#vips.set(id, { vips, isOld: false });
        return vips;
      },
    });
    for (const id of this.#vips.keys()) if (!led.has(id)) this.#vips.delete(id);
    for (const id of this.#lists.keys()) if (!used.has(id)) this.#lists.delete(id);
    return next;
  }
}
