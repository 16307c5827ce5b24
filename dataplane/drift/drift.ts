import type { Difference } from '../diff/diff.ts';
import { parseOurName } from '../names.ts';
import { foreignObject } from '../objects.ts';
import type { Observed } from '../observe/observed.ts';
import { eachOf } from '../slices.ts';
import type { Step } from '../steps.ts';

/** What becomes of drift: it is undone at once, or only listed until somebody asks for the repair. */
export type DriftMode = 'repair' | 'observe';

/** One way in which the kernel is not as it is wanted. */
export interface Finding {
  /** Status key (objects.ts). */
  readonly object: string;
  /** `foreign`: not ours, and left alone, whether it is in the way or not. */
  readonly what: 'missing' | 'extra' | 'wrong' | 'foreign';
  readonly why: string;
}

export interface Drift extends Finding {
  /** When it was first seen; milliseconds since 1970. */
  readonly sinceMs: number;
}

/** All that a listing found, and what of it was not found before. */
export interface Found {
  readonly all: readonly Drift[];
  readonly fresh: readonly Drift[];
}

/** What is not as wanted, by a listing of the kernel. Pure. */
export function* findingsOf({ steps, conflicts }: Difference, observed: Observed): Generator<void, Finding[]> {
  // Of several steps for one reason one says it all.
  const found = new Map<string, Finding>();
  const add = (object: string, what: Finding['what'], why: string): void =>
    void found.set(keyOf({ object, why }), { object, what, why });
  yield* eachOf(steps, ({ object, why }) => add(object, kindOf(why), why));
  yield* eachOf(conflicts, ({ object, why }) => add(object, lacks.test(why) ? 'missing' : 'foreign', why));
  yield* eachForeign(observed, (name, why) => add(foreignObject(name), 'foreign', why));
  return [...found.values()];
}

/** Of a conflict: nothing is in the way, but something is not there that others have to make. */
const lacks = /(does not exist|on this host( yet)?)$/;

/** By the words of `Step.why`. */
function kindOf(why: Step['why']): Finding['what'] {
  if (/\bmissing$/.test(why)) return 'missing';
  return /\bextra$/.test(why) ? 'extra' : 'wrong';
}

/** What of somebody else's is in the overlay namespace or on our devices there. */
function* eachForeign({ weft }: Observed, visit: (name: string, why: string) => void): Generator<void> {
  yield* eachOf(weft.devices, ([name, { kind }]) => {
    if (name !== 'lo' && parseOurName(name) === null) visit(name, `a ${kind || 'plain'} device that is not ours`);
  });
  for (const [device, entries] of weft.foreignFdb) {
    yield* eachOf(entries, ([mac, vtep]) => visit(`${device}/${mac}`, `FDB entry to ${vtep} that is not ours`));
  }
  for (const [device, { neighbours }] of weft.tunnels) {
    yield* eachOf(neighbours, ([ip, { mac, ours }]) => {
      if (!ours) visit(`${device}/${ip}`, `neighbour ${mac} that is not ours`);
    });
  }
}

const keyOf = ({ object, why }: Pick<Finding, 'object' | 'why'>): string => `${object} ${why}`;

/** Since when things are not as wanted. Holds what the last listing found, up to a bound, and no more. */
export class DriftBook {
  readonly #findingsMax: number;
  #found = new Map<string, Drift>();

  /** @param findingsMax those beyond it are new each time */
  constructor(findingsMax = 10_000) {
    this.#findingsMax = findingsMax;
  }

  /** Takes over what a listing found. */
  *update(findings: readonly Finding[], nowMs: number): Generator<void, Found> {
    const all: Drift[] = [];
    const fresh: Drift[] = [];
    const found = new Map<string, Drift>();
    yield* eachOf(findings, (finding) => {
      const key = keyOf(finding);
      const before = this.#found.get(key);
      const drift = { ...finding, sinceMs: before?.sinceMs ?? nowMs };
      all.push(drift);
      if (!before) fresh.push(drift);
      if (found.size < this.#findingsMax) found.set(key, drift);
    });
    this.#found = found;
    return { all, fresh };
  }
}
