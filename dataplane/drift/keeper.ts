import { type Difference, diffInParts } from '../diff/diff.ts';
import type { Failures } from '../failures.ts';
import type { Log } from '../log.ts';
import { randomMac } from '../mac.ts';
import type { Observed } from '../observe/observed.ts';
import { eachOf, inSlices } from '../slices.ts';
import type { Step } from '../steps.ts';
import type { Wanted } from '../wanted.ts';
import { DriftBook, type DriftMode, type Found, findingsOf } from './drift.ts';
import { FIGHT_WORDS, Fights, TRUCE_MS } from './pace.ts';

/** Lines a pass may log about its steps; the rest is counted. */
const LOGGED_MAX = 20;
/** Of each listing, and of each pass: what is more than this at once is one flood, and no turn of the event loop is kept for it. */
const CONSIDERED_MAX = 5_000;
const NONE: ReadonlySet<string> = new Set();
const NOT_REPAIRED = 'drift that is only observed (`weft drift --fix` repairs it)';

/** Tells drift from what is wanted anew, logs it, and says what is left as somebody else made it. */
export class DriftKeeper {
  mode: DriftMode;
  readonly #log: Log;
  readonly #failures: Failures;
  readonly #book = new DriftBook();
  readonly #fights = new Fights();
  /** Objects that drifted, by the last listing. */
  #drifted: ReadonlySet<string> = new Set();
  /** Those of them that are left alone, and why they are drift. */
  #held = new Map<string, string>();

  constructor({ mode, log, failures }: { mode: DriftMode; log: Log; failures: Failures }) {
    this.mode = mode;
    this.#log = log;
    this.#failures = failures;
  }

  /** Objects that are left as somebody else made them, and what to say of each. */
  get held(): ReadonlyMap<string, string> {
    return this.#held;
  }

  holds({ object, needs }: Step): boolean {
    return this.#held.size > 0 && (this.#held.has(object) || needs.some((need) => this.#held.has(need)));
  }

  /**
   * The kernel was listed. What differs from what the last pass applied is drift; what could not be applied, or is wanted
   * only since then, is not.
   * @param fix true: nothing is left alone this time
   */
  async listed(
    applied: Wanted | null,
    wanted: Wanted,
    difference: Difference,
    observed: Observed,
    fix: boolean,
  ): Promise<void> {
    const drift = applied === null ? [] : await this.#driftIn(applied, wanted, difference, observed);
    this.#drifted = await inSlices(objectsIn(drift));
    const held = this.mode === 'observe' && !fix ? drift : [];
    this.#held = new Map(held.map(({ object, why }) => [object, `${why}: ${NOT_REPAIRED}`]));
    const considered = { steps: drift.slice(0, CONSIDERED_MAX), conflicts: difference.conflicts };
    const { fresh } = await this.update(considered, observed);
    const lines = fresh.filter(({ object, what }) =>
      what === 'foreign' ? !this.#failures.error(object) : held.length > 0,
    );
    for (const { object, what, why } of lines.slice(0, LOGGED_MAX)) {
      if (what === 'foreign') this.#log.info({ object, why }, `left alone: ${object}: ${why}`);
      else this.#log.warn({ object, why }, `drift: ${object}: ${why} (not repaired: drift is only observed)`);
    }
    if (lines.length > LOGGED_MAX) this.#log.warn({}, `drift: ${lines.length - LOGGED_MAX} more`);
  }

  async #driftIn(
    applied: Wanted,
    wanted: Wanted,
    difference: Difference,
    observed: Observed,
  ): Promise<readonly Step[]> {
    let { steps } = difference;
    if (applied.desired !== wanted.desired || applied.prune !== wanted.prune) {
      // Only sandboxes that are still wanted were listed; and what nothing wants any more is no drift.
      const sandboxes = applied.desired.sandboxes.filter(({ netns }) => observed.sandboxes.has(netns));
      const desired = { ...applied.desired, sandboxes };
      steps = (await inSlices(diffInParts(desired, observed, { prune: false, randomMac }))).steps;
    }
    const failed = (object: string): boolean => this.#failures.error(object) !== undefined;
    return this.#failures.size === 0 ? steps : steps.filter(({ object, needs }) => ![object, ...needs].some(failed));
  }

  /** Takes over what a listing found; since when it is so. */
  async update(difference: Difference, observed: Observed): Promise<Found> {
    return inSlices(this.#book.update(await inSlices(findingsOf(difference, observed)), Date.now()));
  }

  /** Steps have been made. Returns how many of them undid a change by someone else. */
  async applied(steps: readonly Step[], listed: boolean, nowMs: number): Promise<number> {
    const [repairs, others] = await inSlices(split(steps, listed ? this.#drifted : NONE));
    this.#say(repairs, 'repaired drift', this.#log.warn);
    this.#say(others, 'applied', this.#log.debug);
    const counted = new Set<string>();
    for (const { object, why } of repairs.slice(0, CONSIDERED_MAX)) {
      const key = `${object} ${why}`;
      if (counted.has(key)) continue;
      counted.add(key);
      if (!this.#fights.repaired(key, nowMs)) continue;
      const error = new Error(`${object}: ${why}: ${FIGHT_WORDS}`);
      this.#failures.hold(object, error, nowMs + TRUCE_MS);
      this.#log.error({ object, err: error }, error.message);
    }
    return repairs.length;
  }

  #say(steps: readonly Step[], verb: string, write: Log['warn']): void {
    for (const { object, why, kind } of steps.slice(0, LOGGED_MAX)) {
      write.call(this.#log, { object, why, kind }, `${verb}: ${object}: ${why} (${kind})`);
    }
    const more = steps.length - LOGGED_MAX;
    if (more > 0) write.call(this.#log, { more }, `${verb}: ${more} more steps`);
  }
}

function* objectsIn(steps: readonly Step[]): Generator<void, Set<string>> {
  const objects = new Set<string>();
  yield* eachOf(steps, ({ object }) => void objects.add(object));
  return objects;
}

/** Those whose objects drifted, and the others. */
function* split(
  steps: readonly Step[],
  drifted: ReadonlySet<string>,
): Generator<void, [readonly Step[], readonly Step[]]> {
  if (drifted.size === 0) return [[], steps];
  const [repairs, others]: [Step[], Step[]] = [[], []];
  yield* eachOf(steps, (step) => void (drifted.has(step.object) ? repairs : others).push(step));
  return [repairs, others];
}
