// DNS messages (RFC 1035, section 4; EDNS: RFC 6891), as far as the resolver reads or makes them. What others answered is
// walked and passed on as it came, so record types that are not known here go through unharmed. Names are never followed
// through compression pointers: the time for a message is linear in its length, whatever it says.

export const types = { A: 1, SOA: 6, PTR: 12, AAAA: 28, SRV: 33, OPT: 41, IXFR: 251, AXFR: 252, ANY: 255 } as const;
export const classes = { IN: 1 } as const;
export const rcodes = {
  ok: 0,
  malformed: 1,
  failed: 2,
  noName: 3,
  notImplemented: 4,
  refused: 5,
  badVersion: 16,
} as const;

const flag = { response: 0x8000, opcode: 0x7800, authoritative: 0x0400, truncated: 0x0200, wanted: 0x0100 } as const;
const available = 0x0080;
/** RD, AD and CD: what of a query's flags whoever answers has to know (RFC 4035, section 3.2). */
const kept = 0x0130;
const headerBytes = 12;
const optBytes = 11;
const maxNameBytes = 255;
const maxLabelBytes = 63;
// An OPT, a signature, and some to spare.
const maxAdditional = 8;
/** Of UDP without EDNS (RFC 1035, section 4.2.1). */
const plainBytes = 512;
/** Of UDP that we ask for: what passes anywhere without fragments (dnsflagday.net/2020). */
export const udpBytes = 1232;
/** Of UDP that we send to those who ask for it: they are on a bridge of this host. */
const maxUdpBytes = 4096;
export const maxMessageBytes = 65_535;

export interface Question {
  /** In lower case, labels with dots between and none at the end; what is no printable byte, a dot or a backslash as `\DDD`. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
}

export interface Query {
  readonly id: number;
  /** RD, AD and CD. */
  readonly flags: number;
  readonly question: Question;
  /** The question as it came, whose letters may be large or small. */
  readonly asked: Uint8Array;
  readonly edns: { readonly bytes: number; readonly dnssec: boolean } | null;
}

/** A record whose owner is the name that was asked for. */
export interface Answer {
  readonly type: number;
  readonly data: Uint8Array;
}

/** Addresses of a name in an answer, that whoever reads it will want next. */
export interface Glue {
  readonly name: string;
  readonly records: readonly Answer[];
}

/** What came of reading a query: it, or the reply that says what is wrong with it, or null: nothing to be said. */
export type ReadQuery = { readonly query: Query } | { readonly reply: Buffer | null };

/** Reads a query. Never throws. */
export function readQuery(bytes: Buffer): ReadQuery {
  if (bytes.length < headerBytes) return { reply: null };
  const id = bytes.readUInt16BE(0);
  const flags = bytes.readUInt16BE(2);
  // Replying to a reply is how loops begin.
  if (flags & flag.response) return { reply: null };
  const refusal = (rcode: number): ReadQuery => ({ reply: bare(id, flags, rcode) });
  if (flags & flag.opcode) return refusal(rcodes.notImplemented);
  const records = bytes.readUInt16BE(10);
  if (bytes.readUInt16BE(4) !== 1 || bytes.readUInt32BE(6) !== 0 || records > maxAdditional) {
    return refusal(rcodes.malformed);
  }
  const name = readName(bytes);
  if (name === null) return refusal(rcodes.malformed);
  const end = name.end + 4;
  if (end > bytes.length) return refusal(rcodes.malformed);
  const question = { name: name.text, type: bytes.readUInt16BE(name.end), class: bytes.readUInt16BE(name.end + 2) };
  let edns: Query['edns'] = null;
  let version = 0;
  let at = end;
  for (let record = 0; record < records; record += 1) {
    const found = readRecord(bytes, at);
    if (found === null) return refusal(rcodes.malformed);
    if (found.type === types.OPT) {
      // RFC 6891, section 6.1.1: of no name, and no second one.
      if (found.head !== at + 1 || edns !== null) return refusal(rcodes.malformed);
      edns = { bytes: found.class, dnssec: (found.ttl & 0x8000) !== 0 };
      version = (found.ttl >>> 16) & 0xff;
    }
    at = found.end;
  }
  const query = { id, flags: flags & kept, question, asked: bytes.subarray(headerBytes, end), edns };
  return version === 0 ? { query } : { reply: makeReply(query, { rcode: rcodes.badVersion }) };
}

