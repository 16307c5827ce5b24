import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIP } from 'node:net';
import { makeQuestion, type Query, type Response, readResponse } from './wire.ts';

/** A server that is asked what is not ours. */
export interface Upstream {
  readonly address: string;
  readonly port: number;
}

// Resolvers in sandboxes wait five seconds by default (resolv.conf(5)): time for three servers.
export const udpTimeoutMs = 1_500;
const tcpTimeoutMs = 3_000;

/**
 * Puts a query to a server: over UDP, from a port and with an id by chance, so that nobody who does not see the question can
 * answer it (RFC 5452); and again over TCP when the answer did not fit.
 * @throws when it gives none, or not in time
 */
export async function askUpstream(query: Query, upstream: Upstream, signal: AbortSignal): Promise<Response> {
  const short = await overUdp(query, upstream, signal);
  if (!short.truncated) return short;
  // What did not fit is better than nothing.
  return await overTcp(query, upstream, signal).catch(() => short);
}

function overUdp(query: Query, { address, port }: Upstream, signal: AbortSignal): Promise<Response> {
  const id = randomInt(0x10000);
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIP(address) === 6 ? 'udp6' : 'udp4');
    const limit = setTimeout(() => fail(new Error(`no answer within ${udpTimeoutMs} ms`)), udpTimeoutMs);
    const aborted = (): void => fail(new Error('the resolver has stopped'));
    const end = (): void => {
      clearTimeout(limit);
      signal.removeEventListener('abort', aborted);
      socket.removeAllListeners('message');
      socket.close();
    };
    let ended = false;
    const fail = (error: Error): void => {
      if (ended) return;
      ended = true;
      end();
      reject(error);
    };
    // Refused, say: somebody told us by ICMP.
    socket.on('error', fail);
    socket.on('message', (bytes) => {
      const response = readResponse(bytes, id, query.asked);
      // Of somebody who guesses, maybe; the right one may still come.
      if (response === null || ended) return;
      ended = true;
      end();
      resolve(response);
    });
    signal.addEventListener('abort', aborted);
    if (signal.aborted) return aborted();
    // Connected: the kernel chooses the port, and lets nobody else's packets in.
    socket.connect(port, address, (error?: Error) => {
      if (ended) return;
      if (error) return fail(error);
      socket.send(makeQuestion(query, id), (failed) => failed && fail(failed));
    });
  });
}

function overTcp(query: Query, { address, port }: Upstream, signal: AbortSignal): Promise<Response> {
  const id = randomInt(0x10000);
  const question = makeQuestion(query, id);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, signal });
    const limit = setTimeout(() => socket.destroy(new Error(`no answer within ${tcpTimeoutMs} ms`)), tcpTimeoutMs);
    let received = Buffer.alloc(0);
    socket.on('connect', () => socket.write(Buffer.concat([lengthOf(question), question])));
    socket.on('data', (bytes) => {
      // Bounded by the length that stands before it.
      received = Buffer.concat([received, bytes]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      const response = readResponse(received.subarray(2, 2 + received.readUInt16BE(0)), id, query.asked);
      if (response === null) socket.destroy(new Error('an answer to another question'));
      else {
        resolve(response);
        socket.destroy();
      }
    });
    socket.on('error', reject);
    socket.on('close', () => {
      clearTimeout(limit);
      reject(new Error('closed without an answer'));
    });
  });
}

/** What stands before a message over TCP (RFC 1035, section 4.2.2). */
export function lengthOf(message: Uint8Array): Buffer {
  const length = Buffer.allocUnsafe(2);
  length.writeUInt16BE(message.length, 0);
  return length;
}
