import { deferred } from './deferred.ts';

/** Counts what is asked for, and lets callers wait until a pass has tried it. */
export class Generations {
  readonly #stop: AbortSignal;
  #last = 0;
  #settled = 0;
  #passDone = deferred<void>();

  /** @param stop ends all waiting */
  constructor(stop: AbortSignal) {
    this.#stop = stop;
  }

  get last(): number {
    return this.#last;
  }

  /** Something is asked for that no pass has tried yet. */
  get due(): boolean {
    return this.#settled < this.#last;
  }

  next(): number {
    return ++this.#last;
  }

  isSettled(generation: number): boolean {
    return this.#settled >= generation;
  }

  /** A pass has ended; it tried everything up to `settled`, or (null) nothing. */
  passed(settled: number | null): void {
    this.#settled = settled ?? this.#settled;
    const done = this.#passDone;
    this.#passDone = deferred<void>();
    done.resolve();
  }

  /** Resolves with the end of the next pass. Rejects when the signal aborts or the data plane stops first. */
  async nextPass(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.#stop.aborted) throw new Error('the data plane is stopped');
    const { promise, resolve, reject } = deferred<void>();
    const abort = (): void => reject(signal?.reason);
    const stop = (): void => reject(new Error('the data plane is stopped'));
    signal?.addEventListener('abort', abort, { once: true });
    this.#stop.addEventListener('abort', stop, { once: true });
    this.#passDone.promise.then(resolve, reject);
    try {
      await promise;
    } finally {
      signal?.removeEventListener('abort', abort);
      this.#stop.removeEventListener('abort', stop);
    }
  }
}
