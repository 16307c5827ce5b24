import { PlainAbortController } from './abort.ts';

interface Event {
  readonly atMs: number;
  readonly order: number;
  task: (() => void) | null;
}

const immediatesPerTurn = 256;
const timedOut = new DOMException('timed out', 'TimeoutError');

/** Where every run begins; certificates are made for it. */
export const simulationStartMs = Date.UTC(2026, 0, 1);

/** Virtual time: a queue of events, of which those at the same time run in the order in which they were scheduled. */
export class VirtualTime {
  /** While it says so no event is run: something is under way that takes no virtual time. */
  isHeld: () => boolean = () => false;
  #nowMs = simulationStartMs;
  #order = 0;
  readonly #heap: Event[] = [];
  /** What is being run now. */
  #span: { readonly untilMs: number; readonly resolve: () => void; readonly reject: (error: unknown) => void } | null =
    null;
  #turning = false;
  /** Events run so far. */
  steps = 0;

  /** Whole milliseconds, as the system's clock gives them. */
  now(): number {
    return Math.floor(this.#nowMs);
  }

  /** Runs `task` after `delayMs`; the result cancels it. */
  after(delayMs: number, task: () => void): () => void {
    this.#order += 1;
    const event: Event = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order, task };
    this.#push(event);
    return () => {
      event.task = null;
    };
  }

  /** As `AbortSignal.timeout`, in this time. */
  timeout(delayMs: number): AbortSignal {
    const controller = new PlainAbortController();
    this.after(delayMs, () => controller.abort(timedOut));
    return controller.signal;
  }

  /** Resolves after `delayMs` of virtual time. */
  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(delayMs, resolve);
    });
  }

  /** Runs all events of the next `durationMs`, each followed by everything that it made ready. */
  run(durationMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#span = { untilMs: this.#nowMs + durationMs, resolve, reject };
      this.#turn();
    });
  }

  /**
   * Between two immediates the queue of promise jobs runs empty, and nothing in a run waits for anything else. Many at a
   * time, since each turn of the event loop costs more than most events; what is left of them serves the next span.
   */
  #turn(): void {
    if (this.#turning) return;
    this.#turning = true;
    for (let i = 0; i < immediatesPerTurn; i += 1) setImmediate(this.#next);
    setImmediate(() => {
      this.#turning = false;
      if (this.#span !== null) this.#turn();
    });
  }

  readonly #next = (): void => {
    const span = this.#span;
    if (span === null || this.isHeld()) return;
    try {
      if (this.#runNext(span.untilMs)) return;
      this.#span = null;
      span.resolve();
    } catch (error) {
      this.#span = null;
      span.reject(error);
    }
  };

  /** @returns false when no event is left until then */
  #runNext(untilMs: number): boolean {
    for (let event = this.#heap[0]; event !== undefined && event.atMs <= untilMs; event = this.#heap[0]) {
      this.#pop();
      if (event.task === null) continue;
      this.#nowMs = event.atMs;
      this.steps += 1;
      event.task();
      return true;
    }
    this.#nowMs = untilMs;
    return false;
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = heap[parentAt];
      if (parent === undefined || !isBefore(event, parent)) break;
      heap[at] = parent;
      at = parentAt;
    }
    heap[at] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      const [left, right] = [heap[2 * at + 1], heap[2 * at + 2]];
      if (left === undefined) break;
      const [child, childAt] = right !== undefined && isBefore(right, left) ? [right, 2 * at + 2] : [left, 2 * at + 1];
      if (!isBefore(child, last)) break;
      heap[at] = child;
      at = childAt;
    }
    heap[at] = last;
  }
}

const isBefore = (a: Event, b: Event): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);

/** Makes the time limits of the code under test run in virtual time, until the result is called. */
export function simulateTimeouts(time: VirtualTime): () => void {
  const { AbortController } = globalThis;
  const { timeout } = AbortSignal;
  globalThis.AbortController = PlainAbortController;
  AbortSignal.timeout = (delayMs) => time.timeout(delayMs);
  return () => {
    globalThis.AbortController = AbortController;
    AbortSignal.timeout = timeout;
  };
}
