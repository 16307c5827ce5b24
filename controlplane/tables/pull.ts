import { type NodeId, nodeIdOf } from '../ids.ts';
import { isCount, isTopic, type SignedRecord, type WireRecord } from './record.ts';
import type { Batch, Position } from './stream.ts';

// The pull message, with which nodes compare and fetch: its shapes on the wire and their parsers.

// Owners a single request may name; a larger version vector is refused.
const maxVectorEntries = 100_000;

/** Version vector of each topic: owner key, epoch, seq. */
export type WireVector = [topic: string, entries: [owner: Uint8Array, epoch: number, seq: number][]][];

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
  /** The asker has something that the answerer lacks. */
  behind: boolean;
}

/** Room for the fields of a `WireStream` besides certificate and records. */
export const streamOverheadBytes = 160;

const wireSize = ({ payload, signature }: SignedRecord): number => payload.length + signature.length + 16;

/**
 * As much of a batch as fits into `roomBytes`. A part begins with the last record of the whole, so that the reader
 * knows how far its owner has come and takes no part for all of it.
 */
export function cutBatch(batch: Batch, roomBytes: number): Batch & { readonly sizeBytes: number } {
  const whole = batch.records.reduce((sum, signed) => sum + wireSize(signed), 0);
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

const isObject = (value: unknown): value is { [key: string]: unknown } =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
const isKey = (value: unknown): value is Uint8Array => value instanceof Uint8Array && value.length === 32;
const isIndex = (value: unknown): value is number => value === 0 || isCount(value);

/** @returns null for anything that is not a pull request */
export function parsePullRequest(value: unknown): { all: boolean; vector: Map<string, Map<NodeId, Position>> } | null {
  if (!isObject(value) || typeof value['all'] !== 'boolean' || !Array.isArray(value['vector'])) return null;
  const vector = new Map<string, Map<NodeId, Position>>();
  let entries = 0;
  for (const pair of value['vector'] as unknown[]) {
    if (!Array.isArray(pair) || !isTopic(pair[0]) || !Array.isArray(pair[1])) return null;
    const owners = new Map<NodeId, Position>();
    for (const row of pair[1] as unknown[]) {
      if (!Array.isArray(row) || !isKey(row[0]) || !isIndex(row[1]) || !isIndex(row[2])) return null;
      entries += 1;
      if (entries > maxVectorEntries) return null;
      owners.set(nodeIdOf(row[0]), { epoch: row[1], seq: row[2] });
    }
    vector.set(pair[0], owners);
  }
  return { all: value['all'], vector };
}

/** @returns null for anything that is not a pull reply; its records are not looked at */
export function parsePullReply(value: unknown): PullReply | null {
  if (!isObject(value) || !Array.isArray(value['streams'])) return null;
  const { more, behind } = value;
  if (typeof more !== 'boolean' || typeof behind !== 'boolean') return null;
  const streams: WireStream[] = [];
  for (const stream of value['streams'] as unknown[]) {
    if (!isObject(stream) || !isTopic(stream['topic']) || !isKey(stream['owner'])) return null;
    const { certificate, records, epoch, after, upTo } = stream;
    if (!(certificate instanceof Uint8Array) || !Array.isArray(records)) return null;
    if (!isCount(epoch) || !isIndex(after) || !isIndex(upTo)) return null;
    streams.push({ topic: stream['topic'], owner: stream['owner'], certificate, epoch, after, upTo, records });
  }
  return { streams, more, behind };
}
