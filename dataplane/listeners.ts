import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Protocol } from './desired.ts';

/** A socket that takes what comes to its port. */
export interface Listener {
  readonly protocol: Protocol;
  /** null: every address of the host. */
  readonly ip: string | null;
  readonly port: number;
  readonly inode: number;
}

// proc_net_tcp.txt: addresses are words in host order; tcp_states.h: TCP_LISTEN 0A, TCP_CLOSE 07 of an unconnected UDP socket.
const line =
  /^ *\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} ([0-9A-F]{2}) \S+ \S+ \S+ +\d+ +\d+ (\d+)/;
const listening = { tcp: '0A', udp: '07' } as const;

/** Reads /proc/net/tcp, tcp6, udp or udp6 (proc(5)); lines that are no such are left out. */
export function parseSockets(text: string, protocol: 'tcp' | 'udp'): Listener[] {
  return text.split('\n').flatMap((each): Listener[] => {
    const match = line.exec(each);
    if (match === null) return [];
    const [, address = '', port = '', state, inode] = match;
    if (state !== listening[protocol]) return [];
    const ip = ipv4Of(address);
    return ip === undefined ? [] : [{ protocol, ip, port: Number.parseInt(port, 16), inode: Number(inode) }];
  });
}

/** null: every address, also of IPv6, which takes IPv4 besides; undefined: an IPv6 address that no IPv4 packet reaches. */
function ipv4Of(hex: string): string | null | undefined {
  if (/^0+$/.test(hex)) return null;
  const mapped = hex.length === 8 ? hex : /^0{16}FFFF0000([0-9A-F]{8})$/.exec(hex)?.[1];
  return mapped
    ?.match(/../g)
    ?.map((byte) => Number.parseInt(byte, 16))
    .reverse()
    .join('.');
}

/** Reads /proc/net/sctp/eps: `ENDPT SOCK STY SST HBKT LPORT UID INODE LADDRS`. Its addresses are not told apart. */
export function parseSctpEndpoints(text: string): Listener[] {
  return text.split('\n').flatMap((each): Listener[] => {
    const match = /^ *\S+ \S+ +\d+ +\d+ +\d+ +(\d{1,5}) +\d+ +(\d+)/.exec(each);
    return match === null ? [] : [{ protocol: 'sctp', ip: null, port: Number(match[1]), inode: Number(match[2]) }];
  });
}

/** Every socket of this host that takes what comes to a port. */
export const listenersOfHost = (): Listener[] => [
  ...(['tcp', 'tcp6'] as const).flatMap((name) => parseSockets(read(`/proc/net/${name}`), 'tcp')),
  ...(['udp', 'udp6'] as const).flatMap((name) => parseSockets(read(`/proc/net/${name}`), 'udp')),
  ...parseSctpEndpoints(read('/proc/net/sctp/eps')),
];

/** `nginx (pid 4711)`: the process that has the socket open; null where none can be found. Looks at all processes. */
export function processWith(inode: number): string | null {
  const wanted = `socket:[${inode}]`;
  for (const pid of list('/proc').filter((name) => /^\d+$/.test(name))) {
    for (const fd of list(`/proc/${pid}/fd`)) {
      if (linkOf(`/proc/${pid}/fd/${fd}`) !== wanted) continue;
      return `${read(`/proc/${pid}/comm`).trim() || 'a process'} (pid ${pid})`;
    }
  }
  return null;
}

/** The same of whoever has a UDP port; null when nobody is seen to: sockets of the kernel itself are of no process. */
export function udpHolder(port: number): string | null {
  const found = listenersOfHost().find((each) => each.protocol === 'udp' && each.port === port && each.inode !== 0);
  return found === undefined ? null : processWith(found.inode);
}

/** Ports that the kernel hands out by itself (ip-sysctl.rst, ip_local_port_range). */
export function ephemeralPorts(): readonly [first: number, last: number] {
  const match = /^(\d+)\s+(\d+)/.exec(read('/proc/sys/net/ipv4/ip_local_port_range'));
  return match === null ? [32_768, 60_999] : [Number(match[1]), Number(match[2])];
}

// A process, and with it its files, may go at any moment; a kernel may lack a protocol.
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
