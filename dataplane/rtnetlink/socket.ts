import { endianness } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { SLICE_MS } from '../slices.ts';
import type { NetnsPath } from '../values.ts';
import { ENOBUFS, ENOENT, ESRCH, inNetns, NETLINK_ROUTE, openRawSocket, type RawSocket, SystemError } from './libc.ts';
import { decodeLink, encodeLinkByName, type Link } from './links.ts';
import { type EntryWrite, encodeEntryWrite } from './neighbours.ts';
import {
  decodeError,
  eachMessage,
  type Message,
  MessageWriter,
  messagesOf,
  NLM_F_ACK,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
} from './wire.ts';

/** The kernel never puts more than 32 KiB into one dump datagram (net/netlink/af_netlink.c, netlink_dump). */
const DATAGRAM_BYTES = 64 * 1024;
/** Entries per send: enough to make the system call cheap, few enough to stay far below 1 ms. */
const BATCH = 128;
/** A dump that keeps changing under us is given up after this many tries. */
const DUMP_TRIES = 8;

/** A write that the kernel refused; `index` is its place in the list that was handed over. */
export interface WriteFailure {
  readonly index: number;
  readonly errno: number;
  readonly error: SystemError;
}

/** A request of many that was refused; `index` is its place among them. */
export interface Refusal {
  readonly index: number;
  readonly errno: number;
  readonly text: string | null;
}

/**
 * A socket to rtnetlink, or to nftables, in one namespace. The kernel works on a request while it is being sent and has its answer queued
 * when `send` returns, so no call ever waits; a missing answer is an error.
 */
export class NetlinkSocket implements Disposable {
  readonly #socket: RawSocket;
  readonly #writer = new MessageWriter();
  readonly #datagram = Buffer.allocUnsafe(DATAGRAM_BYTES);
  #seq = 1;

  private constructor(socket: RawSocket) {
    this.#socket = socket;
  }

  /** Opens a socket in the namespace (null: our own). Throws SystemError, or ENOENT of node:fs when the file is missing. */
  static open(netns: NetnsPath | null, protocol = NETLINK_ROUTE): NetlinkSocket {
    if (endianness() !== 'LE') throw new Error('netlink on a big-endian host is not supported');
    const open = (): RawSocket => openRawSocket(protocol);
    return new NetlinkSocket(netns === null ? open() : inNetns(netns, open));
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }

  /** As RawSocket. */
  netnsCookie(): bigint | null {
    return this.#socket.netnsCookie();
  }

  /** Instead of disposing it, where the kernel has it wait. */
  closeAside(): void {
    this.#socket.closeAside();
  }

  /**
   * Lists: sends a dump request and decodes every message of its answer; what decodes to null is left out. A listing that
   * changed while it was read (NLM_F_DUMP_INTR) or overran the socket (ENOBUFS) is read again, after `restart`, which
   * undoes what `decode` may have kept by itself. Throws SystemError.
   */
  async dump<T>(
    what: string,
    encode: (writer: MessageWriter, seq: number) => void,
    decode: (message: Message) => T | null,
    restart: () => void = () => undefined,
  ): Promise<T[]> {
    for (let attempt = 1; attempt <= DUMP_TRIES; attempt++) {
      const listed = await this.#dumpOnce(what, encode, decode);
      if (listed) return listed;
      restart();
    }
    throw new Error(`list ${what}: changed during each of ${DUMP_TRIES} tries`);
  }

