import { encode } from '../../controlplane/encoding.ts';
import { type Key, readRow, type Store, type Write } from '../../controlplane/store.ts';
import type { Prng } from './prng.ts';
import type { VirtualTime } from './time.ts';

/** A row, and those whose keys go on from its own. */
interface Row {
  bytes: Uint8Array | null;
  readonly below: Map<string | number, Row>;
}

const emptyRow = (): Row => ({ bytes: null, below: new Map() });

/** What survives a crash. */
export class Disk {
  readonly #root: Row;

  constructor(root: Row = emptyRow()) {
    this.#root = root;
  }

  apply(writes: readonly { key: Key; bytes: Uint8Array | null }[]): void {
    for (const { key, bytes } of writes) {
      let row = this.#root;
      for (const part of key) {
        const next = row.below.get(part) ?? emptyRow();
        row.below.set(part, next);
        row = next;
      }
      row.bytes = bytes;
    }
  }

  get(key: Key): unknown {
    const bytes = this.#row(key)?.bytes ?? null;
    return bytes === null ? undefined : readRow(key, bytes);
  }

  /** In the order of LMDB's binary keys: a prefix before what it begins, numbers before strings. */
  entries(prefix: Key): (readonly [Key, unknown])[] {
    const found: (readonly [Key, unknown])[] = [];
    const walk = (row: Row, key: Key): void => {
      if (row.bytes !== null) found.push([key, readRow(key, row.bytes)]);
      for (const part of [...row.below.keys()].sort(compareParts)) {
        const next = row.below.get(part);
        if (next !== undefined) walk(next, [...key, part]);
      }
    };
    const top = this.#row(prefix);
    if (top !== undefined) walk(top, prefix);
    return found;
  }

  /** What the disk holds now, as a disk of its own. */
  copy(): Disk {
    const copied = ({ bytes, below }: Row): Row => ({
      bytes,
      below: new Map([...below].map(([part, row]) => [part, copied(row)])),
    });
    return new Disk(copied(this.#root));
  }

  #row(key: Key): Row | undefined {
    let row: Row | undefined = this.#root;
    for (const part of key) row = row?.below.get(part);
    return row;
  }
}

function compareParts(a: string | number, b: string | number): number {
  if (typeof a !== typeof b) return typeof a === 'number' ? -1 : 1;
  return a < b ? -1 : 1;
}

interface Commit {
  readonly writes: readonly { key: Key; bytes: Uint8Array | null }[];
  readonly resolve: () => void;
}

export interface DiskSpeed {
  /** Most commits take up to this. */
  readonly usualMs: number;
  /** How often one takes up to `stallMs`. */
  readonly stallChance: number;
  readonly stallMs: number;
}

/** The store of one run of an agent: commits reach the disk in order, late, and not all of them when it crashes. */
export class DiskStore implements Store {
  readonly #disk: Disk;
  readonly #time: VirtualTime;
  readonly #prng: Prng;
  readonly #speed: DiskSpeed;
  readonly #pending: Commit[] = [];
  #lastMs = 0;
  #dead = false;

  constructor(disk: Disk, time: VirtualTime, prng: Prng, speed: DiskSpeed) {
    this.#disk = disk;
    this.#time = time;
    this.#prng = prng;
    this.#speed = speed;
  }

  get(key: Key): unknown {
    return this.#disk.get(key);
  }

  entries(prefix: Key): Iterable<readonly [Key, unknown]> {
    return this.#disk.entries(prefix);
  }

  commit(writes: readonly Write[]): Promise<void> {
    const encoded = writes.map(({ key, value }) => ({ key, bytes: value === null ? null : encode(value) }));
    return new Promise((resolve) => {
      if (this.#dead) return;
      this.#pending.push({ writes: encoded, resolve });
      const { usualMs, stallChance, stallMs } = this.#speed;
      const delayMs = this.#prng.next() * (this.#prng.chance(stallChance) ? stallMs : usualMs);
      this.#lastMs = Math.max(this.#lastMs, this.#time.now() + delayMs);
      this.#time.after(this.#lastMs - this.#time.now(), () => this.#applyOldest()?.resolve());
    });
  }

  /** Whether everything that was committed is on the disk. */
  get isSettled(): boolean {
    return this.#pending.length === 0;
  }

  async close(): Promise<void> {
    while (this.#pending.length > 0) await this.commit([]);
  }

  /** The process dies: of what was not acknowledged yet, the disk has any part that is the beginning of it. */
  crash(): void {
    for (let kept = this.#prng.between(0, this.#pending.length); kept > 0; kept -= 1) this.#applyOldest();
    this.#dead = true;
  }

  #applyOldest(): Commit | null {
    const commit = this.#dead ? undefined : this.#pending.shift();
    if (commit === undefined) return null;
    this.#disk.apply(commit.writes);
    return commit;
  }
}
