import { ipAt, ipBytes, macAt, macBytes } from '../rtnetlink/address-bytes.ts';
import type { Element } from '../rtnetlink/nft-wire.ts';
import { textAt } from '../rtnetlink/wire.ts';

/**
 * What the elements of a set or a map are. As text: the parts of the key with a blank between them, and of a map ` : ` and
 * those of the value; `arp` is a port with an IPv4 address and its MAC, `nd` a port with an IPv6 address, `service` leads from
 * a published port to a mark, `slot` from a published port and a mark to an address and a port, `turn4` from an address and the
 * number that a counter shows to an address, `goto4` from an address to a chain.
 */
export type ElementKind = keyof typeof KINDS;

/** One part of a key or a value: its bytes as the kernel holds it, as text, and as nft reads it. */
interface Part {
  readonly bytes: number;
  write(text: string, into: Buffer, at: number): void;
  read(bytes: Buffer, at: number): string | null;
  script(text: string): string;
}

const asIs = (text: string): string => text;
const ipPart = (bytes: 4 | 16, script = asIs): Part => ({
  bytes,
  write: (text, into, at) => into.set(ipBytes(text), at),
  read: (from, at) => ipAt(from, at, at + bytes),
  script,
});

const IFNAMSIZ = 16;
const PROTOCOL_NUMBERS: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 };

const PARTS = {
  ipv4: ipPart(4),
  ipv6: ipPart(16),
  /** Where nft has no name for what it is. */
  rawIpv6: ipPart(16, (text) => `0x${Buffer.from(ipBytes(text)).toString('hex')}`),
  mac: {
    bytes: 6,
    write: (text, into, at) => into.set(macBytes(text), at),
    read: (from, at) => macAt(from, at),
    script: asIs,
  },
  device: {
    bytes: IFNAMSIZ,
    write: (text, into, at) => void into.write(text, at, 'latin1'),
    read: (from, at) => textAt(from, at, at + IFNAMSIZ),
    script: (text) => `"${text}"`,
  },
  vni: {
    bytes: 3,
    write: (text, into, at) => void into.writeUIntBE(Number(text), at, 3),
    read: (from, at) => String(from.readUIntBE(at, 3)),
    script: asIs,
  },
  protocol: {
    bytes: 1,
    write: (text, into, at) => void into.writeUInt8(PROTOCOL_NUMBERS[text] ?? 0, at),
    read: (from, at) => Object.keys(PROTOCOL_NUMBERS).find((name) => PROTOCOL_NUMBERS[name] === from[at]) ?? null,
    // By number: names are in /etc/protocols, which a small host may lack.
    script: (text) => String(PROTOCOL_NUMBERS[text] ?? 0),
  },
  port: {
    bytes: 2,
    write: (text, into, at) => void into.writeUInt16BE(Number(text), at),
    read: (from, at) => String(from.readUInt16BE(at)),
    script: asIs,
  },
  /** In the byte order of the host, which is little-endian (socket.ts). */
  mark: {
    bytes: 4,
    write: (text, into, at) => void into.writeUInt32LE(Number(text), at),
    read: (from, at) => String(from.readUInt32LE(at)),
    script: asIs,
  },
} as const satisfies Record<string, Part>;

interface Kind {
  /** How nft is told of it. Of what it has no name for it takes bits at an offset. */
  readonly type: string;
  readonly key: readonly Part[];
  /** Of a map; to which chain packets go, of one of verdicts. */
  readonly value?: readonly Part[] | 'goto';
}

const { ipv4, ipv6, rawIpv6, mac, device, vni, protocol, port, mark } = PARTS;

const KINDS = {
  ipv4: { type: 'type ipv4_addr', key: [ipv4] },
  ipv6: { type: 'type ipv6_addr', key: [ipv6] },
  // Bytes 4 to 6 of the VXLAN header (RFC 7348), behind the eight of UDP.
  vni: { type: 'typeof @th,96,24', key: [vni] },
  arp: { type: 'typeof iifname . arp saddr ip . arp saddr ether', key: [device, ipv4, mac] },
  // The target of a neighbour advertisement (RFC 4861, section 4.4).
  nd: { type: 'typeof iifname . @th,64,128', key: [device, rawIpv6] },
  service: { type: 'type inet_proto . inet_service : mark', key: [protocol, port], value: [mark] },
  slot: {
    type: 'type inet_proto . inet_service . mark : ipv4_addr . inet_service',
    key: [protocol, port, mark],
    value: [ipv4, port],
  },
  slot6: {
    type: 'type inet_proto . inet_service . mark : ipv6_addr . inet_service',
    key: [protocol, port, mark],
    value: [ipv6, port],
  },
  ipv6Mark: { type: 'type ipv6_addr : mark', key: [ipv6], value: [mark] },
  ipv4Mark: { type: 'type ipv4_addr : mark', key: [ipv4], value: [mark] },
  // What numgen shows is in the byte order of the host, as marks are, and has no name.
  turn4: { type: 'typeof ip daddr . numgen inc mod 65536 : ip daddr', key: [ipv4, mark], value: [ipv4] },
  turn6: { type: 'typeof ip6 daddr . numgen inc mod 65536 : ip6 daddr', key: [ipv6, mark], value: [ipv6] },
  goto4: { type: 'type ipv4_addr : verdict', key: [ipv4], value: 'goto' },
  goto6: { type: 'type ipv6_addr : verdict', key: [ipv6], value: 'goto' },
  total4: { type: 'type inet_proto . inet_service . ipv4_addr', key: [protocol, port, ipv4] },
  total6: { type: 'type inet_proto . inet_service . ipv6_addr', key: [protocol, port, ipv6] },
  macMark: { type: 'type ether_addr : mark', key: [mac], value: [mark] },
} as const satisfies Record<string, Kind>;

