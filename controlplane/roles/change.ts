import { encode } from '../encoding.ts';
import type { Environment, Log } from '../environment.ts';
import { ControlPlaneError } from '../errors.ts';
import type { Role } from '../identity/certificates.ts';
import type { NodeId } from '../ids.ts';
import type { HybridClock } from '../tables/clock.ts';
import { clusterTopic } from '../tables/record.ts';
import type { Tables } from '../tables/tables.ts';
import type { View } from '../tables/view.ts';
import type { Decision } from './decide.ts';
import type { Roles } from './roles.ts';

const askTimeoutMs = 10_000;
// A manager that was asked to stand down, and is not demoted by then, goes on.
const standDownMs = 30_000;

export interface RoleChangeInit {
  readonly tables: Tables;
  readonly view: View;
  readonly roles: Roles;
  readonly clock: HybridClock;
  readonly transport: {
    canReach(node: NodeId): boolean;
    request(node: NodeId, method: string, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array>;
  };
  readonly environment: Environment;
  readonly log: Log;
  readonly isManager: () => boolean;
  /** One full exchange with that node. */
  readonly catchUp: (node: NodeId) => Promise<void>;
  /** Gives what only a manager may own to that manager. */
  readonly handOver: (to: NodeId) => Promise<void>;
  /** Writes again what would go with a manager's role. */
  readonly takeOver: (from: NodeId) => Promise<void>;
}

/** Promotion and demotion: how managers change the role of a node, and how a node gives its own up. */
export class RoleChange {
  readonly #init: RoleChangeInit;
  #standingDown: (() => void) | null = null;

  constructor(init: RoleChangeInit) {
    this.#init = init;
  }

  /** Whether this node has stopped acting as a manager, since it is about to be none. */
  get isStandingDown(): boolean {
    return this.#standingDown !== null;
  }

  stop(): void {
    this.#standingDown?.();
  }

  /**
   * Makes a node what it is to be; it gets the certificate by itself.
   * @returns false when it is that already
   * @throws ControlPlaneError `not_manager`, `last_manager`, `no_manager_reachable`, `role_contested`
   */
  async set(subject: NodeId, role: Role): Promise<boolean> {
    const { roles, tables, view } = this.#init;
    const verb = role === 'manager' ? 'promote' : 'demote';
    if (!this.#init.isManager()) {
      throw new ControlPlaneError(
        'not_manager',
        `only a manager can ${verb} a node`,
        'run the command on a manager: `weft node ls` shows which nodes are',
      );
    }
    if (roles.wanted(subject) === role) return false;
    const name = view.nodes.get(subject)?.hostname ?? subject;
    if (
      role === 'worker' &&
      !roles.managers().some((id) => id !== subject && (id === tables.self || view.nodes.has(id)))
    ) {
      throw new ControlPlaneError(
        'last_manager',
        `${name} is the last manager: without it the cluster could not be changed or joined any more`,
        'promote another node first: `weft node promote NODE`',
      );
    }
    // Nobody decides on itself, or two that are the last might both go.
    if (subject === tables.self) return this.#askToStepDown();
    const demoted = (cause?: unknown): ControlPlaneError =>
      new ControlPlaneError(
        'not_manager',
        `this node was demoted while it was about to ${verb} ${name}`,
        'run the command on a manager: `weft node ls` shows which nodes are',
        cause,
      );
    try {
      if (role === 'worker') await this.#prepare(subject, name);
    } catch (error) {
      throw error instanceof ControlPlaneError || this.#init.isManager() ? error : demoted(error);
    }
    // The decision would be written all the same, and count for nothing.
    if (!this.#init.isManager()) throw demoted();
    await this.#write(subject, role, name);
    return true;
  }

  /** Until the role goes, what the demoted one wrote by it has to be here and to stand here in this node's name. */
  async #prepare(subject: NodeId, name: string): Promise<void> {
    const { transport, catchUp, takeOver, log } = this.#init;
    if (transport.canReach(subject)) {
      try {
        await transport.request(subject, 'stand-down', encode([]), AbortSignal.timeout(askTimeoutMs));
        await catchUp(subject);
      } catch (error) {
        log.warn({ err: error, node: subject, name }, 'a manager is demoted without having handed over');
      }
    }
    await takeOver(subject);
  }

  async #write(subject: NodeId, role: Role, name: string): Promise<void> {
    const { roles, tables, clock } = this.#init;
    const stamp = clock.next(roles.decisionOn(subject)?.stamp);
    const decision: Decision = { writer: tables.self, subject, role, stamp };
    const lost = roles.lostBy(decision);
    if (lost.length > 0) {
      const others = lost.map((id) =>
        id === tables.self ? 'this node' : (this.#init.view.nodes.get(id)?.hostname ?? id),
      );
      throw new ControlPlaneError(
        'role_contested',
        `changing the role of ${name} here would also take the role of ${others.join(', ')} away, which rests on it`,
        'run the command on another manager, or again once all managers are connected',
      );
    }
    await tables.put(clusterTopic, `role/${subject}`, { stamp: [...stamp], role });
  }

  async #askToStepDown(): Promise<boolean> {
    const { roles, transport, log, tables } = this.#init;
    for (const manager of roles.managers()) {
      if (manager === tables.self || !transport.canReach(manager)) continue;
      try {
        await transport.request(manager, 'step-down', encode([]), AbortSignal.timeout(2 * askTimeoutMs));
        return true;
      } catch (error) {
        log.warn({ err: error, manager }, 'a manager did not demote this node; asking the next');
      }
    }
    throw new ControlPlaneError(
      'no_manager_reachable',
      'no other manager could be asked to demote this node',
      'try again when another manager is connected',
    );
  }

  /** Answers `step-down`: a manager wants to be none. */
  async answerStepDown(from: NodeId): Promise<Uint8Array> {
    await this.set(from, 'worker');
    return encode([]);
  }

  /** Answers `stand-down`: a manager is about to demote this node, which writes nothing more of a manager's kinds. */
  async answerStandDown(from: NodeId): Promise<Uint8Array> {
    const { roles, environment, tables, handOver, isManager } = this.#init;
    if (!roles.managers().includes(from)) throw new Error('only a manager may ask for that');
    if (isManager()) {
      const cancel = environment.timer(standDownMs, () => this.stop());
      this.#standingDown = () => {
        cancel();
        this.#standingDown = null;
      };
      await handOver(from);
    }
    await tables.flushed();
    return encode([]);
  }
}
