import type { MacvlanMode } from '../desired.ts';
import { ipBytes, macBytes } from './address-bytes.ts';
import type { BridgePortAttributes } from './links.ts';
import {
  AF_INET,
  AF_INET6,
  type MessageWriter,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWROUTE,
} from './wire.ts';

// Changes of links, addresses and routes, each one message with one acknowledgement. linux/if_link.h: IFLA_*;
// linux/veth.h: VETH_INFO_PEER; linux/if_addr.h: IFA_*; linux/rtnetlink.h: rtmsg, RTA_*. What `ip` sends for the same.
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_NET_NS_FD = 28;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;
const IFLA_BR_MCAST_SNOOPING = 23;
const IFLA_MACVLAN_MODE = 1;
const IFLA_VLAN_ID = 1;
const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_LOCAL = 4;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_PROXY = 11;
const IFLA_VXLAN_PORT = 15;
const IFLA_VXLAN_LOCAL6 = 17;
const IFLA_BRPORT_MODE = 4;
const IFLA_BRPORT_LEARNING = 8;
const IFLA_BRPORT_UNICAST_FLOOD = 9;
const IFLA_BRPORT_MCAST_FLOOD = 27;
const IFLA_BRPORT_BCAST_FLOOD = 30;
const IFLA_BRPORT_NEIGH_SUPPRESS = 32;
const IFLA_BRPORT_ISOLATED = 33;
const VETH_INFO_PEER = 1;
/** linux/if_link.h: MACVLAN_MODE_*. */
const MACVLAN_MODE_BITS: { readonly [M in MacvlanMode]: number } = { private: 1, vepa: 2, bridge: 4, passthru: 8 };
const IFF_UP = 1;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_F_NODAD = 2;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RT_TABLE_MAIN = 254;
const RTPROT_BOOT = 3;
const RT_SCOPE_LINK = 253;
const RTN_UNICAST = 1;
const NEW = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
const PUT = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
const CHANGE = NLM_F_REQUEST | NLM_F_ACK;

/** What every new device has; without a namespace it appears in the socket's. */
export interface NewDevice {
  readonly name: string;
  readonly mtu: number | null;
  readonly mac: string | null;
  /** Open descriptor of the namespace that the device appears in. */
  readonly netnsFd: number | null;
}

export interface NewVxlan {
  readonly vni: number;
  readonly local: string;
  readonly port: number;
}

/** What of a device is to change; null leaves it. */
export interface LinkChange {
  readonly alias?: string;
  readonly mac?: string;
  readonly mtu?: number;
  readonly masterIndex?: number;
  readonly up?: true;
}

export function encodeBridgeAdd(writer: MessageWriter, seq: number, device: NewDevice): void {
  beginDevice(writer, seq, device);
  linkInfo(writer, 'bridge', () => writer.attributeU8(IFLA_BR_MCAST_SNOOPING, 0));
  writer.end();
}

/** The device's UDP socket is in the namespace of the netlink socket, wherever the device appears. */
export function encodeVxlanAdd(writer: MessageWriter, seq: number, device: NewDevice, vxlan: NewVxlan): void {
  beginDevice(writer, seq, device);
  linkInfo(writer, 'vxlan', () => {
    const port = Buffer.alloc(2);
    port.writeUInt16BE(vxlan.port);
    writer.attributeU32(IFLA_VXLAN_ID, vxlan.vni);
    writer.attribute(vxlan.local.includes(':') ? IFLA_VXLAN_LOCAL6 : IFLA_VXLAN_LOCAL, ipBytes(vxlan.local));
    writer.attribute(IFLA_VXLAN_PORT, port);
    writer.attributeU8(IFLA_VXLAN_LEARNING, 0);
    writer.attributeU8(IFLA_VXLAN_PROXY, 1);
  });
  writer.end();
}

export function encodeVethAdd(writer: MessageWriter, seq: number, device: NewDevice, peer: NewDevice): void {
  beginDevice(writer, seq, device);
  linkInfo(writer, 'veth', () =>
    writer.nest(VETH_INFO_PEER, () => {
      ifinfomsg(writer, 0, 0, 0);
      describeDevice(writer, peer);
    }),
  );
  writer.end();
}

