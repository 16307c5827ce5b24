import { closeSync, constants, existsSync, openSync, readFileSync, realpathSync } from 'node:fs';
import koffi from 'koffi';

// The system calls the program needs that Node does not offer.
const libc = koffi.load(null);
const cSocket = libc.func('int socket(int domain, int type, int protocol)');
const cSendto = libc.func(
  'intptr_t sendto(int fd, const void *buffer, size_t length, int flags, const void *address, uint32_t addressLength)',
);
const cMadvise = libc.func('int madvise(uintptr_t address, size_t length, int advice)');
const cFlock = libc.func('int flock(int fd, int operation)');
const cUnshare = libc.func('int unshare(int flags)');
const cMount = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)',
);

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const LOCK_EX_NB = 2 | 4;
const MADV_DONTNEED = 4;
const CLONE_NEWNS = 0x20000;
const MS_BIND = 0x1000;
const MS_REC_SLAVE = 0x4000 | 0x80000;

/** Sends one datagram to a unix socket; `@` at the start means the abstract namespace (unix(7)). */
export function sendDatagram(path: string, text: string): void {
  const name = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : path);
  // sun_path of sockaddr_un.
  if (name.length > 107) throw new Error(`socket path too long: ${path}`);
  const address = Buffer.alloc(2 + name.length + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  name.copy(address, 2);
  const length = path.startsWith('@') ? 2 + name.length : address.length;
  const fd = cSocket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0) as number;
  if (fd < 0) throw new Error(`socket: errno ${koffi.errno()}`);
  try {
    const bytes = Buffer.from(text);
    const sent = Number(cSendto(fd, bytes, bytes.length, MSG_NOSIGNAL, address, length));
    if (sent < 0) throw new Error(`notify ${path}: errno ${koffi.errno()}`);
  } finally {
    closeSync(fd);
  }
}

/**
 * Takes an exclusive lock that the kernel gives back when the process ends, however it ends (flock(2)).
 * @returns how to give it back, or null when another process holds it
 */
export function tryLock(path: string): (() => void) | null {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  if ((cFlock(fd, LOCK_EX_NB) as number) === 0) return () => closeSync(fd);
  closeSync(fd);
  return null;
}

/**
 * Gives back the memory in which this process sees pages of a file that it has mapped (madvise(2)): the kernel keeps
 * them as the cache of the file, and shows them again when they are read. Nothing is lost by it in a shared mapping.
 */
export function releaseMapped(path: string): void {
  const file = realpathSync(path);
  for (const line of readFileSync('/proc/self/maps', 'latin1').split('\n')) {
    const [, from = '', to = '', mode = '', name] = /^(\w+)-(\w+) (\S+) \S+ \S+ \S+ +(.*)$/.exec(line) ?? [];
    if (name !== file || !mode.endsWith('s')) continue;
    const start = Number.parseInt(from, 16);
    cMadvise(start, Number.parseInt(to, 16) - start, MADV_DONTNEED);
  }
}

/**
 * Puts this thread, and every process that it starts from now on, into a mount namespace of its own, in which files lie over
 * others; mounts that the host makes later still show there. As `ip netns exec` does it (ip-netns(8)).
 * @param binds by the path that is covered, the file that covers it; one of which either is not there is left out
 */
export function coverFiles(binds: ReadonlyMap<string, string>): void {
  const done = (result: unknown, what: string): void => {
    if (result !== 0) throw new Error(`${what}: errno ${koffi.errno()}`);
  };
  done(cUnshare(CLONE_NEWNS), 'unshare of the mount namespace');
  done(cMount('none', '/', null, MS_REC_SLAVE, null), 'mount of / as a slave');
  for (const [target, source] of binds) {
    if (existsSync(target) && existsSync(source))
      done(cMount(source, target, null, MS_BIND, null), `mount on ${target}`);
  }
}
