import { decode, encode } from './encoding.ts';
import type { Environment, Log } from './environment.ts';
import { ControlPlaneError } from './errors.ts';
import { SignatureVerifier } from './identity/keys.ts';
import type { NodeId } from './ids.ts';
import type { Transport } from './mesh/transport.ts';
import type { Inheritance } from './ring/inheritance.ts';
import type { Roles } from './roles/roles.ts';
import type { HybridClock } from './tables/clock.ts';
import type { Members } from './tables/members.ts';
import { clusterTopic, decodeRecord, toWire, verifyRecord } from './tables/record.ts';
import type { Tables } from './tables/tables.ts';
import type { View } from './tables/view.ts';

// Until the answer to a node that leaves has gone out on the connection that is then closed.
const answerGraceMs = 500;
// How often a removal is looked at again whose writer's stream still has a gap before it; gaps are pulled at once.
const inheritanceCheckMs = 250;
// How long what the remover has written of the removed node's grants may take to get here, in the topics of the networks,
// after the removal itself, and how long until it is with those from whom it is pulled. More than that is not to come: the
// removed node lived on, and what it signed by then the remover never had.
const inheritanceMs = 6_000;
const spreadMs = 1_000;

export interface RemovalInit {
  readonly clusterId: string;
  readonly tables: Tables;
  readonly view: View;
  readonly members: Members;
  readonly transport: Transport;
  readonly inheritance: Inheritance;
  readonly roles: Roles;
  readonly clock: HybridClock;
  readonly environment: Environment;
  readonly log: Log;
  readonly isManager: () => boolean;
  readonly isSuspended: (nodeId: NodeId) => boolean;
  /** When the last full exchange that was finished began, on the clock that does not jump. */
  readonly exchangedMs: () => number;
  /** This node was removed by a manager. */
  readonly onRemoved: () => void;
}

/** Nodes that are barred for ever: how a manager removes one, and what every node does about it. */
export class Removal {
  readonly #init: RemovalInit;
  readonly #seen = new Set<NodeId>();
  /** Nodes whose own wish to leave is being answered. */
  readonly #leaving = new Set<NodeId>();
  readonly #timers = new Set<() => void>();

  constructor(init: RemovalInit) {
    this.#init = init;
  }

