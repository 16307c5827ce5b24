import type { Environment, Log } from '../environment.ts';
import type { Role } from '../identity/certificates.ts';
import type { NodeId } from '../ids.ts';
import type { RoleValue } from '../tables/kinds.ts';
import type { Members } from '../tables/members.ts';
import { clusterTopic } from '../tables/record.ts';
import type { Tables } from '../tables/tables.ts';
import { type Decision, rolesOf } from './decide.ts';

// How often a decision is looked at again whose writer's stream still has a gap before it; gaps are pulled at once.
const gapCheckMs = 250;
const prefix = 'role/';

export interface RolesInit {
  readonly tables: Tables;
  readonly members: Members;
  readonly environment: Environment;
  readonly log: Log;
}

/** Who is a manager now, by certificates and by the managers' decisions; what a node wrote is judged by it. */
export class Roles {
  readonly #init: RolesInit;
  readonly #watchers = new Set<() => void>();
  #decided: ReadonlyMap<NodeId, Decision> = new Map();
  #cancel: () => void = () => {};
  /** Nodes whose records are to be looked at again. */
  readonly #stale = new Set<NodeId>();
  #waiting = false;

  constructor(init: RolesInit) {
    this.#init = init;
  }

  /** Before the door is open: the tables were loaded by what the certificates say. */
  start(): void {
    const { members, tables } = this.#init;
    this.#decide();
    this.#stale.add(tables.self);
    this.#reconsider();
    members.onRole = (nodeId) => {
      this.#stale.add(nodeId);
      this.follow();
    };
  }

  stop(): void {
    this.#init.members.onRole = () => {};
    this.#cancel();
    this.#watchers.clear();
  }

  /** @param watcher is told when roles or decisions have changed */
  watch(watcher: () => void): void {
    this.#watchers.add(watcher);
  }

  /** The decision on that node that holds, if there is one. */
  decisionOn(nodeId: NodeId): Decision | null {
    return this.#decided.get(nodeId) ?? null;
  }

  /** What the node is meant to be: a certificate says something else until the node has renewed it. */
  wanted(nodeId: NodeId): Role | null {
    return this.#decided.get(nodeId)?.role ?? this.#init.members.certifiedRoleOf(nodeId);
  }

  /** Members that are managers now. */
  managers(): NodeId[] {
    const { members } = this.#init;
    return [...members.certified()].flatMap(([nodeId]) => (members.roleOf(nodeId) === 'manager' ? [nodeId] : []));
  }

  /** Decisions of that node which hold, for whoever takes them over. */
  decisionsBy(nodeId: NodeId): Decision[] {
    return [...this.#decided.values()].filter(({ writer }) => writer === nodeId);
  }

  /**
   * Who else would stop being a manager if `next` held and its subject had the certificate that it asks for: decisions
   * rest on their writers.
   */
  lostBy(next: Decision): NodeId[] {
    const certified = [...this.#init.members.certified()];
    const after = certified.map(([id, role]) => [id, id === next.subject ? next.role : role] as const);
    const others = this.#decisions().filter(
      ({ writer, subject }) => writer !== next.writer || subject !== next.subject,
    );
    const { managers } = rolesOf(after, [...others, next]);
    return this.managers().filter((id) => id !== next.subject && !managers.has(id));
  }

  /** Certificates or decisions have changed: from now on other records count; those that are here are looked at next. */
  follow(): void {
    this.#decide();
    if (this.#waiting) return;
    this.#waiting = true;
    // Not from within the notification: hiding a record notifies again.
    this.#after(0);
  }

  #after(delayMs: number): void {
    this.#cancel();
    this.#cancel = this.#init.environment.timer(delayMs, () => {
      this.#waiting = false;
      this.#decide();
      this.#reconsider();
      for (const watcher of this.#watchers) watcher();
    });
  }

  #decide(): void {
    const { members } = this.#init;
    const certified = [...members.certified()];
    const { managers, decided } = rolesOf(certified, this.#decisions());
    this.#decided = decided;
    const demoted = new Set(certified.flatMap(([id, role]) => (role === 'manager' && !managers.has(id) ? [id] : [])));
    for (const id of [...demoted, ...members.demoted])
      if (demoted.has(id) !== members.demoted.has(id)) this.#stale.add(id);
    members.demoted = demoted;
  }

  #reconsider(): void {
    const stale = [...this.#stale];
    this.#stale.clear();
    const { members, tables } = this.#init;
    // The records of a removed node go as a whole, and not before they are inherited (removal.ts).
    for (const nodeId of stale) if (!members.isRemoved(nodeId)) tables.reconsider(clusterTopic, nodeId);
    this.#withdraw();
  }

  /** Own decisions that do not hold are taken back: they would come to life when what overrules them is replaced. */
  #withdraw(): void {
    const { tables, log } = this.#init;
    for (const { record } of [...tables.records(clusterTopic, prefix)]) {
      const { owner, key } = record;
      if (owner !== tables.self || this.decisionOn(key.slice(prefix.length) as NodeId)?.writer === owner) continue;
      tables
        .remove(clusterTopic, key)
        .catch((error: unknown) => log.error({ err: error }, 'taking a decision back failed'));
    }
  }

  /**
   * A manager takes over what another one wrote before it takes the role away: until all of that is here, the decision
   * waits, or networks that only the demoted one had defined would be gone for a moment, and all endpoints on them.
   */
  #decisions(): Decision[] {
    const { tables } = this.#init;
    const positions = tables.vector(clusterTopic);
    const decisions: Decision[] = [];
    for (const { record } of tables.records(clusterTopic, prefix)) {
      const { owner, epoch, seq } = record;
      const position = positions.get(owner);
      if (position?.epoch !== epoch || position.seq < seq) {
        if (!this.#waiting) this.#after(gapCheckMs);
        continue;
      }
      const { role, stamp } = record.value as RoleValue;
      decisions.push({ writer: owner, subject: record.key.slice(prefix.length) as NodeId, role, stamp });
    }
    return decisions;
  }
}
