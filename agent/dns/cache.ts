import { passedOn, type Query, type Response } from './wire.ts';

const maxEntries = 4_096;
const maxBytes = 4 * 1024 * 1024;
// What nobody would believe for longer (RFC 8767, section 4, has a week).
const maxSeconds = 86_400;
/** Beside its bytes: key, offsets, objects. */
const overheadBytes = 400;

interface Entry {
  readonly response: Response;
  readonly sinceMs: number;
  readonly untilMs: number;
}

/** What others answered, for as long as they said that it holds; the least lately used goes first when it is full. */
export class Cache {
  readonly #entries = new Map<string, Entry>();
  readonly #nowMs: () => number;
  #bytes = 0;

  /** @param nowMs of a clock that does not jump */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(key: string, query: Query): Buffer | null {
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    const nowMs = this.#nowMs();
    this.#drop(key);
    if (nowMs >= entry.untilMs) return null;
    this.#add(key, entry);
    return passedOn(query, entry.response, Math.floor((nowMs - entry.sinceMs) / 1000));
  }

  put(key: string, response: Response): void {
    this.#drop(key);
    if (response.keepSeconds === 0) return;
    const sinceMs = this.#nowMs();
    const untilMs = sinceMs + Math.min(response.keepSeconds, maxSeconds) * 1000;
    this.#add(key, { response, sinceMs, untilMs });
    for (const [oldest] of this.#entries) {
      if (this.#entries.size <= maxEntries && this.#bytes <= maxBytes) return;
      this.#drop(oldest);
    }
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  #add(key: string, entry: Entry): void {
    this.#entries.set(key, entry);
    this.#bytes += sizeOf(key, entry);
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= sizeOf(key, entry);
  }
}

const sizeOf = (key: string, { response: { bytes, ttls } }: Entry): number =>
  overheadBytes + 2 * key.length + 8 * ttls.length + bytes.length;
