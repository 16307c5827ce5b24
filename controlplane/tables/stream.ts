import { type Batch, EpochState } from './epoch.ts';
import { nothing, nowhere, type Place, type Position } from './position.ts';
import { isTombstone, type SignedRecord } from './record.ts';

/** A key of a stream took another value; null is absent. */
export interface Change {
  readonly key: string;
  readonly previous: SignedRecord | null;
  readonly current: SignedRecord | null;
}

export type Offer =
  /**
   * Taken; `changes` is what readers see of it (nothing while an epoch is still being gathered). Not `latest`: it only
   * closes a gap, since a later record of its key came before it. `forked`: its owner has signed another record for the
   * same place, which its own code never does.
   */
  | {
      readonly result: 'applied';
      readonly changes: readonly Change[];
      readonly gap: boolean;
      readonly latest: boolean;
      readonly forked: boolean;
    }
  /** Known already, superseded, or of an epoch that is over. */
  | { readonly result: 'stale' }
  | { readonly result: 'refused'; readonly reason: string };

/** Records of one owner in one topic; a stream that has more is refused, not truncated. */
export const maxKeysPerStream = 200_000;

/** Keys that are held of an epoch, tombstones and the opening record included. */
export interface EpochKeys {
  readonly epoch: number;
  readonly keys: readonly string[];
}

/**
 * One owner's stream in one topic, as a reader holds it. A new epoch is gathered beside the present one and takes over
 * only when its opening set is whole, so a restart of the owner never makes its endpoints blink.
 */
export class Stream {
  #current: EpochState | null = null;
  /** Epochs that are not whole yet, later than the present one: the newest, and at most one before it. */
  #gathered: readonly EpochState[] = [];
  #retired: EpochState[] = [];

