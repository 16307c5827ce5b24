import type { NetnsPath } from '../values.ts';
import { ipAt } from './address-bytes.ts';
import { ENOENT, NETLINK_NETFILTER, SystemError } from './libc.ts';
import { NetlinkSocket } from './socket.ts';
import {
  AF_INET,
  AF_INET6,
  eachAttribute,
  type Message,
  type MessageWriter,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
} from './wire.ts';

// Connection tracking over netlink: linux/netfilter/nfnetlink_conntrack.h (IPCTNL_MSG_CT_*, CTA_*) and
// nf_conntrack_common.h (IPS_*). Numbers inside attributes are big-endian.

const NFNL_SUBSYS_CTNETLINK = 1;
export const CT_NEW = NFNL_SUBSYS_CTNETLINK << 8;
const CT_GET = CT_NEW | 1;
const CT_DELETE = CT_NEW | 2;
const CT_GET_STATS = CT_NEW | 5;
const NFGENMSG_LENGTH = 4;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_STATUS = 3;
const CTA_ID = 12;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V4_DST = 2;
const CTA_IP_V6_SRC = 3;
const CTA_IP_V6_DST = 4;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
const CTA_STATS_GLOBAL_ENTRIES = 1;
const IPS_DST_NAT = 1 << 5;
const PROTOCOLS = { 6: 'tcp', 17: 'udp', 132: 'sctp' } as const;

export type FlowProtocol = (typeof PROTOCOLS)[keyof typeof PROTOCOLS];

/** A connection that was led elsewhere than where it was sent, by destination NAT. */
export interface Flow {
  readonly protocol: FlowProtocol;
  /** Where the client sent it, and what it got for that. */
  readonly to: string;
  readonly toPort: number;
  readonly backend: string;
  readonly backendPort: number;
  /** How the kernel is told which one: family, the tuple of the first packet, as bytes, and a number of its own. */
  readonly handle: { readonly family: number; readonly tuple: Buffer; readonly id: Buffer };
}

/** null for what is no such connection. Looked at by the hundred thousand: text is made of those alone that are. */
export function decodeFlow({ type, buffer, start, end }: Message): Flow | null {
  if (type !== CT_NEW || end - start < NFGENMSG_LENGTH) return null;
  const family = buffer[start] ?? 0;
  if (family !== AF_INET && family !== AF_INET6) return null;
  let status = 0;
  const original = { start: 0, end: 0 };
  const reply = { start: 0, end: 0 };
  const number = { start: 0, end: 0 };
  eachAttribute(buffer, start + NFGENMSG_LENGTH, end, (attribute, from, to) => {
    const place = { [CTA_TUPLE_ORIG]: original, [CTA_TUPLE_REPLY]: reply, [CTA_ID]: number }[attribute];
    if (place !== undefined) Object.assign(place, { start: from, end: to });
    else if (attribute === CTA_STATUS && to - from === 4) status = buffer.readUInt32BE(from);
  });
  if ((status & IPS_DST_NAT) === 0 || number.end - number.start !== 4) return null;
  const sent = endsOf(buffer, original.start, original.end);
  const answered = endsOf(buffer, reply.start, reply.end);
  if (sent === null || answered === null) return null;
  return {
    protocol: sent.protocol,
    ...{ to: sent.to, toPort: sent.toPort, backend: answered.from, backendPort: answered.fromPort },
    handle: {
      family,
      tuple: Buffer.from(buffer.subarray(original.start, original.end)),
      id: Buffer.from(buffer.subarray(number.start, number.end)),
    },
  };
}

