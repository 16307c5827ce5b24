import ipaddr from 'ipaddr.js';

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const hexOf = (byte: number | undefined): string => HEX[byte ?? 0] ?? '00';

/** Six bytes to `02:42:0a:00:01:02`. */
export function macAt(buffer: Uint8Array, at: number): string {
  return `${hexOf(buffer[at])}:${hexOf(buffer[at + 1])}:${hexOf(buffer[at + 2])}:${hexOf(buffer[at + 3])}:${hexOf(buffer[at + 4])}:${hexOf(buffer[at + 5])}`;
}

/** `02:42:0a:00:01:02` to six bytes. */
export function macBytes(mac: string): Uint8Array {
  const bytes = new Uint8Array(6);
  for (let index = 0; index < 6; index++) bytes[index] = Number.parseInt(mac.slice(index * 3, index * 3 + 2), 16);
  return bytes;
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
  let at = 0;
  let value = 0;
  for (let index = 0; index < ip.length; index++) {
    const code = ip.charCodeAt(index);
    if (code === 46) {
      bytes[at++] = value;
      value = 0;
    } else value = value * 10 + code - 48;
  }
  bytes[at] = value;
  return bytes;
}
