import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { Log } from '../../controlplane/environment.ts';
import type { Resolver } from './resolver.ts';
import { lengthOf } from './upstream.ts';

// TCP is for the few answers that are large. Descriptors are the agent's own too.
const maxConnections = 128;
const maxOfClient = 16;
/** As RFC 7766, section 6.2.3, has it: seconds. */
const idleMs = 10_000;
/** Queries of one connection that are under way; the next are not read until then. */
const maxPipelined = 16;
/** No query is larger. */
const maxQueryBytes = 4_096;

/** Carries queries and replies, over UDP and TCP, at one address. */
export class DnsServer {
  readonly #resolver: Pick<Resolver, 'answer'>;
  readonly #log: Log;
  readonly #connections = new Map<Socket, string>();
  #udp: UdpSocket | null = null;
  #tcp: Server | null = null;

  constructor(resolver: Pick<Resolver, 'answer'>, log: Log) {
    this.#resolver = resolver;
    this.#log = log;
  }

  /** @returns the port @throws an error of the system: EADDRINUSE, EADDRNOTAVAIL */
  async listen(address: string, port: number): Promise<number> {
    const tcp = createServer((socket) => this.#connected(socket));
    tcp.maxConnections = maxConnections;
    // A lookup each time otherwise, though there is nothing to look up.
    const udp = createSocket({ type: 'udp4', lookup: (host, _options, callback) => callback(null, host, 4) });
    try {
      tcp.listen(port, address);
      await once(tcp, 'listening');
      const bound = (tcp.address() as { port: number }).port;
      // Before it is bound: with a lookup that takes no time it listens at once.
      const listening = once(udp, 'listening');
      udp.bind(bound, address);
      await listening;
      const failed = (error: Error): void => this.#log.warn({ err: error }, 'a socket of the resolver');
      tcp.on('error', failed);
      udp.on('error', failed);
      udp.on('message', (bytes, from) => {
        this.#resolver.answer(bytes, from.address, 'udp', (reply) => {
          // Whoever asked may be gone; and whoever is not asks again.
          if (this.#udp === udp) udp.send(reply, from.port, from.address, () => {});
        });
      });
      this.#tcp = tcp;
      this.#udp = udp;
      return bound;
    } catch (error) {
      tcp.close();
      udp.close();
      throw error;
    }
  }

  close(): void {
    this.#udp?.close();
    this.#udp = null;
    this.#tcp?.close();
    this.#tcp = null;
    for (const socket of this.#connections.keys()) socket.destroy();
  }

  #connected(socket: Socket): void {
    const from = socket.remoteAddress;
    const ofClient = [...this.#connections.values()].filter((address) => address === from).length;
    if (from === undefined || ofClient >= maxOfClient) return void socket.destroy();
    this.#connections.set(socket, from);
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.setTimeout(idleMs, () => socket.destroy());
    const queries = new Frames();
    let under = 0;
    let taking = false;
    const next = (): void => {
      // Replies that come at once.
      if (taking) return;
      taking = true;
      while (under < maxPipelined && !socket.destroyed) {
        const query = queries.next();
        if (query === null) break;
        under += 1;
        let done = false;
        this.#resolver.answer(query, from, 'tcp', (reply) => {
          done = true;
          under -= 1;
          if (socket.destroyed) return;
          socket.write(Buffer.concat([lengthOf(reply), reply]));
          if (socket.isPaused()) next();
        });
        // What gets no reply here never will.
        if (!done && queries.isSilent(query)) socket.destroy();
      }
      taking = false;
      if (queries.tooLarge) return void socket.destroy();
      // Who does not read what it asked for gets no more.
      if (under >= maxPipelined || socket.writableNeedDrain) socket.pause();
      else socket.resume();
    };
    socket.on('drain', next);
    socket.on('data', (bytes) => {
      queries.add(bytes);
      next();
    });
  }
}

/** Messages out of a stream, each behind its length. */
class Frames {
  #bytes: Buffer = Buffer.alloc(0);

  add(bytes: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? bytes : Buffer.concat([this.#bytes, bytes]);
  }

  get #length(): number | null {
    return this.#bytes.length < 2 ? null : this.#bytes.readUInt16BE(0);
  }

  get tooLarge(): boolean {
    return (this.#length ?? 0) > maxQueryBytes;
  }

  next(): Buffer | null {
    const length = this.#length;
    if (length === null || length > maxQueryBytes || this.#bytes.length < 2 + length) return null;
    const message = this.#bytes.subarray(2, 2 + length);
    this.#bytes = this.#bytes.subarray(2 + length);
    return message;
  }

  /** No message at all, or a reply. */
  isSilent(message: Buffer): boolean {
    return message.length < 12 || (message[2] ?? 0) >= 0x80;
  }
}
