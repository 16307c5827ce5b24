import type { Log } from '../environment.ts';
import type { NodeId } from '../ids.ts';
import type { FenceValue } from '../tables/kinds.ts';
import { clusterTopic } from '../tables/record.ts';
import { isPool, type RingId, ringPools } from '../tables/subnets.ts';
import type { Tables } from '../tables/tables.ts';
import type { Touched, View } from '../tables/view.ts';
import type { Allocator } from './allocator.ts';
import { nextStep, type Promises } from './fence.ts';
import { type Owned, reclaimGeneration } from './ring.ts';
import { writeGrant } from './write.ts';

export interface InheritanceInit {
  readonly tables: Tables;
  readonly view: View;
  readonly allocator: Allocator;
  readonly log: Log;
  readonly isManager: () => boolean;
  /** Managers that are known and not removed. */
  readonly managers: () => readonly NodeId[];
}

/**
 * What becomes of numbers whose owner gives them up or is no more. Who can still speak hands them over itself, to a
 * manager; what a removed node owned is reclaimed behind a fence of promises (fence.ts). In both cases a manager writes
 * down, before the node's records go, whatever only those records could prove.
 */
export class Inheritance {
  readonly #init: InheritanceInit;
  /** Removed nodes that still own something here, and the rings in which they do. */
  readonly #estates = new Map<NodeId, Set<RingId>>();
  #working: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(init: InheritanceInit) {
    this.#init = init;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Rings that this node knows. */
  #rings(): RingId[] {
    return [
      ...ringPools,
      ...[...this.#init.view.networks.values()].flatMap(({ subnets }) => subnets.map(({ ring }) => ring)),
    ];
  }

  // Leaving

  /** Gives all that this node owns to that manager. @param rings all where none are named */
  async handOver(to: NodeId, rings: readonly RingId[] = this.#rings()): Promise<void> {
    for (const ring of rings) await this.#init.allocator.giveAll(ring, to);
  }

  /**
   * Writes down what only that node's grants can prove, so that they are not missed when they go. What this node got
   * from it rests a while, unless it is of a pool.
   */
  async vouch(node: NodeId): Promise<void> {
    const { tables, view } = this.#init;
    for (const ring of this.#rings()) {
      const custody = view.custody(ring);
      for (const run of custody.dependingOn(node)) {
        if (run.generation === 0) continue;
        if (run.owner === tables.self && custody.giverOf(run) === node) this.#rest(ring, run);
        await writeGrant(tables, ring, run, run.owner);
      }
    }
  }

  /**
   * Which addresses of a range were in use a moment ago only the owner before knew. Which subnets and VNIs are in use
   * every manager knows, by the networks.
   */
  #rest(ring: RingId, run: Owned): void {
    if (!isPool(ring)) this.#init.allocator.resting.rest(ring, run);
  }

  /** Whether all that only that node's grants could prove is proved by others' now, in the rings that are known here. */
  isInherited(node: NodeId): boolean {
    return this.#rings().every((ring) => this.#init.view.custody(ring).dependingOn(node).length === 0);
  }

  // Removed nodes

  /** What follows from a change of the tables. */
  follow({ removed, rings, fences, nodes }: Pick<Touched, 'removed' | 'rings' | 'fences' | 'nodes'>): void {
    const { view } = this.#init;
    for (const ring of rings) this.#assess(ring);
    if (removed.length > 0) for (const ring of this.#rings()) this.#assess(ring);
    if (!this.#init.isManager() || this.#estates.size === 0) return;
    if (removed.length + rings.size + fences.size === 0 && !nodes) return;
    this.#working = this.#working.then(async () => {
      try {
        for (const node of [...this.#estates.keys()]) if (view.isRemoved(node)) await this.#settle(node);
      } catch (error) {
        if (!this.#stopped) this.#init.log.error({ err: error }, 'taking over what a removed node owned failed');
      }
    });
  }

  #assess(ring: RingId): void {
    const { view } = this.#init;
    const owners = new Set(view.custody(ring).runs.map(({ owner }) => owner));
    for (const [node, rings] of this.#estates) {
      if (owners.has(node)) continue;
      rings.delete(ring);
      if (rings.size === 0) this.#estates.delete(node);
    }
    for (const owner of owners) {
      if (view.isRemoved(owner)) this.#estates.set(owner, (this.#estates.get(owner) ?? new Set()).add(ring));
    }
  }

  async #settle(node: NodeId): Promise<void> {
    const { tables } = this.#init;
    while (!this.#stopped && this.#estates.has(node)) {
      const step = nextStep(this.#promises(node));
      if (step.do === 'wait') return;
      if (step.do === 'reclaim') {
        for (const ring of [...(this.#estates.get(node) ?? [])]) await this.#reclaim(ring, node, step.ballot);
        return;
      }
      const value: FenceValue = { heir: step.do === 'promise' ? step.heir : tables.self, ballot: step.ballot };
      await tables.put(clusterTopic, `fence/${node}/${step.do === 'promise' ? step.ballot : 'heir'}`, value);
    }
  }

  async #reclaim(ring: RingId, node: NodeId, ballot: number): Promise<void> {
    const { view, tables } = this.#init;
    let last: Owned | undefined;
    for (let [run] = view.custody(ring).of(node); run !== undefined; [run] = view.custody(ring).of(node)) {
      if (run.start === last?.start && run.generation === last.generation) return;
      last = run;
      this.#rest(ring, run);
      await writeGrant(tables, ring, { ...run, generation: reclaimGeneration(run.generation, ballot) }, tables.self);
    }
  }

  #promises(node: NodeId): Promises {
    const { view, tables } = this.#init;
    const said = view.promises(node);
    // Who takes part in it is a manager also where its node record is not here yet.
    const parties = [...said.removers, ...said.settled.keys()];
    for (const promises of said.ballots.values()) for (const [by, heir] of promises) parties.push(by, heir);
    const managers = new Set([tables.self, ...this.#init.managers(), ...parties.filter((id) => !view.isRemoved(id))]);
    return { self: tables.self, managers, ...said };
  }

  /** Removed nodes whose numbers rest, the rings, and the managers that have not promised them yet. */
  waiting(): { readonly node: NodeId; readonly rings: readonly RingId[]; readonly for: readonly NodeId[] }[] {
    return [...this.#estates].map(([node, rings]) => ({ node, rings: [...rings], for: this.waitsFor(node) }));
  }

  /** Managers whose promise is missing before that removed node's numbers can be used again. */
  waitsFor(node: NodeId): readonly NodeId[] {
    const promises = this.#promises(node);
    const heirs = [...promises.settled.keys()].filter((id) => promises.managers.has(id));
    if (heirs.length > 0) return heirs;
    const last = Math.max(0, ...promises.ballots.keys());
    return [...promises.managers].filter((id) => !promises.ballots.get(last)?.has(id) && this.#isManager(id)).sort();
  }

  #isManager(id: NodeId): boolean {
    return this.#init.managers().includes(id);
  }
}
