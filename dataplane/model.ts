import type { DeviceIndexes } from './apply/apply.ts';
import type { Desired } from './desired.ts';
import { applyToModel } from './diff/after.ts';
import { namesOnHost } from './host-names.ts';
import type { Ear, Kernel } from './kernel.ts';
import { isOurHostDevice } from './names.ts';
import { hasTraces, type Observed } from './observe/observed.ts';
import { eachOf, inSlices } from './slices.ts';
import type { Step } from './steps.ts';

export interface ModelInit {
  readonly kernel: Kernel;
  readonly sweepMs: number;
  readonly now: () => number;
}

/** What is known of the kernel: listed whole from time to time, and carried forward by our own steps in between. */
export class Model {
  readonly indexes: DeviceIndexes = new Map();
  readonly #init: ModelInit;
  #known: Observed | null = null;
  /** Devices of the host that the last listing was for. */
  #listedNames: ReadonlySet<string> = new Set();
  #nextSweepAtMs = 0;
  #listings = 0;
  #lastListMs = 0;

  constructor(init: ModelInit) {
    this.#init = init;
  }

  get known(): Observed | null {
    return this.#known;
  }

  get nextSweepAtMs(): number {
    return this.#nextSweepAtMs;
  }

  get listings(): number {
    return this.#listings;
  }

  get lastListMs(): number {
    return this.#lastListMs;
  }

  /** What was known is not so, or may not be: the next pass lists. */
  forget(): void {
    this.#known = null;
  }

  sweepNow(): void {
    this.#nextSweepAtMs = 0;
  }

  /**
   * Makes it current for this wanted state; true when the whole kernel was listed for it, and `listing` called before that.
   * Throws what `observe` throws.
   */
  async refresh(desired: Desired, listener: Ear, listing: () => void): Promise<boolean> {
    const { kernel, sweepMs, now } = this.#init;
    const startMs = now();
    const names = [...namesOnHost(desired)];
    // A device of somebody else may have the name, and only those that were asked for were listed; our own always are.
    const areListed = names.every((name) => this.#listedNames.has(name) || isOurHostDevice(name));
    if (this.#known && areListed && startMs < this.#nextSweepAtMs) {
      const wanted = new Set<string>(desired.sandboxes.map(({ netns }) => netns));
      for (const [path, sandbox] of this.#known.sandboxes) {
        // Others' namespaces are left without what we had in them.
        if (!wanted.has(path) && !hasTraces(sandbox)) this.#known.sandboxes.delete(path);
      }
      await listener.follow(desired.sandboxes);
      if (await kernel.observeNewSandboxes(this.#known, desired)) {
        expectLegs(this.#known, desired);
        return false;
      }
    }
    this.indexes.clear();
    listener.dropReplaced();
    await listener.follow(desired.sandboxes);
    listener.clear();
    listing();
    // They are handed over and may come back: nobody else has them meanwhile.
    this.#known = await kernel.observe(desired, this.#known);
    expectLegs(this.#known, desired);
    this.#listedNames = new Set(names);
    this.#nextSweepAtMs = now() + sweepMs;
    this.#listings++;
    this.#lastListMs = now() - startMs;
    return true;
  }

  /** Writes down what the steps have changed. */
  async carry(steps: readonly Step[]): Promise<void> {
    const known = this.#known;
    if (known) await inSlices(eachOf(steps, (step) => applyToModel(known, step)));
  }
}

/** Writes down which devices others are about to take into sandboxes, and that these wait for. */
function expectLegs({ sandboxes }: Observed, desired: Desired): void {
  for (const { netns, returns, vips, overlayLegs } of desired.sandboxes) {
    const sandbox = sandboxes.get(netns);
    const handed = vips && overlayLegs.find((leg) => leg.handed);
    if (sandbox) sandbox.awaits = returns?.mac ?? handed?.mac ?? null;
  }
}
