import { type NodeId, nodeIdOf } from '../ids.ts';
import { isCount, isTopic, type WireRecord } from './record.ts';
import type { Position } from './stream.ts';

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
