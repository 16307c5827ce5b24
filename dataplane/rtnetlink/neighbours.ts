import { ipAt, ipBytes, macAt, macBytes, writeIpv4, writeMac } from './address-bytes.ts';
import {
  AF_BRIDGE,
  AF_INET,
  AF_INET6,
  eachAttribute,
  type Message,
  MessageWriter,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  NLMSG_HDRLEN,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from './wire.ts';

// linux/neighbour.h: ndmsg, NDA_*, NUD_*, NTF_*.
const NDA_DST = 1;
const NDA_LLADDR = 2;
const NDA_VLAN = 5;
const NDA_MASTER = 9;
const NDA_PROTOCOL = 12;
const NUD_NOARP = 0x40;
const NUD_PERMANENT = 0x80;
const NTF_SELF = 0x02;
const NTF_MASTER = 0x04;
const NDMSG_LENGTH = 12;

/** Marks a neighbour entry as ours (NDA_PROTOCOL, linux/rtnetlink.h RTPROT_*: above RTPROT_STATIC, claimed by nobody). */
export const OUR_PROTOCOL = 201;

/** A change of one entry. VXLAN FDB: inner MAC to VTEP. Neighbour: IP to inner MAC. Bridge FDB: MAC to a local port. */
export type EntryWrite =
  | { readonly op: 'fdb-put'; readonly ifindex: number; readonly mac: string; readonly vtep: string }
  | { readonly op: 'fdb-delete'; readonly ifindex: number; readonly mac: string }
  | { readonly op: 'neighbour-put'; readonly ifindex: number; readonly ip: string; readonly mac: string }
  | { readonly op: 'neighbour-delete'; readonly ifindex: number; readonly ip: string }
  | { readonly op: 'static-put'; readonly ifindex: number; readonly mac: string }
  | { readonly op: 'static-delete'; readonly ifindex: number; readonly mac: string };

const FLAGS_AT = 6;
const SEQ_AT = 8;
const IFINDEX_AT = NLMSG_HDRLEN + 4;

/** A put of all zeros, whose addresses are then written over, and where those are in it. */
function form(op: 'fdb-put' | 'neighbour-put') {
  const writer = new MessageWriter();
  const [mac, ip] = ['ff:ff:ff:ff:ff:ff', '254.254.254.254'];
  encodeByField(writer, 0, op === 'fdb-put' ? { op, ifindex: 0, mac, vtep: ip } : { op, ifindex: 0, mac, ip }, 0);
  const bytes = Buffer.from(writer.bytes);
  return { bytes, macAt: bytes.indexOf(macBytes(mac)), ipAt: bytes.indexOf(ipBytes(ip)) };
}

/**
 * One RTM_NEWNEIGH or RTM_DELNEIGH message; `extraFlags` is NLM_F_ACK on the last message of a batch. Puts of IPv4, which come
 * by the hundred thousand, are copies of a form: three times as fast as field by field.
 */
export function encodeEntryWrite(writer: MessageWriter, seq: number, write: EntryWrite, extraFlags: number): void {
  const ip = write.op === 'fdb-put' ? write.vtep : write.op === 'neighbour-put' ? write.ip : ':';
  if ((write.op !== 'fdb-put' && write.op !== 'neighbour-put') || ip.includes(':')) {
    encodeByField(writer, seq, write, extraFlags);
    return;
  }
  const { bytes, macAt, ipAt } = FORMS[write.op];
  const start = writer.whole(bytes);
  const { buffer } = writer;
  buffer[start + FLAGS_AT] = (buffer[start + FLAGS_AT] ?? 0) | extraFlags;
  buffer.writeUInt32LE(seq >>> 0, start + SEQ_AT);
  buffer.writeInt32LE(write.ifindex, start + IFINDEX_AT);
  writeMac(buffer, start + macAt, write.mac);
  writeIpv4(buffer, start + ipAt, ip);
}

function encodeByField(writer: MessageWriter, seq: number, write: EntryWrite, extraFlags: number): void {
  const put = write.op.endsWith('-put');
  const flags = NLM_F_REQUEST | extraFlags | (put ? NLM_F_CREATE | NLM_F_REPLACE : 0);
  writer.begin(put ? RTM_NEWNEIGH : RTM_DELNEIGH, flags, seq);
  switch (write.op) {
    case 'fdb-put':
      ndmsg(writer, AF_BRIDGE, write.ifindex, NUD_PERMANENT, NTF_SELF);
      writer.attribute(NDA_LLADDR, macBytes(write.mac));
      writer.attribute(NDA_DST, ipBytes(write.vtep));
      break;
    case 'fdb-delete':
      ndmsg(writer, AF_BRIDGE, write.ifindex, NUD_PERMANENT, NTF_SELF);
      writer.attribute(NDA_LLADDR, macBytes(write.mac));
      break;
    case 'static-put':
    case 'static-delete':
      ndmsg(writer, AF_BRIDGE, write.ifindex, NUD_NOARP, NTF_MASTER);
      writer.attribute(NDA_LLADDR, macBytes(write.mac));
      break;
    case 'neighbour-put':
      ndmsg(writer, familyOf(write.ip), write.ifindex, NUD_PERMANENT, 0);
      writer.attribute(NDA_DST, ipBytes(write.ip));
      writer.attribute(NDA_LLADDR, macBytes(write.mac));
      writer.attributeU8(NDA_PROTOCOL, OUR_PROTOCOL);
      break;
    case 'neighbour-delete':
      ndmsg(writer, familyOf(write.ip), write.ifindex, 0, 0);
      writer.attribute(NDA_DST, ipBytes(write.ip));
      break;
  }
  writer.end();
}

const FORMS = { 'fdb-put': form('fdb-put'), 'neighbour-put': form('neighbour-put') } as const;

function familyOf(ip: string): number {
  return ip.includes(':') ? AF_INET6 : AF_INET;
}

function ndmsg(writer: MessageWriter, family: number, ifindex: number, state: number, flags: number): void {
  writer.u32(family);
  writer.u32(ifindex);
  writer.u16(state);
  writer.u8(flags);
  writer.u8(0);
}

/** Asks for all entries of one family: AF_BRIDGE (VXLAN and bridge FDB), AF_INET or AF_INET6 (neighbours). */
export function encodeNeighbourDump(writer: MessageWriter, seq: number, family: number): void {
  writer.begin(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, seq);
  ndmsg(writer, family, 0, 0, 0);
  writer.end();
}

/** An entry that can be of interest to us. */
export type ListedEntry =
  | {
      readonly kind: 'fdb';
      readonly ifindex: number;
      readonly mac: string;
      readonly vtep: string;
      /** As ours are. */
      readonly permanent: boolean;
    }
  | { readonly kind: 'static'; readonly ifindex: number; readonly mac: string }
  | {
      readonly kind: 'neighbour';
      readonly ifindex: number;
      readonly ip: string;
      readonly mac: string;
      readonly ours: boolean;
    };

/** Takes entries of a dump one by one, without an object for each: they come by the hundred thousand. */
export interface EntrySink {
  fdb(ifindex: number, mac: string, vtep: string, permanent: boolean): void;
  static(ifindex: number, mac: string): void;
  neighbour(ifindex: number, ip: string, mac: string, ours: boolean): void;
}

/** Hands one entry of a dump to the sink; what cannot be of interest to nobody. */
export function tellEntry(message: Message, sink: EntrySink): void {
  const { ifindex, mac, ip } = readFields(message);
  switch (kindOf(fields)) {
    case 'fdb':
      sink.fdb(ifindex, mac, ip, isPermanent(fields));
      return;
    case 'static':
      sink.static(ifindex, mac);
      return;
    case 'neighbour':
      sink.neighbour(ifindex, ip, mac, fields.protocol === OUR_PROTOCOL);
  }
}

/** One entry of a dump; what cannot be of interest decodes to null. */
export const decodeNeighbour = (message: Message): ListedEntry | null => entryOf(readFields(message));

function entryOf(entry: Fields): ListedEntry | null {
  const { ifindex, mac, ip, protocol } = entry;
  switch (kindOf(entry)) {
    case 'fdb':
      return { kind: 'fdb', ifindex, mac, vtep: ip, permanent: isPermanent(entry) };
    case 'static':
      return { kind: 'static', ifindex, mac };
    case 'neighbour':
      return { kind: 'neighbour', ifindex, ip, mac, ours: protocol === OUR_PROTOCOL };
    case null:
      return null;
  }
}

const isPermanent = ({ state }: Fields): boolean => (state & NUD_PERMANENT) !== 0;

function kindOf(entry: Fields): ListedEntry['kind'] | null {
  if (entry.family !== AF_BRIDGE) return isPermanent(entry) ? 'neighbour' : null;
  // The bridge keeps one more copy of a static entry per VLAN of the port; vlan 0 stands for all of them.
  if (entry.ofBridge) return !isPermanent(entry) && entry.state & NUD_NOARP && entry.vlan === 0 ? 'static' : null;
  return entry.ip === '' ? null : 'fdb';
}

/** An entry that came, changed or went. */
export interface EntryEvent {
  readonly kind: ListedEntry['kind'];
  readonly ifindex: number;
  /** The MAC of an FDB entry, the IP of a neighbour. */
  readonly key: string;
  /** Null when it went, or has become one that we would not list. */
  readonly entry: ListedEntry | null;
}

/** Reads RTM_NEWNEIGH or RTM_DELNEIGH; a bridge's own entries, and copies per VLAN, decode to null. */
export function decodeNeighbourEvent(message: Message): EntryEvent | null {
  const read = readFields(message);
  const { family, ifindex, mac, ip, vlan, ofBridge } = read;
  const entry = message.type === RTM_NEWNEIGH ? entryOf(read) : null;
  if (family !== AF_BRIDGE) return { kind: 'neighbour', ifindex, key: ip, entry };
  if (ofBridge) return vlan === 0 ? { kind: 'static', ifindex, key: mac, entry } : null;
  return { kind: 'fdb', ifindex, key: mac, entry };
}

type Fields = typeof fields;
// Written over by each message that is read.
const fields = { family: 0, ifindex: 0, state: 0, mac: '', ip: '', protocol: 0, vlan: 0, ofBridge: false };

function readFields({ buffer, start, end }: Message): Fields {
  fields.family = buffer.readUInt8(start);
  fields.ifindex = buffer.readInt32LE(start + 4);
  fields.state = buffer.readUInt16LE(start + 8);
  fields.mac = '';
  fields.ip = '';
  fields.protocol = 0;
  fields.vlan = 0;
  fields.ofBridge = false;
  eachAttribute(buffer, start + NDMSG_LENGTH, end, readField);
  return fields;
}

function readField(type: number, from: number, to: number, buffer: Buffer): void {
  if (type === NDA_LLADDR && to - from === 6) fields.mac = macAt(buffer, from);
  else if (type === NDA_DST) fields.ip = ipAt(buffer, from, to);
  else if (type === NDA_PROTOCOL) fields.protocol = buffer[from] ?? 0;
  else if (type === NDA_VLAN) fields.vlan = buffer.readUInt16LE(from);
  else if (type === NDA_MASTER) fields.ofBridge = true;
}
