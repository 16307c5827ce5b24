type Listener = () => void;

const aborted = new DOMException('This operation was aborted', 'AbortError');

/** An AbortSignal without the machinery of DOM events, which takes longer than most events of a run. */
class PlainSignal {
  aborted = false;
  reason: unknown;
  readonly #listeners = new Set<Listener>();

  addEventListener(_: 'abort', listener: Listener): void {
    this.#listeners.add(listener);
  }

  removeEventListener(_: 'abort', listener: Listener): void {
    this.#listeners.delete(listener);
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.reason;
  }

  abort(reason: unknown): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    const told = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of told) listener();
  }
}

/** Stands in for AbortController: whoever only listens for the abort, and asks for it, sees no difference. */
export class PlainAbortController {
  readonly #signal = new PlainSignal();

  get signal(): AbortSignal {
    return this.#signal as unknown as AbortSignal;
  }

  abort(reason: unknown = aborted): void {
    this.#signal.abort(reason);
  }
}
