import type { Cluster } from '../../controlplane/cluster.ts';
import { defaultDataPathPort } from '../../controlplane/membership.ts';
import { NOTHING as nothing } from '../../dataplane/cleanup.ts';
import type { DataPlane } from '../../dataplane/dataplane.ts';
import type { Desired } from '../../dataplane/desired.ts';
import { IncrementalPlan, type TouchedForPlan, TouchedSince } from '../incremental-plan.ts';
import { type MeshPlan, meshOf, noMesh } from '../ingress/mesh.ts';
import { zoneLabel } from '../ingress/prefer.ts';
import { type Attachments, plan, type TablesForPlan } from '../plan.ts';
import type { Logger } from './log.ts';

/** What a plan is made of, and how it would differ. */
export interface PlanInputs {
  readonly tables: TablesForPlan | null;
  readonly attachments: Attachments;
}
export type PlanChange = (now: PlanInputs) => PlanInputs;

export interface PlannerInit {
  readonly dataPlane: DataPlane;
  readonly log: Logger;
  /** null outside a cluster. */
  readonly cluster: () => Cluster | null;
  readonly attachments: () => Attachments;
  /** It was handed over. */
  readonly planned: (desired: Desired) => void;
}

/** Turns tables and attachments into the wanted kernel state, and hands it to the data plane. */
export class Planner {
  readonly #init: PlannerInit;
  #scheduled = false;
  #generation = 0;
  #settled = true;
  #objections: readonly string[] = [];
  #desired: Desired = nothing;
  readonly #plan = new IncrementalPlan();
  /** Since the last plan. */
  #touched = new TouchedSince();
  #plannedFor: Cluster | null = null;

  constructor(init: PlannerInit) {
    this.#init = init;
  }

  /** Records that the last plan left out because they make no sense, one line each. */
  get objections(): readonly string[] {
    return this.#objections;
  }

  /** What the mesh asked of this host when it was last planned. */
  get plannedMesh(): MeshPlan {
    return this.#plan.mesh ?? noMesh;
  }

  /** What the mesh asks of this host now, before it is planned. */
  get mesh(): MeshPlan {
    const tables = this.#tables();
    return tables === null ? noMesh : meshOf(tables);
  }

  /** What the last plan asked for. */
  get desired(): Desired {
    return this.#desired;
  }

  /** Tables have changed: plans soon. */
  heard(touched: TouchedForPlan): void {
    this.#touched.add(touched);
    this.wake();
  }

  /** Nodes came to be there, or not: connections go to others. */
  heardOfLiveness(): void {
    this.heard({ nodes: false, networks: false, services: true, endpoints: new Map() });
  }

  /** Plans soon; many changes of one moment make one plan. */
  wake(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.planIfDue());
  }

  /** Plans now what `wake` asked for, if it has not been planned yet. */
  planIfDue(): void {
    if (this.#scheduled) this.planNow();
  }

  /** What would be wanted if tables and attachments were others. */
  preview(change: PlanChange): Desired {
    const { tables, attachments } = change({ tables: this.#tables(), attachments: this.#init.attachments() });
    return plan(tables, attachments).desired;
  }

  #tables(): TablesForPlan | null {
    const cluster = this.#init.cluster();
    if (cluster === null) return null;
    const { self, identity, view, liveness } = cluster;
    return {
      ...{ self, vtep: identity.vtep, port: view.cluster?.dataPathPort ?? defaultDataPathPort },
      ...{ nodes: view.nodes, networks: view.networks, services: view.services, endpoints: view.endpoints },
      isUp: (node) => (node === self || !liveness.isSuspended(node)) && !view.isDrained(node),
      doubted: liveness.doubted(),
      zoneOf: (node) => view.nodeLabels(node)[zoneLabel] ?? null,
    };
  }

  planNow(): void {
    this.#scheduled = false;
    const { dataPlane, log } = this.#init;
    const cluster = this.#init.cluster();
    const tables = this.#tables();
    const touched = cluster === this.#plannedFor ? this.#touched : null;
    this.#plannedFor = cluster;
    this.#touched = new TouchedSince();
    const { desired, objections } = this.#plan.next(tables, this.#init.attachments(), touched);
    for (const line of objections) if (!this.#objections.includes(line)) log.warn({}, line);
    this.#objections = objections;
    this.#desired = desired;
    const generation = dataPlane.set(desired, { prune: true });
    this.#generation = generation;
    this.#settled = false;
    this.#init.planned(desired);
    dataPlane.settled(generation).then(
      () => {
        // An older plan that is done says nothing of the newer one.
        if (this.#generation === generation) this.#settled = true;
      },
      () => {
        // The data plane has stopped.
      },
    );
  }

  /** What the kernel still lacks, in one line; '' for nothing. */
  pending(): string {
    if (this.#scheduled || !this.#settled) return 'kernel: programming';
    const notDone = [...this.#init.dataPlane.status()].filter(([, { state }]) => state !== 'ok');
    const [first] = notDone;
    return first === undefined ? '' : `kernel: ${notDone.length} not done, first ${first[0]}`;
  }
}
