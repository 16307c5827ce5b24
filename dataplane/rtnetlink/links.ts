import { ipAt, macAt } from './address-bytes.ts';
import {
  AF_INET6,
  eachAttribute,
  type Message,
  type MessageWriter,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  RTM_GETLINK,
  textAt,
} from './wire.ts';

// linux/if_link.h: IFLA_*, IFLA_INFO_*, IFLA_VXLAN_*, IFLA_BRPORT_*, IFLA_INET6_*; linux/ipv6.h: DEVCONF_*;
// linux/rtnetlink.h: ifinfomsg, RTEXT_FILTER_*.
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_PROTINFO = 12;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_AF_SPEC = 26;
const IFLA_EXT_MASK = 29;
const IFLA_LINK_NETNSID = 37;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;
const IFLA_MACVLAN_MODE = 1;
/** linux/if_link.h: MACVLAN_MODE_*. */
const MACVLAN_MODES: { readonly [bits: number]: string } = { 1: 'private', 2: 'vepa', 4: 'bridge', 8: 'passthru' };
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
const IFLA_INET6_CONF = 2;
const DEVCONF_ACCEPT_RA = 3;
const DEVCONF_DISABLE_IPV6 = 26;
const RTEXT_FILTER_SKIP_STATS = 1 << 3;
const IFF_UP = 1;
const IFINFOMSG_LENGTH = 16;

export interface VxlanAttributes {
  readonly vni: number;
  readonly local: string | null;
  readonly port: number;
  readonly learning: boolean;
  readonly proxy: boolean;
}

export interface BridgePortAttributes {
  readonly learning: boolean;
  /** Unknown unicast is flooded to this port. */
  readonly flood: boolean;
  readonly isolated: boolean;
  readonly neighSuppress: boolean;
  /** Frames may leave by the port that they came by. */
  readonly hairpin: boolean;
  /** Broadcast, which ARP is, goes to this port. */
  readonly broadcast: boolean;
  /** Multicast that nobody has asked for, which neighbour discovery is where the bridge does not snoop, goes to this port. */
  readonly multicast: boolean;
}

/** What a device does with IPv6: nothing; all of it; or all but heeding router advertisements. */
export type Ipv6State = 'off' | 'on' | 'quiet';

/** One link as RTM_NEWLINK describes it. */
export interface Link {
  readonly ifindex: number;
  readonly name: string;
  /** rtnl_link_ops name (`bridge`, `vxlan`, `veth`); empty for physical devices and lo. */
  readonly kind: string;
  readonly mtu: number;
  readonly mac: string;
  readonly up: boolean;
  readonly alias: string;
  readonly masterIndex: number | null;
  /** The other end of a veth: its index, and the id that this namespace has for the namespace it is in (null: this one). */
  readonly peerIndex: number | null;
  readonly peerNetnsId: number | null;
  readonly vxlan: VxlanAttributes | null;
  readonly bridgePort: BridgePortAttributes | null;
  /** Of a macvlan device; its parent is `peerIndex`. */
  readonly macvlanMode: string | null;
  readonly ipv6: Ipv6State;
  /** 1: router advertisements are heeded unless the namespace forwards; 2: always; 0: never (ip-sysctl.rst, accept_ra). */
  readonly acceptRa: number;
}

/** Asks for every link of the namespace, without the counters that make up most of a dump's bytes. */
export function encodeLinkDump(writer: MessageWriter, seq: number): void {
  writer.begin(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, seq);
  writer.bytesOf(new Uint8Array(IFINFOMSG_LENGTH));
  writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  writer.end();
}

/** Asks for one link by name. */
export function encodeLinkByName(writer: MessageWriter, seq: number, name: string): void {
  writer.begin(RTM_GETLINK, NLM_F_REQUEST, seq);
  writer.bytesOf(new Uint8Array(IFINFOMSG_LENGTH));
  writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  writer.attributeText(IFLA_IFNAME, name);
  writer.end();
}

export function decodeLink({ buffer, start, end }: Message): Link {
  let name = '';
  let mtu = 0;
  let mac = '';
  let alias = '';
  let kind = '';
  let masterIndex: number | null = null;
  let peerIndex: number | null = null;
  let peerNetnsId: number | null = null;
  let vxlan: VxlanAttributes | null = null;
  let bridgePort: BridgePortAttributes | null = null;
  let macvlanMode: string | null = null;
  let inet6: Pick<Link, 'ipv6' | 'acceptRa'> = NO_IPV6;
  eachAttribute(buffer, start + IFINFOMSG_LENGTH, end, (type, from, to) => {
    if (type === IFLA_IFNAME) name = textAt(buffer, from, to);
    else if (type === IFLA_MTU) mtu = buffer.readUInt32LE(from);
    else if (type === IFLA_ADDRESS && to - from === 6) mac = macAt(buffer, from);
    else if (type === IFLA_IFALIAS) alias = textAt(buffer, from, to);
    else if (type === IFLA_MASTER) masterIndex = buffer.readUInt32LE(from);
    else if (type === IFLA_LINK) peerIndex = buffer.readUInt32LE(from);
    else if (type === IFLA_LINK_NETNSID) peerNetnsId = buffer.readInt32LE(from);
    else if (type === IFLA_AF_SPEC) inet6 = decodeIpv6(buffer, from, to);
    else if (type === IFLA_LINKINFO) {
      let slaveKind = '';
      eachAttribute(buffer, from, to, (infoType, infoFrom, infoTo) => {
        if (infoType === IFLA_INFO_KIND) kind = textAt(buffer, infoFrom, infoTo);
        else if (infoType === IFLA_INFO_SLAVE_KIND) slaveKind = textAt(buffer, infoFrom, infoTo);
        else if (infoType === IFLA_INFO_DATA && kind === 'macvlan') {
          macvlanMode = decodeMacvlanMode(buffer, infoFrom, infoTo);
        } else if (infoType === IFLA_INFO_DATA && kind === 'vxlan') vxlan = decodeVxlan(buffer, infoFrom, infoTo);
        else if (infoType === IFLA_INFO_SLAVE_DATA && slaveKind === 'bridge') {
          bridgePort = decodeBridgePort(buffer, infoFrom, infoTo);
        }
      });
    }
  });
  return {
    ifindex: buffer.readInt32LE(start + 4),
    up: (buffer.readUInt32LE(start + 8) & IFF_UP) !== 0,
    name,
    kind,
    mtu,
    mac,
    alias,
    masterIndex,
    peerIndex,
    peerNetnsId,
    vxlan,
    bridgePort,
    macvlanMode,
    ...inet6,
  };
}