  /** Before the door is open: who was removed stays out. */
  start(): void {
    for (const nodeId of this.#init.view.removedNodes()) this.#init.members.remove(nodeId);
  }

  stop(): void {
    for (const cancel of this.#timers) cancel();
  }

  /** Whether this node has acted on the removal of that one. */
  has(nodeId: NodeId): boolean {
    return this.#seen.has(nodeId);
  }

  /**
   * Bars a node for ever and takes over what only it could hand out or change. @throws ControlPlaneError `not_manager`,
   * `node_not_down`
   */
  async remove(nodeId: NodeId, force: boolean): Promise<void> {
    const { tables, view, clock, isSuspended } = this.#init;
    const name = view.nodes.get(nodeId)?.hostname ?? nodeId;
    if (!this.#init.isManager()) {
      throw new ControlPlaneError('not_manager', 'only a manager can remove a node', 'run the command on a manager');
    }
    if (nodeId === tables.self) {
      throw new ControlPlaneError('node_is_self', 'a node cannot remove itself', 'run `weft leave` instead');
    }
    if (!force && !isSuspended(nodeId)) {
      throw new ControlPlaneError(
        'node_not_down',
        `node ${name} is not down and cannot be removed`,
        `run \`weft leave\` on it, or use --force`,
      );
    }
    await this.takeOver(nodeId);
    // Another manager has meanwhile: what that one took over may be gone here by now, so a removal of ours would say that it
    // had been said again which was not. Not so where that one's removal went with its own: nobody else says it then.
    if (view.isRemoved(nodeId)) return;
    await tables.put(clusterTopic, `removed/${nodeId}`, { stamp: [...clock.next()] });
  }

  /** Writes again, in this node's name, what that node wrote as a manager, and what only its grants could prove. */
  async takeOver(nodeId: NodeId): Promise<void> {
    const { inheritance, roles, tables, view } = this.#init;
    await inheritance.vouch(nodeId);
    for (const { key, value } of view.sharedBy(nodeId, tables.self)) await tables.put(clusterTopic, key, value);
    for (const { subject, role, stamp } of roles.decisionsBy(nodeId)) {
      if (subject !== tables.self) await tables.put(clusterTopic, `role/${subject}`, { stamp: [...stamp], role });
    }
  }

  /** The tables say that a node was removed: its connections, its certificate and its records go. */
  bar(nodeId: NodeId): void {
    if (this.#seen.has(nodeId)) return;
    this.#seen.add(nodeId);
    if (nodeId === this.#init.tables.self) {
      this.#init.onRemoved();
      return;
    }
    this.#init.members.remove(nodeId);
    // Not from within the notification: dropping its streams notifies again.
    this.#after(0, () => this.#dropOnceInherited(nodeId));
    // It finds out why when it dials again.
    if (!this.#leaving.has(nodeId)) this.#after(0, () => this.#quietly(this.#init.transport.disconnect(nodeId)));
  }

  /** Removes a node that asked for it, which is still to get the answer. */
  async removeLeaver(nodeId: NodeId): Promise<void> {
    this.#leaving.add(nodeId);
    try {
      await this.remove(nodeId, true);
    } finally {
      this.#after(answerGraceMs, () => {
        this.#leaving.delete(nodeId);
        if (this.has(nodeId)) this.#quietly(this.#init.transport.disconnect(nodeId));
      });
    }
  }

  /** What proves to a removed node that it was: the record, and the certificate of the manager that signed it. */
  statementOn(nodeId: NodeId): Uint8Array | null {
    const { members, tables } = this.#init;
    for (const signed of tables.records(clusterTopic, `removed/${nodeId}`)) {
      const certificate = members.get(signed.record.owner)?.certificate;
      if (certificate !== undefined) return encode([toWire(signed), certificate]);
    }
    return null;
  }

  /** Another node refused this one. @param statement what it said; believed when a manager of the cluster has signed it */
  told(statement: Uint8Array): void {
    const { members, tables, clusterId, log } = this.#init;
    let parts: unknown;
    try {
      parts = decode(statement);
    } catch {
      return;
    }
    const [wire, certificate] = Array.isArray(parts) ? (parts as unknown[]) : [];
    const signed = decodeRecord(wire);
    if (signed === null || !(certificate instanceof Uint8Array) || this.has(tables.self)) return;
    const { owner, topic, key, value } = signed.record;
    if (topic !== clusterTopic || key !== `removed/${tables.self}` || value === null) return;
    const known = members.recognise(certificate);
    if (!known.ok || known.member.nodeId !== owner || members.roleOf(owner) !== 'manager') return;
    if (!verifyRecord(new SignatureVerifier(), clusterId, signed)) return;
    log.info({ manager: owner }, 'a node that does not admit this one has shown that a manager removed it');
    this.bar(tables.self);
  }

  /**
   * The remover wrote what it took over before it wrote the removal: dropped any earlier, the networks that only the
   * removed node had defined would be gone for a moment, and all endpoints on them. Likewise, for a while, the endpoints of
   * those whose addresses came from it.
   * @param completeMs since when all that its remover wrote before is here that can come, by the clock that does not jump
   */
  #dropOnceInherited(nodeId: NodeId, completeMs = Number.POSITIVE_INFINITY): void {
    const { tables, environment } = this.#init;
    const positions = tables.vector(clusterTopic);
    const removals = [...tables.records(clusterTopic, `removed/${nodeId}`)];
    const inherited = removals.some(({ record: { owner, epoch, seq } }) => {
      const position = positions.get(owner);
      return position?.epoch === epoch && position.seq >= seq;
    });
    const nowMs = environment.monotonicMs();
    // A gap in the stream of a remover that is gone, with its disk maybe, is one that nobody may ever fill.
    const isComplete = inherited || removals.every(({ record: { owner } }) => this.#init.isSuspended(owner));
    const sinceMs = isComplete ? Math.min(completeMs, nowMs) : completeMs;
    const isRemover = removals.some(({ record }) => record.owner === tables.self);
    // Who is cut off meanwhile has not waited.
    const hasAsked = isRemover || this.#init.exchangedMs() >= sinceMs + spreadMs;
    // A manager then says itself what the remover did not come to say; the others give it the time.
    const isHeir = !inherited && this.#init.isManager();
    const isOver = hasAsked && nowMs >= sinceMs + (inherited || isHeir ? inheritanceMs : 2 * inheritanceMs);
    if (removals.length === 0 || isOver || (inherited && this.#init.inheritance.isInherited(nodeId))) {
      const takenOver = isOver && isHeir ? this.takeOver(nodeId) : Promise.resolve();
      this.#quietly(takenOver.then(() => tables.dropOwner(nodeId)));
      return;
    }
    // Grants of it that came in while it was being removed.
    if (isRemover && this.#init.isManager()) this.#quietly(this.#init.inheritance.vouch(nodeId));
    this.#after(inheritanceCheckMs, () => this.#dropOnceInherited(nodeId, sinceMs));
  }

  #after(delayMs: number, task: () => void): void {
    const cancel = this.#init.environment.timer(delayMs, () => {
      this.#timers.delete(cancel);
      task();
    });
    this.#timers.add(cancel);
  }

  #quietly(work: Promise<unknown>): void {
    work.catch((error: unknown) => this.#init.log.error({ err: error }, 'following a removal failed'));
  }
}
