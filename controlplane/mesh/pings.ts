import { randomInt } from 'node:crypto';
import type { Stream } from '@libp2p/interface';
import type { NodeId } from '../ids.ts';

/** Eight bytes, sent back as they are: any number of them, one after the other, on one stream. */
export const pingProtocol = '/weft/ping/1';
/** A peer needs one; a second comes while it has not seen yet that the first is gone. */
export const maxPingStreams = 2;

const frameBytes = 8;
// Only one is asked for at a time per peer; more would be asked of a peer that does not answer.
const maxPending = 4;

interface Pending {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Round trips over one long-lived stream per peer: a new stream for each would cost ten times the frames. */
export class Pings {
  readonly #open: (peer: NodeId, signal: AbortSignal) => Promise<Stream>;
  readonly #channels = new Map<NodeId, Promise<Channel>>();

  /** @param open makes a stream of `pingProtocol` on the connection to that peer */
  constructor(open: (peer: NodeId, signal: AbortSignal) => Promise<Stream>) {
    this.#open = open;
  }

  /** @throws when there is no connection, when it ends first, or when the signal aborts */
  async ping(peer: NodeId, signal: AbortSignal): Promise<void> {
    // The stream may be opening for an earlier ping that has more time than this one.
    const opening = this.#channels.get(peer) ?? this.#channel(peer, signal);
    const channel = await unlessAborted(opening, signal);
    await channel.ping(signal);
  }

  #channel(peer: NodeId, signal: AbortSignal): Promise<Channel> {
    const forget = (): void => {
      if (this.#channels.get(peer) === opening) this.#channels.delete(peer);
    };
    const opening = this.#open(peer, signal).then((stream) => new Channel(stream, forget));
    this.#channels.set(peer, opening);
    opening.catch(forget);
    return opening;
  }
}

class Channel {
  readonly #stream: Stream;
  readonly #pending = new Map<number, Pending>();
  #next = randomInt(2 ** 32);
  #ended = false;

  constructor(stream: Stream, onEnd: () => void) {
    this.#stream = stream;
    readFrames(stream, (frame) => this.#answered(frame));
    stream.addEventListener('close', () => {
      this.#ended = true;
      onEnd();
      for (const { reject } of this.#pending.values()) reject(new Error('the connection ended before the answer'));
      this.#pending.clear();
    });
  }

  ping(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#ended || this.#pending.size >= maxPending) return Promise.reject(new Error('the peer does not answer'));
    const number = this.#next;
    this.#next += 1;
    return new Promise((resolve, reject) => {
      const done = (finish: () => void): void => {
        this.#pending.delete(number);
        signal.removeEventListener('abort', onAbort);
        finish();
      };
      const onAbort = (): void => done(() => reject(new Error('no answer in time')));
      signal.addEventListener('abort', onAbort);
      this.#pending.set(number, {
        resolve: () => done(resolve),
        reject: (error) => done(() => reject(error)),
      });
      const frame = Buffer.alloc(frameBytes);
      frame.writeBigUInt64BE(BigInt(number));
      this.#stream.send(frame);
    });
  }

  #answered(frame: Buffer): void {
    // An answer that comes after its signal is nobody's any more.
    this.#pending.get(Number(frame.readBigUInt64BE()))?.resolve();
  }
}

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new Error('no answer in time'));
    signal.addEventListener('abort', onAbort);
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** Answers a peer's pings. @param onPing is told of each */
export function echoPings(stream: Stream, onPing: () => void): void {
  readFrames(stream, (frame) => {
    onPing();
    // A peer that asks and does not read is not worth a buffer.
    // One that is being closed throws instead.
    const isClosing = stream.writeStatus === 'closing' || stream.writeStatus === 'closed';
    if (stream.status === 'open' && !isClosing && !stream.send(frame)) stream.abort(new Error('answers are not read'));
  });
  stream.addEventListener('remoteCloseWrite', () => void stream.close().catch(() => stream.abort(new Error('closed'))));
}

/** Cuts what arrives into frames; keeps less than one of them. */
function readFrames(stream: Stream, onFrame: (frame: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  stream.addEventListener('message', ({ data }) => {
    rest = Buffer.concat([rest, data.subarray()]);
    while (rest.length >= frameBytes) {
      const frame = rest.subarray(0, frameBytes);
      rest = rest.subarray(frameBytes);
      onFrame(Buffer.from(frame));
    }
  });
}
