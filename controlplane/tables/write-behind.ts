import type { Log } from '../environment.ts';
import type { Store, Write } from '../store.ts';

// Rows that wait for the disk before all of them are written: some milliseconds of work.
const maxRows = 256;

export interface WriteBehindInit {
  readonly store: Store;
  readonly log: Log;
  /** When what is put is written. */
  readonly later: (write: () => void) => void;
}

/**
 * Rows on their way to the disk, which a crash may cost. All that come within a while, a pulled batch above all, share a
 * commit.
 */
export class WriteBehind {
  readonly #init: WriteBehindInit;
  /** By key: the last write of a row counts. */
  readonly #rows = new Map<string, Write>();
  #isDue = false;

  constructor(init: WriteBehindInit) {
    this.#init = init;
  }

  put(write: Write): void {
    if (!this.#isDue) this.#init.later(() => this.flush());
    this.#isDue = true;
    this.#rows.set(write.key.join('\0'), write);
  }

  /** Writes when there are many. Not in the middle of rows that belong together. */
  flushIfFull(): void {
    if (this.#rows.size >= maxRows) this.flush();
  }

  /** Sends all that waits to the disk. */
  flush(): void {
    this.#isDue = false;
    if (this.#rows.size === 0) return;
    const writes = [...this.#rows];
    this.#rows.clear();
    this.#init.store.commit(writes.map(([, write]) => write)).catch((error: unknown) => {
      this.#init.log.error({ err: error }, 'storing records failed; the next commit takes them along');
      // Later positions would say that they are there.
      for (const [key, write] of writes) if (!this.#rows.has(key)) this.#rows.set(key, write);
    });
  }
}
