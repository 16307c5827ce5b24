import ipaddr from 'ipaddr.js';

// By the hundred thousand, so without a string or an array for each part: character codes in and out.
const MAC_LENGTH = 17;
const COLON = 58;
const text = Buffer.alloc(MAC_LENGTH, COLON);
const hexDigit = (nibble: number): number => (nibble < 10 ? 48 + nibble : 87 + nibble);
const hexValue = (code: number): number => (code < 58 ? code - 48 : (code | 32) - 87);

/** Six bytes to `02:42:0a:00:01:02`. */
export function macAt(buffer: Uint8Array, at: number): string {
  for (let index = 0; index < 6; index++) {
    const byte = buffer[at + index] ?? 0;
    text[index * 3] = hexDigit(byte >> 4);
    text[index * 3 + 1] = hexDigit(byte & 15);
  }
  return text.toString('latin1');
}

/** `02:42:0a:00:01:02` to six bytes. */
export function macBytes(mac: string): Uint8Array {
  const bytes = new Uint8Array(6);
  writeMac(bytes, 0, mac);
  return bytes;
}

/** The same, into a buffer. */
export function writeMac(into: Uint8Array, at: number, mac: string): void {
  for (let index = 0; index < 6; index++) {
    into[at + index] = (hexValue(mac.charCodeAt(index * 3)) << 4) | hexValue(mac.charCodeAt(index * 3 + 1));
  }
}

/** Four or sixteen bytes to canonical text, the same text that `parseIp` gives. */
export function ipAt(buffer: Uint8Array, start: number, end: number): string {
  if (end - start === 4) return `${buffer[start]}.${buffer[start + 1]}.${buffer[start + 2]}.${buffer[start + 3]}`;
  return new ipaddr.IPv6([...buffer.subarray(start, end)]).toRFC5952String();
}

/** Canonical address text to four or sixteen bytes. */
export function ipBytes(ip: string): Uint8Array {
  if (ip.includes(':')) return Uint8Array.from(ipaddr.IPv6.parse(ip).toByteArray());
  const bytes = new Uint8Array(4);
  writeIpv4(bytes, 0, ip);
  return bytes;
}

/** The four bytes of an IPv4 address into a buffer. */
export function writeIpv4(into: Uint8Array, at: number, ip: string): void {
  let place = at;
  let value = 0;
  for (let index = 0; index < ip.length; index++) {
    const code = ip.charCodeAt(index);
    if (code === 46) {
      into[place++] = value;
      value = 0;
    } else value = value * 10 + code - 48;
  }
  into[place] = value;
}
