import { createHash } from 'node:crypto';
import {
  type IfName,
  type Mac,
  must,
  type NetnsPath,
  parseIfName,
  parseMac,
  parseNetnsPath,
  type Vni,
} from './values.ts';

// Names are a function of ids, so that a restarted agent finds its devices without any state of its own. Longest is
// 14 characters of the 15 that IFNAMSIZ leaves (linux/if.h).

/** Where named network namespaces live (ip-netns(8)). */
export const NETNS_DIR = '/run/netns';
/** Where `ip netns exec` looks for files of a namespace to bind over those in /etc (ip-netns(8)). */
export const NETNS_FILES_DIR = '/etc/netns';
/** The namespace that holds the bridges, VXLAN devices and host-side veths of every overlay. */
export const OVERLAY_NETNS: NetnsPath = must(parseNetnsPath(`${NETNS_DIR}/weft`));
/** Namespaces we made for sandboxes begin with this; nothing else under /run/netns is ever removed. */
export const OWNED_NETNS_PREFIX = `${NETNS_DIR}/weft-`;
/** `ip link … alias` of a device of the host that we made under a name not our own, and may therefore remove. */
export const OUR_ALIAS = 'weft';
/** Begins the MAC of each bridge that we make in the host's namespace. Locally administered; no frame with it leaves the host. */
const OUR_BRIDGE_MAC = '02:77';

const ENDPOINT_HEX = 12;
const NETWORK_DIGITS = 12;

/** Bridge of an overlay, in the overlay namespace. */
export const bridgeName = (vni: Vni): IfName => must(parseIfName(`wb${vni}`));
/** VXLAN device of an overlay, in the overlay namespace. */
export const vxlanName = (vni: Vni): IfName => must(parseIfName(`wx${vni}`));
/** Host-side end of an endpoint's veth, in the overlay namespace. Throws unless the id starts with 12 hex digits. */
export const overlayPortName = (endpointId: string): IfName => portName('wv', endpointId);
/** Host-side end of the veth to a bridge of the host. Throws unless the id starts with 12 hex digits. */
export const hostPortName = (endpointId: string): IfName => portName('wg', endpointId);

/** Inner end of a veth to an overlay, while it waits in the host's namespace for who takes it. */
export const waitingName = (endpointId: string): IfName => portName('wj', endpointId);
/** The host's own namespace, of the process that asks. */
export const HOST_NETNS: NetnsPath = must(parseNetnsPath('/proc/self/ns/net'));

/**
 * Bridge of a bridge network, in the host's namespace. Ours by its name, since the mark is set a moment after the device is
 * made; Docker's `br-` would be anybody's.
 */
export function hostBridgeName(networkId: string): IfName {
  return must(parseIfName(`wn${networkId.slice(0, NETWORK_DIGITS)}`));
}

function portName(prefix: 'wv' | 'wg' | 'wj', endpointId: string): IfName {
  const head = endpointId.slice(0, ENDPOINT_HEX);
  if (!/^[0-9a-f]{12}$/.test(head)) {
    throw new Error(`endpoint id ${JSON.stringify(endpointId.slice(0, 64))} does not start with 12 hex digits`);
  }
  return must(parseIfName(`${prefix}${head}`));
}

/** Device of the host that endpoints of a macvlan network without one of the host's own hang on. */
export function hostParentName(networkId: string): IfName {
  return must(parseIfName(`wd${networkId.slice(0, NETWORK_DIGITS)}`));
}

/** `alias` of a device that was moved into a sandbox: our mark, and the name that it goes back by. */
export const movedAlias = (name: IfName): string => `${OUR_ALIAS} ${name}`;

/** The name in such an alias; null when it is none. */
export function nameInAlias(alias: string): IfName | null {
  const parsed = alias.startsWith(`${OUR_ALIAS} `) ? parseIfName(alias.slice(OUR_ALIAS.length + 1)) : null;
  return parsed?.ok ? parsed.value : null;
}

/** True of a device that has our mark. */
export const isMarked = (alias: string): boolean => alias === OUR_ALIAS || nameInAlias(alias) !== null;

/** What a device name of ours stands for. */
export type OurName =
  | { readonly kind: 'bridge' | 'vxlan'; readonly vni: number }
  | { readonly kind: 'overlayPort' | 'hostPort'; readonly endpointHead: string }
  | { readonly kind: 'hostBridge' | 'hostParent'; readonly networkHead: string };

/** Reads a device name back; null when the name cannot be one of ours. */
export function parseOurName(name: string): OurName | null {
  const device = /^w([bx])([1-9]\d{0,7})$/.exec(name);
  if (device) {
    const vni = Number(device[2]);
    return vni > 0xffffff ? null : { kind: device[1] === 'b' ? 'bridge' : 'vxlan', vni };
  }
  const port = /^w([vg])([0-9a-f]{12})$/.exec(name);
  if (port?.[2]) return { kind: port[1] === 'v' ? 'overlayPort' : 'hostPort', endpointHead: port[2] };
  const host = /^w([nd])([0-9a-z]{12})$/.exec(name);
  if (host?.[2]) return { kind: host[1] === 'n' ? 'hostBridge' : 'hostParent', networkHead: host[2] };
  return null;
}

/** True when the namespace is one that we made for a sandbox. */
export function isOwnedNetns(path: string): boolean {
  return path.startsWith(OWNED_NETNS_PREFIX) && !path.slice(OWNED_NETNS_PREFIX.length).includes('/');
}

/** True when a device of the host has a name that only we give. */
export function isOurHostDevice(name: string): boolean {
  const kind = parseOurName(name)?.kind;
  return kind === 'hostPort' || kind === 'hostBridge' || kind === 'hostParent';
}

/** MAC of a bridge of the host. The same every time: one that is made again must answer to what containers have in their ARP caches. */
export function hostBridgeMac(name: string): Mac {
  const hex = createHash('sha256').update(name).digest('hex');
  return must(parseMac([OUR_BRIDGE_MAC, ...[0, 2, 4, 6].map((at) => hex.slice(at, at + 2))].join(':')));
}

/**
 * True when we made this bridge of the host. The mark comes a moment after the device, and who is killed in that moment
 * finds a bridge without; the MAC is there from the first.
 */
export function isOurHostBridge(
  name: string,
  { kind, alias, mac }: { kind: string; alias: string; mac: string },
): boolean {
  return (
    kind === 'bridge' &&
    (alias === OUR_ALIAS || parseOurName(name)?.kind === 'hostBridge' || mac === hostBridgeMac(name))
  );
}
