import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import { decode, encode } from './encoding.ts';
import { damagedState } from './errors.ts';

/** Ordered key: parts compare one by one. */
export type Key = readonly (string | number)[];

/** One write; null removes. */
export interface Write {
  readonly key: Key;
  readonly value: unknown;
}

/** Embedded key-value store: ordered, crash-safe, one process at a time. Values are plain data and byte arrays. */
export interface Store {
  get(key: Key): unknown;
  /** Entries whose key starts with `prefix`, in order. */
  entries(prefix: Key): Iterable<readonly [Key, unknown]>;
  /** All or nothing; on disk when it resolves. Commits take effect in the order of the calls. */
  commit(writes: readonly Write[]): Promise<void>;
  close(): Promise<void>;
}

/** The value of a row. @throws ControlPlaneError `damaged_state` */
export function readRow(key: Key, bytes: Uint8Array): unknown {
  try {
    return decode(bytes);
  } catch {
    throw damagedState(key.join('/'));
  }
}

// Address space, not memory or disk: LMDB grows the file as needed up to this.
const mapSizeBytes = 4 * 1024 ** 3;
// Rows that take some megabytes.
const rowsBetweenReleases = 10_000;
// The kernel maps what lies around a page that is read too: a few thousand rows here and there are the whole file.
const releaseAfterMs = 1_000;

/**
 * Opens (or makes) the store in `folder`, mode 0700, files 0600: it holds private keys.
 * @param release is called with the path of the file now and then, after many rows of it were read: pages of a mapped
 * file stay in the memory of the process until it gives them back
 * @throws when the folder cannot be made or the file is no LMDB environment
 */
export function openStore(folder: string, release: (file: string) => void = () => {}): Store {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const before = process.umask(0o077);
  let db: RootDatabase<Buffer, (string | number)[]>;
  try {
    db = open({ path: folder, noSubdir: false, mapSize: mapSizeBytes, encoding: 'binary' });
  } finally {
    process.umask(before);
  }
  let rows = 0;
  let timer: NodeJS.Timeout | null = null;
  const releaseNow = (): void => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    rows = 0;
    release(join(folder, 'data.mdb'));
  };
  const touched = (count: number): void => {
    rows += count;
    if (rows >= rowsBetweenReleases) releaseNow();
    else timer ??= setTimeout(releaseNow, releaseAfterMs).unref();
  };
  return {
    get: (key) => {
      const bytes = db.get([...key]);
      return bytes === undefined ? undefined : readRow(key, bytes);
    },
    *entries(prefix) {
      // U+FFFF sorts behind every string and number that may follow the prefix.
      for (const { key, value } of db.getRange({ start: [...prefix], end: [...prefix, '\uffff'] })) {
        touched(1);
        // LMDB gives a key of one part back as that part alone.
        const parts = Array.isArray(key) ? key : [key];
        if (prefix.every((part, i) => parts[i] === part)) yield [parts, readRow(parts, value)] as const;
      }
    },
    async commit(writes) {
      // Encoded first: an exception inside the transaction would not take back what it has written by then.
      const encoded = writes.map(({ key, value }) => ({
        key,
        bytes: value === null ? null : Buffer.from(encode(value)),
      }));
      await db.transaction(() => {
        for (const { key, bytes } of encoded) {
          if (bytes === null) void db.remove([...key]);
          else void db.put([...key], bytes);
        }
      });
      await db.flushed;
      // A write reads the pages that it changes.
      touched(writes.length);
    },
    close: () => {
      if (timer !== null) clearTimeout(timer);
      return db.close();
    },
  };
}
