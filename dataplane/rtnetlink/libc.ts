import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';
import type { NetnsPath } from '../values.ts';

// The process's own symbols: whichever libc Node was linked with (glibc or musl).
const libc = koffi.load(null);
const cSocket = libc.func('int socket(int domain, int type, int protocol)');
const cBind = libc.func('int bind(int fd, const void *address, uint32_t length)');
const cSetsockopt = libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)');
const cSend = libc.func('intptr_t send(int fd, const void *buffer, size_t length, int flags)');
const cRecv = libc.func('intptr_t recv(int fd, void *buffer, size_t length, int flags)');
const cSetns = libc.func('int setns(int fd, int type)');

const CLONE_NEWNET = 0x40000000;

/** A system call that failed; `errno` as in errno(3). */
export class SystemError extends Error {
  readonly errno: number;

  constructor(what: string, errno: number, detail?: string | null) {
    super(`${what}: ${describeErrno(errno)}${detail ? ` (${detail})` : ''}`);
    this.name = 'SystemError';
    this.errno = errno;
  }
}

export const ENOENT = 2;
export const EAGAIN = 11;
export const ENODEV = 19;
export const ENETUNREACH = 101;
export const ENOBUFS = 105;
export const EADDRNOTAVAIL = 99;
export const EHOSTUNREACH = 113;
export const EEXIST = 17;
export const ESRCH = 3;

const ERRNO_TEXT: Readonly<Record<number, string>> = {
  1: 'Operation not permitted',
  [ENOENT]: 'No such file or directory',
  [ESRCH]: 'No such process',
  [EAGAIN]: 'Resource temporarily unavailable',
  12: 'Out of memory',
  16: 'Device or resource busy',
  [EEXIST]: 'File exists',
  [ENODEV]: 'No such device',
  22: 'Invalid argument',
  28: 'No space left on device',
  93: 'Protocol not supported',
  95: 'Operation not supported',
  [EADDRNOTAVAIL]: 'Cannot assign requested address',
  97: 'Address family not supported by protocol',
  [ENETUNREACH]: 'Network is unreachable',
  [ENOBUFS]: 'No buffer space available',
  [EHOSTUNREACH]: 'No route to host',
};

/** strerror(3) for what netlink answers in practice; the number for anything else. */
export function describeErrno(errno: number): string {
  return ERRNO_TEXT[errno] ?? `errno ${errno}`;
}

/** One netlink datagram socket. All calls return at once. */
export interface RawSocket {
  readonly fd: number;
  /** Throws SystemError. */
  send(bytes: Buffer): void;
  /** Sends on another thread, for requests that make the kernel wait; the bytes must stay as they are. Rejects with SystemError. */
  sendAside(bytes: Buffer): Promise<void>;
  /** Bytes of the datagram, which may be more than fitted; null when there is none. Throws SystemError. */
  receive(into: Buffer): number | null;
  close(): void;
}

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC_NONBLOCK = 3 | 0o2000000 | 0o4000;
const NETLINK_ROUTE = 0;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SO_SNDBUFFORCE = 32;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_TRUNC = 0x20;
/** Errors of a whole batch, each echoing its header, are a few tens of KiB; the rest is room for notifications. */
const RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024;

/** Opens an rtnetlink socket in the calling thread's current namespace. */
export function openRawSocket(): RawSocket {
  const fd: number = cSocket(AF_NETLINK, SOCK_RAW_CLOEXEC_NONBLOCK, NETLINK_ROUTE);
  if (fd < 0) throw new SystemError('open an rtnetlink socket', koffi.errno());
  const option = (level: number, name: number, value: number): boolean => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value);
    return cSetsockopt(fd, level, name, bytes, 4) === 0;
  };
  // Each of these only makes failures rarer or clearer, so an old kernel that refuses one is no reason to stop.
  option(SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES);
  option(SOL_SOCKET, SO_SNDBUFFORCE, RECEIVE_BUFFER_BYTES);
  option(SOL_NETLINK, NETLINK_CAP_ACK, 1);
  option(SOL_NETLINK, NETLINK_EXT_ACK, 1);
  option(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
  const address = Buffer.alloc(12);
  address.writeUInt16LE(AF_NETLINK);
  if (cBind(fd, address, address.length) < 0) {
    const errno = koffi.errno();
    closeSync(fd);
    throw new SystemError('bind an rtnetlink socket', errno);
  }
  return {
    fd,
    send(bytes) {
      if (cSend(fd, bytes, bytes.length, 0) < 0) throw new SystemError('send to rtnetlink', koffi.errno());
    },
    sendAside: (bytes) =>
      new Promise((resolve, reject) => {
        cSend.async(fd, bytes, bytes.length, 0, (error: Error | null, sent: number | bigint) => {
          if (error) reject(error);
          else if (sent < 0) reject(new SystemError('send to rtnetlink', koffi.errno()));
          else resolve();
        });
      }),
    receive(into) {
      const length = Number(cRecv(fd, into, into.length, MSG_TRUNC));
      if (length >= 0) return length;
      const errno = koffi.errno();
      if (errno === EAGAIN) return null;
      throw new SystemError('receive from rtnetlink', errno);
    },
    close: () => closeSync(fd),
  };
}

/**
 * Runs `work` with the main thread inside another network namespace, and comes back. `work` must be synchronous: nothing
 * else of this process runs meanwhile, so nothing else can open a socket or fork a child in the wrong namespace.
 * Throws what `work` throws, or SystemError when the namespace cannot be entered.
 */
export function inNetns<T>(path: NetnsPath, work: () => T): T {
  const home = openSync('/proc/thread-self/ns/net', 'r');
  try {
    const there = openSync(path, 'r');
    try {
      if (cSetns(there, CLONE_NEWNET) !== 0) throw new SystemError(`enter namespace ${path}`, koffi.errno());
      try {
        return work();
      } finally {
        // A process that stays in the wrong namespace would program the wrong kernel tables and hand its children the
        // wrong network; there is no safe way on.
        if (cSetns(home, CLONE_NEWNET) !== 0) process.abort();
      }
    } finally {
      closeSync(there);
    }
  } finally {
    closeSync(home);
  }
}
