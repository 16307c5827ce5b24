import { ipAt, ipBytes } from './address-bytes.ts';
import {
  AF_INET,
  AF_INET6,
  eachAttribute,
  type Message,
  type MessageWriter,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  RTM_GETADDR,
  RTM_GETNSID,
  RTM_GETROUTE,
} from './wire.ts';

// linux/if_addr.h: ifaddrmsg, IFA_*; linux/rtnetlink.h: rtmsg, RTA_*, RTN_*, RT_TABLE_*; linux/net_namespace.h: NETNSA_*;
// linux/netconf.h: netconfmsg, NETCONFA_*.
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const RTA_DST = 1;
const RTA_IIF = 3;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_TABLE = 15;
const RTN_UNICAST = 1;
const RT_TABLE_MAIN = 254;
const IFADDRMSG_LENGTH = 8;
const RTMSG_LENGTH = 12;
/** IFA_F_TEMPORARY, IFA_F_DADFAILED, IFA_F_DEPRECATED. */
const PASSING = 0x01 | 0x08 | 0x20;
const NETNSA_NSID = 1;
const NETNSA_FD = 3;
const NETCONFMSG_LENGTH = 4;
const NETCONFA_IFINDEX = 1;
const NETCONFA_FORWARDING = 2;
const NETCONFA_IFINDEX_ALL = -1;

export interface Address {
  readonly ifindex: number;
  readonly ip: string;
  readonly prefixLength: number;
  /** 0 is global, 253 link-local (RT_SCOPE_*). */
  readonly scope: number;
  /** IPv6: not one that is about to go, or that somebody else has, or that changes every day (RFC 4862, RFC 8981). */
  readonly lasting: boolean;
}

export interface Route {
  readonly ipv6: boolean;
  /** Destination network; null is the default route. */
  readonly destination: string | null;
  readonly prefixLength: number;
  readonly gateway: string | null;
  readonly ifindex: number | null;
  readonly source: string | null;
  readonly metric: number;
  readonly inMainTable: boolean;
  readonly table: number;
  readonly unicast: boolean;
}

export function encodeAddressDump(writer: MessageWriter, seq: number): void {
  writer.begin(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, seq);
  writer.bytesOf(new Uint8Array(IFADDRMSG_LENGTH));
  writer.end();
}

export function decodeAddress({ buffer, start, end }: Message): Address {
  let local = '';
  let address = '';
  eachAttribute(buffer, start + IFADDRMSG_LENGTH, end, (type, from, to) => {
    if (type === IFA_LOCAL) local = ipAt(buffer, from, to);
    else if (type === IFA_ADDRESS) address = ipAt(buffer, from, to);
  });
  return {
    ifindex: buffer.readUInt32LE(start + 4),
    // On a point-to-point link IFA_ADDRESS is the other side; IPv6 has no IFA_LOCAL otherwise.
    ip: local || address,
    prefixLength: buffer.readUInt8(start + 1),
    scope: buffer.readUInt8(start + 3),
    lasting: (local || address).includes('.') || (buffer.readUInt8(start + 2) & PASSING) === 0,
  };
}

export function encodeRouteDump(writer: MessageWriter, seq: number, family: number): void {
  writer.begin(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, seq);
  writer.u32(family);
  writer.bytesOf(new Uint8Array(RTMSG_LENGTH - 4));
  writer.end();
}

/**
 * Asks which route, device and source address the host would use towards one address. Sends no packet.
 * @param from index of a device that a packet to there would come in by; null: it is of the host itself
 */
export function encodeRouteTo(
  writer: MessageWriter,
  seq: number,
  destination: string,
  from: number | null = null,
): void {
  const bytes = ipBytes(destination);
  writer.begin(RTM_GETROUTE, NLM_F_REQUEST, seq);
  writer.u8(bytes.length === 4 ? AF_INET : AF_INET6);
  writer.u8(bytes.length * 8);
  writer.bytesOf(new Uint8Array(RTMSG_LENGTH - 2));
  writer.attribute(RTA_DST, bytes);
  if (from !== null) writer.attributeU32(RTA_IIF, from);
  writer.end();
}

export function decodeRoute({ buffer, start, end }: Message): Route {
  let destination: string | null = null;
  let gateway: string | null = null;
  let source: string | null = null;
  let ifindex: number | null = null;
  let metric = 0;
  let table = buffer.readUInt8(start + 4);
  eachAttribute(buffer, start + RTMSG_LENGTH, end, (type, from, to) => {
    if (type === RTA_DST) destination = ipAt(buffer, from, to);
    else if (type === RTA_GATEWAY) gateway = ipAt(buffer, from, to);
    else if (type === RTA_PREFSRC) source = ipAt(buffer, from, to);
    else if (type === RTA_OIF) ifindex = buffer.readUInt32LE(from);
    else if (type === RTA_PRIORITY) metric = buffer.readUInt32LE(from);
    else if (type === RTA_TABLE) table = buffer.readUInt32LE(from);
  });
  return {
    ipv6: buffer.readUInt8(start) === AF_INET6,
    destination,
    prefixLength: buffer.readUInt8(start + 1),
    gateway,
    ifindex,
    source,
    metric,
    inMainTable: table === RT_TABLE_MAIN,
    table,
    unicast: buffer.readUInt8(start + 7) === RTN_UNICAST,
  };
}

/** The prefix that every device with IPv6 has a route to, which nobody made and nobody needs to keep (RFC 4291). */
export const isLinkLocal = (destination: string | null): boolean => destination === 'fe80::';

/** Asks for the id that the socket's namespace has for another one, given an open descriptor of it. */
export function encodeNetnsIdOf(writer: MessageWriter, seq: number, fd: number): void {
  writer.begin(RTM_GETNSID, NLM_F_REQUEST, seq);
  writer.u32(0);
  writer.attributeU32(NETNSA_FD, fd);
  writer.end();
}

/** Null when the socket's namespace has no id for the other one, so none of its devices has a peer there. */
export function decodeNetnsId({ buffer, start, end }: Message): number | null {
  let id = -1;
  eachAttribute(buffer, start + 4, end, (type, from) => {
    if (type === NETNSA_NSID) id = buffer.readInt32LE(from);
  });
  return id < 0 ? null : id;
}

/** RTM_NEWNETCONF of the whole namespace: whether it forwards. Null when the message is on something else. */
export function decodeForwarding({
  buffer,
  start,
  end,
}: Message): { readonly ipv6: boolean; readonly on: boolean } | null {
  const family = buffer[start];
  if (family !== AF_INET && family !== AF_INET6) return null;
  let ifindex = 0;
  let forwarding: boolean | null = null;
  eachAttribute(buffer, start + NETCONFMSG_LENGTH, end, (type, from) => {
    if (type === NETCONFA_IFINDEX) ifindex = buffer.readInt32LE(from);
    else if (type === NETCONFA_FORWARDING) forwarding = buffer.readInt32LE(from) !== 0;
  });
  if (ifindex !== NETCONFA_IFINDEX_ALL || forwarding === null) return null;
  return { ipv6: family === AF_INET6, on: forwarding };
}