  get #newest(): EpochState | null {
    return this.#gathered.at(-1) ?? this.#current;
  }

  /** What to ask others to continue from. */
  get position(): Position {
    const [older, newer] = this.#gathered;
    const newest = this.#newest?.reach ?? nothing;
    if (older === undefined) return { ...newest, before: null };
    return { ...newest, before: (newer === undefined ? this.#current : older)?.reach ?? nothing };
  }

  /** The same without what lies beyond a gap, which takes looking at every record. */
  get place(): Place {
    const newest = this.#newest;
    return newest === null ? nowhere : { epoch: newest.epoch, seq: newest.contiguous };
  }

  /** How far this reader is in an epoch that it holds. */
  placeIn(epoch: number): Place | null {
    const state = this.#stateOf(epoch);
    return state === null ? null : { epoch, seq: state.contiguous };
  }

  /** Whether records are known to be missing: there is a gap, or an epoch that is not whole yet. */
  get isLacking(): boolean {
    return this.#gathered.length > 0 || this.#current?.hasGap === true;
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
    return this.#states.map(({ epoch }) => epoch);
  }

  get #states(): readonly EpochState[] {
    return this.#current === null ? this.#gathered : [this.#current, ...this.#gathered];
  }

  /** Epochs that are held no more since the last call, with the keys that they had: for whoever keeps them on disk. */
  takeRetired(): EpochKeys[] {
    const retired = this.#retired.map(keysOf);
    this.#retired = [];
    return retired;
  }

  /** All that the disk may hold of this stream, or will when what is on its way there has arrived. */
  get kept(): EpochKeys[] {
    return [...this.#states, ...this.#retired].map(keysOf);
  }

  /**
   * Whether `offer` would take the record: asked before the signature is checked, which costs far more.
   * @param pulled whoever gave it has all of its epoch
   */
  wants(signed: SignedRecord, pulled = false): boolean {
    const { epoch } = signed.record;
    const newest = this.#newest;
    if (newest === null || epoch > newest.epoch) return true;
    const state = this.#stateOf(epoch);
    return state === null ? pulled && this.#isOlderWanted(epoch) : state.wants(signed);
  }

  /**
   * Whether an epoch that is not the newest may be shown until that is whole: its owner may have ended in between, and
   * nobody have the rest.
   */
  #isOlderWanted(epoch: number): boolean {
    const [older, newer] = this.#gathered;
    const least = (newer === undefined ? this.#current : older)?.epoch ?? 0;
    return older !== undefined && epoch > least;
  }

  /** @param signed a record whose signature has been checked @param pulled as with `wants` */
  offer(signed: SignedRecord, pulled = false): Offer {
    if (!this.wants(signed, pulled)) return { result: 'stale' };
    const { epoch, key, value } = signed.record;
    if (key === '' && (!Number.isSafeInteger(value) || (value as number) < 1)) {
      return { result: 'refused', reason: 'opening record without a size' };
    }
    const state = this.#stateOf(epoch) ?? this.#gather(epoch);
    if (state.latest.size >= maxKeysPerStream && !state.latest.has(key)) {
      return { result: 'refused', reason: `more than ${maxKeysPerStream} records of one owner` };
    }
    const forked = state.isForkedBy(signed);
    const previous = state.put(signed);
    const changes = this.#promote() ?? this.#visible(state, signed, previous);
    return { result: 'applied', changes, gap: !this.#contains(signed), latest: previous !== undefined, forked };
  }

  #gather(epoch: number): EpochState {
    const state = new EpochState(epoch);
    const newest = this.#gathered.at(-1);
    const isOlder = newest !== undefined && epoch < newest.epoch;
    this.#retired.push(...(isOlder ? this.#gathered.slice(0, -1) : this.#gathered));
    this.#gathered = isOlder ? [state, newest] : [state];
    return state;
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
   * What a reader at `position` lacks, oldest first: of the newest epoch, and before that, while it is not whole here, of
   * the one that is shown meanwhile. With all records of a batch a reader has everything of its epoch up to `upTo`.
   */
  after(position: Position): Batch[] {
    const [newest, current] = [this.#newest, this.#current];
    const batches: (Batch | null)[] = [];
    if (current !== null && current !== newest) {
      const theirs = position.epoch <= current.epoch ? position : position.before;
      if (theirs !== null) batches.push(current.batchAfter(theirs));
    }
    if (newest !== null) batches.push(newest.batchAfter(position));
    return batches.filter((batch) => batch !== null);
  }

  /** Looks at every record again, after what may be shown has changed. @returns what readers see of it */
  revise(look: (signed: SignedRecord) => SignedRecord): Change[] {
    const changes: Change[] = [];
    for (const state of this.#states) {
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

  /** All of an epoch up to there is known or superseded; null for one that is not held. */
  contiguousIn(epoch: number): number | null {
    return this.#stateOf(epoch)?.contiguous ?? null;
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
    this.#gathered = [state];
    const changes = this.#promote() ?? [];
    this.#retired = [];
    return changes.filter(({ previous, current }) => previous?.record.value !== current?.record.value);
  }

  /** Every live key, as changes to absent: what readers see when the owner is removed. */
  removal(): Change[] {
    return [...this.live()].map((previous) => ({ key: previous.record.key, previous, current: null }));
  }

  #stateOf(epoch: number): EpochState | null {
    return this.#states.find((state) => state.epoch === epoch) ?? null;
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
    const at = this.#gathered.findLastIndex(({ whole }) => whole);
    const next = this.#gathered[at];
    if (next === undefined) return null;
    const before = new Map([...this.live()].map((signed) => [signed.record.key, signed]));
    this.#retired.push(...(this.#current === null ? [] : [this.#current]), ...this.#gathered.slice(0, at));
    this.#current = next;
    this.#gathered = this.#gathered.slice(at + 1);
    const changes: Change[] = [];
    for (const current of this.live()) {
      changes.push({ key: current.record.key, previous: before.get(current.record.key) ?? null, current });
      before.delete(current.record.key);
    }
    for (const previous of before.values()) changes.push({ key: previous.record.key, previous, current: null });
    return changes;
  }
}

const keysOf = ({ epoch, latest }: EpochState): EpochKeys => ({ epoch, keys: [...latest.keys()] });

const isLive = ({ record }: SignedRecord): boolean => record.key !== '' && !isTombstone(record);
