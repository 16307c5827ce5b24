import { createHash } from 'node:crypto';
import type { VirtualTime } from './time.ts';

// What is said is hashed in pieces of about this size: most lines are so short that hashing each costs far more.
const pieceBytes = 65_536;

/** Everything that happens in a run, as one hash: two runs are the same, byte for byte, when their hashes are. */
export class Trace {
  readonly #hash = createHash('sha256');
  readonly #time: VirtualTime;
  readonly #names = new Map<string, string>();
  readonly #print: ((line: string) => void) | null;
  readonly #piece = Buffer.allocUnsafe(pieceBytes);
  /** How much of the piece is written. */
  #filled = 0;

  constructor(time: VirtualTime, print: ((line: string) => void) | null) {
    this.#time = time;
    this.#print = print;
  }

  /** What the story calls a node id. */
  name(id: string, name: string): void {
    this.say(`${name} is ${id}`);
    this.#names.set(id, name);
  }

  /** Something a person would want to read. */
  say(line: string): void {
    const atMs = this.#time.now();
    this.#write(`${atMs} ${line}\n`);
    if (this.#print === null) return;
    const named = line.replace(/12D3KooW\w+/g, (id) => this.#names.get(id) ?? id);
    this.#print(`${new Date(atMs).toISOString().slice(14, 23)} ${named}`);
  }

  /** A frame on the wire: hashed, not printed. */
  frame(line: string, bytes: Uint8Array): void {
    this.#write(`${this.#time.now()} ${line} `);
    this.#makeRoom(bytes.length);
    if (bytes.length > pieceBytes) this.#hash.update(bytes);
    else {
      this.#piece.set(bytes, this.#filled);
      this.#filled += bytes.length;
    }
    this.#write('\n');
  }

  digest(): string {
    this.#makeRoom(pieceBytes);
    return this.#hash.copy().digest('hex');
  }

  #write(text: string): void {
    // No character takes more than three bytes for each of its code units.
    const most = text.length * 3;
    this.#makeRoom(most);
    if (most > pieceBytes) this.#hash.update(text);
    else this.#filled += this.#piece.write(text, this.#filled);
  }

  /** Hashes what is written, unless so many bytes more fit behind it. */
  #makeRoom(bytes: number): void {
    if (this.#filled + bytes <= pieceBytes) return;
    this.#hash.update(this.#piece.subarray(0, this.#filled));
    this.#filled = 0;
  }
}
