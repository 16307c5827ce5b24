import { isTombstone, type SignedRecord } from './record.ts';

/** How far a reader is in a stream: all of `epoch` up to `seq` is known or superseded. */
export interface Position {
  readonly epoch: number;
  readonly seq: number;
  /** Hash over the seqs of what is here beyond the next gap; 0 when there is no gap. */
  readonly ahead: number;
}

export const nowhere: Position = { epoch: 0, seq: 0, ahead: 0 };

export type Place = Pick<Position, 'epoch' | 'seq'>;

export function isBehind(mine: Place, theirs: Place): boolean {
  return mine.epoch < theirs.epoch || (mine.epoch === theirs.epoch && mine.seq < theirs.seq);
}

/** Whether who is at `theirs` may have something that who is at `mine` lacks. */
export function mayLack(mine: Position, theirs: Position): boolean {
  if (isBehind(mine, theirs)) return true;
  const same = mine.epoch === theirs.epoch && mine.seq === theirs.seq;
  return same && theirs.ahead !== 0 && theirs.ahead !== mine.ahead;
}

/** A key of a stream took another value; null is absent. */
export interface Change {
  readonly key: string;
  readonly previous: SignedRecord | null;
  readonly current: SignedRecord | null;
}

/** Part of a stream, as one reader hands it to another. */
export interface Batch {
  readonly epoch: number;
  /** The batch follows this seq; 0 for the whole epoch. */
  readonly after: number;
  /** With the batch, all up to this seq is known or superseded. */
  readonly upTo: number;
  readonly records: readonly SignedRecord[];
}

export type Offer =
  /**
   * Taken; `changes` is what readers see of it (nothing while an epoch is still being gathered). Not `latest`: it only
   * closes a gap, since a later record of its key came before it.
   */
  | { readonly result: 'applied'; readonly changes: readonly Change[]; readonly gap: boolean; readonly latest: boolean }
  /** Known already, superseded, or of an epoch that is over. */
  | { readonly result: 'stale' }
  | { readonly result: 'refused'; readonly reason: string };

/** Records of one owner in one topic; a stream that has more is refused, not truncated. */
export const maxKeysPerStream = 200_000;
/** Sequence numbers remembered beyond a gap; past that they are fetched again when the gap closes. */
const maxSeenAhead = 4096;

/** Latest record of each key within one epoch (tombstones count), and how much of the epoch is here. */
class EpochState {
  readonly epoch: number;
  readonly latest = new Map<string, SignedRecord>();
  readonly #seenAhead = new Set<number>();
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

