import { createHash } from 'node:crypto';
import type { Log } from '../environment.ts';
import { type NodeKey, SignatureVerifier } from '../identity/keys.ts';
import type { NodeId } from '../ids.ts';
import type { Key, Store, Write } from '../store.ts';
import type { Batch } from './epoch.ts';
import type { Members } from './members.ts';
import { OwnStreams, type Reaping } from './own.ts';
import { isBehind, mayLack, nowhere, type Place, type Position, type Reach } from './position.ts';
import { Propagation } from './propagation.ts';
import {
  clusterTopic,
  decodeRecord,
  hidden,
  isCount,
  type SignedRecord,
  told,
  toWire,
  verifyRecord,
  verifyRecordAside,
  type WireRecord,
} from './record.ts';
import { type Change, Stream } from './stream.ts';
import { WriteBehind } from './write-behind.ts';

/** A change of one owner's record in one topic. */
export interface TableChange extends Change {
  readonly topic: string;
  readonly owner: NodeId;
}

/** What became of a record that came from outside. */
export type Ingest =
  /** `objection`: kept for others, but not shown here; a newer version may know what this one does not. */
  | { readonly result: 'applied'; readonly gap: boolean; readonly objection: string | null }
  | { readonly result: 'stale' }
  /** Not usable yet: the owner's certificate is not known here. */
  | { readonly result: 'unknown-owner' }
  | { readonly result: 'refused'; readonly reason: string };

/** What its owner has done that signed this record: no honest node does, whatever befalls it. */
export const forked = 'two records signed for one place in a stream';

/** Why a record is refused that its owner did not sign: whoever passes one on is at fault. */
export const badSignature = 'bad signature';

// What is there is told in parts: a list of all of it would make the heap grow.
const maxPresentAtOnce = 1024;

/** @returns why the record may not be in the table, or null when it may */
export type Validate = (signed: Pick<SignedRecord, 'record'>) => string | null;

export interface TablesInit {
  readonly key: NodeKey;
  readonly clusterId: string;
  readonly store: Store;
  readonly members: Members;
  readonly validate: Validate;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  /** Milliseconds on a clock that does not jump. */
  readonly monotonicMs?: () => number;
  /** In [0, 1). @default Math.random */
  readonly random?: () => number;
  /** Lets the event loop do something else. @default nothing */
  readonly pause?: () => Promise<void>;
  /** When records of others are written to disk. @default at the end of the turn */
  readonly behind?: (write: () => void) => void;
  readonly reaping?: Reaping | undefined;
  readonly log: Log;
}

/**
 * All streams of all topics, as this node holds them, and its own, which only it writes. Signatures are checked here
 * once, after duplicates are dropped; whatever passes is stored, and watchers are told.
 */
export class Tables {
  readonly self: NodeId;
  readonly #init: TablesInit;
  readonly #verifier = new SignatureVerifier();
  /** Records whose signatures were checked ahead, and are good. */
  readonly #verified = new WeakSet<SignedRecord>();
  readonly #topics = new Map<string, Map<NodeId, Stream>>();
  /** Records of others, and how far they reach: what a crash costs is pulled again. */
  readonly #behind: WriteBehind;
  readonly #interests = new Set<string>([clusterTopic]);
  /** Of the topics that have not changed since they were asked for. */
  readonly #digests = new Map<string, string>();
  readonly #watchers = new Set<(changes: readonly TableChange[]) => void>();
  readonly #own: OwnStreams;
  /** How long records take to get here. */
  readonly propagation: Propagation;

