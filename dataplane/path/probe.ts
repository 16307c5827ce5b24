import { randomBytes } from 'node:crypto';
import { isIPv6 } from 'node:net';
import type { Log } from '../log.ts';
import type { NetnsPath } from '../values.ts';
import { type Family, loadRaw, openRaw, type Raw, type RawSocket } from './raw.ts';
import { ipHeaderBytes, type ProbeTarget, type ProbeWay } from './way.ts';

// Echoes of one probe: a lost one shall not make a host look dead.
const echoes = 3;
// Further probes cannot tell; the callers ask few hosts at a time.
const maxProbes = 256;
const nonceBytes = 16;
const headerBytes = 8;
/** Types of request and reply (RFC 792, RFC 4443). */
const types = { 4: { request: 8, reply: 0 }, 6: { request: 128, reply: 129 } } as const;

/**
 * Packets leave whole or not at all, whatever the kernel believes of the path (ip(7), ipv6(7): IP_MTU_DISCOVER and
 * IPV6_MTU_DISCOVER = PROBE, IPV6_DONTFRAG).
 */
const dontFragment = {
  4: [[0, 10, 3]],
  6: [
    [41, 23, 3],
    [41, 62, 1],
  ],
} as const;

interface Probe {
  readonly nonce: Buffer;
  readonly answered: () => void;
}

/**
 * An ICMP echo message of either family, checksum not set (RFC 792, RFC 4443: the layout is the same).
 * @param bytes of the message; what the nonce leaves is zeros
 */
export function echoRequest(
  family: Family,
  id: number,
  sequence: number,
  nonce: Buffer,
  bytes = headerBytes + nonceBytes,
): Buffer {
  const message = Buffer.alloc(Math.max(bytes, headerBytes + nonceBytes));
  message.writeUInt8(types[family].request, 0);
  message.writeUInt16BE(id, 4);
  message.writeUInt16BE(sequence, 6);
  nonce.copy(message, headerBytes);
  return message;
}

/** Reads what a raw socket got: IPv4 packets whole, of IPv6 the ICMP message alone. @returns null for anything else */
export function parseEchoReply(family: Family, packet: Buffer): { id: number; nonce: Buffer } | null {
  const start = family === 4 ? ((packet[0] ?? 0) & 0x0f) * 4 : 0;
  const message = packet.subarray(start);
  if (message.length < headerBytes + nonceBytes || message[0] !== types[family].reply || message[1] !== 0) return null;
  return { id: message.readUInt16BE(4), nonce: message.subarray(headerBytes, headerBytes + nonceBytes) };
}

/**
 * Asks hosts for an ICMP echo. A socket is open only while something is asked: it hears every ICMP message that the host
 * gets, those for others too, and an idle agent shall not wake for them.
 */
export class HostProbe implements ProbeWay {
  readonly name = 'icmp';
  readonly #log: Log;
  readonly #netns: NetnsPath | null;
  // Tells our replies from those to other programs cheaply; the nonce tells them for certain.
  readonly #id = randomBytes(2).readUInt16BE();
  readonly #probes = new Map<string, Probe>();
  readonly #sockets = new Map<Family, { socket: RawSocket; users: number }>();
  #raw: Promise<Raw | null> | null = null;
  /** The same, once it is loaded. */
  #loaded: Raw | null = null;
  #sequence = 0;

  /** @param netns where it asks from; null is our own namespace */
  constructor(log: Log, netns: NetnsPath | null = null) {
    this.#log = log;
    this.#netns = netns;
  }

