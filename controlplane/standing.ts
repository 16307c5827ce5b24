import type { Environment, Log } from './environment.ts';
import type { NodeId } from './ids.ts';
import type { Offences } from './offences.ts';
import type { Grant } from './ring/ring.ts';
import type { View } from './tables/view.ts';

// What makes a claim true may be on its way. One that is looked at twice and still false is an offence.
const lookEveryMs = 15_000;
// Of two grants that follow each other the second is seldom more than a pull behind.
const doubtMs = 3_000;
const settleEveryMs = 2_000;

const strangeGrant = 'grant over numbers that it does not own';
const strangeVtep = 'node record with the VTEP of this node';

export interface StandingInit {
  readonly self: NodeId;
  readonly view: View;
  readonly offences: Offences;
  readonly isSuspended: (node: NodeId) => boolean;
  readonly environment: Environment;
  readonly log: Log;
}

/** Names those whose records stay untrue: they are not shown to readers, but somebody should know who writes them. */
export class Standing {
  readonly #self: NodeId;
  readonly #view: View;
  readonly #offences: Offences;
  readonly #isSuspended: (node: NodeId) => boolean;
  readonly #environment: Environment;
  readonly #log: Log;
  /** Grants without effect when this was looked at last. */
  #grants: ReadonlySet<Grant> = new Set();
  /** Nodes that claimed this node's VTEP then. */
  #doubles: ReadonlySet<NodeId> = new Set();
  /** What was reported, and how many records of it: node -> what -> count. */
  #reported = new Map<NodeId, Map<string, number>>();
  #cancelLook: () => void = () => {};
  #cancelSettle: () => void = () => {};

  constructor(init: StandingInit) {
    this.#self = init.self;
    this.#view = init.view;
    this.#offences = init.offences;
    this.#isSuspended = init.isSuspended;
    this.#environment = init.environment;
    this.#log = init.log;
  }

  start(): void {
    this.#scheduleLook();
    this.#scheduleSettle();
  }

  stop(): void {
    this.#cancelLook();
    this.#cancelSettle();
  }

  #scheduleLook(): void {
    this.#cancelLook = this.#environment.timer(lookEveryMs, () => {
      this.look();
      this.#scheduleLook();
    });
  }

  #scheduleSettle(): void {
    this.#cancelSettle = this.#environment.timer(settleEveryMs, () => {
      this.#view.settle(this.#environment.monotonicMs() - doubtMs);
      this.#scheduleSettle();
    });
  }

  look(): void {
    const found = this.#find();
    for (const [node, kinds] of this.#reported) {
      for (const what of kinds.keys()) if (!found.get(node)?.has(what)) this.#offences.clear(node, what);
    }
    for (const [node, kinds] of found) {
      for (const [what, count] of kinds) {
        const before = this.#reported.get(node)?.get(what);
        if (before === count) continue;
        this.#offences.clear(node, what);
        this.#offences.report(node, what, count);
        if (before === undefined)
          this.#log.warn({ node, what, count }, 'records of a node stay untrue, and are ignored');
      }
    }
    this.#reported = found;
  }

  #find(): Map<NodeId, Map<string, number>> {
    const found = new Map<NodeId, Map<string, number>>();
    const add = (node: NodeId, what: string): void => {
      if (node === this.#self) return;
      const kinds = found.get(node) ?? new Map<string, number>();
      found.set(node, kinds.set(what, (kinds.get(what) ?? 0) + 1));
    };
    const longAgo = this.#environment.monotonicMs() - lookEveryMs;
    for (const { endpoint, why, sinceMs } of this.#view.ownership.hidden()) {
      if (sinceMs <= longAgo) add(endpoint.owner, why);
    }
    const grants = new Set<Grant>();
    for (const ring of this.#view.ownership.rings) {
      for (const grant of this.#view.custody(ring).unfounded()) {
        grants.add(grant);
        if (this.#grants.has(grant)) add(grant.by, strangeGrant);
      }
    }
    this.#grants = grants;
    // Two that swap their addresses have the same one for a moment; one that is down may be what this host was before.
    const doubles = new Set(doublesOf(this.#self, this.#view).filter((node) => !this.#isSuspended(node)));
    for (const node of doubles) if (this.#doubles.has(node)) add(node, strangeVtep);
    this.#doubles = doubles;
    return found;
  }
}

/** Other nodes that say they have this node's VTEP. */
function doublesOf(self: NodeId, view: View): NodeId[] {
  const own = view.nodes.get(self)?.vtep;
  return [...view.nodes].flatMap(([node, { vtep }]) => (vtep === own && node !== self ? [node] : []));
}

/** VTEPs that two or more nodes say they have, and which nodes. */
export function sharedVteps(view: View): Map<string, NodeId[]> {
  const byVtep = new Map<string, NodeId[]>();
  for (const [node, { vtep }] of view.nodes) byVtep.set(vtep, [...(byVtep.get(vtep) ?? []), node]);
  return new Map([...byVtep].filter(([, { length }]) => length > 1));
}
