import { setImmediate as nextTurn } from 'node:timers/promises';
import { applyToModel } from './after.ts';
import { apply, type DeviceIndexes, type Outcome } from './apply.ts';
import { deferred } from './deferred.ts';
import type { Desired, RemoteEndpoint } from './desired.ts';
import { type Difference, diffInParts } from './diff.ts';
import { Failures, objectsOf } from './failures.ts';
import type { Log } from './log.ts';
import { randomMac } from './mac.ts';
import { endpointObject } from './objects.ts';
import { observe, observeNewSandboxes } from './observe.ts';
import type { Observed } from './observed.ts';
import { inSlices } from './slices.ts';
import type { ObjectStatus } from './status.ts';
import type { Step } from './steps.ts';
import type { Vni } from './values.ts';

export interface DataPlaneOptions {
  readonly log: Log;
  /** Directory on a tmpfs that a reboot empties, for what must be remembered just as long as the kernel remembers it. */
  readonly runDir: string;
  /** How often the kernel is listed whole. @default 10000: how long a change by someone else may last */
  readonly sweepMs?: number;
  /** @default 250 */
  readonly retryMinMs?: number;
  /** @default 10000 */
  readonly retryMaxMs?: number;
  /** Monotonic milliseconds. @default performance.now */
  readonly now?: () => number;
}

export interface SetOptions {
  /** False until the caller knows everything that is wanted; until then nothing is removed for not being wanted. */
  readonly prune: boolean;
}

/** Counts since the start, durations of the last pass. */
export interface DataPlaneStats {
  readonly passes: number;
  readonly listings: number;
  readonly steps: number;
  /** Steps that undid a change by someone else. */
  readonly repairs: number;
  readonly failures: number;
  readonly lastPassMs: number;
  readonly lastListMs: number;
}

interface Wanted extends SetOptions {
  readonly desired: Desired;
}

/** Lines a pass may log about its steps; the rest is counted. */
const LOGGED_STEPS_MAX = 20;
/** Steps that one turn of the event loop may carry over into what is known of the kernel: well under 1 ms. */
const STEPS_PER_TURN = 1024;

/**
 * Keeps the kernel as it is wanted. `set` hands over the whole wanted state; one loop takes the difference from what the
 * kernel is known to have and applies it. What is known is listed at the start, after any failure and on every sweep, and
 * carried forward in between, so that a small change costs a small step. Stopping leaves the kernel as it is.
 */
export class DataPlane implements AsyncDisposable {
  readonly #log: Log;
  readonly #runDir: string;
  readonly #sweepMs: number;
  readonly #retryMinMs: number;
  readonly #retryMaxMs: number;
  readonly #now: () => number;
  readonly #failures: Failures;
  readonly #stop = new AbortController();
  #loop: Promise<void> | null = null;

  #wanted: Wanted | null = null;
  /** Counts `set` and `sweep`; a pass settles every generation up to the one it started with. */
  #generation = 0;
  #settledGeneration = 0;
  /** What the last pass applied, to tell drift from a change of mind. */
  #applied: Wanted | null = null;
  #known: Observed | null = null;
  readonly #indexes: DeviceIndexes = new Map();
  #listedGateway: string | null = null;
  #appliedRemotes = new Map<Vni, readonly RemoteEndpoint[]>();
  #nextSweepAtMs = 0;
  #listFailure: { readonly error: Error; readonly delayMs: number; readonly retryAtMs: number } | null = null;
  #wake: () => void = () => undefined;
  #passDone = deferred<void>();
  #stats = { passes: 0, listings: 0, steps: 0, repairs: 0, failures: 0, lastPassMs: 0, lastListMs: 0 };

