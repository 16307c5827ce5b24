import { type NodeId, nodeIdOf } from '../ids.ts';
import type { Batch } from './epoch.ts';
import { nowhere, type Position, type Reach } from './position.ts';
import { isCount, isTopic, ownerBytes, type SignedRecord, type WireRecord } from './record.ts';

// The messages with which nodes compare their tables and fetch what they lack: shapes on the wire, and their parsers.

/** Streams that one request names: with their positions they take less than half of a frame. */
export const maxRowsPerRequest = 8_192;
// More topics than that are compared in several requests.
export const maxTopicsPerRequest = 2_048;

/** How far a reader is in one epoch: epoch, seq, and hashes over what it has up to there and beyond the next gap. */
export type WireReach = [epoch: number, seq: number, sum: number, ahead: number];

/** How far a reader is with one owner: its key, its newest epoch, and the one before while that is being gathered. */
export type WireRow = [owner: Uint8Array, ...newest: WireReach, ...before: WireReach | []];

/** Digests of the topics that the asker follows, and its positions in its own streams elsewhere. */
export interface CompareRequest {
  digests: [topic: string, digest: Uint8Array][];
  /** Own streams in topics that the asker does not follow: topic, epoch, seq. */
  own: [topic: string, epoch: number, seq: number][];
}

export interface CompareReply {
  /** Topics in which the two differ. */
  differing: string[];
  /** Topics that the answerer does not follow. */
  foreign: string[];
  /** The answerer's clock, milliseconds since the epoch. */
  nowMs: number;
}

/** Part of a topic: all owners after `from` up to `until`, or, as null, those that are named. */
export interface WireAsk {
  topic: string;
  /** Raw keys, in the order of node ids; null is the end. */
  range: [from: Uint8Array | null, until: Uint8Array | null] | null;
  rows: WireRow[];
}

/** Part of one owner's stream, with the owner's certificate. */
export interface WireStream {
  topic: string;
  owner: Uint8Array;
  certificate: Uint8Array;
  epoch: number;
  after: number;
  upTo: number;
  records: WireRecord[];
}

export interface PullReply {
  streams: WireStream[];
  /** The reply was cut at its size limit: ask again. */
  more: boolean;
  /** Topics that the answerer does not follow. */
  foreign: string[];
}

/** What one node asks another for, in one topic. */
export interface Ask {
  readonly topic: string;
  /** Exclusive and inclusive ends; null is open. Absent: only the owners of `positions`. */
  readonly range: { readonly from: NodeId | null; readonly until: NodeId | null } | null;
  readonly positions: ReadonlyMap<NodeId, Position>;
}

export function toWireAsk({ topic, range, positions }: Ask): WireAsk {
  const key = (id: NodeId | null): Uint8Array | null => (id === null ? null : ownerBytes(id));
  return {
    topic,
    range: range === null ? null : [key(range.from), key(range.until)],
    rows: [...positions].map(([owner, position]) => [
      ownerBytes(owner),
      ...toWireReach(position),
      ...(position.before === null ? ([] as const) : toWireReach(position.before)),
    ]),
  };
}

/**
 * The next part of a topic to compare: as many owners after `from` as one request may name.
 * @param room rows
 */
export function nextAsk(topic: string, vector: ReadonlyMap<NodeId, Position>, from: NodeId | null, room: number): Ask {
  const owners = [...vector.keys()].filter((owner) => from === null || owner > from).sort();
  const part = owners.slice(0, room);
  const until = part.length < owners.length ? (part.at(-1) ?? null) : null;
  return {
    topic,
    range: { from, until },
    positions: new Map(part.map((owner) => [owner, vector.get(owner) ?? nowhere])),
  };
}

/** Owners that an ask is about, among those that the answerer knows. */
export function ownersOf({ range, positions }: Ask, known: Iterable<NodeId>): Set<NodeId> {
  const owners = new Set(positions.keys());
  if (range === null) return owners;
  const { from, until } = range;
  for (const owner of known)
    if ((from === null || owner > from) && (until === null || owner <= until)) owners.add(owner);
  return owners;
}

/** Room for the fields of a `WireStream` besides certificate and records. */
export const streamOverheadBytes = 160;

const wireSize = ({ payload, signature }: SignedRecord): number => payload.length + signature.length + 16;

/**
 * As much of a batch as fits into `roomBytes`. A part begins with the last record of the whole, so that the reader
 * knows how far its owner has come and takes no part for all of it.
 */
export function cutBatch(batch: Batch, roomBytes: number): Batch & { readonly sizeBytes: number } {
  let whole = 0;
  for (const signed of batch.records) {
    whole += wireSize(signed);
    if (whole > roomBytes) break;
  }
  if (whole <= roomBytes) return { ...batch, sizeBytes: whole };
  const nothing = { ...batch, upTo: batch.after, records: [], sizeBytes: 0 };
  const last = batch.records.at(-1);
  if (last === undefined) return nothing;
  let sizeBytes = wireSize(last);
  let upTo = batch.after;
  const records: SignedRecord[] = [];
  for (const signed of batch.records) {
    if (sizeBytes + wireSize(signed) > roomBytes) break;
    sizeBytes += wireSize(signed);
    records.push(signed);
    upTo = Math.min(signed.record.seq, batch.upTo);
  }
  return records.length === 0 ? nothing : { ...batch, upTo, records: [last, ...records], sizeBytes };
}