  constructor(init: TablesInit) {
    this.#init = init;
    this.self = init.key.nodeId;
    const clocks = { now: init.now ?? (() => 0), monotonicMs: init.monotonicMs ?? (() => 0) };
    this.propagation = new Propagation(clocks);
    this.#behind = new WriteBehind({ store: init.store, log: init.log, later: init.behind ?? queueMicrotask });
    this.#own = new OwnStreams({
      ...init,
      ...clocks,
      random: init.random ?? Math.random,
      pause: init.pause ?? (() => Promise.resolve()),
      streamOf: (topic) => this.#streamOf(topic, this.self),
      notify: (topic, changes) => this.#notify(topic, this.self, changes),
    });
  }

  /** Own records, once others may see them: the mesh takes them from here. */
  set onOwnRecords(told: (records: readonly SignedRecord[]) => void) {
    this.#own.onRecords = told;
  }

  /** Reads what was stored and opens a new epoch with all own live records. Resolves when the epoch is on disk. */
  async load(): Promise<void> {
    const { store, validate } = this.#init;
    for (const [[, topic, owner, epoch], seq] of store.entries(['position'])) {
      // Of others, and damaged: pulled again.
      if (!isCount(seq) && seq !== 0) continue;
      const stream = this.#streamOf(String(topic), owner as NodeId);
      for (const [, wire] of store.entries(['record', String(topic), String(owner), Number(epoch)])) {
        const signed = decodeRecord(wire);
        if (signed !== null) stream.offer(validate(signed) === null ? signed : hidden(signed));
      }
      stream.advanceTo(Number(epoch), seq);
    }
    await this.#own.load();
  }

  /** Epoch of this run of the agent. */
  get epoch(): number {
    return this.#own.startEpoch;
  }

  /**
   * Writes an own record. Readers on this node see it at once; it leaves the node, and the promise resolves, when it
   * is on disk.
   * @param early it may leave before: for what a crash may take back
   */
  async put(topic: string, key: string, value: unknown, early = false): Promise<SignedRecord> {
    if (value === null || value === undefined) throw new Error(`${key}: use remove()`);
    // Only what is new is held to the rules: an agent has to start also with what a stricter version would not write.
    const draft = { topic, owner: this.self, epoch: this.epoch, seq: 2, key, value };
    const objection = this.#init.validate({ record: draft });
    if (objection !== null) throw new Error(`own record ${key} would be refused by others: ${objection}`);
    return this.#own.write(topic, key, value, early);
  }

  /**
   * Writes a tombstone for an own record; nothing to do when there is no such record.
   * @param early as with `put`
   */
  async remove(topic: string, key: string, early = false): Promise<void> {
    if (this.own(topic, key) !== null) await this.#own.write(topic, key, null, early);
  }

  /** Own live record of that key. */
  own(topic: string, key: string): SignedRecord | null {
    return this.#topics.get(topic)?.get(this.self)?.get(key) ?? null;
  }

  /** Whether there is an own live record whose key starts with `prefix`. */
  hasOwn(topic: string, prefix: string): boolean {
    for (const { record } of this.#topics.get(topic)?.get(this.self)?.live() ?? []) {
      if (record.key.startsWith(prefix)) return true;
    }
    return false;
  }

  /** Resolves when nothing own is waiting for the disk; what others wrote is on its way there. */
  flushed(): Promise<void> {
    this.#behind.flush();
    return this.#own.flushed();
  }

  /** Now and then: opens own streams anew in which tombstones outweigh what lives, and stores what could not be stored. */
  reap(): Promise<void> {
    this.#behind.flush();
    return this.#own.reap();
  }

  /** Others hold a later epoch of an own stream than this node; `wire` is all of it, or the beginning. */
  async recover(topic: string, wire: readonly WireRecord[], whole: boolean): Promise<void> {
    const held = wire.flatMap((each) => {
      const signed = decodeRecord(each);
      const isOwn = signed !== null && signed.record.owner === this.self && signed.record.topic === topic;
      return isOwn && verifyRecord(this.#verifier, this.#init.clusterId, signed) ? [signed] : [];
    });
    if (held.length === wire.length) await this.#own.recover(topic, held, whole);
  }

  /**
   * Takes a record from another node. The only door for everything that comes from outside.
   * @param pulled it came in answer to a pull: whoever gave it has all of its epoch
   */
  ingest(signed: SignedRecord, pulled = false): Ingest {
    const { topic, owner } = signed.record;
    const { members, clusterId, validate } = this.#init;
    if (owner === this.self || !this.#interests.has(topic)) return { result: 'stale' };
    if (members.isRemoved(owner)) return { result: 'refused', reason: 'owner was removed' };
    if (members.get(owner) === null) return { result: 'unknown-owner' };
    const known = this.#topics.get(topic)?.get(owner);
    if (known !== undefined && !known.wants(signed, pulled)) return { result: 'stale' };
    if (!this.#verified.has(signed) && !verifyRecord(this.#verifier, clusterId, signed)) {
      return { result: 'refused', reason: badSignature };
    }
    const objection = validate(signed);
    const { writtenMs } = signed.record;
    const stream = this.#streamOf(topic, owner);
    const offer = stream.offer(objection === null ? signed : hidden(signed), pulled);
    if (offer.result !== 'applied') return offer;
    this.#persist(stream, signed.record, offer.latest ? [signed] : []);
    this.#notify(topic, owner, offer.changes);
    if (writtenMs !== undefined && offer.latest) this.propagation.applied(owner, writtenMs);
    return { result: 'applied', gap: offer.gap, objection: offer.forked ? forked : objection };
  }

  /** Checks the signatures of records that are to be ingested, on other threads: half of the work that they are. */
  verifyAhead(records: readonly (readonly [SignedRecord, WireRecord])[]): Promise<void> {
    const wanted = records.filter(([signed]) => {
      const { topic, owner } = signed.record;
      return this.#topics.get(topic)?.get(owner)?.wants(signed, true) !== false;
    });
    if (wanted.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      let left = wanted.length;
      for (const [signed, wire] of wanted) {
        verifyRecordAside(this.#verifier, this.#init.clusterId, signed, wire, (isGood) => {
          if (isGood) this.#verified.add(signed);
          left -= 1;
          if (left === 0) resolve();
        });
      }
    });
  }

  /** What is ingested next is the first part of a batch that ends with `seq`. */
  expect(topic: string, owner: NodeId, epoch: number, seq: number): void {
    if (owner !== this.self) this.#topics.get(topic)?.get(owner)?.expect(epoch, seq);
  }

  /** The batch just ingested had no holes up to `seq`. */
  advance(topic: string, owner: NodeId, epoch: number, seq: number): void {
    const stream = this.#topics.get(topic)?.get(owner);
    if (stream === undefined || owner === this.self) return;
    this.#digests.delete(topic);
    const changes = stream.advanceTo(epoch, seq);
    this.#persist(stream, { topic, owner, epoch }, []);
    this.#notify(topic, owner, changes);
  }

  /** Of the epoch that got further: that may be an older one, which is shown until the newest is whole. */
  #persist(
    stream: Stream,
    { topic, owner, epoch: advanced }: Pick<SignedRecord['record'], 'topic' | 'owner' | 'epoch'>,
    records: readonly SignedRecord[],
  ): void {
    for (const signed of records) this.#behind.put({ key: recordKey(signed), value: toWire(signed) });
    for (const { epoch, keys } of stream.takeRetired()) {
      // Also of what has not reached the disk yet: the last write of a row counts.
      this.#behind.put({ key: ['position', topic, owner, epoch], value: null });
      for (const key of keys) this.#behind.put({ key: ['record', topic, owner, epoch, key], value: null });
    }
    const seq = stream.contiguousIn(advanced);
    if (seq !== null) this.#behind.put({ key: ['position', topic, owner, advanced], value: seq });
    this.#behind.flushIfFull();
  }

  /** Of what is on its way to the disk only the stream knows; of rows that could not be read, only the disk. */
  #erasure(topic: string, owner: NodeId, stream: Stream): Write[] {
    const isOwn = owner === this.self;
    const { store } = this.#init;
    const tables: Key[] = isOwn
      ? [['own', topic]]
      : [
          ['record', topic, owner],
          ['position', topic, owner],
        ];
    const stored = tables.flatMap((table) => [...store.entries(table)].map(([key]) => key));
    const known = stream.kept.flatMap(({ epoch, keys }): Key[] =>
      isOwn
        ? keys.map((key) => ['own', topic, epoch, key])
        : [['position', topic, owner, epoch], ...keys.map((key): Key => ['record', topic, owner, epoch, key])],
    );
    if (isOwn) this.#own.drop(topic);
    const rows = new Map([...stored, ...known].map((key) => [key.join('\0'), key]));
    return [...rows.values()].map((key) => ({ key, value: null }));
  }

  /** The owner's role is another one: what was hidden for lack of it shows, what counted by it goes. */
  reconsider(topic: string, owner: NodeId): void {
    const look = (signed: SignedRecord): SignedRecord => {
      const whole = decodeRecord(toWire(signed)) ?? signed;
      return this.#init.validate(whole) === null ? whole : hidden(whole);
    };
    this.#notify(topic, owner, this.#topics.get(topic)?.get(owner)?.revise(look) ?? []);
  }

  /** Forgets all of one owner, in every topic. */
  async dropOwner(owner: NodeId): Promise<void> {
    await this.#drop([...this.#topics].filter(([, streams]) => streams.has(owner)).map(([topic]) => [topic, owner]));
  }

  /** Ends the interest in a topic: what others wrote is forgotten, what this node wrote stays for those who ask. */
  async abandonTopic(topic: string): Promise<void> {
    this.#interests.delete(topic);
    const others = [...(this.#topics.get(topic)?.keys() ?? [])].filter((owner) => owner !== this.self);
    await this.#drop(others.map((owner) => [topic, owner]));
  }

  /** Forgets a topic, own records included. */
  async dropTopic(topic: string): Promise<void> {
    this.#interests.delete(topic);
    await this.#drop([...(this.#topics.get(topic)?.keys() ?? [])].map((owner) => [topic, owner]));
  }

  async #drop(pairs: readonly (readonly [string, NodeId])[]): Promise<void> {
    this.#behind.flush();
    const writes: Write[] = [];
    for (const [topic, owner] of pairs) {
      const streams = this.#topics.get(topic);
      const stream = streams?.get(owner);
      if (streams === undefined || stream === undefined) continue;
      this.#digests.delete(topic);
      streams.delete(owner);
      if (streams.size === 0) this.#topics.delete(topic);
      writes.push(...this.#erasure(topic, owner, stream));
      this.#notify(topic, owner, stream.removal());
    }
    await this.#init.store.commit(writes);
  }

  /** Live records of a topic, whose key starts with `prefix`. */
  *records(topic: string, prefix = ''): Generator<SignedRecord> {
    for (const stream of this.#topics.get(topic)?.values() ?? []) {
      for (const signed of stream.live()) if (signed.record.key.startsWith(prefix)) yield signed;
    }
  }

  /** Topics that this node wants to know all of. */
  get topics(): readonly string[] {
    return [...this.#interests];
  }

  /** Topics of which this node has records. */
  get held(): readonly string[] {
    return [...this.#topics.keys()];
  }

  hasInterest(topic: string): boolean {
    return this.#interests.has(topic);
  }

  addInterest(topic: string): void {
    this.#interests.add(topic);
  }

  /** Positions of own streams in topics that this node does not follow: nobody else may know their end. */
  ownElsewhere(): (readonly [topic: string, position: Position])[] {
    return this.#own.positions().filter(([topic]) => !this.#interests.has(topic));
  }

  /** Whether records of that owner are known to be missing here, its first ones included. */
  isLacking(topic: string, owner: NodeId): boolean {
    if (owner === this.self || !this.#interests.has(topic) || this.#init.members.isRemoved(owner)) return false;
    return this.#topics.get(topic)?.get(owner)?.isLacking ?? true;
  }

  /** Owners of whom records are known to be missing here. */
  lacking(topic: string): NodeId[] {
    return [...this.owners(topic)].filter((owner) => this.isLacking(topic, owner));
  }

  /** How far this node is with one owner. */
  position(topic: string, owner: NodeId): Position {
    return this.#topics.get(topic)?.get(owner)?.position ?? nowhere;
  }

  /** Owners of whom this node has records in the topic. */
  owners(topic: string): Iterable<NodeId> {
    return this.#topics.get(topic)?.keys() ?? [];
  }

  /** Version vector of a topic: how far this node is with each owner. */
  vector(topic: string): Map<NodeId, Position> {
    return new Map([...(this.#topics.get(topic) ?? [])].map(([owner, stream]) => [owner, stream.position]));
  }

  /** What a reader at `position` lacks of a stream. */
  after(topic: string, owner: NodeId, position: Position): Batch[] {
    if (owner === this.self) return this.#own.after(topic, position);
    return this.#topics.get(topic)?.get(owner)?.after(position) ?? [];
  }

  /** Whether `position` of that stream is ahead of what is here. */
  lacks(topic: string, owner: NodeId, position: Position): boolean {
    return mayLack(this.#topics.get(topic)?.get(owner)?.position ?? nowhere, position);
  }

  /** Whether what is here of that stream does not reach up to `place`. */
  isBehind(topic: string, owner: NodeId, place: Place): boolean {
    return isBehind(this.#topics.get(topic)?.get(owner)?.place ?? nowhere, place);
  }

  /** How far this node is in one epoch of a stream, which may be shown or gathered beside a newer one. */
  placeIn(topic: string, owner: NodeId, epoch: number): Place | null {
    return this.#topics.get(topic)?.get(owner)?.placeIn(epoch) ?? null;
  }

  /**
   * Two nodes with the same digest of a topic hold the same records of it, also behind gaps; what they show is the same
   * unless a stream is not whole (`lacking`). SHA-256, hex.
   */
  digest(topic: string): string {
    const known = this.#digests.get(topic);
    if (known !== undefined) return known;
    const hash = createHash('sha256');
    for (const [owner, stream] of [...(this.#topics.get(topic) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const { position } = stream;
      if (position.epoch > 0) hash.update(`${owner} ${[position, position.before].map(textOf).join(' ')}\n`);
    }
    const digest = hash.digest('hex');
    this.#digests.set(topic, digest);
    return digest;
  }

  /** @param watcher is told of every change from now on, and at once of everything that is there */
  watch(watcher: (changes: readonly TableChange[]) => void): () => void {
    this.#watchers.add(watcher);
    const tell = (changes: readonly TableChange[]): void => {
      watcher(changes);
      forget(changes);
    };
    const present: TableChange[] = [];
    for (const [topic, streams] of this.#topics) {
      for (const [owner, stream] of streams) {
        for (const current of stream.live()) {
          present.push({ topic, owner, key: current.record.key, previous: null, current });
          if (present.length >= maxPresentAtOnce) tell(present.splice(0));
        }
      }
    }
    if (present.length > 0) tell(present);
    return () => this.#watchers.delete(watcher);
  }

  #notify(topic: string, owner: NodeId, changes: readonly Change[]): void {
    if (changes.length === 0) return;
    const named = changes.map((change) => ({ topic, owner, ...change }));
    for (const watcher of this.#watchers) watcher(named);
    forget(changes);
  }

  /** The stream, to be changed. */
  #streamOf(topic: string, owner: NodeId): Stream {
    this.#digests.delete(topic);
    const streams = this.#topics.get(topic) ?? new Map<NodeId, Stream>();
    this.#topics.set(topic, streams);
    const stream = streams.get(owner) ?? new Stream();
    streams.set(owner, stream);
    return stream;
  }
}

/** Watchers have taken what they want: values need not be kept. */
function forget(changes: readonly Change[]): void {
  for (const { current } of changes) if (current !== null) told(current);
}

const recordKey = ({ record }: SignedRecord): Key => ['record', record.topic, record.owner, record.epoch, record.key];

const textOf = (reach: Reach | null): string =>
  reach === null ? '-' : `${reach.epoch} ${reach.seq} ${reach.sum} ${reach.ahead}`;
