import { lacksOf, type Reach } from './position.ts';
import type { SignedRecord } from './record.ts';

/** Part of a stream, as one reader hands it to another. */
export interface Batch {
  readonly epoch: number;
  /** The batch follows this seq; 0 for the whole epoch. */
  readonly after: number;
  /** With the batch, all up to this seq is known or superseded. */
  readonly upTo: number;
  readonly records: readonly SignedRecord[];
}

/** Sequence numbers remembered beyond a gap; past that they are fetched again when the gap closes. */
const maxSeenAhead = 4096;

/**
 * Latest record of each key within one epoch (tombstones count), and how much of the epoch is here. Of two records of one
 * key and seq the one with the lower signature counts, so that readers of an owner that signs both agree on one.
 */
export class EpochState {
  readonly epoch: number;
  readonly latest = new Map<string, SignedRecord>();
  readonly #seenAhead = new Set<number>();
  readonly #sum = new Sum();
  contiguous = 0;
  #highest = 0;
  #expected = 0;
  /** `latest` by seq, until it changes: a large stream is handed out in many parts. */
  #sorted: readonly SignedRecord[] | null = null;

  constructor(epoch: number) {
    this.epoch = epoch;
  }

  /**
   * The opening record says how many records repeat the state at the start of the epoch; one of them that was written
   * anew since then comes later, at the latest by `expected`.
   */
  get whole(): boolean {
    const size = this.latest.get('')?.record.value;
    return typeof size === 'number' && this.contiguous >= Math.max(size, this.#expected);
  }

  /** More of the epoch is on its way, up to `seq`; believed only as far as its owner is known to have written. */
  expect(seq: number): void {
    this.#expected = Math.max(this.#expected, Math.min(seq, this.#highest));
  }

  has(seq: number): boolean {
    return seq <= this.contiguous || this.#seenAhead.has(seq);
  }

  /** Whether `put` would change anything. */
  wants(signed: SignedRecord): boolean {
    return !this.has(signed.record.seq) || isLater(signed, this.latest.get(signed.record.key));
  }

  /** @returns the record that the key had; undefined when this one is older than that */
  put(signed: SignedRecord): SignedRecord | null | undefined {
    const { key, seq } = signed.record;
    this.#saw(seq);
    const previous = this.latest.get(key);
    if (!isLater(signed, previous)) return undefined;
    if (previous !== undefined) this.#sum.toggle(previous);
    this.#sum.toggle(signed);
    this.latest.set(key, signed);
    this.#sorted = null;
    return previous ?? null;
  }

  /** Whether another record is here that was signed for the same place. */
  isForkedBy({ record, signature }: SignedRecord): boolean {
    // Only a place that was taken: few records come to one.
    if (!this.has(record.seq)) return false;
    for (const other of this.latest.values()) {
      if (other.record.seq === record.seq && Buffer.compare(other.signature, signature) !== 0) return true;
    }
    return false;
  }

  /** Latest records with a greater seq, oldest first. */
  after(seq: number): readonly SignedRecord[] {
    this.#sorted ??= [...this.latest.values()].sort((a, b) => a.record.seq - b.record.seq);
    const sorted = this.#sorted;
    let [from, to] = [0, sorted.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if ((sorted[middle]?.record.seq ?? 0) > seq) to = middle;
      else from = middle + 1;
    }
    return from === 0 ? sorted : sorted.slice(from);
  }

  /**
   * Everything up to `seq` is here or superseded: a pulled batch says so. Believed only as far as its owner is known to
   * have written, so that nobody else can make a stream look complete for ever.
   */
  advanceTo(seq: number): void {
    const known = Math.min(seq, this.#highest);
    if (known <= this.contiguous) return;
    this.contiguous = known;
    for (const each of this.#seenAhead) if (each <= known) this.#seenAhead.delete(each);
    this.#closeGap();
  }

  #saw(seq: number): void {
    this.#highest = Math.max(this.#highest, seq);
    if (seq <= this.contiguous) return;
    if (seq === this.contiguous + 1) this.contiguous = seq;
    else if (this.#seenAhead.size < maxSeenAhead) this.#seenAhead.add(seq);
    this.#closeGap();
  }

  #closeGap(): void {
    while (this.#seenAhead.delete(this.contiguous + 1)) this.contiguous += 1;
  }

  get hasGap(): boolean {
    return this.#highest > this.contiguous;
  }

  get reach(): Reach {
    const { epoch, contiguous: seq } = this;
    if (this.#seenAhead.size === 0) return { epoch, seq, sum: this.#sum.value, ahead: 0 };
    const [before, beyond] = [this.#sum.copy(), new Sum()];
    for (const signed of this.after(seq)) {
      before.toggle(signed);
      beyond.toggle(signed);
    }
    return { epoch, seq, sum: before.value, ahead: beyond.value };
  }

  /** What a reader lacks of this epoch, oldest first; null for nothing. */
  batchAfter(theirs: Reach): Batch | null {
    const mine = this.reach;
    if (!lacksOf(theirs, mine)) return null;
    // All of it where two have unlike records up to the same place.
    const isUnlike = theirs.epoch === mine.epoch && theirs.seq === mine.seq && theirs.sum !== mine.sum;
    const after = theirs.epoch === mine.epoch && !isUnlike ? theirs.seq : 0;
    return { epoch: this.epoch, after, upTo: this.contiguous, records: this.after(after) };
  }
}

/** A hash over a set of records, to which one is added, or from which one is taken, by the same step. */
class Sum {
  #high = 0;
  #low = 0;

  toggle({ signature }: SignedRecord): void {
    // 52 bits, so that it is a number on the wire. Signatures look like chance.
    this.#high ^= ((signature[0] ?? 0) << 12) | ((signature[1] ?? 0) << 4) | ((signature[2] ?? 0) >> 4);
    this.#low ^=
      ((signature[3] ?? 0) << 24) | ((signature[4] ?? 0) << 16) | ((signature[5] ?? 0) << 8) | (signature[6] ?? 0);
  }

  get value(): number {
    return this.#high * 2 ** 32 + (this.#low >>> 0);
  }

  copy(): Sum {
    const copy = new Sum();
    copy.#high = this.#high;
    copy.#low = this.#low;
    return copy;
  }
}

/** Whether the record counts, and not the one that is known of its key. */
function isLater(signed: SignedRecord, known: SignedRecord | undefined): boolean {
  if (known === undefined) return true;
  const order = signed.record.seq - known.record.seq;
  return order > 0 || (order === 0 && Buffer.compare(signed.signature, known.signature) < 0);
}
