import { createHash } from 'node:crypto';

/** Seeded random numbers (xoshiro128**, Blackman and Vigna 2018): the only source of chance in a simulated run. */
export class Prng {
  readonly #state: Uint32Array;

  constructor(seed: string) {
    const digest = createHash('sha256').update(seed).digest();
    this.#state = Uint32Array.from([0, 4, 8, 12], (at) => digest.readUInt32LE(at));
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
    const [a = 0, b = 0, c = 0, d = 0] = this.#state;
    const result = Math.imul(rotated(Math.imul(b, 5), 7), 9) >>> 0;
    const c2 = c ^ a;
    const d2 = d ^ b;
    this.#state.set([a ^ d2, b ^ c2, c2 ^ (b << 9), rotated(d2, 11)]);
    return result;
  }
}

const rotated = (value: number, by: number): number => (value << by) | (value >>> (32 - by));
