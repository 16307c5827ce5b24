import { randomBytes, randomInt } from 'node:crypto';
import { loadRaw, openRaw } from '../path/raw.ts';
import { ipBytes } from '../rtnetlink/address-bytes.ts';
import type { Ip, NetnsPath } from '../values.ts';

const HEADER_BYTES = 20;
const FLAGS_AT = 13;
const CHECKSUM_AT = 16;
const SYN = 0x02;
const ACK = 0x10;
/** First port of the range that Linux gives out by itself (ip_local_port_range, ip-sysctl.rst). */
const PORT_MIN = 32_768;
const TRIES = 3;

/** A segment that would open a connection: TCP header alone, its checksum made here (RFC 9293, section 3.1). IPv4. */
export function synSegment(from: Ip, to: Ip, fromPort: number, toPort: number, seq: number): Buffer {
  const segment = Buffer.alloc(HEADER_BYTES);
  segment.writeUInt16BE(fromPort, 0);
  segment.writeUInt16BE(toPort, 2);
  segment.writeUInt32BE(seq, 4);
  segment[12] = (HEADER_BYTES / 4) << 4;
  segment[FLAGS_AT] = SYN;
  segment.writeUInt16BE(65_535, 14);
  const pseudo = Buffer.concat([ipBytes(from), ipBytes(to), Buffer.of(0, 6, 0, HEADER_BYTES)]);
  segment.writeUInt16BE(checksum(Buffer.concat([pseudo, segment])), CHECKSUM_AT);
  return segment;
}

/** The internet checksum (RFC 1071) of an even number of bytes. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at + 1 < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** Reads what a raw socket got, an IPv4 packet: whether it answers that segment. */
export function answersSyn(packet: Buffer, to: Ip, fromPort: number, toPort: number, seq: number): boolean {
  const start = ((packet[0] ?? 0) & 0x0f) * 4;
  if (packet.length < start + HEADER_BYTES || start < 20) return false;
  const segment = packet.subarray(start);
  return (
    packet.subarray(12, 16).equals(ipBytes(to)) &&
    segment.readUInt16BE(0) === toPort &&
    segment.readUInt16BE(2) === fromPort &&
    ((segment[FLAGS_AT] ?? 0) & ACK) !== 0 &&
    segment.readUInt32BE(8) === (seq + 1) >>> 0
  );
}

/**
 * Whether a segment whose checksum was made here, and not left to a network card, is answered. A kernel makes the checksum of
 * a refusal itself, too (net/ipv4/ip_output.c, ip_send_unicast_reply). IPv4. Rejects where no raw socket can be opened.
 */
export async function synAnswers(
  netns: NetnsPath,
  from: Ip,
  to: Ip,
  port: number,
  timeoutMs: number,
): Promise<boolean> {
  const raw = await loadRaw();
  const socket = openRaw(raw, 'TCP', 4, netns);
  const fromPort = randomInt(PORT_MIN, 61_000);
  const seq = randomBytes(4).readUInt32BE();
  const segment = synSegment(from, to, fromPort, port, seq);
  const timers: NodeJS.Timeout[] = [];
  try {
    return await new Promise<boolean>((resolve) => {
      socket.on('message', (packet) => {
        if (answersSyn(packet, to, fromPort, port, seq)) resolve(true);
      });
      socket.on('error', () => resolve(false));
      for (let attempt = 0; attempt < TRIES; attempt++) {
        const send = (): void => socket.send(segment, 0, segment.length, to, () => {});
        timers.push(setTimeout(send, (timeoutMs / TRIES) * attempt));
      }
      timers.push(setTimeout(() => resolve(false), timeoutMs));
    });
  } finally {
    for (const timer of timers) clearTimeout(timer);
    socket.close();
  }
}
