/** What ends a call: its time, and who asked for it. */
export class Limit {
  readonly timeoutMs: number;
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #timer: NodeJS.Timeout;
  #late = false;

  constructor(timeoutMs: number, caller: AbortSignal | undefined) {
    this.timeoutMs = timeoutMs;
    this.#caller = caller;
    this.#timer = setTimeout(() => {
      this.#late = true;
      this.#controller.abort();
    }, timeoutMs);
    // Not AbortSignal.any: a caller's signal may live as long as the process, and so would what hangs on it.
    caller?.addEventListener('abort', this.#onAbort, { once: true });
    if (caller?.aborted) this.#onAbort();
  }

  readonly #onAbort = (): void => this.#controller.abort();

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get late(): boolean {
    return this.#late;
  }

  /** By the caller. */
  get aborted(): boolean {
    return this.#caller?.aborted ?? false;
  }

  get reason(): unknown {
    return this.#caller?.reason;
  }

  /** From now on only the caller ends it. */
  endTime(): void {
    clearTimeout(this.#timer);
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener('abort', this.#onAbort);
  }
}