const partsOf = (kind: ElementKind): Kind => KINDS[kind];

/** `set` or `map`, and its type. */
export function declarationOf(kind: ElementKind): { readonly word: 'set' | 'map'; readonly type: string } {
  return { word: partsOf(kind).value ? 'map' : 'set', type: partsOf(kind).type };
}

const SEPARATOR = ' : ';

/** The text of the key alone: two elements of a map with the same cannot be in it at once. */
export function keyOfElement(text: string): string {
  const end = text.indexOf(SEPARATOR);
  return end < 0 ? text : text.slice(0, end);
}

/** The text of what a key leads to; '' of a set. */
export function valueOfElement(text: string): string {
  const end = text.indexOf(SEPARATOR);
  return end < 0 ? '' : text.slice(end + SEPARATOR.length);
}

/** An element as nft reads it in a script or a command. */
export function elementInScript(kind: ElementKind, text: string): string {
  const { key, value } = partsOf(kind);
  const [keyText = '', valueText = ''] = text.split(SEPARATOR);
  const written = (parts: readonly Part[], from: string): string =>
    from
      .split(' ')
      .map((each, index) => parts[index]?.script(each) ?? '')
      .join(' . ');
  if (value === 'goto') return `${written(key, keyText)} : goto ${valueText}`;
  return value ? `${written(key, keyText)} : ${written(value, valueText)}` : written(key, keyText);
}

/** Parts of a concatenation are padded to four bytes each (net/netfilter/nft_set_hash.c takes the key as a whole). */
const paddedBytes = (parts: readonly Part[]): number =>
  parts.length === 1 ? (parts[0]?.bytes ?? 0) : parts.reduce((sum, { bytes }) => sum + ((bytes + 3) & ~3), 0);

function encode(parts: readonly Part[], text: string): Buffer {
  const into = Buffer.alloc(paddedBytes(parts));
  const texts = text.split(' ');
  let at = 0;
  for (const [index, part] of parts.entries()) {
    part.write(texts[index] ?? '', into, at);
    at += (part.bytes + 3) & ~3;
  }
  return into;
}

function decode(parts: readonly Part[], bytes: Buffer): string | null {
  if (bytes.length !== paddedBytes(parts)) return null;
  const texts: string[] = [];
  let at = 0;
  for (const part of parts) {
    const text = part.read(bytes, at);
    if (text === null) return null;
    texts.push(text);
    at += (part.bytes + 3) & ~3;
  }
  return texts.join(' ');
}

/** An element as the kernel holds it. */
export function elementBytes(kind: ElementKind, text: string): Element {
  const { key, value } = partsOf(kind);
  const [keyText = '', valueText = ''] = text.split(SEPARATOR);
  if (value === 'goto') return { key: encode(key, keyText), value: { chain: valueText } };
  return { key: encode(key, keyText), value: value ? encode(value, valueText) : null };
}

/** An element as text; null when it is none of that kind, as in a set that somebody else made. */
export function elementText(kind: ElementKind, element: Element): string | null {
  const { key, value } = partsOf(kind);
  const keyText = decode(key, element.key);
  const valueText = valueTextOf(value, element.value);
  if (keyText === null || valueText === null) return null;
  return value ? `${keyText}${SEPARATOR}${valueText}` : keyText;
}

/** null when it is none of that kind; of a set: ''. */
function valueTextOf(kind: Kind['value'], value: Element['value']): string | null {
  if (!kind) return value === null ? '' : null;
  if (value === null) return null;
  if (kind === 'goto') return Buffer.isBuffer(value) ? null : value.chain;
  return Buffer.isBuffer(value) ? decode(kind, value) : null;
}