/** Its header alone. */
function bare(id: number, flags: number, rcode: number): Buffer {
  const reply = Buffer.alloc(headerBytes);
  reply.writeUInt16BE(id, 0);
  reply.writeUInt16BE(flag.response | (flags & (flag.opcode | flag.wanted)) | available | rcode, 2);
  return reply;
}

/** The name of the question. */
function readName(bytes: Buffer): { text: string; end: number } | null {
  let at = headerBytes;
  let text = '';
  for (;;) {
    const length = bytes[at];
    if (length === undefined || length > maxLabelBytes) return null;
    const next = at + 1 + length;
    if (next - headerBytes > maxNameBytes || next > bytes.length) return null;
    if (length === 0) return { text: text.toLowerCase(), end: next };
    if (text !== '') text += '.';
    text += labelText(bytes, at + 1, next);
    at = next;
  }
}

function labelText(bytes: Buffer, from: number, to: number): string {
  for (let at = from; at < to; at += 1) if (!isPlain(bytes[at] ?? 0)) return escaped(bytes.subarray(from, to));
  return bytes.toString('latin1', from, to);
}

const isPlain = (byte: number): boolean => byte > 0x20 && byte < 0x7f && byte !== 0x2e && byte !== 0x5c;
const escaped = (label: Uint8Array): string =>
  Array.from(label, (byte) => (isPlain(byte) ? String.fromCharCode(byte) : `\\${String(byte).padStart(3, '0')}`)).join(
    '',
  );

/** Where a name ends that may be compressed; null when it does not within the message. */
function afterName(bytes: Uint8Array, from: number): number | null {
  let at = from;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) return null;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2;
    if (length > maxLabelBytes) return null;
    at += 1 + length;
  }
}

interface FoundRecord {
  /** Where its type stands: type, class, TTL, length of data, data. */
  readonly head: number;
  readonly type: number;
  readonly class: number;
  readonly ttl: number;
  readonly end: number;
}

function readRecord(bytes: Buffer, from: number): FoundRecord | null {
  const head = afterName(bytes, from);
  if (head === null || head + 10 > bytes.length) return null;
  const end = head + 10 + bytes.readUInt16BE(head + 8);
  if (end > bytes.length) return null;
  const [type, ofClass, ttl] = [bytes.readUInt16BE(head), bytes.readUInt16BE(head + 2), bytes.readUInt32BE(head + 4)];
  return { head, type, class: ofClass, ttl, end };
}

/** How large a reply over UDP may be, bytes. */
export const udpLimit = ({ edns }: Query): number =>
  edns === null ? plainBytes : Math.min(Math.max(edns.bytes, plainBytes), maxUdpBytes);

export interface ReplyParts {
  readonly rcode: number;
  /** Also says that we are who to ask. */
  readonly answers?: readonly Answer[];
  readonly additional?: readonly Glue[];
  /** Of the answers, or for how long it holds that there are none, seconds. */
  readonly ttl?: number;
}

/**
 * A reply of our own. With `answers`, and none in there, it has the SOA record by which resolvers know how long that is so
 * (RFC 2308).
 * @param limit of what is additional as much as fits is there, and its lack is no loss (RFC 2181, section 9)
 */
export function makeReply(
  query: Query,
  { rcode, answers, additional = [], ttl = 0 }: ReplyParts,
  limit = maxMessageBytes,
): Buffer {
  const { asked, edns } = query;
  const none = answers !== undefined && answers.length === 0;
  const records = none ? [soa(ttl)] : (answers ?? []);
  let bytes = headerBytes + asked.length + (edns === null ? 0 : optBytes);
  for (const { data } of records) bytes += 12 + data.length;
  const glue: Buffer[] = [];
  for (const { name, records: of } of additional) {
    const its = of.map((record) => namedRecord(name, record, ttl));
    const size = its.reduce((sum, each) => sum + each.length, 0);
    if (bytes + size > limit) break;
    bytes += size;
    glue.push(...its);
  }
  const reply = Buffer.allocUnsafe(bytes);
  const authority = answers === undefined ? 0 : flag.authoritative;
  reply.writeUInt16BE(query.id, 0);
  reply.writeUInt16BE(flag.response | authority | (query.flags & ~0x20) | available | (rcode & 0xf), 2);
  reply.writeUInt16BE(1, 4);
  reply.writeUInt16BE(none ? 0 : records.length, 6);
  reply.writeUInt16BE(none ? 1 : 0, 8);
  reply.writeUInt16BE(glue.length + (edns === null ? 0 : 1), 10);
  reply.set(asked, headerBytes);
  let at = headerBytes + asked.length;
  for (const record of records) {
    // The name of the question, by a compression pointer.
    reply.writeUInt16BE(0xc000 | headerBytes, at);
    at = writeRecord(reply, at + 2, record, ttl);
  }
  for (const record of glue) {
    reply.set(record, at);
    at += record.length;
  }
  if (edns !== null) writeOpt(reply, at, edns.dnssec, rcode >> 4);
  return reply;
}

