import { ipAt, ipBytes, macAt, macBytes } from '../rtnetlink/address-bytes.ts';
import { textAt } from '../rtnetlink/wire.ts';

/**
 * What the elements of a set are. As text: an address or a number, or several parts with a blank between them; `arp` is a
 * port with an IPv4 address and its MAC, `nd` a port with an IPv6 address.
 */
export type ElementKind = 'ipv4' | 'ipv6' | 'vni' | 'arp' | 'nd';

/** How nft is told of the kind. Of what it has no name for it takes bits at an offset. */
export const TYPES: { readonly [K in ElementKind]: string } = {
  ipv4: 'type ipv4_addr',
  ipv6: 'type ipv6_addr',
  // Bytes 4 to 6 of the VXLAN header (RFC 7348), behind the eight of UDP.
  vni: 'typeof @th,96,24',
  arp: 'typeof iifname . arp saddr ip . arp saddr ether',
  // The target of a neighbour advertisement (RFC 4861, section 4.4).
  nd: 'typeof iifname . @th,64,128',
};

// Parts of a concatenation are padded to four bytes each (net/netfilter/nft_set_hash.c takes the key as a whole).
const IFNAMSIZ = 16;
const LENGTHS: { readonly [K in ElementKind]: number } = {
  ipv4: 4,
  ipv6: 16,
  vni: 3,
  arp: IFNAMSIZ + 4 + 8,
  nd: IFNAMSIZ + 16,
};

const split = (text: string): [string, string, string] => {
  const [first = '', second = '', third = ''] = text.split(' ');
  return [first, second, third];
};

/** An element as nft reads it in a script or a command. */
export function elementInScript(kind: ElementKind, text: string): string {
  const [port, ip, mac] = split(text);
  if (kind === 'arp') return `"${port}" . ${ip} . ${mac}`;
  return kind === 'nd' ? `"${port}" . 0x${Buffer.from(ipBytes(ip)).toString('hex')}` : text;
}

/** An element as the kernel holds it. */
export function elementBytes(kind: ElementKind, text: string): Uint8Array {
  switch (kind) {
    case 'ipv4':
    case 'ipv6':
      return ipBytes(text);
    case 'vni': {
      const vni = Number(text);
      return Uint8Array.of(vni >> 16, (vni >> 8) & 0xff, vni & 0xff);
    }
    case 'arp':
    case 'nd': {
      const [port, ip, mac] = split(text);
      const bytes = Buffer.alloc(LENGTHS[kind]);
      bytes.write(port, 'latin1');
      bytes.set(ipBytes(ip), IFNAMSIZ);
      if (kind === 'arp') bytes.set(macBytes(mac), IFNAMSIZ + 4);
      return bytes;
    }
  }
}

/** An element as text; null when it is none of that kind, as in a set that somebody else made. */
export function elementText(kind: ElementKind, bytes: Buffer): string | null {
  if (bytes.length !== LENGTHS[kind]) return null;
  switch (kind) {
    case 'ipv4':
    case 'ipv6':
      return ipAt(bytes, 0, bytes.length);
    case 'vni':
      return String(bytes.readUIntBE(0, 3));
    case 'arp':
      return `${portIn(bytes)} ${ipAt(bytes, IFNAMSIZ, IFNAMSIZ + 4)} ${macAt(bytes, IFNAMSIZ + 4)}`;
    case 'nd':
      return `${portIn(bytes)} ${ipAt(bytes, IFNAMSIZ, IFNAMSIZ + 16)}`;
  }
}

const portIn = (bytes: Buffer): string => textAt(bytes, 0, IFNAMSIZ);
