const blockBits = 4096;
const wordsPerBlock = blockBits / 32;

/** A block of the set: its bits, and how many of them are set. */
interface Block {
  readonly words: Uint32Array;
  count: number;
}

/**
 * A set of numbers that is quick to search for gaps: bits in blocks, of which empty ones are not kept and full ones are
 * passed over whole. With 100,000 numbers in use the next free one is found in a few steps.
 */
export class NumberSet {
  readonly #blocks = new Map<number, Block>();
  #sorted: number[] | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(number: number): boolean {
    const at = number % blockBits;
    const block = this.#blocks.get(Math.floor(number / blockBits));
    return block !== undefined && (wordAt(block, at >>> 5) & (1 << (at & 31))) !== 0;
  }

  add(number: number): void {
    if (this.has(number)) return;
    const index = Math.floor(number / blockBits);
    let block = this.#blocks.get(index);
    if (block === undefined) {
      block = { words: new Uint32Array(wordsPerBlock), count: 0 };
      this.#blocks.set(index, block);
      this.#sorted = null;
    }
    const at = number % blockBits;
    block.words[at >>> 5] = wordAt(block, at >>> 5) | (1 << (at & 31));
    block.count += 1;
    this.#size += 1;
  }

  delete(number: number): void {
    if (!this.has(number)) return;
    const index = Math.floor(number / blockBits);
    const block = this.#blocks.get(index) as Block;
    const at = number % blockBits;
    block.words[at >>> 5] = wordAt(block, at >>> 5) & ~(1 << (at & 31));
    block.count -= 1;
    this.#size -= 1;
    if (block.count === 0) {
      this.#blocks.delete(index);
      this.#sorted = null;
    }
  }

  /** The first number of [from, end) that is not in the set. */
  nextAbsent(from: number, end: number): number | null {
    let number = from;
    while (number < end) {
      const index = Math.floor(number / blockBits);
      const block = this.#blocks.get(index);
      if (block === undefined) return number;
      const found = block.count === blockBits ? null : scan(block, number % blockBits, true);
      if (found !== null) return index * blockBits + found < end ? index * blockBits + found : null;
      number = (index + 1) * blockBits;
    }
    return null;
  }

  /** The first number of [from, end) that is in the set. */
  nextPresent(from: number, end: number): number | null {
    const sorted = this.#order();
    let i = lowerBound(sorted, Math.floor(from / blockBits));
    for (let index = sorted[i]; index !== undefined && index * blockBits < end; i += 1, index = sorted[i]) {
      const block = this.#blocks.get(index) as Block;
      const found = scan(block, Math.max(0, from - index * blockBits), false);
      if (found !== null) return index * blockBits + found < end ? index * blockBits + found : null;
    }
    return null;
  }

  /** The numbers of [from, end) that are in the set, in order. */
  *within(from: number, end: number): Generator<number> {
    for (let next = this.nextPresent(from, end); next !== null; next = this.nextPresent(next + 1, end)) yield next;
  }

  /** How many numbers of [from, end) are in the set. */
  countWithin(from: number, end: number): number {
    const sorted = this.#order();
    let count = 0;
    let i = lowerBound(sorted, Math.floor(from / blockBits));
    for (let index = sorted[i]; index !== undefined && index * blockBits < end; i += 1, index = sorted[i]) {
      const base = index * blockBits;
      if (from <= base && base + blockBits <= end) count += (this.#blocks.get(index) as Block).count;
      else for (const _ of this.within(Math.max(from, base), Math.min(end, base + blockBits))) count += 1;
    }
    return count;
  }

  #order(): readonly number[] {
    this.#sorted ??= [...this.#blocks.keys()].sort((a, b) => a - b);
    return this.#sorted;
  }
}

const wordAt = ({ words }: Block, i: number): number => words[i] as number;

/** Offset of the first bit at or after `from` that is set, or not set when `inverted`. */
function scan(block: Block, from: number, inverted: boolean): number | null {
  let mask = -1 << (from & 31);
  for (let i = from >>> 5; i < wordsPerBlock; i += 1, mask = -1) {
    const word = (inverted ? ~wordAt(block, i) : wordAt(block, i)) & mask;
    // The lowest bit that is set.
    if (word !== 0) return i * 32 + 31 - Math.clz32(word & -word);
  }
  return null;
}

/** Index of the first element that is not below `value`. */
function lowerBound(sorted: readonly number[], value: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as number) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
