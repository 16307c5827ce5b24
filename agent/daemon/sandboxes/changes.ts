import { conflict } from '../api-error.ts';

/** Changes of sandboxes that are under way, one of each at a time; a second one waits for no one, it is refused. */
export class Changes {
  readonly #busy = new Set<string>();

  get count(): number {
    return this.#busy.size;
  }

  /** @throws RequestError `sandbox_busy` */
  async alone<T>(sandbox: { id: string; name: string }, work: () => Promise<T>): Promise<T> {
    if (this.#busy.has(sandbox.id)) {
      throw conflict(
        'sandbox_busy',
        `sandbox ${sandbox.name} is being changed by another request`,
        'try again when it is done',
      );
    }
    this.#busy.add(sandbox.id);
    try {
      return await work();
    } finally {
      this.#busy.delete(sandbox.id);
    }
  }
}
