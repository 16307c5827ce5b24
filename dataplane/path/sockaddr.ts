import { ipBytes } from '../rtnetlink/address-bytes.ts';
import { AF_INET, AF_INET6 } from '../rtnetlink/wire.ts';
import { type Ip, isIpv6 } from '../values.ts';

/** struct sockaddr_in of ip(7), sockaddr_in6 of ipv6(7). */
export function sockaddr(address: Ip, port: number): Buffer {
  const ipv6 = isIpv6(address);
  const bytes = Buffer.alloc(ipv6 ? 28 : 16);
  bytes.writeUInt16LE(ipv6 ? AF_INET6 : AF_INET);
  bytes.writeUInt16BE(port, 2);
  bytes.set(ipBytes(address), ipv6 ? 8 : 4);
  return bytes;
}
