import { closeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import koffi from 'koffi';
import { sockaddr } from '../path/sockaddr.ts';
import { inNetns, SystemError } from '../rtnetlink/libc.ts';
import { AF_INET, AF_INET6 } from '../rtnetlink/wire.ts';
import { type Ip, isIpv6, type NetnsPath } from '../values.ts';

const libc = koffi.load(null);
const cSocket = libc.func('int socket(int domain, int type, int protocol)');
const cConnect = libc.func('int connect(int fd, const void *address, uint32_t length)');
const cPoll = libc.func('int poll(void *fds, unsigned long count, int timeoutMs)');

const SOCK_STREAM_CLOEXEC_NONBLOCK = 1 | 0o2000000 | 0o4000;
const POLLIN = 1;
const POLLOUT = 4;
const ECONNREFUSED = 111;
const EINPROGRESS = 115;
/** Between two looks at a connection that is being made. */
const LOOK_MS = 10;

/**
 * Whether anything comes back when the kernel of this host opens a TCP connection from inside a namespace: a refusal too,
 * since a kernel that refuses has found the checksum of the segment right. Its segments take the same way as those of any
 * program in there, checksum offload included. Throws SystemError when there is no way at all.
 */
export async function tcpAnswers(netns: NetnsPath, to: Ip, port: number, timeoutMs: number): Promise<boolean> {
  const endMs = performance.now() + timeoutMs;
  const fd: number = inNetns(netns, () => cSocket(isIpv6(to) ? AF_INET6 : AF_INET, SOCK_STREAM_CLOEXEC_NONBLOCK, 0));
  if (fd < 0) throw new SystemError('open a TCP socket', koffi.errno());
  try {
    const name = sockaddr(to, port);
    if (cConnect(fd, name, name.length) === 0) return true;
    const errno = koffi.errno();
    if (errno === ECONNREFUSED) return true;
    if (errno !== EINPROGRESS) throw new SystemError(`connect to ${to}`, errno);
    // struct pollfd: int fd, short events, short revents.
    const entry = Buffer.alloc(8);
    entry.writeInt32LE(fd);
    entry.writeInt16LE(POLLIN | POLLOUT, 4);
    while (performance.now() < endMs) {
      await delay(LOOK_MS);
      // Ready: connected, or refused, which is an error. What no route says after a while is none of both.
      if (cPoll(entry, 1, 0) > 0) return true;
    }
    return false;
  } finally {
    closeSync(fd);
  }
}
