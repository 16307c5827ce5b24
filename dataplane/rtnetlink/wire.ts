// Netlink framing: linux/netlink.h (nlmsghdr, nlattr, NLMSG_ALIGN) and linux/rtnetlink.h (message types). Integers are in
// host order; the socket refuses to open on a big-endian host.

export const NLM_F_REQUEST = 0x01;
export const NLM_F_ACK = 0x04;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_DUMP = 0x300;

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;
export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
export const RTM_GETRULE = 34;
export const RTM_NEWNETCONF = 80;
export const RTM_NEWNSID = 88;
export const RTM_GETNSID = 90;

export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;

export const NLMSG_HDRLEN = 16;
const NLA_HDRLEN = 4;
const NLA_TYPE_MASK = 0x3fff;
const NLA_F_NESTED = 0x8000;

const align4 = (length: number): number => (length + 3) & ~3;

/** Appends netlink messages to one buffer that grows as needed and is used again for every batch. */
export class MessageWriter {
  #buffer: Buffer = Buffer.alloc(16 * 1024);
  #length = 0;
  #messageStart = 0;

  /** The bytes written so far; valid until the next write. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  reset(): void {
    this.#length = 0;
  }

  begin(type: number, flags: number, seq: number): void {
    this.#reserve(NLMSG_HDRLEN);
    this.#messageStart = this.#length;
    this.#buffer.writeUInt32LE(0, this.#length);
    this.#buffer.writeUInt16LE(type, this.#length + 4);
    this.#buffer.writeUInt16LE(flags, this.#length + 6);
    this.#buffer.writeUInt32LE(seq >>> 0, this.#length + 8);
    this.#buffer.writeUInt32LE(0, this.#length + 12);
    this.#length += NLMSG_HDRLEN;
  }

  /** Appends a whole message that was made before, to be filled in where it is; returns where it begins in `buffer`. */
  whole(message: Uint8Array): number {
    this.#reserve(message.length);
    const start = this.#length;
    this.#buffer.set(message, start);
    this.#length += message.length;
    return start;
  }

  /** What is written so far and room for more; another one after the next write. */
  get buffer(): Buffer {
    return this.#buffer;
  }

  end(): void {
    this.#buffer.writeUInt32LE(this.#length - this.#messageStart, this.#messageStart);
    this.#pad();
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#buffer[this.#length++] = value;
  }

  u16(value: number): void {
    this.#reserve(2);
    this.#length = this.#buffer.writeUInt16LE(value, this.#length);
  }

  u32(value: number): void {
    this.#reserve(4);
    this.#length = this.#buffer.writeUInt32LE(value >>> 0, this.#length);
  }

  bytesOf(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    // A loop: for the few bytes of an address `set` takes longer.
    for (let index = 0; index < bytes.length; index++) this.#buffer[this.#length++] = bytes[index] ?? 0;
  }

  attribute(type: number, value: Uint8Array): void {
    this.#reserve(NLA_HDRLEN);
    this.#buffer.writeUInt16LE(NLA_HDRLEN + value.length, this.#length);
    this.#buffer.writeUInt16LE(type, this.#length + 2);
    this.#length += NLA_HDRLEN;
    this.bytesOf(value);
    this.#pad();
  }

  attributeU8(type: number, value: number): void {
    this.attribute(type, Uint8Array.of(value));
  }

  attributeU32(type: number, value: number): void {
    this.#reserve(NLA_HDRLEN + 4);
    this.u16(NLA_HDRLEN + 4);
    this.u16(type);
    this.u32(value);
  }

  /** NUL-terminated text. */
  attributeText(type: number, text: string): void {
    this.attribute(type, Buffer.from(`${text}\0`));
  }

  /** An attribute that holds attributes. */
  nest(type: number, inside: () => void): void {
    const start = this.#length;
    this.u16(0);
    this.u16(NLA_F_NESTED | type);
    inside();
    this.#buffer.writeUInt16LE(this.#length - start, start);
  }

  #pad(): void {
    const padded = align4(this.#length);
    this.#reserve(padded - this.#length);
    while (this.#length < padded) this.#buffer[this.#length++] = 0;
  }

  #reserve(byteCount: number): void {
    if (this.#length + byteCount <= this.#buffer.length) return;
    const grown = Buffer.alloc(Math.max(this.#buffer.length * 2, this.#length + byteCount));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}

/** One message inside a receive buffer; `start` and `end` bound its payload. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
}

/** Splits one datagram into messages. Throws on a length that leaves the datagram. */
export function messagesOf(buffer: Buffer): Message[] {
  const messages: Message[] = [];
  eachMessage(buffer, (message) => void messages.push({ ...message }));
  return messages;
}

/**
 * The same, one by one. By the hundred thousand, so it is the same object each time, with other values: it holds for as long
 * as the visit.
 */
export function eachMessage(buffer: Buffer, visit: (message: Message) => void): void {
  const message = { type: 0, flags: 0, seq: 0, buffer, start: 0, end: 0 };
  let offset = 0;
  while (offset + NLMSG_HDRLEN <= buffer.length) {
    const length = buffer.readUInt32LE(offset);
    if (length < NLMSG_HDRLEN || offset + length > buffer.length) {
      throw new Error(`netlink message of ${length} bytes at ${offset} leaves its datagram of ${buffer.length} bytes`);
    }
    message.type = buffer.readUInt16LE(offset + 4);
    message.flags = buffer.readUInt16LE(offset + 6);
    message.seq = buffer.readUInt32LE(offset + 8);
    message.start = offset + NLMSG_HDRLEN;
    message.end = offset + length;
    visit(message);
    offset += align4(length);
  }
}

/** Visits the attributes between two offsets; a malformed tail is skipped, as the kernel's own parsers do. */
export function eachAttribute(
  buffer: Buffer,
  start: number,
  end: number,
  visit: (type: number, start: number, end: number, buffer: Buffer) => void,
): void {
  let offset = start;
  while (offset + NLA_HDRLEN <= end) {
    const length = buffer.readUInt16LE(offset);
    if (length < NLA_HDRLEN || offset + length > end) return;
    visit(buffer.readUInt16LE(offset + 2) & NLA_TYPE_MASK, offset + NLA_HDRLEN, offset + length, buffer);
    offset += align4(length);
  }
}

/** Text up to the terminating NUL. */
export function textAt(buffer: Buffer, start: number, end: number): string {
  const nul = buffer.indexOf(0, start);
  return buffer.toString('utf8', start, nul === -1 || nul > end ? end : nul);
}

/** What NLMSG_ERROR says: errno (0 is an acknowledgement) and the kernel's own words where it has some (NLMSGERR_ATTR_MSG). */
export interface ErrorReply {
  readonly errno: number;
  readonly text: string | null;
}

export function decodeError(message: Message): ErrorReply {
  const errno = -message.buffer.readInt32LE(message.start);
  let text: string | null = null;
  if (message.flags & NLM_F_ACK_TLVS) {
    const originalLength = message.buffer.readUInt32LE(message.start + 4);
    const echoed = message.flags & NLM_F_CAPPED ? NLMSG_HDRLEN : align4(originalLength);
    eachAttribute(message.buffer, message.start + 4 + echoed, message.end, (type, start, end) => {
      if (type === 1) text = textAt(message.buffer, start, end);
    });
  }
  return { errno, text };
}
