import type { Outcome } from './apply/apply.ts';
import { deferred } from './deferred.ts';
import type { Desired, RemoteEndpoint } from './desired.ts';
import { type Difference, diffInParts } from './diff/diff.ts';
import { Doubts } from './drift/doubts.ts';
import type { Drift, DriftMode } from './drift/drift.ts';
import { DriftKeeper } from './drift/keeper.ts';
import { Failures, objectsOf } from './failures.ts';
import { Generations } from './generations.ts';
import { type Ear, hostKernel, type Kernel } from './kernel.ts';
import type { Log } from './log.ts';
import { randomMac } from './mac.ts';
import { Model } from './model.ts';
import { vxlanName } from './names.ts';
import { endpointObject } from './objects.ts';
import { type Preview, previewOf } from './preview.ts';
import { inSlices } from './slices.ts';
import type { ObjectStatus } from './status.ts';
import type { Vni } from './values.ts';
import type { SetOptions, Wanted } from './wanted.ts';

export interface DataPlaneOptions {
  readonly log: Log;
  /** Directory on a tmpfs that a reboot empties, for what must be remembered just as long as the kernel remembers it. */
  readonly runDir: string;
  /**
   * How often the kernel is listed whole. @default 9500: a change by someone else that was not heard of lasts ten seconds at
   * most, listing and repair included
   */
  readonly sweepMs?: number;
  /** What becomes of changes by someone else. @default repair */
  readonly drift?: DriftMode;
  /** @default 250 */
  readonly retryMinMs?: number;
  /** @default 10000 */
  readonly retryMaxMs?: number;
  /** Monotonic milliseconds. @default performance.now */
  readonly now?: () => number;
  /** @default that of this host */
  readonly kernel?: Kernel;
}

/** Counts since the start, durations of the last pass. */
export interface DataPlaneStats {
  readonly passes: number;
  readonly listings: number;
  /** Listings because somebody was heard to change something. */
  readonly doubts: number;
  readonly steps: number;
  /** Steps that undid a change by someone else. */
  readonly repairs: number;
  readonly failures: number;
  readonly lastPassMs: number;
  readonly lastListMs: number;
}

/**
 * Keeps the kernel as it is wanted. `set` hands over the whole wanted state; one loop takes the difference from what the
 * kernel is known to have and applies it. What is known is listed at the start, when the kernel is heard to have changed
 * otherwise, after any failure and on every sweep, and carried forward in between, so that a small change costs a small
 * step. Stopping leaves the kernel as it is.
 */
export class DataPlane implements AsyncDisposable {
  readonly #log: Log;
  readonly #kernel: Kernel;
  readonly #retryMinMs: number;
  readonly #retryMaxMs: number;
  readonly #now: () => number;
  readonly #failures: Failures;
  readonly #drift: DriftKeeper;
  readonly #model: Model;
  readonly #doubts: Doubts;
  readonly #stop = new AbortController();
  readonly #generations = new Generations(this.#stop.signal);
  #loop: Promise<void> | null = null;
  /** Passes, and listings for others: one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  #wanted: Wanted | null = null;
  /** What the last pass applied, to tell drift from a change of mind. */
  #applied: Wanted | null = null;
  #appliedRemotes = new Map<Vni, readonly RemoteEndpoint[]>();
  /** The next listing is for a repair of all drift, also of what is only observed. */
  #fix = false;
  #listFailure: { readonly error: Error; readonly delayMs: number; readonly retryAtMs: number } | null = null;
  #wake: () => void = () => undefined;
  #stats = { passes: 0, steps: 0, repairs: 0, failures: 0, lastPassMs: 0 };

  constructor(options: DataPlaneOptions) {
    const { log, runDir, sweepMs = 9_500, drift: mode = 'repair' } = options;
    this.#log = log;
    this.#kernel = options.kernel ?? hostKernel(runDir);
    this.#retryMinMs = options.retryMinMs ?? 250;
    this.#retryMaxMs = options.retryMaxMs ?? 10_000;
    this.#now = options.now ?? (() => performance.now());
    this.#failures = new Failures({ minMs: this.#retryMinMs, maxMs: this.#retryMaxMs });
    this.#drift = new DriftKeeper({ mode, log, failures: this.#failures });
    this.#doubts = new Doubts(log, this.#now);
    this.#model = new Model({ kernel: this.#kernel, sweepMs, now: this.#now });
  }