export interface NewMacvlan {
  /** In the namespace of the netlink socket. */
  readonly parentIndex: number;
  readonly mode: MacvlanMode;
}

export function encodeMacvlanAdd(writer: MessageWriter, seq: number, device: NewDevice, macvlan: NewMacvlan): void {
  beginDevice(writer, seq, device);
  writer.attributeU32(IFLA_LINK, macvlan.parentIndex);
  linkInfo(writer, 'macvlan', () => writer.attributeU32(IFLA_MACVLAN_MODE, MACVLAN_MODE_BITS[macvlan.mode]));
  writer.end();
}

/** @param vlan null: a dummy device */
export function encodeParentAdd(
  writer: MessageWriter,
  seq: number,
  device: NewDevice,
  vlan: { readonly parentIndex: number; readonly id: number } | null,
): void {
  beginDevice(writer, seq, device);
  if (vlan !== null) writer.attributeU32(IFLA_LINK, vlan.parentIndex);
  linkInfo(writer, vlan === null ? 'dummy' : 'vlan', () => {
    if (vlan === null) return;
    const id = Buffer.alloc(2);
    id.writeUInt16LE(vlan.id);
    writer.attribute(IFLA_VLAN_ID, id);
  });
  writer.end();
}

/** Moves a device to another namespace, under another name and with another alias ('' for none). */
export function encodeLinkMove(
  writer: MessageWriter,
  seq: number,
  ifindex: number,
  to: { readonly name: string; readonly alias: string; readonly netnsFd: number | null },
): void {
  writer.begin(RTM_NEWLINK, CHANGE, seq);
  // Down, since one that is up cannot be named anew on older kernels.
  ifinfomsg(writer, ifindex, 0, IFF_UP);
  if (to.netnsFd !== null) writer.attributeU32(IFLA_NET_NS_FD, to.netnsFd);
  writer.attributeText(IFLA_IFNAME, to.name);
  writer.attribute(IFLA_IFALIAS, Buffer.from(to.alias));
  writer.end();
}

export function encodeLinkDelete(writer: MessageWriter, seq: number, name: string): void {
  writer.begin(RTM_DELLINK, CHANGE, seq);
  ifinfomsg(writer, 0, 0, 0);
  writer.attributeText(IFLA_IFNAME, name);
  writer.end();
}

export function encodeLinkChange(writer: MessageWriter, seq: number, ifindex: number, change: LinkChange): void {
  writer.begin(RTM_NEWLINK, CHANGE, seq);
  ifinfomsg(writer, ifindex, change.up ? IFF_UP : 0, change.up ? IFF_UP : 0);
  if (change.alias !== undefined) writer.attribute(IFLA_IFALIAS, Buffer.from(change.alias));
  if (change.mac !== undefined) writer.attribute(IFLA_ADDRESS, macBytes(change.mac));
  if (change.mtu !== undefined) writer.attributeU32(IFLA_MTU, change.mtu);
  if (change.masterIndex !== undefined) writer.attributeU32(IFLA_MASTER, change.masterIndex);
  writer.end();
}

/** Flags of a bridge's port; the device must be one already. */
export function encodePortChange(
  writer: MessageWriter,
  seq: number,
  ifindex: number,
  { learning, flood, isolated, neighSuppress, hairpin, broadcast, multicast }: Partial<BridgePortAttributes>,
): void {
  writer.begin(RTM_NEWLINK, CHANGE, seq);
  ifinfomsg(writer, ifindex, 0, 0);
  writer.nest(IFLA_LINKINFO, () => {
    writer.attributeText(IFLA_INFO_SLAVE_KIND, 'bridge');
    writer.nest(IFLA_INFO_SLAVE_DATA, () => {
      if (learning !== undefined) writer.attributeU8(IFLA_BRPORT_LEARNING, Number(learning));
      if (flood !== undefined) writer.attributeU8(IFLA_BRPORT_UNICAST_FLOOD, Number(flood));
      if (isolated !== undefined) writer.attributeU8(IFLA_BRPORT_ISOLATED, Number(isolated));
      if (multicast !== undefined) writer.attributeU8(IFLA_BRPORT_MCAST_FLOOD, Number(multicast));
      if (broadcast !== undefined) writer.attributeU8(IFLA_BRPORT_BCAST_FLOOD, Number(broadcast));
      if (hairpin !== undefined) writer.attributeU8(IFLA_BRPORT_MODE, Number(hairpin));
      if (neighSuppress !== undefined) writer.attributeU8(IFLA_BRPORT_NEIGH_SUPPRESS, Number(neighSuppress));
    });
  });
  writer.end();
}

