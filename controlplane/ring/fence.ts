import type { NodeId } from '../ids.ts';

/**
 * Who takes over what a removed node owned, when no majority decides anything: only a manager that every manager it
 * knows has promised the inheritance to. A promise is made once for each ballot and never changed. When the promises of
 * a ballot differ, the next one's heir is the lowest that was promised. While a manager is silent all of it rests.
 */
export interface Promises {
  readonly self: NodeId;
  /** Managers that are known and not removed, this one included. */
  readonly managers: ReadonlySet<NodeId>;
  /** Managers that wrote the removal. */
  readonly removers: readonly NodeId[];
  /** Ballot -> who promised it -> to whom. */
  readonly ballots: ReadonlyMap<number, ReadonlyMap<NodeId, NodeId>>;
  /** Managers that have found all promises to be theirs, with the ballot; they promise nothing more. */
  readonly settled: ReadonlyMap<NodeId, number>;
}

export type Step =
  | { readonly do: 'promise'; readonly ballot: number; readonly heir: NodeId }
  /** All have promised it to this node: it says so before it acts. */
  | { readonly do: 'settle'; readonly ballot: number }
  | { readonly do: 'reclaim'; readonly ballot: number }
  | { readonly do: 'wait'; readonly for: readonly NodeId[] };

/** What this manager does next, by what it has heard. Pure. */
export function nextStep(promises: Promises): Step {
  const { self, removers, ballots, settled } = promises;
  const own = settled.get(self);
  if (own !== undefined) return { do: 'reclaim', ballot: own };
  // Who took part is known by that: two heirs that do not know each other could both find all promises theirs.
  const barred = (id: NodeId): boolean => promises.managers.has(id) === false;
  const heirs = [...settled.keys()].filter((id) => !barred(id));
  if (heirs.length > 0) return { do: 'wait', for: heirs };
  let ballot = 0;
  while (ballots.get(ballot)?.has(self)) ballot += 1;
  if (ballot === 0) {
    const heir = lowest([...(ballots.get(0)?.values() ?? [])], barred) ?? lowest(removers, barred) ?? self;
    return { do: 'promise', ballot, heir };
  }
  const last = ballots.get(ballot - 1) as ReadonlyMap<NodeId, NodeId>;
  const silent = [...promises.managers].filter((id) => !last.has(id));
  if (silent.length > 0) return { do: 'wait', for: silent.sort() };
  const promised = new Set([...last].flatMap(([by, heir]) => (barred(by) ? [] : [heir])));
  const [heir] = promised;
  if (promised.size === 1 && heir !== undefined && !barred(heir)) {
    return heir === self ? { do: 'settle', ballot: ballot - 1 } : { do: 'wait', for: [heir] };
  }
  const seen = [...promised, ...(ballots.get(ballot)?.values() ?? [])];
  const next = lowest(seen, barred) ?? lowest([...promises.managers], barred) ?? self;
  return { do: 'promise', ballot, heir: next };
}

function lowest(ids: readonly NodeId[], barred: (id: NodeId) => boolean): NodeId | null {
  return ids.filter((id) => !barred(id)).sort()[0] ?? null;
}
