import type { NodeId } from '../../controlplane/ids.ts';
import type { Service } from '../../controlplane/tables/services.ts';

/** Where this node is, and where others are. */
export interface Places {
  readonly self: NodeId;
  /** What managers have labelled it with; null for a node without a zone. */
  readonly zoneOf: (node: NodeId) => string | null;
}

/**
 * Those of nodes that are not in doubt, as long as there is one, else all: who is suspected of being cut off is led to by
 * nobody before it is known, which costs nothing where others serve, too. Pure.
 */
export function undoubted<T extends { readonly owner: NodeId }>(
  all: readonly T[],
  doubted: ReadonlySet<NodeId> = nobody,
): readonly T[] {
  if (doubted.size === 0) return all;
  const sure = all.filter(({ owner }) => !doubted.has(owner));
  return sure.length === 0 ? all : sure;
}

const nobody: ReadonlySet<NodeId> = new Set();

/** The label of a node that says in which zone it is. */
export const zoneLabel = 'zone';

/**
 * Of those that take connections the ones to lead to from here: the near ones, as long as there is one, else all. Pure. A node
 * without a zone is near to nobody by it.
 */
export function preferred<T extends { readonly owner: NodeId }>(
  prefer: Service['prefer'],
  all: readonly T[],
  { self, zoneOf }: Places,
): readonly T[] {
  if (prefer === undefined) return all;
  const zone = prefer === 'zone' ? zoneOf(self) : null;
  if (prefer === 'zone' && zone === null) return all;
  const near = all.filter(({ owner }) => (zone === null ? owner === self : zoneOf(owner) === zone));
  return near.length === 0 ? all : near;
}
