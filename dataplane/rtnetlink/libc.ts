import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';
import type { NetnsPath } from '../values.ts';

// The process's own symbols: whichever libc Node was linked with (glibc or musl).
const libc = koffi.load(null);
const cSocket = libc.func('int socket(int domain, int type, int protocol)');
const cBind = libc.func('int bind(int fd, const void *address, uint32_t length)');
const cSetsockopt = libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)');
const cGetsockopt = libc.func('int getsockopt(int fd, int level, int name, void *value, uint32_t *length)');
const cSend = libc.func('intptr_t send(int fd, const void *buffer, size_t length, int flags)');
const cRecv = libc.func('intptr_t recv(int fd, void *buffer, size_t length, int flags)');
const cClose = libc.func('int close(int fd)');
const cSetns = libc.func('int setns(int fd, int type)');
const cFcntl = libc.func('int fcntl(int fd, int command, ...)');
const cPoll = libc.func('int poll(void *fds, unsigned long count, int timeoutMs)');

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
export const EXFULL = 54;
export const ENETUNREACH = 101;
export const ENOBUFS = 105;
export const EAFNOSUPPORT = 97;
export const EADDRINUSE = 98;
export const EADDRNOTAVAIL = 99;
export const EHOSTUNREACH = 113;
export const EBUSY = 16;
export const EEXIST = 17;
export const ESRCH = 3;

const ERRNO_TEXT: Readonly<Record<number, string>> = {
  1: 'Operation not permitted',
  [ENOENT]: 'No such file or directory',
  [ESRCH]: 'No such process',
  [EAGAIN]: 'Resource temporarily unavailable',
  12: 'Out of memory',
  [EBUSY]: 'Device or resource busy',
  [EEXIST]: 'File exists',
  [ENODEV]: 'No such device',
  22: 'Invalid argument',
  28: 'No space left on device',
  93: 'Protocol not supported',
  95: 'Operation not supported',
  [EAFNOSUPPORT]: 'Address family not supported by protocol',
  [EADDRINUSE]: 'Address already in use',
  [EADDRNOTAVAIL]: 'Cannot assign requested address',
  [EXFULL]: 'Exchange full',
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
  /** A number that no other namespace of this boot has (SO_NETNS_COOKIE, Linux 5.14); null where the kernel does not tell. */
  netnsCookie(): bigint | null;
  close(): void;
  /** The same on another thread, for sockets whose end the kernel makes wait for; nobody waits for it here. */
  closeAside(): void;
}

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC_NONBLOCK = 3 | 0o2000000 | 0o4000;
export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SO_SNDBUFFORCE = 32;
const SO_NETNS_COOKIE = 71;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_TRUNC = 0x20;
const F_SETFL = 4;
const F_SETOWN = 8;
const F_SETSIG = 10;
const O_NONBLOCK_ASYNC = 0o4000 | 0o20000;
const SIGURG = 23;
const POLLIN = 1;
/** Errors of a whole batch, each echoing its header, are a few tens of KiB; the rest is room for notifications. */
const RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024;

/**
 * Opens a socket that hears of changes in the calling thread's current namespace; `groups` are RTNLGRP_* or NFNLGRP_*.
 * The process gets SIGURG when there is something to read (signal-driven I/O, signal(7), fcntl(2)): Node cannot wait for
 * such a descriptor, and a thread that did would be one of libuv's four for good. By default that signal is ignored,
 * so that one which comes late harms nobody. Throws SystemError.
 */
export function openWatchSocket(protocol: number, groups: readonly number[]): RawSocket {
  const socket = openRawSocket(protocol);
  const { fd } = socket;
  const signalled =
    cFcntl(fd, F_SETOWN, 'int', process.pid) === 0 &&
    cFcntl(fd, F_SETSIG, 'int', SIGURG) === 0 &&
    cFcntl(fd, F_SETFL, 'int', O_NONBLOCK_ASYNC) === 0;
  if (signalled && groups.every((group) => setOption(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group))) return socket;
  const errno = koffi.errno();
  socket.close();
  throw new SystemError('listen to changes of the kernel', errno);
}

/** Descriptors to be asked about together: struct pollfd of poll(2), int fd, short events, short revents. */
export class PollSet {
  readonly #count: number;
  readonly #bytes: Buffer;

  constructor(fds: readonly number[]) {
    this.#count = fds.length;
    this.#bytes = Buffer.alloc(fds.length * 8);
    for (const [index, fd] of fds.entries()) {
      this.#bytes.writeInt32LE(fd, index * 8);
      this.#bytes.writeInt16LE(POLLIN, index * 8 + 4);
    }
  }

  /** Places of those that can be read, or have an error to tell, now. Throws SystemError. */
  ready(): number[] {
    if (cPoll(this.#bytes, this.#count, 0) < 0) throw new SystemError('poll', koffi.errno());
    const ready: number[] = [];
    for (let index = 0; index < this.#count; index++) {
      if (this.#bytes.readInt16LE(index * 8 + 6) !== 0) ready.push(index);
    }
    return ready;
  }
}

function setOption(fd: number, level: number, name: number, value: number): boolean {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return cSetsockopt(fd, level, name, bytes, 4) === 0;
}

/** Opens a netlink socket in the calling thread's current namespace; `protocol` is NETLINK_*. Throws SystemError. */
export function openRawSocket(protocol: number): RawSocket {
  const fd: number = cSocket(AF_NETLINK, SOCK_RAW_CLOEXEC_NONBLOCK, protocol);
  if (fd < 0) throw new SystemError('open a netlink socket', koffi.errno());
  // Each of these only makes failures rarer or clearer, so an old kernel that refuses one is no reason to stop.
  setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES);
  setOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, RECEIVE_BUFFER_BYTES);
  setOption(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
  setOption(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
  setOption(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
  const address = Buffer.alloc(12);
  address.writeUInt16LE(AF_NETLINK);
  if (cBind(fd, address, address.length) < 0) {
    const errno = koffi.errno();
    closeSync(fd);
    throw new SystemError('bind a netlink socket', errno);
  }
  return {
    fd,
    send(bytes) {
      if (cSend(fd, bytes, bytes.length, 0) < 0) throw new SystemError('send to netlink', koffi.errno());
    },
    sendAside: (bytes) =>
      new Promise((resolve, reject) => {
        cSend.async(fd, bytes, bytes.length, 0, (error: Error | null, sent: number | bigint) => {
          if (error) reject(error);
          else if (sent < 0) reject(new SystemError('send to netlink', koffi.errno()));
          else resolve();
        });
      }),
    receive(into) {
      const length = Number(cRecv(fd, into, into.length, MSG_TRUNC));
      if (length >= 0) return length;
      const errno = koffi.errno();
      if (errno === EAGAIN) return null;
      throw new SystemError('receive from netlink', errno);
    },
    netnsCookie() {
      const value = Buffer.alloc(8);
      const length = Buffer.alloc(4);
      length.writeInt32LE(value.length);
      return cGetsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, value, length) === 0 ? value.readBigUInt64LE() : null;
    },
    close: () => closeSync(fd),
    closeAside: () => cClose.async(fd, () => undefined),
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