/** null for a protocol without ports. */
function endsOf(buffer: Buffer, start: number, end: number) {
  let from = '';
  let to = '';
  let number = 0;
  let fromPort = 0;
  let toPort = 0;
  eachAttribute(buffer, start, end, (part, partFrom, partTo) => {
    if (part === CTA_TUPLE_IP) {
      eachAttribute(buffer, partFrom, partTo, (attribute, at, until) => {
        const bytes = attribute === CTA_IP_V4_SRC || attribute === CTA_IP_V4_DST ? 4 : 16;
        if (attribute < CTA_IP_V4_SRC || attribute > CTA_IP_V6_DST || until - at !== bytes) return;
        if (attribute === CTA_IP_V4_SRC || attribute === CTA_IP_V6_SRC) from = ipAt(buffer, at, until);
        else to = ipAt(buffer, at, until);
      });
    } else if (part === CTA_TUPLE_PROTO) {
      eachAttribute(buffer, partFrom, partTo, (attribute, at, until) => {
        if (attribute === CTA_PROTO_NUM && until - at === 1) number = buffer[at] ?? 0;
        else if (attribute === CTA_PROTO_SRC_PORT && until - at === 2) fromPort = buffer.readUInt16BE(at);
        else if (attribute === CTA_PROTO_DST_PORT && until - at === 2) toPort = buffer.readUInt16BE(at);
      });
    }
  });
  const protocol = PROTOCOLS[number as keyof typeof PROTOCOLS];
  return protocol === undefined || from === '' || to === '' ? null : { protocol, from, to, fromPort, toPort };
}

function begin(writer: MessageWriter, type: number, flags: number, seq: number, family: number): void {
  writer.begin(type, NLM_F_REQUEST | flags, seq);
  // nfgenmsg: family, version, and the number of a resource that this subsystem has no use for.
  writer.bytesOf(Uint8Array.of(family, 0, 0, 0));
}

/** Of both families. */
export function encodeFlowDump(writer: MessageWriter, seq: number): void {
  begin(writer, CT_GET, NLM_F_DUMP, seq, 0);
  writer.end();
}

export function encodeFlowDelete(writer: MessageWriter, seq: number, { handle }: Flow, ack: boolean): void {
  begin(writer, CT_DELETE, ack ? NLM_F_ACK : 0, seq, handle.family);
  writer.nest(CTA_TUPLE_ORIG, () => writer.bytesOf(handle.tuple));
  // Another one may have come to be of the same tuple meanwhile.
  writer.attribute(CTA_ID, handle.id);
  writer.end();
}

function encodeStatsGet(writer: MessageWriter, seq: number): void {
  begin(writer, CT_GET_STATS, 0, seq, 0);
  writer.end();
}

function decodeCount({ buffer, start, end }: Message): number {
  let count = 0;
  eachAttribute(buffer, start + NFGENMSG_LENGTH, end, (attribute, from, to) => {
    if (attribute === CTA_STATS_GLOBAL_ENTRIES && to - from === 4) count = buffer.readUInt32BE(from);
  });
  return count;
}

/** Connection tracking of one namespace. */
export class Conntrack implements Disposable {
  readonly #socket: NetlinkSocket;

  /** Throws SystemError, or ENOENT of node:fs when the file is missing. */
  constructor(netns: NetnsPath) {
    this.#socket = NetlinkSocket.open(netns, NETLINK_NETFILTER);
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  /** Connections that it has, led elsewhere or not. Throws SystemError. */
  count(): number {
    return this.#socket.ask('count of connections', encodeStatsGet, decodeCount);
  }

  /** Visits those that were led elsewhere; gives the event loop its turns, since there may be 100,000. Throws SystemError. */
  async visit(visit: (flow: Flow) => void): Promise<void> {
    // The kernel walks the table of all namespaces for this.
    if (this.count() === 0) return;
    await this.#socket.dump('connections', encodeFlowDump, (message) => {
      const flow = decodeFlow(message);
      if (flow !== null) visit(flow);
      return null;
    });
  }

  /** Forgets connections: their next packet begins a new one. What has ended meanwhile is no fault. Throws SystemError. */
  async cut(flows: readonly Flow[]): Promise<void> {
    const failures = await this.#socket.send('cut connections', flows.length, (writer, index, seq, ack) => {
      const flow = flows[index];
      if (flow) encodeFlowDelete(writer, seq, flow, ack);
    });
    const failed = failures.find(({ errno }) => errno !== ENOENT);
    if (failed) throw new SystemError('cut a connection', failed.errno, failed.text);
  }
}
