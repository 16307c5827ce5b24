import { createHash } from 'node:crypto';

/** Seeded random numbers (xoshiro128**, Blackman and Vigna 2018): the only source of chance in a simulated run. */
export class Prng {
  // The state, four words of 32 bits.
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: string) {
    const digest = createHash('sha256').update(seed).digest();
    this.#a = digest.readInt32LE(0);
    this.#b = digest.readInt32LE(4);
    this.#c = digest.readInt32LE(8);
    this.#d = digest.readInt32LE(12);
  }

  /** Another generator, drawn from this one, so that its user does not shift the numbers of others. */
  fork(label: string): Prng {
    return new Prng(`${label} ${this.#uint32()} ${this.#uint32()}`);
  }

  /** Uniform in [0, 1). */
  next(): number {
    return this.#uint32() / 2 ** 32;
  }

  /** Uniform integer in [min, max]. */
  between(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.next() * items.length)];
  }

  shuffled<T>(items: readonly T[]): T[] {
    const keyed = items.map((item) => ({ item, at: this.next() }));
    return keyed.sort((a, b) => a.at - b.at).map(({ item }) => item);
  }

  bytes(size: number): Buffer {
    return Buffer.from(Uint8Array.from({ length: size }, () => this.#uint32() & 0xff));
  }

  #uint32(): number {
    const b = this.#b;
    const c = this.#c ^ this.#a;
    const d = this.#d ^ b;
    this.#a ^= d;
    this.#b = b ^ c;
    this.#c = c ^ (b << 9);
    this.#d = rotated(d, 11);
    return Math.imul(rotated(Math.imul(b, 5), 7), 9) >>> 0;
  }
}

const rotated = (value: number, by: number): number => (value << by) | (value >>> (32 - by));
