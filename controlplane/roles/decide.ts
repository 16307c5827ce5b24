import type { Role } from '../identity/certificates.ts';
import type { NodeId } from '../ids.ts';
import { compareTimestamps, type Timestamp } from '../tables/clock.ts';

/** What one manager has written of another node's role: `role/<subject>`. */
export interface Decision {
  readonly writer: NodeId;
  readonly subject: NodeId;
  readonly role: Role;
  readonly stamp: Timestamp;
}

export interface Roles {
  /** Nodes whose records of a manager's kinds count. */
  readonly managers: ReadonlySet<NodeId>;
  /** For each node that was decided on, the decision that holds. */
  readonly decided: ReadonlyMap<NodeId, Decision>;
}

/**
 * Who is a manager. A certificate says what a node may be; decisions take the role away and give it back, in the order
 * of their stamps, and each counts only if its writer was a manager at that point. Nobody decides on itself, so of two
 * managers that demote each other one stays, the same one everywhere, and a cluster never loses its last manager this
 * way. Pure: the order in which certificates and decisions arrived does not matter.
 */
export function rolesOf(certified: Iterable<readonly [NodeId, Role]>, decisions: Iterable<Decision>): Roles {
  const able = new Set<NodeId>();
  for (const [nodeId, role] of certified) if (role === 'manager') able.add(nodeId);
  const managers = new Set(able);
  const decided = new Map<NodeId, Decision>();
  const inOrder = [...decisions].sort((a, b) => compareTimestamps(a.stamp, b.stamp) || order(a, b));
  for (const decision of inOrder) {
    const { writer, subject, role } = decision;
    if (writer === subject || !managers.has(writer)) continue;
    decided.set(subject, decision);
    if (role === 'worker') managers.delete(subject);
    else if (able.has(subject)) managers.add(subject);
  }
  return { managers, decided };
}

const order = (a: Decision, b: Decision): number =>
  compare(a.writer, b.writer) || compare(a.subject, b.subject) || compare(a.role, b.role);
const compare = (a: string, b: string): number => (a < b ? -1 : Number(a > b));
