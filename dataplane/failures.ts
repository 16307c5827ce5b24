import type { Desired } from './desired.ts';
import { clampFor } from './nft/clamp.ts';
import {
  AGENTS_OBJECT,
  bridgeObject,
  CLAMP_OBJECT,
  endpointObject,
  GATE_OBJECT,
  GUARD_OBJECT,
  OVERLAY_NETNS_OBJECT,
  overlayObject,
  PORTS_OBJECT,
  parentObject,
  RULES_OBJECT,
  returnsObject,
  sandboxObject,
  vipsObject,
} from './objects.ts';
import type { ObjectStatus } from './status.ts';

interface Failure {
  readonly error: Error;
  readonly attempts: number;
  /** On the monotonic clock of the tracker. */
  readonly retryAtMs: number;
}

export interface BackOff {
  /** Most failures are races with something that has just gone or just come. */
  readonly minMs: number;
  /** As long as the sweep: nothing waits longer than the next whole look at the kernel. */
  readonly maxMs: number;
}

/**
 * Which objects fail, why, and when each is tried again. Bounded by the objects that are wanted or left over: what no
 * longer fails is forgotten after each pass.
 */
export class Failures {
  readonly #failures = new Map<string, Failure>();
  readonly #backOff: BackOff;

  constructor(backOff: BackOff) {
    this.#backOff = backOff;
  }

  get size(): number {
    return this.#failures.size;
  }

  error(object: string): Error | undefined {
    return this.#failures.get(object)?.error;
  }

  isHeld(object: string, nowMs: number): boolean {
    const failure = this.#failures.get(object);
    return failure !== undefined && failure.retryAtMs > nowMs;
  }

  /** Returns the delay until the next try. */
  add(object: string, error: Error, nowMs: number): number {
    const attempts = (this.#failures.get(object)?.attempts ?? 0) + 1;
    const delayMs = Math.min(this.#backOff.minMs * 2 ** Math.min(attempts - 1, 16), this.#backOff.maxMs);
    this.#failures.set(object, { error, attempts, retryAtMs: nowMs + delayMs });
    return delayMs;
  }

  /** Leaves an object alone until then, though nothing failed in trying. */
  hold(object: string, error: Error, untilMs: number): void {
    this.#failures.set(object, { error, attempts: 0, retryAtMs: untilMs });
  }

  /** Forgets the objects that were tried and did not fail; returns them. */
  keepOnly(stillFailing: (object: string) => boolean): string[] {
    const recovered = [...this.#failures.keys()].filter((object) => !stillFailing(object));
    for (const object of recovered) this.#failures.delete(object);
    return recovered;
  }

  nextRetryAtMs(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const failure of this.#failures.values()) next = Math.min(next, failure.retryAtMs);
    return next;
  }

  /** Status of one object, given what it depends on. `toWallMs` turns the tracker's clock into the epoch's. */
  statusOf(object: string, needs: readonly string[], toWallMs: (atMs: number) => number): ObjectStatus {
    const own = this.#failures.get(object);
    if (own) return { state: 'failed', why: own.error.message, retryAt: toWallMs(own.retryAtMs) };
    for (const need of needs) {
      const error = this.error(need);
      if (error) return { state: 'pending', why: `waits for ${need}: ${error.message}` };
    }
    return { state: 'ok' };
  }

  objects(): IterableIterator<string> {
    return this.#failures.keys();
  }
}

/** Every object of a wanted state, with the objects it cannot do without. */
export function objectsOf(desired: Desired): Map<string, readonly string[]> {
  const objects = new Map<string, readonly string[]>();
  if (desired.guard) objects.set(GUARD_OBJECT, []);
  if (desired.bridges.length > 0) objects.set(RULES_OBJECT, []);
  for (const { name } of desired.bridges) objects.set(bridgeObject(name), [RULES_OBJECT]);
  if (desired.overlays.length > 0) objects.set(PORTS_OBJECT, [OVERLAY_NETNS_OBJECT]);
  if (desired.agentPorts.length > 0) objects.set(AGENTS_OBJECT, []);
  if (clampFor(desired.overlays) !== null) objects.set(CLAMP_OBJECT, [OVERLAY_NETNS_OBJECT]);
  for (const { name } of desired.parents) objects.set(parentObject(name), []);
  for (const { vni } of desired.overlays) objects.set(overlayObject(vni), [OVERLAY_NETNS_OBJECT, GUARD_OBJECT]);
  for (const sandbox of desired.sandboxes) {
    const ofSandbox = sandboxObject(sandbox.id);
    objects.set(ofSandbox, []);
    if (sandbox.gate) objects.set(GATE_OBJECT, [ofSandbox]);
    if (sandbox.returns) objects.set(returnsObject(sandbox.id), [ofSandbox]);
    if (sandbox.vips) objects.set(vipsObject(sandbox.id), [ofSandbox]);
    for (const { endpointId, vni } of sandbox.overlayLegs) {
      objects.set(endpointObject(endpointId), [OVERLAY_NETNS_OBJECT, overlayObject(vni), ofSandbox]);
    }
    for (const { endpointId, source } of sandbox.directLegs) {
      const made = source.kind === 'macvlan' && desired.parents.some(({ name }) => name === source.parent);
      objects.set(endpointObject(endpointId), made ? [ofSandbox, parentObject(source.parent)] : [ofSandbox]);
    }
    for (const { endpointId, bridge } of sandbox.bridgeLegs) {
      objects.set(endpointObject(endpointId), [ofSandbox, bridgeObject(bridge), RULES_OBJECT]);
    }
  }
  return objects;
}
