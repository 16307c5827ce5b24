import { decode, encode } from '../../controlplane/encoding.ts';
import type { Key, Store, Write } from '../../controlplane/store.ts';
import type { Prng } from './prng.ts';
import type { VirtualTime } from './time.ts';

interface Row {
  readonly key: Key;
  readonly bytes: Uint8Array;
}

/** What survives a crash. */
export class Disk {
  readonly #rows = new Map<string, Row>();

  apply(writes: readonly { key: Key; bytes: Uint8Array | null }[]): void {
    for (const { key, bytes } of writes) {
      if (bytes === null) this.#rows.delete(JSON.stringify(key));
      else this.#rows.set(JSON.stringify(key), { key: [...key], bytes });
    }
  }

  get(key: Key): unknown {
    const row = this.#rows.get(JSON.stringify(key));
    return row === undefined ? undefined : decode(row.bytes);
  }

  entries(prefix: Key): (readonly [Key, unknown])[] {
    return [...this.#rows.values()]
      .filter(({ key }) => prefix.every((part, i) => key[i] === part))
      .sort((a, b) => compareKeys(a.key, b.key))
      .map(({ key, bytes }) => [key, decode(bytes)] as const);
  }
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

/** As LMDB's ordered binary keys: numbers before strings, a prefix before what it begins. */
function compareKeys(a: Key, b: Key): number {
  for (let i = 0; i < Math.min(a.length, b.length); i += 1) {
    const [x, y] = [a[i], b[i]];
    if (x === undefined || y === undefined || x === y) continue;
    if (typeof x !== typeof y) return typeof x === 'number' ? -1 : 1;
    return x < y ? -1 : 1;
  }
  return a.length - b.length;
}
