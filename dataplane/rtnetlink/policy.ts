import { ipBytes } from './address-bytes.ts';
import { OUR_PROTOCOL } from './neighbours.ts';
import {
  AF_INET,
  AF_INET6,
  eachAttribute,
  type Message,
  type MessageWriter,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  RTM_DELROUTE,
  RTM_DELRULE,
  RTM_GETRULE,
  RTM_NEWROUTE,
  RTM_NEWRULE,
} from './wire.ts';

// Routing by marks. linux/fib_rules.h: fib_rule_hdr (as long as rtmsg), FRA_*, FR_ACT_*; linux/rtnetlink.h: rtmsg, RTA_*.
const FIB_RULE_HDR_LENGTH = 12;
const FRA_PRIORITY = 6;
const FRA_FWMARK = 10;
const FRA_TABLE = 15;
const FRA_FWMASK = 16;
const FRA_PROTOCOL = 21;
const FR_ACT_TO_TBL = 1;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_TABLE = 15;
const RT_TABLE_UNSPEC = 0;
const RT_SCOPE_NOWHERE = 255;
const RTN_UNICAST = 1;
const RTN_LOCAL = 2;
const RT_TABLE_LOCAL = 255;

/** Where our rules stand among others: before the main table (32766), behind those of the local one (0). */
export const OUR_PRIORITY = 5757;
/** The same of rules for what no other table has a route for. */
export const LAST_PRIORITY = 57570;

/** A rule that has packets of a mark, or with neither mark nor mask all, routed by a table. */
export interface PolicyRule {
  readonly ipv6: boolean;
  readonly mark: number;
  readonly mask: number;
  readonly table: number;
  readonly priority: number;
  readonly protocol: number;
}

export function encodeRuleDump(writer: MessageWriter, seq: number, family: number): void {
  writer.begin(RTM_GETRULE, NLM_F_REQUEST | NLM_F_DUMP, seq);
  writer.u32(family);
  writer.bytesOf(new Uint8Array(FIB_RULE_HDR_LENGTH - 4));
  writer.end();
}

/** Null for a rule of another family. */
export function decodePolicyRule({ buffer, start, end }: Message): PolicyRule | null {
  const family = buffer[start];
  if (family !== AF_INET && family !== AF_INET6) return null;
  const table = buffer[start + 4] ?? 0;
  // A mark comes with its mask; the kernel leaves out what is 0.
  const rule = { ipv6: family === AF_INET6, mark: 0, mask: 0, table, priority: 0, protocol: 0 };
  eachAttribute(buffer, start + FIB_RULE_HDR_LENGTH, end, (type, from, to) => {
    if (type === FRA_PROTOCOL) rule.protocol = buffer[from] ?? 0;
    if (to - from < 4) return;
    if (type === FRA_PRIORITY) rule.priority = buffer.readUInt32LE(from);
    else if (type === FRA_FWMARK) rule.mark = buffer.readUInt32LE(from);
    else if (type === FRA_FWMASK) rule.mask = buffer.readUInt32LE(from);
    else if (type === FRA_TABLE) rule.table = buffer.readUInt32LE(from);
  });
  return rule;
}

/** Packets of the mark are routed by the table. EEXIST when there is such a rule. */
export function encodePolicyRule(writer: MessageWriter, seq: number, op: 'add' | 'delete', rule: PolicyRule): void {
  const flags = NLM_F_REQUEST | NLM_F_ACK | (op === 'add' ? NLM_F_CREATE | NLM_F_EXCL : 0);
  writer.begin(op === 'add' ? RTM_NEWRULE : RTM_DELRULE, flags, seq);
  writer.bytesOf(Uint8Array.of(familyOf(rule), 0, 0, 0, RT_TABLE_UNSPEC, 0, 0, FR_ACT_TO_TBL));
  writer.u32(0);
  writer.attributeU32(FRA_PRIORITY, rule.priority);
  writer.attributeU32(FRA_FWMARK, rule.mark);
  writer.attributeU32(FRA_FWMASK, rule.mask);
  writer.attributeU32(FRA_TABLE, rule.table);
  writer.attribute(FRA_PROTOCOL, Uint8Array.of(rule.protocol));
  writer.end();
}

/** Number of a routing table, which is one of either family. */
export interface TableRef {
  readonly ipv6: boolean;
  readonly table: number;
}

/** The default route of a table of ours; replaces the one that is there. @param via null: all is on the link itself */
export function encodeTableRoute(
  writer: MessageWriter,
  seq: number,
  { ipv6, table, via, ifindex }: TableRef & { readonly via: string | null; readonly ifindex: number },
): void {
  writer.begin(RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, seq);
  writer.bytesOf(Uint8Array.of(familyOf({ ipv6 }), 0, 0, 0, RT_TABLE_UNSPEC, OUR_PROTOCOL, 0, RTN_UNICAST));
  writer.u32(0);
  if (via !== null) writer.attribute(RTA_GATEWAY, ipBytes(via));
  writer.attributeU32(RTA_OIF, ifindex);
  writer.attributeU32(RTA_TABLE, table);
  writer.end();
}

export function encodeTableRouteDelete(writer: MessageWriter, seq: number, { ipv6, table }: TableRef): void {
  writer.begin(RTM_DELROUTE, NLM_F_REQUEST | NLM_F_ACK, seq);
  const scope = RT_SCOPE_NOWHERE;
  writer.bytesOf(Uint8Array.of(familyOf({ ipv6 }), 0, 0, 0, RT_TABLE_UNSPEC, OUR_PROTOCOL, scope, RTN_UNICAST));
  writer.u32(0);
  writer.attributeU32(RTA_TABLE, table);
  writer.end();
}

const familyOf = ({ ipv6 }: Pick<TableRef, 'ipv6'>): number => (ipv6 ? AF_INET6 : AF_INET);

/** Behind the kernel's own route to ::1, which is of lo. */
export const LOOPBACK6_METRIC = 5757;

/** A route that has the device take packets for ::1, which are only taken by a device that has one (ip6_route_input_lookup). */
export function encodeLoopback6(writer: MessageWriter, seq: number, ifindex: number): void {
  writer.begin(RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, seq);
  writer.bytesOf(Uint8Array.of(AF_INET6, 128, 0, 0, RT_TABLE_LOCAL, OUR_PROTOCOL, 0, RTN_LOCAL));
  writer.u32(0);
  writer.attribute(RTA_DST, ipBytes('::1'));
  writer.attributeU32(RTA_OIF, ifindex);
  writer.attributeU32(RTA_PRIORITY, LOOPBACK6_METRIC);
  writer.end();
}