  constructor(options: DataPlaneOptions) {
    this.#log = options.log;
    this.#runDir = options.runDir;
    this.#sweepMs = options.sweepMs ?? 10_000;
    this.#retryMinMs = options.retryMinMs ?? 250;
    this.#retryMaxMs = options.retryMaxMs ?? 10_000;
    this.#now = options.now ?? (() => performance.now());
    this.#failures = new Failures({ minMs: this.#retryMinMs, maxMs: this.#retryMaxMs });
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
    if (this.#wanted?.desired === desired && this.#wanted.prune === prune) return this.#generation;
    this.#wanted = { desired, prune };
    return this.#wakeUp();
  }

  /** Lists the kernel and repairs it now; resolves when that is done. */
  async sweep(signal?: AbortSignal): Promise<void> {
    this.#nextSweepAtMs = 0;
    await this.settled(this.#wakeUp(), signal);
  }

  #wakeUp(): number {
    this.#generation++;
    this.#wake();
    return this.#generation;
  }

  /**
   * Resolves when a pass has tried everything of this generation; what failed says `status`. Rejects when the signal
   * aborts or the data plane stops first.
   */
  async settled(generation = this.#generation, signal?: AbortSignal): Promise<void> {
    while (this.#settledGeneration < generation) await this.#nextPass(signal);
  }

  /**
   * Resolves when the endpoint's interface is in its sandbox and its network is up on this host. Rejects with what went
   * wrong with it, or with what it depends on, at the first try; the loop goes on trying.
   */
  async whenApplied(endpointId: string, signal?: AbortSignal): Promise<void> {
    const generation = this.#generation;
    while (this.#settledGeneration < generation) {
      await this.#nextPass(signal);
      if (this.#listFailure) throw this.#listFailure.error;
    }
    const object = endpointObject(endpointId);
    const needs = this.#applied ? objectsOf(this.#applied.desired).get(object) : undefined;
    if (!needs) throw new Error(`endpoint ${endpointId} is not wanted on this host`);
    for (const key of [object, ...needs]) {
      const error = this.#failures.error(key);
      if (error) throw error;
    }
  }

  async #nextPass(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.#stop.signal.aborted) throw new Error('the data plane is stopped');
    const { promise, resolve, reject } = deferred<void>();
    const abort = (): void => reject(signal?.reason);
    const stop = (): void => reject(new Error('the data plane is stopped'));
    signal?.addEventListener('abort', abort, { once: true });
    this.#stop.signal.addEventListener('abort', stop, { once: true });
    this.#passDone.promise.then(resolve, reject);
    try {
      await promise;
    } finally {
      signal?.removeEventListener('abort', abort);
      this.#stop.signal.removeEventListener('abort', stop);
    }
  }

  /** Every wanted object, and whatever else fails, by its key (objects.ts). */
  status(): Map<string, ObjectStatus> {
    const statuses = new Map<string, ObjectStatus>();
    const toWallMs = (atMs: number): number => Date.now() + atMs - this.#now();
    const applied = this.#applied ? objectsOf(this.#applied.desired) : new Map<string, readonly string[]>();
    const wanted = this.#wanted ? objectsOf(this.#wanted.desired) : applied;
    for (const [object, needs] of wanted) {
      if (applied.has(object)) statuses.set(object, this.#failures.statusOf(object, needs, toWallMs));
      else statuses.set(object, { state: 'pending', why: this.#listFailure?.error.message ?? 'not applied yet' });
    }
    for (const object of this.#failures.objects()) {
      if (!statuses.has(object)) statuses.set(object, this.#failures.statusOf(object, [], toWallMs));
    }
    return statuses;
  }

  get stats(): DataPlaneStats {
    return { ...this.#stats };
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#untilDue();
      if (signal.aborted) break;
      if (!this.#wanted) continue;
      const generation = this.#generation;
      try {
        await this.#pass(this.#wanted);
        this.#settledGeneration = generation;
        this.#listFailure = null;
      } catch (cause) {
        this.#known = null;
        const delayMs = Math.min((this.#listFailure?.delayMs ?? this.#retryMinMs / 2) * 2, this.#retryMaxMs);
        const error = new Error(`reconcile the kernel: ${messageOf(cause)}`, { cause });
        if (this.#listFailure?.error.message !== error.message) {
          this.#log.error({ err: error }, `${error.message}; retrying in ${delayMs} ms`);
        }
        this.#listFailure = { error, delayMs, retryAtMs: this.#now() + delayMs };
      }
      const done = this.#passDone;
      this.#passDone = deferred<void>();
      done.resolve();
    }
  }

  /** Waits until there is something to do: a new generation, a retry, or the sweep. */
  async #untilDue(): Promise<void> {
    const due = (): number => {
      if (!this.#wanted) return Number.POSITIVE_INFINITY;
      if (this.#listFailure) return this.#listFailure.retryAtMs;
      if (this.#settledGeneration < this.#generation) return 0;
      return Math.min(this.#nextSweepAtMs, this.#failures.nextRetryAtMs());
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

  async #pass(wanted: Wanted): Promise<void> {
    const startMs = this.#now();
    const mayBeDrift = this.#applied?.desired === wanted.desired && this.#applied.prune === wanted.prune;
    const wasClean = mayBeDrift && this.#failures.size === 0;
    let listed = await this.#refresh(wanted);
    let difference = await this.#difference(wanted);
    if (!listed && difference.conflicts.some(({ object }) => !this.#failures.isHeld(object, startMs))) {
      // What is in the way may have gone since the kernel was listed.
      this.#known = null;
      listed = await this.#refresh(wanted);
      difference = await this.#difference(wanted);
    }
    const nowMs = this.#now();
    const isHeld = (object: string): boolean => this.#failures.isHeld(object, nowMs);
    const steps =
      this.#failures.size === 0
        ? difference.steps
        : difference.steps.filter(({ object, needs }) => !isHeld(object) && !needs.some(isHeld));
    const outcome =
      steps.length > 0 ? await apply(steps, this.#runDir, this.#indexes) : { applied: [], failures: new Map() };
    for (const [index, step] of outcome.applied.entries()) {
      if (this.#known) applyToModel(this.#known, step);
      if (index % STEPS_PER_TURN === STEPS_PER_TURN - 1) await nextTurn();
    }
    this.#remember(wanted, outcome, difference);
    this.#applied = wanted;
    this.#stats.passes++;
    this.#stats.steps += outcome.applied.length;
    if (wasClean && listed) this.#stats.repairs += outcome.applied.length;
    this.#stats.lastPassMs = this.#now() - startMs;
    this.#logSteps(outcome.applied, wasClean && listed);
  }

  /** Makes `#known` current for this wanted state; true when the whole kernel was listed for it. */
  async #refresh({ desired }: Wanted): Promise<boolean> {
    const startMs = this.#now();
    const gateway = desired.gatewayBridge?.name ?? null;
    // A bridge of that name may be there already, and only the bridge that was asked for is listed with its addresses.
    const gatewayIsListed = gateway === null || gateway === this.#listedGateway;
    if (this.#known && gatewayIsListed && startMs < this.#nextSweepAtMs) {
      const wantedNetns = new Set<string>(desired.sandboxes.map(({ netns }) => netns));
      for (const netns of this.#known.sandboxes.keys())
        if (!wantedNetns.has(netns)) this.#known.sandboxes.delete(netns);
      if (await observeNewSandboxes(this.#known, desired)) return false;
    }
    this.#appliedRemotes.clear();
    this.#indexes.clear();
    this.#known = await observe(desired, this.#runDir);
    this.#listedGateway = gateway;
    this.#nextSweepAtMs = this.#now() + this.#sweepMs;
    this.#stats.listings++;
    this.#stats.lastListMs = this.#now() - startMs;
    return true;
  }

  #difference({ desired, prune }: Wanted): Promise<Difference> {
    if (!this.#known) throw new Error('nothing is known of the kernel');
    if (this.#applied?.prune !== prune) this.#appliedRemotes.clear();
    return inSlices(diffInParts(desired, this.#known, { prune, randomMac, appliedRemotes: this.#appliedRemotes }));
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
    if (outcome.failures.size > 0) this.#known = null;
    if (this.#failures.size === 0)
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

  #logSteps(steps: readonly Step[], repairs: boolean): void {
    if (steps.length === 0) return;
    const verb = repairs ? 'repaired drift' : 'applied';
    const write = repairs ? this.#log.warn : this.#log.debug;
    for (const { object, why, kind } of steps.slice(0, LOGGED_STEPS_MAX)) {
      write.call(this.#log, { object, why, kind }, `${verb}: ${object}: ${why} (${kind})`);
    }
    const more = steps.length - LOGGED_STEPS_MAX;
    if (more > 0) write.call(this.#log, { more }, `${verb}: ${more} more steps`);
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