  async #dumpOnce<T>(
    what: string,
    encode: (writer: MessageWriter, seq: number) => void,
    decode: (message: Message) => T | null,
  ): Promise<T[] | null> {
    const seq = this.#request(encode);
    const listed: T[] = [];
    let interrupted = false;
    let done = false;
    const take = (message: Message): void => {
      if (message.seq !== seq) return;
      if (message.flags & NLM_F_DUMP_INTR) interrupted = true;
      if (message.type === NLMSG_DONE) {
        const errno = message.end - message.start >= 4 ? -message.buffer.readInt32LE(message.start) : 0;
        if (errno > 0) throw new SystemError(`list ${what}`, errno);
        done = true;
      } else if (message.type === NLMSG_ERROR) {
        const { errno, text } = decodeError(message);
        throw new SystemError(`list ${what}`, errno, text);
      } else {
        const entry = decode(message);
        if (entry !== null) listed.push(entry);
      }
    };
    let sliceStart = performance.now();
    for (;;) {
      const datagram = this.#receive(what);
      if (datagram === 'overrun') return null;
      eachMessage(datagram, take);
      if (done) return interrupted ? null : listed;
      if (performance.now() - sliceStart > SLICE_MS) {
        await nextTurn();
        sliceStart = performance.now();
      }
    }
  }

  /** One question, one answer. Throws SystemError with the kernel's errno. */
  ask<T>(what: string, encode: (writer: MessageWriter, seq: number) => void, decode: (message: Message) => T): T {
    const seq = this.#request(encode);
    const datagram = this.#receive(what);
    if (datagram !== 'overrun') {
      for (const message of messagesOf(datagram)) {
        if (message.seq !== seq) continue;
        if (message.type !== NLMSG_ERROR) return decode(message);
        const { errno, text } = decodeError(message);
        throw new SystemError(what, errno, text);
      }
    }
    throw new SystemError(what, ENOBUFS, 'no answer');
  }

  /**
   * One change, of one message or (a transaction of nftables) of several numbered from `seq` on, and one acknowledgement. The
   * kernel may wait inside it (for RCU, for its rtnl lock, which all of the host's
   * namespaces share), so it is made on another thread. One at a time. Rejects with SystemError.
   */
  async change(what: string, encode: (writer: MessageWriter, seq: number) => void, messages = 1): Promise<void> {
    const seq = this.#seq;
    this.#seq += messages;
    this.#writer.reset();
    encode(this.#writer, seq);
    await this.#socket.sendAside(this.#writer.bytes);
    const datagram = this.#receive(what);
    if (datagram !== 'overrun') {
      for (const message of messagesOf(datagram)) {
        if (message.seq < seq || message.seq >= seq + messages || message.type !== NLMSG_ERROR) continue;
        const { errno, text } = decodeError(message);
        if (errno === 0) return;
        throw new SystemError(what, errno, text);
      }
    }
    throw new SystemError(what, ENOBUFS, 'no acknowledgement');
  }

  /** One link by name. Throws SystemError with ENODEV when there is none. */
  link(name: string): Link {
    return this.ask(`look up ${name}`, (writer, seq) => encodeLinkByName(writer, seq, name), decodeLink);
  }

  /**
   * Writes entries in batches with one acknowledgement each. A delete of what is not there is success. Resolves to the
   * refused writes; throws SystemError when answers were lost, so that the caller must list again.
   */
  async write(writes: readonly EntryWrite[]): Promise<WriteFailure[]> {
    const refusals = await this.send('write entries', writes.length, (writer, index, seq, ack) => {
      const write = writes[index];
      if (write) encodeEntryWrite(writer, seq, write, ack ? NLM_F_ACK : 0);
    });
    return refusals.flatMap(({ index, errno, text }) => {
      const write = writes[index];
      const isGone = errno === ENOENT || errno === ESRCH;
      if (!write || (write.op.endsWith('-delete') && isGone)) return [];
      return [{ index, errno, error: new SystemError(describeWrite(write), errno, text) }];
    });
  }

  /**
   * Sends many requests that answer nothing when all is well, in batches with one acknowledgement each. Resolves to those
   * that were refused; throws SystemError when answers were lost.
   * @param encode writes that request, to be acknowledged or not
   */
  async send(
    what: string,
    count: number,
    encode: (writer: MessageWriter, index: number, seq: number, ack: boolean) => void,
  ): Promise<Refusal[]> {
    const refusals: Refusal[] = [];
    let sliceStart = performance.now();
    for (let from = 0; from < count; from += BATCH) {
      this.#sendBatch(what, from, Math.min(from + BATCH, count), encode, refusals);
      if (performance.now() - sliceStart > SLICE_MS) {
        await nextTurn();
        sliceStart = performance.now();
      }
    }
    return refusals;
  }

  #sendBatch(
    what: string,
    from: number,
    to: number,
    encode: (writer: MessageWriter, index: number, seq: number, ack: boolean) => void,
    refusals: Refusal[],
  ): void {
    const firstSeq = this.#seq;
    this.#writer.reset();
    for (let index = from; index < to; index++) encode(this.#writer, index, firstSeq + index - from, index === to - 1);
    this.#seq = firstSeq + to - from;
    this.#socket.send(this.#writer.bytes);
    const lastSeq = firstSeq + to - from - 1;
    for (let acknowledged = false; !acknowledged; ) {
      const datagram = this.#receive(what);
      if (datagram === 'overrun') throw new SystemError(what, ENOBUFS, 'answers were lost');
      for (const message of messagesOf(datagram)) {
        if (message.type !== NLMSG_ERROR || message.seq < firstSeq || message.seq > lastSeq) continue;
        if (message.seq === lastSeq) acknowledged = true;
        const { errno, text } = decodeError(message);
        if (errno !== 0) refusals.push({ index: from + message.seq - firstSeq, errno, text });
      }
    }
  }

  #request(encode: (writer: MessageWriter, seq: number) => void): number {
    const seq = this.#seq++;
    this.#writer.reset();
    encode(this.#writer, seq);
    this.#socket.send(this.#writer.bytes);
    return seq;
  }

  #receive(what: string): Buffer | 'overrun' {
    let length: number | null;
    try {
      length = this.#socket.receive(this.#datagram);
    } catch (error) {
      if (error instanceof SystemError && error.errno === ENOBUFS) return 'overrun';
      throw error;
    }
    if (length === null) throw new SystemError(what, ENOBUFS, 'the kernel gave no answer');
    if (length > DATAGRAM_BYTES) throw new SystemError(what, ENOBUFS, `an answer of ${length} bytes was cut`);
    return this.#datagram.subarray(0, length);
  }
}

function describeWrite(write: EntryWrite): string {
  switch (write.op) {
    case 'fdb-put':
      return `replace FDB ${write.mac} to ${write.vtep}`;
    case 'neighbour-put':
      return `replace neighbour ${write.ip} at ${write.mac}`;
    case 'static-put':
      return `replace static FDB ${write.mac}`;
    case 'neighbour-delete':
      return `delete neighbour ${write.ip}`;
    default:
      return `delete FDB ${write.mac}`;
  }
}