/** Behind its name. @returns where it ends */
function writeRecord(bytes: Buffer, at: number, { type, data }: Answer, ttl: number): number {
  bytes.writeUInt16BE(type, at);
  bytes.writeUInt16BE(classes.IN, at + 2);
  bytes.writeUInt32BE(ttl, at + 4);
  bytes.writeUInt16BE(data.length, at + 8);
  bytes.set(data, at + 10);
  return at + 10 + data.length;
}

function namedRecord(name: string, record: Answer, ttl: number): Buffer {
  const owner = nameData(name);
  const bytes = Buffer.alloc(owner.length + 10 + record.data.length);
  bytes.set(owner);
  writeRecord(bytes, owner.length, record, ttl);
  return bytes;
}

/** Of the root, with nothing in it but how long a denial holds. */
function soa(seconds: number): Answer {
  const data = Buffer.alloc(22);
  for (const at of [6, 10, 14, 18]) data.writeUInt32BE(seconds, at);
  return { type: types.SOA, data };
}

function writeOpt(bytes: Buffer, at: number, dnssec: boolean, extended: number): void {
  bytes[at] = 0;
  bytes.writeUInt16BE(types.OPT, at + 1);
  bytes.writeUInt16BE(udpBytes, at + 3);
  bytes.writeUInt32BE(((extended << 24) | (dnssec ? 0x8000 : 0)) >>> 0, at + 5);
  bytes.writeUInt16BE(0, at + 9);
}

/**
 * The reply, or when it is too large as many of its answers as fit, with the mark that there is more by TCP: not all resolvers
 * ask for that (musl before 1.2.4).
 */
export function fitted({ asked, edns }: Query, reply: Buffer, limit: number): Buffer {
  if (reply.length <= limit) return reply;
  const opt = edns === null ? 0 : optBytes;
  let end = headerBytes + asked.length;
  let answers = 0;
  for (const all = reply.readUInt16BE(6); answers < all; answers += 1) {
    const record = readRecord(reply, end);
    if (record === null || record.end + opt > limit) break;
    end = record.end;
  }
  const cut = Buffer.alloc(end + opt);
  cut.set(reply.subarray(0, end));
  cut.writeUInt16BE(reply.readUInt16BE(2) | flag.truncated, 2);
  for (const [at, count] of [answers, 0, edns === null ? 0 : 1].entries()) cut.writeUInt16BE(count, 6 + 2 * at);
  if (edns !== null) writeOpt(cut, end, edns.dnssec, 0);
  return cut;
}

/** The question as we put it to somebody else: nothing of a query but what its answer depends on. */
export function makeQuestion(query: Query, id: number): Buffer {
  const { asked, edns, flags } = query;
  const bytes = Buffer.alloc(headerBytes + asked.length + (edns === null ? 0 : optBytes));
  bytes.writeUInt16BE(id, 0);
  bytes.writeUInt16BE(flags, 2);
  bytes.writeUInt16BE(1, 4);
  bytes.writeUInt16BE(edns === null ? 0 : 1, 10);
  bytes.set(asked, headerBytes);
  if (edns !== null) writeOpt(bytes, headerBytes + asked.length, edns.dnssec, 0);
  return bytes;
}

/** Queries with the same key are put to others in the same words. */
export const keyOf = ({ question: { name, type, class: of }, flags, edns }: Query): string =>
  `${type} ${of} ${flags} ${edns === null ? '-' : edns.dnssec} ${name}`;