/** @param address `IP/PREFIX-LENGTH` */
export function encodeAddressChange(
  writer: MessageWriter,
  seq: number,
  op: 'put' | 'delete',
  ifindex: number,
  address: string,
): void {
  const slash = address.indexOf('/');
  const ip = address.slice(0, slash);
  const bytes = ipBytes(ip);
  writer.begin(op === 'put' ? RTM_NEWADDR : RTM_DELADDR, op === 'put' ? PUT : CHANGE, seq);
  writer.u8(bytes.length === 4 ? AF_INET : AF_INET6);
  writer.u8(Number(address.slice(slash + 1)));
  // Duplicate address detection would keep an IPv6 address unusable for a second; our addresses have one owner each.
  writer.u8(bytes.length === 16 && op === 'put' ? IFA_F_NODAD : 0);
  writer.u8(0);
  writer.u32(ifindex);
  writer.attribute(IFA_LOCAL, bytes);
  writer.attribute(IFA_ADDRESS, bytes);
  writer.end();
}

/** Default route of the main table; replaces the one of the same metric. */
export function encodeDefaultRoute(writer: MessageWriter, seq: number, ifindex: number, via: string): void {
  const bytes = ipBytes(via);
  writer.begin(RTM_NEWROUTE, PUT, seq);
  writer.bytesOf(
    Uint8Array.of(bytes.length === 4 ? AF_INET : AF_INET6, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, 0, RTN_UNICAST),
  );
  writer.u32(0);
  writer.attribute(RTA_GATEWAY, bytes);
  writer.attributeU32(RTA_OIF, ifindex);
  writer.end();
}

/** A route to a prefix whose addresses are reached on the link itself. @param destination `prefix/length` */
export function encodeLinkRoute(writer: MessageWriter, seq: number, ifindex: number, destination: string): void {
  const [prefix = '', bits = ''] = destination.split('/');
  const bytes = ipBytes(prefix);
  const family = bytes.length === 4 ? AF_INET : AF_INET6;
  writer.begin(RTM_NEWROUTE, PUT, seq);
  writer.bytesOf(Uint8Array.of(family, Number(bits), 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_LINK, RTN_UNICAST));
  writer.u32(0);
  writer.attribute(RTA_DST, bytes);
  writer.attributeU32(RTA_OIF, ifindex);
  writer.end();
}

function beginDevice(writer: MessageWriter, seq: number, device: NewDevice): void {
  writer.begin(RTM_NEWLINK, NEW, seq);
  ifinfomsg(writer, 0, 0, 0);
  describeDevice(writer, device);
}

function describeDevice(writer: MessageWriter, { name, mtu, mac, netnsFd }: NewDevice): void {
  writer.attributeText(IFLA_IFNAME, name);
  if (mtu !== null) writer.attributeU32(IFLA_MTU, mtu);
  if (mac !== null) writer.attribute(IFLA_ADDRESS, macBytes(mac));
  if (netnsFd !== null) writer.attributeU32(IFLA_NET_NS_FD, netnsFd);
}

function linkInfo(writer: MessageWriter, kind: string, data: () => void): void {
  writer.nest(IFLA_LINKINFO, () => {
    writer.attributeText(IFLA_INFO_KIND, kind);
    writer.nest(IFLA_INFO_DATA, data);
  });
}

function ifinfomsg(writer: MessageWriter, ifindex: number, flags: number, change: number): void {
  writer.u32(0);
  writer.u32(ifindex);
  writer.u32(flags);
  writer.u32(change);
}
