import type { Socket } from 'raw-socket';
import { inNetns } from '../rtnetlink/libc.ts';
import type { NetnsPath } from '../values.ts';

export type Raw = typeof import('raw-socket');
export type RawSocket = Socket;
export type Family = 4 | 6;

/** The addon that opens raw sockets (raw(7)). Rejects where it was not built for this Node. */
export async function loadRaw(): Promise<Raw> {
  const module = (await import('raw-socket')) as Raw & { default?: Raw };
  return module.default ?? module;
}

/** A raw socket in a namespace, or (null) in our own. Throws Error with the words of strerror(3), or SystemError. */
export function openRaw(raw: Raw, protocol: keyof Raw['Protocol'], family: Family, netns: NetnsPath | null): RawSocket {
  const open = (): RawSocket =>
    raw.createSocket({
      protocol: raw.Protocol[protocol],
      addressFamily: family === 4 ? raw.AddressFamily.IPv4 : raw.AddressFamily.IPv6,
    });
  return netns === null ? open() : inNetns(netns, open);
}
