import { closeSync } from 'node:fs';
import koffi from 'koffi';
import { SystemError } from '../rtnetlink/libc.ts';
import { AF_INET, AF_INET6 } from '../rtnetlink/wire.ts';
import { type Ip, isIpv6 } from '../values.ts';
import { sockaddr } from './sockaddr.ts';

const libc = koffi.load(null);
const cSocket = libc.func('int socket(int domain, int type, int protocol)');
const cBind = libc.func('int bind(int fd, const void *address, uint32_t length)');
const cSetsockopt = libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)');

const SOCK_DGRAM_CLOEXEC_NONBLOCK = 2 | 0o2000000 | 0o4000;
const IPPROTO_IP = 0;
const IPPROTO_IPV6 = 41;
const IP_MTU_DISCOVER = 10;
const IPV6_MTU_DISCOVER = 23;
const IPV6_V6ONLY = 26;
const IPV6_DONTFRAG = 62;
/** Don't fragment, and send whatever the kernel believes of the path (ip(7)). */
const PMTUDISC_PROBE = 3;

/**
 * A UDP socket bound to an address, whose packets leave whole or not at all; node:dgram, which cannot set that, takes it by
 * its descriptor. Throws SystemError.
 */
export function openUnfragmented(address: Ip, port: number): number {
  const ipv6 = isIpv6(address);
  const fd: number = cSocket(ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM_CLOEXEC_NONBLOCK, 0);
  if (fd < 0) throw new SystemError('open a UDP socket', koffi.errno());
  const options = ipv6
    ? [
        [IPPROTO_IPV6, IPV6_V6ONLY, 1],
        [IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE],
        [IPPROTO_IPV6, IPV6_DONTFRAG, 1],
      ]
    : [[IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE]];
  const value = Buffer.alloc(4);
  const set = options.every(([level, option, on = 0]) => {
    value.writeInt32LE(on);
    return cSetsockopt(fd, level, option, value, 4) === 0;
  });
  const name = sockaddr(address, port);
  if (set && cBind(fd, name, name.length) === 0) return fd;
  const errno = koffi.errno();
  closeSync(fd);
  throw new SystemError(`bind UDP ${address} port ${port}`, errno);
}