  /** @returns the record that the key had; undefined when this one is older than that */
  put(signed: SignedRecord): SignedRecord | null | undefined {
    const { key, seq } = signed.record;
    this.#saw(seq);
    const previous = this.latest.get(key) ?? null;
    if (previous !== null && previous.record.seq >= seq) return undefined;
    this.latest.set(key, signed);
    this.#sorted = null;
    return previous;
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

  get position(): Position {
    let ahead = 0;
    if (this.#seenAhead.size > 0) for (const { record } of this.after(this.contiguous)) ahead ^= mixed(record.seq);
    return { epoch: this.epoch, seq: this.contiguous, ahead: ahead >>> 0 };
  }
}

/**
 * One owner's stream in one topic, as a reader holds it. A new epoch is gathered beside the present one and takes over
 * only when its opening set is whole, so a restart of the owner never makes its endpoints blink.
 */
export class Stream {
  #current: EpochState | null = null;
  #incoming: EpochState | null = null;
  #retired: EpochState[] = [];

  /** Position in the newest epoch that is known of: what to ask others to continue from. */
  get position(): Position {
    const newest = this.#incoming ?? this.#current;
    return newest?.position ?? nowhere;
  }

  /** The same without what lies beyond a gap, which takes looking at every record. */
  get place(): Place {
    const newest = this.#incoming ?? this.#current;
    return newest === null ? nowhere : { epoch: newest.epoch, seq: newest.contiguous };
  }

  /** Whether records are known to be missing: there is a gap, or an epoch that is not whole yet. */
  get isLacking(): boolean {
    const newest = this.#incoming ?? this.#current;
    return newest !== null && (this.#incoming !== null || newest.hasGap);
  }

  /** Live records as readers see them: no tombstones, no opening record. */
  *live(): Generator<SignedRecord> {
    for (const signed of this.#current?.latest.values() ?? []) if (isLive(signed)) yield signed;
  }

  get(key: string): SignedRecord | null {
    const signed = this.#current?.latest.get(key);
    return signed !== undefined && isLive(signed) ? signed : null;
  }

  /** Epochs that are held, the one that readers see first. */
  get epochs(): readonly number[] {
    return [this.#current, this.#incoming].flatMap((state) => (state === null ? [] : [state.epoch]));
  }

  /** Epochs that are held no more since the last call, with the keys that they had: for whoever keeps them on disk. */
  takeRetired(): { readonly epoch: number; readonly keys: readonly string[] }[] {
    const retired = this.#retired.map(({ epoch, latest }) => ({ epoch, keys: [...latest.keys()] }));
    this.#retired = [];
    return retired;
  }

  /** Whether `offer` would take the record: asked before the signature is checked, which costs far more. */
  wants(signed: SignedRecord): boolean {
    const { epoch, seq } = signed.record;
    const newest = this.#incoming ?? this.#current;
    if (newest === null || epoch > newest.epoch) return true;
    const state = this.#stateOf(epoch);
    return state !== null && !state.has(seq);
  }

  /** @param signed a record whose signature has been checked */
  offer(signed: SignedRecord): Offer {
    if (!this.wants(signed)) return { result: 'stale' };
    const { epoch, key, value } = signed.record;
    if (key === '' && (!Number.isSafeInteger(value) || (value as number) < 1)) {
      return { result: 'refused', reason: 'opening record without a size' };
    }
    let state = this.#stateOf(epoch);
    if (state === null) {
      state = new EpochState(epoch);
      if (this.#incoming !== null) this.#retired.push(this.#incoming);
      this.#incoming = state;
    }
    if (state.latest.size >= maxKeysPerStream && !state.latest.has(key)) {
      return { result: 'refused', reason: `more than ${maxKeysPerStream} records of one owner` };
    }
    const previous = state.put(signed);
    const changes = this.#promote() ?? this.#visible(state, signed, previous);
    return { result: 'applied', changes, gap: !this.#contains(signed), latest: previous !== undefined };
  }

  /** A batch of `epoch` comes in parts, of which the last ends with `seq`: until then the epoch is not whole. */
  expect(epoch: number, seq: number): void {
    this.#stateOf(epoch)?.expect(seq);
  }

  /** The batch pulled for `epoch` reached `seq` without holes. @returns what became visible by it */
  advanceTo(epoch: number, seq: number): readonly Change[] {
    const state = this.#stateOf(epoch);
    if (state === null) return [];
    state.advanceTo(seq);
    return this.#promote() ?? [];
  }

  /**
   * Records of the newest epoch after `position`, oldest first. With all of them a reader has everything up to `upTo`.
   * @returns null when there is nothing after the position
   */
  after(position: Position): Batch | null {
    const newest = this.#incoming ?? this.#current;
    if (newest === null || !mayLack(position, newest.position)) return null;
    const after = position.epoch === newest.epoch ? position.seq : 0;
    return { epoch: newest.epoch, after, upTo: newest.contiguous, records: newest.after(after) };
  }

  /** Looks at every record again, after what may be shown has changed. @returns what readers see of it */
  revise(look: (signed: SignedRecord) => SignedRecord): Change[] {
    const changes: Change[] = [];
    for (const state of [this.#current, this.#incoming]) {
      if (state === null) continue;
      for (const [key, signed] of state.latest) {
        const next = key === '' ? signed : look(signed);
        if (isLive(next) === isLive(signed)) continue;
        state.latest.set(key, next);
        changes.push(...this.#visible(state, next, signed));
      }
    }
    return changes;
  }

  /** How many keys of what readers see are live, and how many are tombstones. */
  get weight(): { readonly live: number; readonly tombstones: number } {
    let live = 0;
    for (const signed of this.#current?.latest.values() ?? []) if (isLive(signed)) live += 1;
    return { live, tombstones: Math.max(0, (this.#current?.latest.size ?? 0) - 1 - live) };
  }

  /** How many records of the present epoch repeat the state at its start. */
  get openedWith(): number {
    return Number(this.#current?.latest.get('')?.record.value ?? 0);
  }

  /** Seq of the latest record of a key, a tombstone too; 0 when there is none. */
  seqOf(key: string): number {
    return this.#current?.latest.get(key)?.record.seq ?? 0;
  }

  /** Keys that are held of an epoch, tombstones and the opening record included. */
  keys(epoch: number): readonly string[] {
    return [...(this.#stateOf(epoch)?.latest.keys() ?? [])];
  }

  /**
   * The owner itself: a new epoch that is whole takes the place of the present one. @returns what changed by it, values
   * that were only repeated left out
   */
  replace(epoch: number, records: readonly SignedRecord[], upTo: number): readonly Change[] {
    const state = new EpochState(epoch);
    for (const signed of records) state.put(signed);
    state.advanceTo(upTo);
    this.#incoming = state;
    const changes = this.#promote() ?? [];
    this.#retired = [];
    return changes.filter(({ previous, current }) => previous?.record.value !== current?.record.value);
  }

  /** Every live key, as changes to absent: what readers see when the owner is removed. */
  removal(): Change[] {
    return [...this.live()].map((previous) => ({ key: previous.record.key, previous, current: null }));
  }

  #stateOf(epoch: number): EpochState | null {
    if (this.#current?.epoch === epoch) return this.#current;
    if (this.#incoming?.epoch === epoch) return this.#incoming;
    return null;
  }

  #contains(signed: SignedRecord): boolean {
    const state = this.#stateOf(signed.record.epoch);
    return state !== null && signed.record.seq <= state.contiguous;
  }

  #visible(state: EpochState, signed: SignedRecord, previous: SignedRecord | null | undefined): Change[] {
    if (state !== this.#current || previous === undefined || signed.record.key === '') return [];
    const before = previous !== null && isLive(previous) ? previous : null;
    const current = isLive(signed) ? signed : null;
    return before === null && current === null ? [] : [{ key: signed.record.key, previous: before, current }];
  }

  /** Puts a gathered epoch in place of the present one, once it is whole. */
  #promote(): Change[] | null {
    const incoming = this.#incoming;
    if (incoming === null || !incoming.whole) return null;
    const before = new Map([...this.live()].map((signed) => [signed.record.key, signed]));
    if (this.#current !== null) this.#retired.push(this.#current);
    this.#current = incoming;
    this.#incoming = null;
    const changes: Change[] = [];
    for (const current of this.live()) {
      changes.push({ key: current.record.key, previous: before.get(current.record.key) ?? null, current });
      before.delete(current.record.key);
    }
    for (const previous of before.values()) changes.push({ key: previous.record.key, previous, current: null });
    return changes;
  }
}

const isLive = ({ record }: SignedRecord): boolean => record.key !== '' && !isTombstone(record);

/** Spreads a seq over 32 bits (the finalizer of MurmurHash3), so that the hash over several is their exclusive or. */
function mixed(seq: number): number {
  let hash = Math.imul(seq ^ (seq >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
