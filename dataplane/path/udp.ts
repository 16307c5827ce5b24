import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import type { Log } from '../log.ts';
import { type Ip, isIpv6 } from '../values.ts';
import { decodeDatagram, encodeReply, encodeRequest, nonceBytes, requestMinBytes } from './datagram.ts';
import { openUnfragmented } from './udp-socket.ts';
import { ipHeaderBytes, type ProbeTarget, type ProbeWay } from './way.ts';

const udpHeaderBytes = 8;
/** Probes that wait for an answer; those beyond it are not sent. */
const maxProbes = 256;
/**
 * Requests answered, of all peers together: a search takes some thirty within a second, and a thousand nodes that start at
 * once shall not keep this one busy. Who is not answered asks again.
 */
const answered = { burst: 400, perSecond: 100 } as const;

export interface UdpProbeInit {
  readonly log: Log;
  /** The VTEP: replies come from where they are expected from. */
  readonly address: Ip;
  readonly port: number;
  /** Whether somebody at that address may ask: members only. */
  readonly mayAsk: (address: string) => boolean;
  /** Monotonic milliseconds. @default performance.now */
  readonly now?: () => number;
}

/** Asks other agents over UDP whether packets of a size come through, and answers them. */
export class UdpProbe implements ProbeWay, Disposable {
  readonly name = 'udp';
  readonly #init: UdpProbeInit;
  readonly #now: () => number;
  readonly #heard = new Map<string, () => void>();
  #socket: Socket | null = null;
  #tokens: number = answered.burst;
  #filledAtMs: number;

  constructor(init: UdpProbeInit) {
    this.#init = init;
    this.#now = init.now ?? (() => performance.now());
    this.#filledAtMs = this.#now();
  }

  /** Throws SystemError when the port cannot be had; `send` does nothing then. */
  open(): void {
    const { address, port, log } = this.#init;
    const fd = openUnfragmented(address, port);
    const socket = createSocket(isIpv6(address) ? 'udp6' : 'udp4');
    socket.on('error', (error) => log.debug({ err: error }, 'UDP socket of path probes'));
    socket.on('message', (bytes, from) => this.#read(bytes, from.address, from.port));
    socket.bind({ fd, exclusive: true });
    this.#socket = socket;
  }

  get isOpen(): boolean {
    return this.#socket !== null;
  }

  [Symbol.dispose](): void {
    this.#socket?.close();
    this.#socket = null;
    this.#heard.clear();
  }

  send({ address, port }: ProbeTarget, bytes: number, heard: (what: 'answer' | 'refused') => void): () => void {
    const headers = ipHeaderBytes[address.includes(':') ? 6 : 4] + udpHeaderBytes;
    if (this.#socket === null || this.#heard.size >= maxProbes) return () => {};
    const nonce = randomBytes(nonceBytes);
    const key = nonce.toString('hex');
    this.#heard.set(key, () => heard('answer'));
    const request = encodeRequest(nonce, Math.max(bytes - headers, requestMinBytes));
    this.#socket.send(request, port, address, (error) => {
      if ((error as NodeJS.ErrnoException | null)?.code === 'EMSGSIZE') heard('refused');
    });
    return () => void this.#heard.delete(key);
  }

  #read(bytes: Buffer, address: string, port: number): void {
    const datagram = decodeDatagram(bytes);
    if (datagram === null) return;
    if (datagram.type === 'reply') this.#heard.get(datagram.nonce.toString('hex'))?.();
    else if (this.#init.mayAsk(address) && this.#takeToken()) {
      // Who asked asks again if it does not arrive.
      this.#socket?.send(encodeReply(datagram.nonce), port, address, () => {});
    }
  }

  #takeToken(): boolean {
    const nowMs = this.#now();
    const filled = this.#tokens + ((nowMs - this.#filledAtMs) / 1000) * answered.perSecond;
    this.#tokens = Math.min(answered.burst, filled);
    this.#filledAtMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