/** A bridge's own word on one of its ports: RTM_NEWLINK of family AF_BRIDGE. Null when it has none on the flags. */
export function decodeBridgePortLink({
  buffer,
  start,
  end,
}: Message): { ifindex: number; port: BridgePortAttributes } | null {
  let port: BridgePortAttributes | null = null;
  eachAttribute(buffer, start + IFINFOMSG_LENGTH, end, (type, from, to) => {
    if (type === IFLA_PROTINFO) port = decodeBridgePort(buffer, from, to);
  });
  return port && { ifindex: buffer.readInt32LE(start + 4), port };
}

function decodeMacvlanMode(buffer: Buffer, start: number, end: number): string {
  let mode = 'unknown';
  eachAttribute(buffer, start, end, (type, from, to) => {
    if (type === IFLA_MACVLAN_MODE && to - from >= 4) mode = MACVLAN_MODES[buffer.readUInt32LE(from)] ?? mode;
  });
  return mode;
}

function decodeVxlan(buffer: Buffer, start: number, end: number): VxlanAttributes {
  const vxlan = { vni: 0, local: null as string | null, port: 0, learning: false, proxy: false };
  eachAttribute(buffer, start, end, (type, from, to) => {
    if (type === IFLA_VXLAN_ID) vxlan.vni = buffer.readUInt32LE(from);
    else if (type === IFLA_VXLAN_LOCAL || type === IFLA_VXLAN_LOCAL6) vxlan.local = ipAt(buffer, from, to);
    else if (type === IFLA_VXLAN_PORT) vxlan.port = buffer.readUInt16BE(from);
    else if (type === IFLA_VXLAN_LEARNING) vxlan.learning = buffer[from] === 1;
    else if (type === IFLA_VXLAN_PROXY) vxlan.proxy = buffer[from] === 1;
  });
  return vxlan;
}

const NO_IPV6 = { ipv6: 'off', acceptRa: 0 } as const;

/** Of all that the address families say of a device. A kernel without IPv6 says nothing of it. */
function decodeIpv6(buffer: Buffer, start: number, end: number): Pick<Link, 'ipv6' | 'acceptRa'> {
  let state: Pick<Link, 'ipv6' | 'acceptRa'> = NO_IPV6;
  eachAttribute(buffer, start, end, (family, familyFrom, familyTo) => {
    if (family !== AF_INET6) return;
    eachAttribute(buffer, familyFrom, familyTo, (type, from, to) => {
      if (type !== IFLA_INET6_CONF || to - from < 4 * (DEVCONF_DISABLE_IPV6 + 1)) return;
      const setting = (index: number): number => buffer.readInt32LE(from + 4 * index);
      const acceptRa = setting(DEVCONF_ACCEPT_RA);
      const ipv6 = setting(DEVCONF_DISABLE_IPV6) !== 0 ? 'off' : acceptRa === 0 ? 'quiet' : 'on';
      state = { ipv6, acceptRa };
    });
  });
  return state;
}

function decodeBridgePort(buffer: Buffer, start: number, end: number): BridgePortAttributes {
  const off = { learning: false, flood: false, isolated: false, neighSuppress: false, hairpin: false };
  // A kernel that does not say has no way to keep them from a port.
  const port = { ...off, broadcast: true, multicast: true };
  eachAttribute(buffer, start, end, (type, from) => {
    const on = buffer[from] === 1;
    if (type === IFLA_BRPORT_LEARNING) port.learning = on;
    else if (type === IFLA_BRPORT_UNICAST_FLOOD) port.flood = on;
    else if (type === IFLA_BRPORT_ISOLATED) port.isolated = on;
    else if (type === IFLA_BRPORT_NEIGH_SUPPRESS) port.neighSuppress = on;
    else if (type === IFLA_BRPORT_MODE) port.hairpin = on;
    else if (type === IFLA_BRPORT_BCAST_FLOOD) port.broadcast = on;
    else if (type === IFLA_BRPORT_MCAST_FLOOD) port.multicast = on;
  });
  return port;
}
