import { closeSync } from 'node:fs';
import koffi from 'koffi';
import { OVERLAY_NETNS } from '../names.ts';
import { ENODEV, inNetns, SystemError } from '../rtnetlink/libc.ts';
import { AF_INET } from '../rtnetlink/wire.ts';

const libc = koffi.load(null);
const cSocket = libc.func('int socket(int domain, int type, int protocol)');
const cIoctl = libc.func('int ioctl(int fd, unsigned long request, void *argument)');

// linux/sockios.h, linux/ethtool.h, linux/if.h (struct ifreq: the name, and behind it a union of 24 bytes).
const SIOCETHTOOL = 0x8946;
const ETHTOOL_GTXCSUM = 0x16;
const ETHTOOL_STXCSUM = 0x17;
const IFNAMSIZ = 16;
const EOPNOTSUPP = 95;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const Ifreq = koffi.struct({
  name: koffi.array('char', IFNAMSIZ),
  data: 'void *',
  rest: koffi.array('uint8_t', 16),
});

/** struct ethtool_value: uint32_t cmd, data. */
function ethtool(fd: number, device: string, command: number, value: number): number {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(command);
  bytes.writeUInt32LE(value, 4);
  const request = koffi.alloc(Ifreq, 1);
  try {
    koffi.encode(request, Ifreq, { name: device, data: bytes, rest: new Uint8Array(16) });
    if (cIoctl(fd, SIOCETHTOOL, request) < 0) throw new SystemError(`ethtool on ${device}`, koffi.errno());
    return bytes.readUInt32LE(4);
  } finally {
    koffi.free(request);
  }
}

function inOverlays<T>(work: (fd: number) => T): T {
  const fd: number = inNetns(OVERLAY_NETNS, () => cSocket(AF_INET, SOCK_DGRAM_CLOEXEC, 0));
  if (fd < 0) throw new SystemError('open a socket for ethtool', koffi.errno());
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}

/** Which devices of the overlay namespace leave checksums to be made later, by a network card at best. Throws SystemError. */
export function devicesThatOffload(devices: Iterable<string>): Set<string> {
  return inOverlays(
    (fd) =>
      new Set(
        [...devices].filter((device) => {
          try {
            return ethtool(fd, device, ETHTOOL_GTXCSUM, 0) !== 0;
          } catch (error) {
            // Just gone, or a device that knows no such thing.
            if (error instanceof SystemError && (error.errno === ENODEV || error.errno === EOPNOTSUPP)) return false;
            throw error;
          }
        }),
      ),
  );
}

/** Has a device of the overlay namespace make checksums itself, as `ethtool -K DEVICE tx off` does. Throws SystemError. */
export function switchOffloadOff(device: string): void {
  inOverlays((fd) => ethtool(fd, device, ETHTOOL_STXCSUM, 0));
}
