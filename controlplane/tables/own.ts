import type { Log } from '../environment.ts';
import { damagedState, earlierState } from '../errors.ts';
import { type NodeKey, SignatureVerifier } from '../identity/keys.ts';
import type { NodeId } from '../ids.ts';
import type { Key, Store, Write } from '../store.ts';
import type { Batch } from './epoch.ts';
import type { Position } from './position.ts';
import {
  decodeRecord,
  isCount,
  isOfEarlierFormat,
  type SignedRecord,
  signRecord,
  toWire,
  verifyRecord,
} from './record.ts';
import { type Change, Stream } from './stream.ts';

/** When tombstones are reaped, besides that they outweigh what lives. */
export interface Reaping {
  /** Enough to be worth a new epoch. */
  readonly minTombstones: number;
  /** A stream that changes all the time is not written anew all the time. */
  readonly minAgeMs: number;
}

const defaultReaping: Reaping = { minTombstones: 300, minAgeMs: 60_000 };
// Signed, or written to disk, before the event loop gets to do something else: a signature takes 40 µs.
const recordsPerSlice = 200;

/**
 * Kinds of records that no writer takes back: their end is a record, too (kinds.ts). One of these that others do not have is
 * none that came to an end, but one that they have not heard of.
 */
const kindsForGood: ReadonlySet<string> = new Set([
  'network',
  'subnet',
  'removed',
  'role',
  'ca',
  'mesh-key',
  'cluster',
  'token',
]);
const isForGood = (key: string): boolean => kindsForGood.has(key.split('/', 1)[0] ?? '');

// With seconds above them they stay far below what a number holds exactly.
const epochsPerSecond = 2 ** 16;

export interface OwnStreamsInit {
  readonly key: NodeKey;
  readonly clusterId: string;
  readonly store: Store;
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Milliseconds on a clock that does not jump. */
  readonly monotonicMs: () => number;
  /** In [0, 1). */
  readonly random: () => number;
  /** Lets the event loop do something else. */
  readonly pause: () => Promise<void>;
  /** @default 300 tombstones, a minute */
  readonly reaping?: Reaping | undefined;
  /** This node's stream in a topic as its own readers see it, to be changed. */
  readonly streamOf: (topic: string) => Stream;
  readonly notify: (topic: string, changes: readonly Change[]) => void;
}

/** A topic's stream as it is written anew: what it will hold when that is on disk. */
interface Opening {
  readonly epoch: number;
  readonly records: readonly SignedRecord[];
  readonly upTo: number;
}

/**
 * The streams that this node writes, one in each topic. A record is seen by this node's readers at once, and by others
 * only when it is on disk, unless its writer says that it promises nothing. Every start opens each stream anew, with an
 * epoch that was never used before; so does a running agent whose tombstones outweigh what lives in a stream.
 */
export class OwnStreams {
  readonly #init: OwnStreamsInit;
  readonly #self: NodeId;
  /** Where the next record goes. */
  readonly #heads = new Map<string, { epoch: number; seq: number }>();
  /** Keys written while their topic is opened anew. */
  readonly #reopening = new Map<string, Set<string>>();
  /** By the clock that does not jump. */
  readonly #openedMs = new Map<string, number>();
  /** As far as they are on disk: what others may have of them. */
  readonly #published = new Map<string, Stream>();
  #outbox: SignedRecord[] = [];
  /** Of the outbox, what others were told already. */
  readonly #told = new WeakSet<SignedRecord>();
  #openings = new Map<string, Opening>();
  /** The commit that is under way, and the one that takes what is written meanwhile. */
  #flushing: Promise<void> = Promise.resolve();
  #nextFlush: Promise<void> | null = null;
  #reaping = false;
  /** The last epoch that was given to a stream, and the first of this run. */
  #lastEpoch = 0;
  #startEpoch = 0;
  /** Own records, once others may see them: the mesh takes them from here. */
  onRecords: (records: readonly SignedRecord[]) => void = () => {};

  constructor(init: OwnStreamsInit) {
    this.#init = init;
    this.#self = init.key.nodeId;
  }

  /** Epoch that all streams were opened with at the start of this agent. */
  get startEpoch(): number {
    return this.#startEpoch;
  }