  /** @returns whether the address answered within `timeoutMs`; null when it cannot be asked (no right, no addon) */
  async answers(address: string, timeoutMs: number): Promise<boolean | null> {
    this.#raw ??= this.#load();
    const raw = await this.#raw;
    if (raw === null || this.#probes.size >= maxProbes) return null;
    const family = isIPv6(address) ? 6 : 4;
    const open = this.#open(raw, family);
    if (open === null) return null;
    const nonce = randomBytes(nonceBytes);
    const key = nonce.toString('hex');
    const timers: NodeJS.Timeout[] = [];
    try {
      return await new Promise<boolean>((resolve) => {
        this.#probes.set(key, { nonce, answered: () => resolve(true) });
        // An answer may be waiting while this process was late: what is there is read before its silence counts.
        const timeUp = (): void => void setImmediate(() => setImmediate(() => resolve(false)));
        timers.push(setTimeout(timeUp, timeoutMs));
        for (let echo = 0; echo < echoes; echo += 1) {
          timers.push(setTimeout(() => this.#send(raw, open, family, address, nonce), (timeoutMs / echoes) * echo));
        }
      });
    } finally {
      for (const timer of timers) clearTimeout(timer);
      this.#probes.delete(key);
      this.#close(family);
    }
  }

  /** Loads what `send` needs: without it, or without the right, nothing is ever sent or heard. */
  async load(): Promise<void> {
    this.#raw ??= this.#load();
    await this.#raw;
  }

  /** Sends one echo request in a packet of that size, not to be fragmented. */
  send({ address }: ProbeTarget, bytes: number, heard: (what: 'answer' | 'refused') => void): () => void {
    const raw = this.#loaded;
    const family = isIPv6(address) ? 6 : 4;
    const socket = raw === null || this.#probes.size >= maxProbes ? null : this.#open(raw, family);
    if (raw === null || socket === null) return () => {};
    const nonce = randomBytes(nonceBytes);
    const key = nonce.toString('hex');
    this.#probes.set(key, { nonce, answered: () => heard('answer') });
    this.#send(raw, socket, family, address, nonce, bytes - ipHeaderBytes[family], (error) => {
      if (error?.message === 'Message too long') heard('refused');
    });
    return () => {
      if (this.#probes.delete(key)) this.#close(family);
    };
  }

  #send(
    raw: Raw,
    socket: RawSocket,
    family: Family,
    address: string,
    nonce: Buffer,
    bytes?: number,
    after: (error: Error | null) => void = () => {},
  ): void {
    this.#sequence = (this.#sequence + 1) & 0xffff;
    const message = echoRequest(family, this.#id, this.#sequence, nonce, bytes);
    // The kernel does it for ICMPv6, whose checksum covers addresses that only it knows.
    if (family === 4) raw.writeChecksum(message, 2, raw.createChecksum(message));
    // No route, no neighbour: the host does not answer, which is what was asked.
    socket.send(message, 0, message.length, address, after);
  }

  #open(raw: Raw, family: Family): RawSocket | null {
    const known = this.#sockets.get(family);
    if (known !== undefined) {
      known.users += 1;
      return known.socket;
    }
    try {
      const socket = openRaw(raw, family === 4 ? 'ICMP' : 'ICMPv6', family, this.#netns);
      for (const [level, option, value] of dontFragment[family]) socket.setOption(level, option, value);
      socket.on('message', (packet) => this.#read(family, packet));
      socket.on('error', (error) => this.#log.debug({ err: error }, 'ICMP socket'));
      this.#sockets.set(family, { socket, users: 1 });
      return socket;
    } catch (error) {
      this.#cannot(error);
      return null;
    }
  }

  #close(family: Family): void {
    const known = this.#sockets.get(family);
    if (known === undefined) return;
    known.users -= 1;
    if (known.users > 0) return;
    this.#sockets.delete(family);
    known.socket.close();
  }

  #read(family: Family, packet: Buffer): void {
    const reply = parseEchoReply(family, packet);
    if (reply === null || reply.id !== this.#id) return;
    this.#probes.get(reply.nonce.toString('hex'))?.answered();
  }

  async #load(): Promise<Raw | null> {
    try {
      this.#loaded = await loadRaw();
      return this.#loaded;
    } catch (error) {
      this.#cannot(error);
      return null;
    }
  }

  #cannot(error: unknown): void {
    this.#raw = Promise.resolve(null);
    this.#loaded = null;
    this.#log.warn(
      { err: error },
      'no ICMP echo from here: a host that is down is told from a busy agent by its TCP port alone, and path MTUs are \
measured by UDP alone',
    );
  }
}
