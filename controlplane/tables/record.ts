import { decode, encode } from '../encoding.ts';
import { ControlPlaneError } from '../errors.ts';
import type { NodeKey, SignatureVerifier } from '../identity/keys.ts';
import { type NodeId, nodeIdOf, publicKeyOf } from '../ids.ts';

/** Topic of what every node needs: nodes, networks, keys. */
export const clusterTopic = 'cluster';

/**
 * One entry of a single-writer stream. A record is written by its owner only, and `(owner, epoch, seq)` names it within
 * its topic for ever. `value` null is a tombstone.
 */
export interface Record {
  readonly topic: string;
  readonly owner: NodeId;
  /** Raised at every start of the owner; a higher epoch replaces the owner's stream whole. */
  readonly epoch: number;
  /** 1, 2, 3, … without holes within an epoch; seq 1 is the opening record. */
  readonly seq: number;
  /** Table and key, `ep/<id>`; '' is the opening record, whose value says how many records make the epoch whole. */
  readonly key: string;
  readonly value: unknown;
  /** When it was written, milliseconds since the epoch by the owner's clock; absent where an epoch only repeats it. */
  readonly writtenMs?: number | undefined;
}

/** A record as it travels and rests: the signed bytes are kept, never encoded again. */
export interface SignedRecord {
  readonly record: Record;
  /** msgpack of [version, topic, owner key, epoch, seq, key, value, time of writing or 0]. */
  readonly payload: Uint8Array;
  /** Ed25519 over the domain, the cluster id and the payload. */
  readonly signature: Uint8Array;
}

/** [payload, signature] */
export type WireRecord = readonly [Uint8Array, Uint8Array];

/** A record is one endpoint, one network or one service: 2 KiB is ten times what nearly all of them need. */
export const maxRecordBytes = 2048;
export const maxKeyLength = 128;

const formatVersion = 2;
const signatureBytes = 64;

export function signRecord(key: NodeKey, clusterId: string, record: Record): SignedRecord {
  const { topic, epoch, seq, key: recordKey, value, writtenMs = 0 } = record;
  const payload = encode([formatVersion, topic, key.publicKey, epoch, seq, recordKey, value, writtenMs]);
  if (payload.length > maxRecordBytes) {
    throw new ControlPlaneError(
      'too_large',
      `${recordKey} would take ${payload.length} bytes in the tables; the limit is ${maxRecordBytes}`,
      'use fewer or shorter labels, options and aliases',
    );
  }
  return { record, payload, signature: key.sign(signedBytes(clusterId, payload)) };
}

/** Decodes without checking the signature. @returns null for anything that is not a record */
export function decodeRecord(wire: unknown): SignedRecord | null {
  if (!Array.isArray(wire) || wire.length !== 2) return null;
  const [payload, signature] = wire as unknown[];
  if (!(payload instanceof Uint8Array) || payload.length > maxRecordBytes) return null;
  if (!(signature instanceof Uint8Array) || signature.length !== signatureBytes) return null;
  let fields: unknown;
  try {
    fields = decode(payload);
  } catch {
    return null;
  }
  if (!Array.isArray(fields) || fields.length !== 8 || fields[0] !== formatVersion) return null;
  const [, topic, ownerKey, epoch, seq, key, value, writtenMs] = fields as unknown[];
  if (!isTopic(topic) || !(ownerKey instanceof Uint8Array) || ownerKey.length !== 32) return null;
  if (!isCount(epoch) || !isCount(seq)) return null;
  if (typeof key !== 'string' || key.length > maxKeyLength || (key === '') !== (seq === 1)) return null;
  if (value === undefined || !(writtenMs === 0 || isCount(writtenMs))) return null;
  const place = { topic: shared(topic), owner: nodeIdOf(ownerKey), epoch, seq, key };
  return new ReceivedRecord(place, { value, writtenMs }, payload, signature);
}

type Place = Pick<Record, 'topic' | 'owner' | 'epoch' | 'seq' | 'key'>;
type Content = { readonly value: unknown; readonly writtenMs: number };

/**
 * A record of another node, or from the disk. Tables hold many of these, and whoever works with values has its own copy
 * (view.ts): so only the bytes are kept, and what they say is read from them when it is asked for again. As text of one
 * byte a character, which the heap keeps in one piece and moves when it makes room: each buffer costs more than such a
 * record, and a pool of them lasts as long as the last record in it.
 */
class ReceivedRecord implements SignedRecord, Record {
  readonly topic: string;
  readonly owner: NodeId;
  readonly epoch: number;
  readonly seq: number;
  readonly key: string;
  readonly isTombstone: boolean;
  /** How many bytes of the payload are not kept, since they follow from the fields above. */
  readonly #implied: number;
  /** The rest of the payload, and the signature. */
  readonly #bytes: string;
  /** Until the readers of this node were told. */
  #content: Content | null;