/** Splits records into lists whose encoding stays below `limitBytes`. */
export function inFrames(records: readonly WireRecord[], limitBytes: number): WireRecord[][] {
  const frames: WireRecord[][] = [];
  let size = limitBytes;
  for (const record of records) {
    const bytes = record[0].length + record[1].length + 16;
    if (size + bytes > limitBytes) {
      frames.push([]);
      size = 16;
    }
    frames.at(-1)?.push(record);
    size += bytes;
  }
  return frames;
}

const toWireReach = ({ epoch, seq, sum, ahead }: Reach): WireReach => [epoch, seq, sum, ahead];

/** @param row four numbers */
function reachOf(row: unknown[]): Reach {
  const [epoch = 0, seq = 0, sum = 0, ahead = 0] = row as number[];
  return { epoch, seq, sum, ahead };
}

const isObject = (value: unknown): value is { [key: string]: unknown } =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
const isKey = (value: unknown): value is Uint8Array => value instanceof Uint8Array && value.length === 32;
const isIndex = (value: unknown): value is number => value === 0 || isCount(value);
const isTopicList = (value: unknown): value is string[] =>
  Array.isArray(value) && value.length <= maxTopicsPerRequest && value.every(isTopic);

/** @returns null for anything that is not a request to compare */
export function parseCompareRequest(value: unknown): CompareRequest | null {
  if (!isObject(value)) return null;
  const { digests, own } = value;
  if (!Array.isArray(digests) || !Array.isArray(own)) return null;
  if (digests.length > maxTopicsPerRequest || own.length > maxTopicsPerRequest) return null;
  const isDigest = (row: unknown): boolean =>
    Array.isArray(row) && row.length === 2 && isTopic(row[0]) && row[1] instanceof Uint8Array && row[1].length <= 32;
  const isOwn = (row: unknown): boolean =>
    Array.isArray(row) && row.length === 3 && isTopic(row[0]) && isIndex(row[1]) && isIndex(row[2]);
  return digests.every(isDigest) && own.every(isOwn) ? { digests, own } : null;
}

/** @returns null for anything that is not an answer to it */
export function parseCompareReply(value: unknown): CompareReply | null {
  if (!isObject(value)) return null;
  const { differing, foreign, nowMs } = value;
  if (!isCount(nowMs)) return null;
  return isTopicList(differing) && isTopicList(foreign) ? { differing, foreign, nowMs } : null;
}

/** @returns null for anything that is not a pull request */
export function parsePullRequest(value: unknown): Ask[] | null {
  if (!Array.isArray(value) || value.length > maxTopicsPerRequest) return null;
  const asks: Ask[] = [];
  const topics = new Set<string>();
  let rows = 0;
  for (const ask of value as unknown[]) {
    if (!isObject(ask) || !isTopic(ask['topic']) || !Array.isArray(ask['rows'])) return null;
    const { topic, range } = ask;
    // Each costs a look at all owners of its topic: a frame has room for thousands of the same.
    if (topics.has(topic)) return null;
    topics.add(topic);
    const positions = new Map<NodeId, Position>();
    for (const row of ask['rows'] as unknown[]) {
      if (!Array.isArray(row) || !isKey(row[0]) || !row.slice(1).every(isIndex)) return null;
      if (row.length !== 5 && row.length !== 9) return null;
      rows += 1;
      if (rows > maxRowsPerRequest) return null;
      const before = row.length === 9 ? reachOf(row.slice(5)) : null;
      positions.set(nodeIdOf(row[0]), { ...reachOf(row.slice(1, 5)), before });
    }
    if (range === null) asks.push({ topic, range, positions });
    else {
      if (!Array.isArray(range) || range.length !== 2) return null;
      const [from, until] = range.map((end: unknown) => (end === null ? null : isKey(end) ? nodeIdOf(end) : undefined));
      if (from === undefined || until === undefined) return null;
      asks.push({ topic, range: { from, until }, positions });
    }
  }
  return asks;
}

/** @returns null for anything that is not a pull reply; its records are not looked at */
export function parsePullReply(value: unknown): PullReply | null {
  if (!isObject(value) || !Array.isArray(value['streams'])) return null;
  const { more, foreign } = value;
  if (typeof more !== 'boolean' || !isTopicList(foreign)) return null;
  const streams: WireStream[] = [];
  for (const stream of value['streams'] as unknown[]) {
    if (!isObject(stream) || !isTopic(stream['topic']) || !isKey(stream['owner'])) return null;
    const { certificate, records, epoch, after, upTo } = stream;
    if (!(certificate instanceof Uint8Array) || !Array.isArray(records)) return null;
    if (!isCount(epoch) || !isIndex(after) || !isIndex(upTo)) return null;
    streams.push({ topic: stream['topic'], owner: stream['owner'], certificate, epoch, after, upTo, records });
  }
  return { streams, more, foreign };
}