/** What somebody else answered. */
export interface Response {
  readonly bytes: Buffer;
  readonly rcode: number;
  readonly truncated: boolean;
  /** Where the TTLs stand that count down. */
  readonly ttls: readonly number[];
  /** For how long it may be kept, seconds; 0: not at all. */
  readonly keepSeconds: number;
}

/**
 * Reads what came as the answer to a question of ours.
 * @returns null for what is none: another id or question, or no whole message
 */
export function readResponse(bytes: Buffer, id: number, asked: Uint8Array): Response | null {
  const records = headerBytes + asked.length;
  if (bytes.length < records || bytes.readUInt16BE(0) !== id) return null;
  const flags = bytes.readUInt16BE(2);
  if (!(flags & flag.response) || flags & flag.opcode || bytes.readUInt16BE(4) !== 1) return null;
  if (!sameQuestion(bytes.subarray(headerBytes, records), asked)) return null;
  const truncated = (flags & flag.truncated) !== 0;
  const [answers, authorities, additional] = [6, 8, 10].map((at) => bytes.readUInt16BE(at)) as [number, number, number];
  const rcode = flags & 0xf;
  const isDenial = rcode === rcodes.noName || (rcode === rcodes.ok && answers === 0);
  const ttls: number[] = [];
  let keep = Number.POSITIVE_INFINITY;
  let denied = 0;
  let at = records;
  for (let record = 0; record < answers + authorities + additional; record += 1) {
    const found = readRecord(bytes, at);
    // Servers cut in the middle of what does not fit (RFC 2181, section 9, says not to).
    if (found === null && truncated) break;
    if (found === null) return null;
    at = found.end;
    if (found.type === types.OPT) {
      // What a server takes is between it and us.
      bytes.writeUInt16BE(udpBytes, found.head + 2);
      continue;
    }
    ttls.push(found.head + 4);
    // RFC 2181, section 8: what has the highest bit set counts as 0.
    const ttl = found.ttl > 0x7fffffff ? 0 : found.ttl;
    keep = Math.min(keep, ttl);
    const inAuthority = record >= answers && record < answers + authorities;
    if (found.type === types.SOA && inAuthority && found.end - found.head >= 30) {
      // RFC 2308, section 5: the lesser of its TTL and its last field.
      denied = Math.min(ttl, bytes.readUInt32BE(found.end - 4));
    }
  }
  const kept = isDenial ? Math.min(denied, keep) : rcode === rcodes.ok ? keep : 0;
  return { bytes, rcode, truncated, ttls, keepSeconds: truncated || !Number.isFinite(kept) ? 0 : kept };
}

/** Letters count the same in both sizes, but in the name only: type and class are numbers. */
function sameQuestion(a: Uint8Array, b: Uint8Array): boolean {
  const name = b.length - 4;
  return b.every((byte, at) => (at < name ? lower(byte) === lower(a[at] ?? 0) : byte === a[at]));
}

const lower = (byte: number): number => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte);

/**
 * A response as the answer to somebody's query, as large as it came: with its id, and the name as it was spelled there.
 * @param ageSeconds how long ago it came
 */
export function passedOn(query: Query, { bytes, ttls }: Response, ageSeconds: number): Buffer {
  const reply = Buffer.from(bytes);
  reply.writeUInt16BE(query.id, 0);
  reply.set(query.asked, headerBytes);
  if (ageSeconds > 0) for (const at of ttls) reply.writeUInt32BE(Math.max(0, reply.readUInt32BE(at) - ageSeconds), at);
  return reply;
}

/** Of a service, all of whose servers are alike: clients that go by weights choose each as often (RFC 2782). */
export function srvData(port: number, target: string): Buffer {
  const head = Buffer.from([0, 0, 0, 1, port >> 8, port & 0xff]);
  return Buffer.concat([head, nameData(target)]);
}

/** A name in a record's data, uncompressed. */
export function nameData(text: string): Buffer {
  const labels = text.split('.').filter((label) => label !== '');
  return Buffer.concat([
    ...labels.map((label) =>
      Buffer.concat([
        Buffer.of(Math.min(label.length, maxLabelBytes)),
        Buffer.from(label.slice(0, maxLabelBytes), 'latin1'),
      ]),
    ),
    Buffer.of(0),
  ]);
}
