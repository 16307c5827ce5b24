import { createHash } from 'node:crypto';
import type { VirtualTime } from './time.ts';

/** Everything that happens in a run, as one hash: two runs are the same, byte for byte, when their hashes are. */
export class Trace {
  readonly #hash = createHash('sha256');
  readonly #time: VirtualTime;
  readonly #names = new Map<string, string>();
  readonly #print: ((line: string) => void) | null;

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
    this.#hash.update(`${atMs} ${line}\n`);
    const named = line.replace(/12D3KooW\w+/g, (id) => this.#names.get(id) ?? id);
    this.#print?.(`${new Date(atMs).toISOString().slice(14, 23)} ${named}`);
  }

  /** A frame on the wire: hashed, not printed. */
  frame(line: string, bytes: Uint8Array): void {
    this.#hash.update(`${this.#time.now()} ${line} `).update(bytes).update('\n');
  }

  digest(): string {
    return this.#hash.copy().digest('hex');
  }
}
