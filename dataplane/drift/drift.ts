import type { Difference } from '../diff/diff.ts';
import { parseOurName } from '../names.ts';
import { foreignObject } from '../objects.ts';
import type { Observed } from '../observe/observed.ts';
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

/** What is not as wanted, by a listing of the kernel. Pure. */
export function findingsOf({ steps, conflicts }: Difference, observed: Observed): Finding[] {
  const findings = [
    ...steps.map(({ object, why }): Finding => ({ object, what: kindOf(why), why })),
    ...conflicts.map(({ object, why }): Finding => ({ object, what: lacks.test(why) ? 'missing' : 'foreign', why })),
    ...foreignIn(observed),
  ];
  // Of several steps for one reason one says it all.
  return [...new Map(findings.map((finding) => [keyOf(finding), finding])).values()];
}

/** Of a conflict: nothing is in the way, but something is not there that others have to make. */
const lacks = /(does not exist|on this host( yet)?)$/;

/** By the words of `Step.why`. */
function kindOf(why: Step['why']): Finding['what'] {
  if (/\bmissing$/.test(why)) return 'missing';
  return /\bextra$/.test(why) ? 'extra' : 'wrong';
}

/** What of somebody else's is in the overlay namespace or on our devices there. */
function foreignIn({ weft }: Observed): Finding[] {
  const found: Finding[] = [];
  const add = (name: string, why: string): void =>
    void found.push({ object: foreignObject(name), what: 'foreign', why });
  for (const [name, { kind }] of weft.devices) {
    if (name !== 'lo' && parseOurName(name) === null) add(name, `a ${kind || 'plain'} device that is not ours`);
  }
  for (const [device, entries] of weft.foreignFdb) {
    for (const [mac, vtep] of entries) add(`${device}/${mac}`, `FDB entry to ${vtep} that is not ours`);
  }
  for (const [device, { neighbours }] of weft.tunnels) {
    for (const [ip, { mac, ours }] of neighbours)
      if (!ours) add(`${device}/${ip}`, `neighbour ${mac} that is not ours`);
  }
  return found;
}

const keyOf = ({ object, why }: Finding): string => `${object} ${why}`;

/** Since when things are not as wanted. Holds what the last listing found, up to a bound, and no more. */
export class DriftBook {
  readonly #findingsMax: number;
  #found = new Map<string, Drift>();

  /** @param findingsMax those beyond it are new each time */
  constructor(findingsMax = 10_000) {
    this.#findingsMax = findingsMax;
  }

  /** Takes over what a listing found. */
  update(findings: readonly Finding[], nowMs: number): { readonly all: Drift[]; readonly fresh: Drift[] } {
    const all: Drift[] = [];
    const fresh: Drift[] = [];
    const found = new Map<string, Drift>();
    for (const finding of findings) {
      const key = keyOf(finding);
      const before = this.#found.get(key);
      const drift = { ...finding, sinceMs: before?.sinceMs ?? nowMs };
      all.push(drift);
      if (!before) fresh.push(drift);
      if (found.size < this.#findingsMax) found.set(key, drift);
    }
    this.#found = found;
    return { all, fresh };
  }
}
