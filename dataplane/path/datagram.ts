import type { Buffer as Bytes } from 'node:buffer';

// Datagrams by which a path is measured where no ICMP passes. A request is padded with zeros to the size that is asked
// about; the reply is shorter than any request, so that nobody can have anything amplified by a forged sender.
//   request: 'WFTP' 1 nonce(16) zeros…      reply: 'WFTP' 2 nonce(16)

const magic = Buffer.from('WFTP');
export const nonceBytes = 16;
const types = { request: 1, reply: 2 } as const;
const headBytes = magic.length + 1 + nonceBytes;
/** Shortest request, as UDP payload. */
export const requestMinBytes = headBytes + 1;
/** Longest that an IP packet can carry. */
const requestMaxBytes = 65_535 - 28;

export type Datagram = { readonly type: 'request' | 'reply'; readonly nonce: Bytes };

/** @param bytes of the UDP payload, `requestMinBytes` at least */
export function encodeRequest(nonce: Bytes, bytes: number): Bytes {
  return encode('request', nonce, bytes);
}

export function encodeReply(nonce: Bytes): Bytes {
  return encode('reply', nonce, headBytes);
}

function encode(type: keyof typeof types, nonce: Bytes, bytes: number): Bytes {
  const datagram = Buffer.alloc(bytes);
  magic.copy(datagram);
  datagram.writeUInt8(types[type], magic.length);
  nonce.copy(datagram, magic.length + 1, 0, nonceBytes);
  return datagram;
}

/** @returns null for anything that is neither, to the last byte */
export function decodeDatagram(bytes: Uint8Array): Datagram | null {
  const datagram = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (datagram.length < headBytes || datagram.length > requestMaxBytes) return null;
  if (datagram.compare(magic, 0, magic.length, 0, magic.length) !== 0) return null;
  const nonce = datagram.subarray(magic.length + 1, headBytes);
  const type = datagram[magic.length];
  if (type === types.reply) return datagram.length === headBytes ? { type: 'reply', nonce } : null;
  if (type !== types.request || datagram.length < requestMinBytes) return null;
  return datagram.subarray(headBytes).every((byte) => byte === 0) ? { type: 'request', nonce } : null;
}