  /** Every start is a new epoch: whatever a crash may have cost, no (owner, epoch, seq) is ever used twice. */
  async load(): Promise<void> {
    const { store, clusterId } = this.#init;
    const verifier = new SignatureVerifier();
    const last = store.get(['epoch']) ?? 0;
    if (last !== 0 && !isCount(last)) throw damagedState('epoch');
    this.#lastEpoch = last;
    this.#startEpoch = this.#nextEpoch(0);
    const writes: Write[] = [{ key: ['epoch'], value: this.#startEpoch }];
    const opened: SignedRecord[] = [];
    const rows = new Map<string, Map<number, SignedRecord[]>>();
    for (const [key, wire] of store.entries(['own'])) {
      writes.push({ key, value: null });
      const signed = decodeRecord(wire);
      // To drop them would take this node's networks and grants from all others.
      if (signed === null && isOfEarlierFormat(wire)) throw earlierState();
      // Only this identity's: another one's rows may be left from an earlier membership.
      if (signed === null || signed.record.owner !== this.#self) continue;
      // It is signed anew, so nobody could tell later that the disk has changed it.
      if (!verifyRecord(verifier, clusterId, signed)) throw damagedState(key.join('/'));
      const { topic, epoch } = signed.record;
      const epochs = rows.get(topic) ?? new Map<number, SignedRecord[]>();
      rows.set(topic, epochs);
      const same = epochs.get(epoch);
      if (same === undefined) epochs.set(epoch, [signed]);
      else same.push(signed);
    }
    for (const [topic, epochs] of rows) {
      const live = lastWhole(epochs).filter(({ record }) => record.key !== '' && record.value !== null);
      // A topic whose own records are all tombstones opens too: a reader that missed them has no other way to learn.
      this.#begin(topic, this.#startEpoch);
      opened.push(this.#append(topic, '', live.length + 1, true));
      for (const { record } of live) opened.push(this.#append(topic, record.key, record.value, true));
    }
    this.#outbox = [];
    // The old epochs' rows go in the same commit that brings the new ones.
    for (const signed of opened) writes.push(rowOf(signed));
    await store.commit(writes);
    this.#publish(opened);
  }

  /**
   * By the wall clock where there is one: a state directory that was restored from a copy has an old number. And by
   * chance: where the clock is behind too, two runs that go on from the same number must not write the same epoch.
   */
  #nextEpoch(above: number): number {
    const { now, random } = this.#init;
    const least = Math.max(this.#lastEpoch, above, Math.floor(now() / 1000) * epochsPerSecond);
    this.#lastEpoch = least + 1 + Math.floor(random() * epochsPerSecond);
    return this.#lastEpoch;
  }

  #begin(topic: string, epoch: number): void {
    this.#heads.set(topic, { epoch, seq: 0 });
    this.#openedMs.set(topic, this.#init.monotonicMs());
  }

  /** Own live record of that key. */
  get(topic: string, key: string): SignedRecord | null {
    return this.#heads.has(topic) ? this.#init.streamOf(topic).get(key) : null;
  }

  /**
   * A record, or with null a tombstone; resolves when it is on disk.
   * @param early others are told at once, unless something before it in its stream waits for the disk
   */
  async write(topic: string, key: string, value: unknown, early = false): Promise<SignedRecord> {
    if (!this.#heads.has(topic)) {
      // A topic that was dropped in this run must not repeat its numbers.
      this.#begin(topic, this.#openedMs.has(topic) ? this.#nextEpoch(0) : this.#startEpoch);
      this.#append(topic, '', 1);
    }
    const signed = this.#append(topic, key, value);
    if (early && this.#follows(signed)) {
      this.#told.add(signed);
      this.#publish([signed]);
    }
    await this.#flush();
    return signed;
  }

  #append(topic: string, key: string, value: unknown, repeated = false): SignedRecord {
    const head = this.#heads.get(topic);
    if (head === undefined) throw new Error(`own stream of ${topic} is not open`);
    const writtenMs = repeated ? 0 : Math.floor(this.#init.now());
    const signed = this.#sign(topic, head.epoch, head.seq + 1, key, value, writtenMs);
    const offer = this.#init.streamOf(topic).offer(signed);
    if (offer.result !== 'applied') throw new Error(`own record ${key} was not taken: ${JSON.stringify(offer)}`);
    head.seq += 1;
    this.#outbox.push(signed);
    this.#reopening.get(topic)?.add(key);
    this.#init.notify(topic, offer.changes);
    return signed;
  }

  #sign(topic: string, epoch: number, seq: number, key: string, value: unknown, writtenMs = 0): SignedRecord {
    const { key: nodeKey, clusterId } = this.#init;
    const record = { topic, owner: this.#self, epoch, seq, key, value };
    return signRecord(nodeKey, clusterId, writtenMs === 0 ? record : { ...record, writtenMs });
  }

  /** Opens anew, one after the other, the streams in which tombstones outweigh what lives. */
  async reap(): Promise<void> {
    if (this.#reaping) return;
    this.#reaping = true;
    const { minTombstones, minAgeMs } = this.#init.reaping ?? defaultReaping;
    try {
      for (const topic of [...this.#heads.keys()]) {
        const { live, tombstones } = this.#init.streamOf(topic).weight;
        const ageMs = this.#init.monotonicMs() - (this.#openedMs.get(topic) ?? 0);
        if (tombstones >= minTombstones && tombstones > live && ageMs >= minAgeMs) await this.#reopen(topic, 0);
      }
    } finally {
      this.#reaping = false;
    }
  }

  /**
   * Others hold a later epoch of an own stream than this node remembers: its disk is an older copy. What they hold is
   * what this node wrote last, so it counts, unless it has been written again since the start.
   * @param held records of that epoch, with checked signatures
   * @param whole whether that is all of it
   */
  async recover(topic: string, held: readonly SignedRecord[], whole: boolean): Promise<void> {
    const epoch = held[0]?.record.epoch ?? 0;
    const head = this.#heads.get(topic);
    if (epoch <= (head?.epoch ?? 0) || this.#reopening.has(topic)) return;
    this.#init.log.warn({ topic, epoch }, 'others know a later state of this node than its disk; it is taken over');
    const stream = this.#init.streamOf(topic);
    const repeated = stream.openedWith;
    const isNew = (key: string): boolean => stream.seqOf(key) > repeated;
    if (head === undefined) {
      this.#begin(topic, this.#nextEpoch(0));
      this.#append(topic, '', 1);
    }
    const theirs = new Map(held.map(({ record }) => [record.key, record.value]));
    for (const { record } of whole ? [...stream.live()] : []) {
      const { key } = record;
      if (!theirs.has(key) && !isNew(key) && !isForGood(key)) this.#append(topic, key, null);
    }
    for (const [key, value] of theirs) {
      if (key === '' || isNew(key)) continue;
      if (value !== null || stream.get(key) !== null) this.#append(topic, key, value);
    }
    await this.#reopen(topic, epoch);
  }

  /**
   * Writes what lives in a stream anew, in a new epoch, while the old one goes on. In slices; the row of the opening
   * record comes last, and rows of an epoch that lacks it count for nothing after a crash.
   */
  async #reopen(topic: string, above: number): Promise<void> {
    const { store, streamOf, pause, log } = this.#init;
    const changed = new Set<string>();
    this.#reopening.set(topic, changed);
    const before = this.#heads.get(topic)?.epoch ?? 0;
    try {
      const epoch = this.#nextEpoch(above);
      const fresh = new Map<string, SignedRecord>();
      let seq = 1;
      const repeat = (key: string, value: unknown): SignedRecord => {
        seq += 1;
        const signed = this.#sign(topic, epoch, seq, key, value);
        fresh.set(key, signed);
        return signed;
      };
      const live = [...streamOf(topic).live()];
      for (let from = 0; from < live.length; from += recordsPerSlice) {
        const slice = live.slice(from, from + recordsPerSlice).map(({ record }) => repeat(record.key, record.value));
        await store.commit(slice.map(rowOf));
        await pause();
        // The network was dropped meanwhile.
        if (!this.#heads.has(topic)) return;
      }
      // From here on nothing is waited for until the new epoch is in place.
      const stream = streamOf(topic);
      const last: SignedRecord[] = [];
      for (const key of changed) {
        const now = stream.get(key)?.record.value ?? null;
        if (fresh.delete(key) || now !== null) last.push(repeat(key, now));
      }
      const opening = this.#sign(topic, epoch, 1, '', seq);
      const stale = stream.keys(before);
      const records = [opening, ...fresh.values()];
      const changes = stream.replace(epoch, records, seq);
      this.#heads.set(topic, { epoch, seq });
      this.#openedMs.set(topic, this.#init.monotonicMs());
      // What waits for the disk is part of the new epoch.
      this.#outbox = this.#outbox.filter(({ record }) => record.topic !== topic);
      this.#outbox.push(...last, opening);
      this.#openings.set(topic, { epoch, records, upTo: seq });
      this.#init.notify(topic, changes);
      this.#reopening.delete(topic);
      await this.#flush();
      log.debug(
        { topic, epoch, records: records.length, reaped: stale.length - records.length },
        'opened a stream anew',
      );
      for (let from = 0; from < stale.length; from += recordsPerSlice) {
        const keys = stale.slice(from, from + recordsPerSlice);
        await store.commit(keys.map((key) => ({ key: ['own', topic, before, key], value: null })));
        await pause();
      }
    } finally {
      this.#reopening.delete(topic);
    }
  }

  /** One commit at a time; what is written meanwhile shares the next one. */
  #flush(): Promise<void> {
    this.#nextFlush ??= this.#flushing.then(() => {
      this.#nextFlush = null;
      const [records, openings] = [this.#outbox, this.#openings];
      this.#outbox = [];
      this.#openings = new Map();
      const writes: Write[] = records.map(rowOf);
      writes.push({ key: ['epoch'], value: this.#lastEpoch });
      const written = this.#init.store.commit(writes).then(
        () => {
          for (const [topic, { epoch, records: all, upTo }] of openings)
            this.#publishedOf(topic).replace(epoch, all, upTo);
          this.#publish(records.filter((signed) => !this.#told.delete(signed)));
        },
        (error: unknown) => {
          // Others would wait for these for ever; the next commit takes them along.
          this.#outbox.unshift(...records);
          this.#openings = new Map([...openings, ...this.#openings]);
          throw error;
        },
      );
      this.#flushing = written.catch(() => {});
      return written;
    });
    return this.#nextFlush;
  }

  /** Whether all before it in its stream is on disk, its epoch too: no number of one that was told is ever used twice. */
  #follows({ record: { topic, epoch, seq } }: SignedRecord): boolean {
    const before = this.#published.get(topic)?.position;
    return before !== undefined && before.epoch === epoch && before.seq === seq - 1;
  }

  #publish(records: readonly SignedRecord[]): void {
    for (const signed of records) this.#publishedOf(signed.record.topic).offer(signed);
    this.onRecords(records);
  }

  #publishedOf(topic: string): Stream {
    const stream = this.#published.get(topic) ?? new Stream();
    this.#published.set(topic, stream);
    return stream;
  }

  /** Resolves when nothing own is waiting for the disk. */
  async flushed(): Promise<void> {
    await (this.#nextFlush ?? this.#flushing);
  }

  /** A record that a crash may still take back must not be acted on by others: a grant, above all. */
  after(topic: string, position: Position): Batch[] {
    return this.#published.get(topic)?.after(position) ?? [];
  }

  /** Positions of all own streams, as others may know them. */
  positions(): (readonly [topic: string, position: Position])[] {
    return [...this.#published].map(([topic, stream]) => [topic, stream.position]);
  }

  /** Forgets the stream of a topic; its rows are the caller's to remove. */
  drop(topic: string): void {
    this.#heads.delete(topic);
    this.#published.delete(topic);
    this.#outbox = this.#outbox.filter(({ record }) => record.topic !== topic);
    this.#openings.delete(topic);
  }
}

/** Rows of the latest epoch that was written to its end. */
function lastWhole(epochs: ReadonlyMap<number, readonly SignedRecord[]>): readonly SignedRecord[] {
  const whole = [...epochs].filter(([, rows]) => rows.some(({ record }) => record.key === ''));
  return whole.sort(([a], [b]) => b - a)[0]?.[1] ?? [];
}

const rowOf = (signed: SignedRecord): Write => {
  const { topic, epoch, key } = signed.record;
  return { key: ['own', topic, epoch, key] satisfies Key, value: toWire(signed) };
};