  get driftMode(): DriftMode {
    return this.#drift.mode;
  }

  /** What was only observed is repaired now, or from now on what drifts is left. */
  set driftMode(mode: DriftMode) {
    if (this.#drift.mode === mode) return;
    this.#drift.mode = mode;
    this.#model.sweepNow();
    this.#wakeUp();
  }

  /** Starts the loop; it ends with the signal. Throws when started twice. */
  start(signal: AbortSignal): void {
    if (this.#loop) throw new Error('the data plane is already started');
    const stop = (): void => this.#stop.abort();
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
    this.#stop.signal.addEventListener('abort', () => this.#wake(), { once: true });
    this.#loop = this.#run().finally(() => signal.removeEventListener('abort', stop));
  }

  /** Ends the loop after the pass it is in. The kernel goes on forwarding. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#loop;
  }

  /** Hands over the whole wanted state. Returns its generation, for `settled`. The last one wins. */
  set(desired: Desired, { prune }: SetOptions): number {
    if (this.#wanted?.desired === desired && this.#wanted.prune === prune) return this.#generations.last;
    this.#wanted = { desired, prune };
    return this.#wakeUp();
  }

  /** Lists the kernel, and repairs it unless drift is only observed, now; resolves when that is done. */
  async sweep(signal?: AbortSignal): Promise<void> {
    this.#model.sweepNow();
    await this.settled(this.#wakeUp(), signal);
  }

  /** Lists the kernel and repairs it now, also where drift is only observed. Resolves to the steps that this took. */
  async repair(signal?: AbortSignal): Promise<number> {
    const before = this.#stats.repairs;
    this.#fix = true;
    await this.sweep(signal);
    return this.#stats.repairs - before;
  }

  /** Lists the kernel, and what of it is not as wanted, or somebody else's in a place of ours. Changes nothing. */
  async drift(signal?: AbortSignal): Promise<readonly Drift[]> {
    await this.settled(undefined, signal);
    return this.#exclusively(async () => {
      const wanted = this.#applied;
      if (!wanted) return [];
      const observed = await this.#kernel.observe(wanted.desired);
      const difference = await inSlices(diffInParts(wanted.desired, observed, { prune: wanted.prune, randomMac }));
      return (await this.#drift.update(difference, observed)).all;
    });
  }

  /**
   * What would be done if this were wanted, beyond what is to be done anyway. Changes nothing.
   * @returns commands that a person with a root shell could run, and what would be in the way, one line each
   */
  async preview(desired: Desired, signal?: AbortSignal): Promise<Preview> {
    await this.settled(undefined, signal);
    return this.#exclusively(async () => previewOf(await this.#kernel.observe(desired), this.#applied, desired));
  }

  /** The same of what is wanted now: what is only observed, or could not be done. */
  async pending(signal?: AbortSignal): Promise<Preview> {
    await this.settled(undefined, signal);
    return this.#exclusively(async () => {
      const desired = this.#applied?.desired;
      return desired ? previewOf(await this.#kernel.observe(desired), null, desired) : { commands: [], conflicts: [] };
    });
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  #wakeUp(): number {
    const generation = this.#generations.next();
    this.#wake();
    return generation;
  }

  /**
   * Resolves when a pass has tried everything of this generation; what failed says `status`. Rejects when the signal
   * aborts or the data plane stops first.
   */
  async settled(generation = this.#generations.last, signal?: AbortSignal): Promise<void> {
    while (!this.#generations.isSettled(generation)) await this.#generations.nextPass(signal);
  }

  /**
   * Resolves when the endpoint's interface is in its sandbox and its network is up on this host. Rejects with what went
   * wrong with it, or with what it depends on, at the first try; the loop goes on trying.
   */
  async whenApplied(endpointId: string, signal?: AbortSignal): Promise<void> {
    const generation = this.#generations.last;
    while (!this.#generations.isSettled(generation)) {
      await this.#generations.nextPass(signal);
      if (this.#listFailure) throw this.#listFailure.error;
    }
    const object = endpointObject(endpointId);
    const needs = this.#applied ? objectsOf(this.#applied.desired).get(object) : undefined;
    if (!needs) throw new Error(`endpoint ${endpointId} is not wanted on this host`);
    for (const key of [object, ...needs]) {
      const error = this.#failures.error(key);
      if (error) throw error;
      const drift = this.#drift.held.get(key);
      if (drift !== undefined) throw new Error(`${key}: ${drift}`);
    }
  }

  /** Every wanted object, and whatever else fails, by its key (objects.ts). */
  status(): Map<string, ObjectStatus> {
    const statuses = new Map<string, ObjectStatus>();
    const toWallMs = (atMs: number): number => Date.now() + atMs - this.#now();
    const applied = this.#applied ? objectsOf(this.#applied.desired) : new Map<string, readonly string[]>();
    const wanted = this.#wanted ? objectsOf(this.#wanted.desired) : applied;
    for (const [object, needs] of wanted) {
      const unknown = this.#listFailure?.error.message ?? (applied.has(object) ? null : 'not applied yet');
      if (unknown === null) statuses.set(object, this.#failures.statusOf(object, needs, toWallMs));
      else statuses.set(object, { state: 'pending', why: unknown });
    }
    for (const object of this.#failures.objects()) {
      if (!statuses.has(object)) statuses.set(object, this.#failures.statusOf(object, [], toWallMs));
    }
    for (const [object, why] of this.#drift.held) statuses.set(object, { state: 'pending', why });
    return statuses;
  }

  get stats(): DataPlaneStats {
    const { listings, lastListMs } = this.#model;
    return { ...this.#stats, doubts: this.#doubts.listings, listings, lastListMs };
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    using listener = this.#kernel.listen({
      log: this.#log,
      doubt: (why) => {
        if (this.#doubts.hear(why)) this.#wake();
      },
    });
    await using grip = this.#kernel.hold(this.#log);
    while (!signal.aborted) {
      await this.#untilDue();
      if (signal.aborted) break;
      const wanted = this.#wanted;
      if (!wanted) continue;
      const generation = this.#generations.last;
      try {
        await this.#exclusively(() => this.#pass(wanted, generation, listener));
        await grip.set(wanted.desired.bridges.length > 0);
      } catch (cause) {
        this.#model.forget();
        const delayMs = Math.min((this.#listFailure?.delayMs ?? this.#retryMinMs / 2) * 2, this.#retryMaxMs);
        const error = new Error(`reconcile the kernel: ${messageOf(cause)}`, { cause });
        if (this.#listFailure?.error.message !== error.message) {
          this.#log.error({ err: error }, `${error.message}; retrying in ${delayMs} ms`);
        }
        this.#listFailure = { error, delayMs, retryAtMs: this.#now() + delayMs };
        this.#generations.passed(null);
      }
    }
  }

  /** Waits until there is something to do: a new generation, something heard, a retry, or the sweep. */
  async #untilDue(): Promise<void> {
    const due = (): number => {
      if (!this.#wanted) return Number.POSITIVE_INFINITY;
      if (this.#listFailure) return this.#listFailure.retryAtMs;
      if (this.#generations.due) return 0;
      return Math.min(this.#model.nextSweepAtMs, this.#failures.nextRetryAtMs(), this.#doubts.dueMs);
    };
    while (!this.#stop.signal.aborted) {
      const waitMs = due() - this.#now();
      if (waitMs <= 0) return;
      const { promise, resolve } = deferred<void>();
      this.#wake = resolve;
      const timer = Number.isFinite(waitMs) ? setTimeout(resolve, waitMs) : null;
      await promise;
      if (timer) clearTimeout(timer);
    }
  }

  async #pass(wanted: Wanted, generation: number, listener: Ear): Promise<void> {
    listener.pause();
    try {
      await this.#reconcile(wanted, listener);
      // Nobody has to wait until what the kernel tells of it has been read: what contradicts it asks for another pass.
      this.#listFailure = null;
      this.#generations.passed(generation);
    } catch (error) {
      this.#model.forget();
      throw error;
    } finally {
      await listener.resume(this.#model.known);
    }
  }

  async #reconcile(wanted: Wanted, listener: Ear): Promise<void> {
    const startMs = this.#now();
    let listed = await this.#refresh(wanted, listener);
    let difference = await this.#difference(wanted);
    if (!listed && difference.conflicts.some(({ object }) => !this.#failures.isHeld(object, startMs))) {
      // What is in the way may have gone since the kernel was listed.
      this.#model.forget();
      listed = await this.#refresh(wanted, listener);
      difference = await this.#difference(wanted);
    }
    const { known } = this.#model;
    if (listed && known) {
      const fix = this.#fix;
      this.#fix = false;
      await this.#drift.listed(this.#applied, wanted, difference, known, fix);
    }
    const nowMs = this.#now();
    const isHeld = (object: string): boolean => this.#failures.isHeld(object, nowMs);
    const isFree = this.#failures.size === 0 && this.#drift.held.size === 0;
    const steps = isFree
      ? difference.steps
      : difference.steps.filter((step) => !this.#drift.holds(step) && !isHeld(step.object) && !step.needs.some(isHeld));
    const outcome =
      steps.length > 0 ? await this.#kernel.apply(steps, this.#model.indexes) : { applied: [], failures: new Map() };
    await this.#model.carry(outcome.applied);
    if (outcome.applied.some(({ kind }) => kind === 'netns-add')) {
      await listener.follow(wanted.desired.sandboxes);
    }
    this.#remember(wanted, outcome, difference);
    const repairs = await this.#drift.applied(outcome.applied, listed, this.#now());
    this.#applied = wanted;
    this.#stats.passes++;
    this.#stats.steps += outcome.applied.length;
    this.#stats.repairs += repairs;
    this.#stats.lastPassMs = this.#now() - startMs;
  }

  /** Makes what is known current for this wanted state; true when the whole kernel was listed for it. */
  async #refresh({ desired }: Wanted, listener: Ear): Promise<boolean> {
    const doubt = this.#doubts.due();
    if (doubt !== null) this.#model.forget();
    const before = this.#model.known?.weft.tunnels;
    const listed = await this.#model.refresh(desired, listener, () => this.#doubts.clear());
    if (!listed) return false;
    const now = this.#model.known?.weft.tunnels;
    for (const vni of this.#appliedRemotes.keys()) {
      const name = vxlanName(vni);
      // The very same object: nothing of it was found to have changed.
      if (before?.get(name) !== now?.get(name) || !now?.has(name)) this.#appliedRemotes.delete(vni);
    }
    if (doubt !== null) this.#doubts.listed(doubt, this.#model.lastListMs);
    return true;
  }

  #difference({ desired, prune }: Wanted): Promise<Difference> {
    const { known } = this.#model;
    if (!known) throw new Error('nothing is known of the kernel');
    if (this.#applied?.prune !== prune) this.#appliedRemotes.clear();
    return inSlices(diffInParts(desired, known, { prune, randomMac, appliedRemotes: this.#appliedRemotes }));
  }

  /** Keeps what failed for the next try, and forgets what is known of the kernel when a step failed. */
  #remember({ desired }: Wanted, outcome: Outcome, { conflicts }: Difference): void {
    const nowMs = this.#now();
    for (const { object, why } of conflicts) {
      if (!this.#failures.isHeld(object, nowMs)) this.#fail(object, new Error(`${object}: ${why}`), nowMs);
    }
    for (const [object, error] of outcome.failures) this.#fail(object, error, nowMs);
    const conflicting = new Set(conflicts.map(({ object }) => object));
    const recovered = this.#failures.keepOnly(
      (object) => conflicting.has(object) || outcome.failures.has(object) || this.#failures.isHeld(object, nowMs),
    );
    for (const object of recovered) this.#log.info({ object }, `${object} is as wanted again`);
    if (outcome.failures.size > 0) this.#model.forget();
    if (this.#failures.size === 0 && this.#drift.held.size === 0)
      for (const { vni, remotes } of desired.overlays) this.#appliedRemotes.set(vni, remotes);
    else this.#appliedRemotes.clear();
  }

  #fail(object: string, error: Error, nowMs: number): void {
    const before = this.#failures.error(object);
    const delayMs = this.#failures.add(object, error, nowMs);
    this.#stats.failures++;
    const text = `${error.message}; retrying in ${Math.round(delayMs)} ms`;
    if (before?.message === error.message) this.#log.debug({ object }, text);
    else this.#log.error({ object, err: error }, text);
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