  constructor(place: Place, content: Content, payload: Uint8Array, signature: Uint8Array) {
    this.topic = place.topic;
    this.owner = place.owner;
    this.epoch = place.epoch;
    this.seq = place.seq;
    this.key = place.key;
    this.isTombstone = content.value === null;
    // Whoever encodes in another way than we gets its bytes kept whole.
    const head = headOf(place);
    this.#implied = Buffer.compare(head, payload.subarray(0, head.length)) === 0 ? head.length : 0;
    scratch.set(payload.subarray(this.#implied));
    scratch.set(signature, payload.length - this.#implied);
    this.#bytes = scratch.toString('latin1', 0, payload.length - this.#implied + signatureBytes);
    this.#content = this.isTombstone ? null : content;
  }

  get record(): Record {
    return this;
  }

  get payload(): Uint8Array {
    const rest = Buffer.from(this.#bytes.slice(0, -signatureBytes), 'latin1');
    return this.#implied === 0 ? rest : Buffer.concat([headOf(this), rest]);
  }

  get signature(): Uint8Array {
    return Buffer.from(this.#bytes.slice(-signatureBytes), 'latin1');
  }

  get value(): unknown {
    return this.isTombstone ? null : this.#read().value;
  }

  get writtenMs(): number | undefined {
    return this.#read().writtenMs || undefined;
  }

  /** Keeps only the bytes from now on. */
  told(): void {
    this.#content = null;
  }

  #read(): Content {
    if (this.#content !== null) return this.#content;
    const [value, writtenMs] = (decode(this.payload) as unknown[]).slice(6);
    return { value, writtenMs: writtenMs as number };
  }
}

const scratch = Buffer.alloc(maxRecordBytes + signatureBytes);

/** What a payload begins with, up to its value. */
function headOf({ topic, owner, epoch, seq, key }: Place): Uint8Array {
  // The last two are one byte each.
  return encode([formatVersion, topic, publicKeyOf(owner), epoch, seq, key, null, 0]).subarray(0, -2);
}

/** All readers of this node have what they want of the record: it need not be kept twice. */
export function told({ record }: SignedRecord): void {
  if (record instanceof ReceivedRecord) record.told();
}

/** Whether the value is null; costs less than to ask for it. */
export const isTombstone = (record: Record): boolean =>
  record instanceof ReceivedRecord ? record.isTombstone : record.value === null;

/** As plain data, with its value. */
export function plain({ topic, owner, epoch, seq, key, value, writtenMs }: Record): Record {
  return { topic, owner, epoch, seq, key, value, ...(writtenMs === undefined ? {} : { writtenMs }) };
}

/** As it travels and rests, but a tombstone to the readers of this node. */
export function hidden({ record, payload, signature }: SignedRecord): SignedRecord {
  return { record: { ...plain(record), value: null }, payload, signature };
}

// Each record brings the text of its topic anew; when full it starts anew.
const maxTopics = 4096;
const topics = new Map<string, string>();

/** The same text, in one copy for all. */
function shared(topic: string): string {
  const known = topics.get(topic);
  if (known !== undefined) return known;
  if (topics.size >= maxTopics) topics.clear();
  topics.set(topic, topic);
  return topic;
}

/** Whether a row of the disk is a record as a version before this one wrote it. */
export function isOfEarlierFormat(wire: unknown): boolean {
  const payload = Array.isArray(wire) ? (wire[0] as unknown) : null;
  if (!(payload instanceof Uint8Array)) return false;
  try {
    const fields = decode(payload);
    return Array.isArray(fields) && typeof fields[0] === 'number' && fields[0] < formatVersion;
  } catch {
    return false;
  }
}

export function verifyRecord(verifier: SignatureVerifier, clusterId: string, signed: SignedRecord): boolean {
  return verifier.verify(signed.record.owner, signedBytes(clusterId, signed.payload), signed.signature);
}

/** The same on another thread. @param wire what the record was read from: to put its bytes together anew costs */
export function verifyRecordAside(
  verifier: SignatureVerifier,
  clusterId: string,
  signed: SignedRecord,
  [payload, signature]: WireRecord,
  told: (isGood: boolean) => void,
): void {
  verifier.verifyAside(signed.record.owner, signedBytes(clusterId, payload), signature, told);
}

export const toWire = (signed: SignedRecord): WireRecord => [signed.payload, signed.signature];

export function isTopic(value: unknown): value is string {
  return typeof value === 'string' && (value === clusterTopic || /^net\/[0-9a-z]{25}$/.test(value));
}

/** Positive integers that survive msgpack and arithmetic. */
export function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 1;
}

/** Owner ids travel as raw keys: 32 bytes instead of 52 characters. */
export function ownerBytes(owner: NodeId): Uint8Array {
  const raw = publicKeyOf(owner);
  if (raw === null) throw new Error(`not a node id: ${owner}`);
  return raw;
}

// Separates these signatures from any other use of the node's key, and one cluster's records from another's.
const domain = Buffer.from('weft record 1\0');
const signedBytes = (clusterId: string, payload: Uint8Array): Uint8Array =>
  Buffer.concat([domain, Buffer.from(clusterId), Buffer.of(0), payload]);
