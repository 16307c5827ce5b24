import { isIPv4, isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';

// Everything that reaches a netlink message, an `ip -batch` line or an nft script is one of these types, and the only
// way to get one is through its parser. None of them can hold white space, a newline or a leading dash.

declare const brand: unique symbol;
type Branded<T, Name extends string> = T & { readonly [brand]: Name };

/** Canonical IPv4 or IPv6 address text (RFC 5952 for IPv6). */
export type Ip = Branded<string, 'Ip'>;
/** Address and prefix length, `10.0.1.2/24`. */
export type Cidr = Branded<string, 'Cidr'>;
/** Unicast Ethernet address, lower case, colon separated. */
export type Mac = Branded<string, 'Mac'>;
/** VXLAN network identifier, 1 to 2^24-1 (RFC 7348). */
export type Vni = Branded<number, 'Vni'>;
/** Interface name: 1 to 15 characters (IFNAMSIZ less the NUL, linux/if.h). */
export type IfName = Branded<string, 'IfName'>;
/** Absolute path of a network namespace file. */
export type NetnsPath = Branded<string, 'NetnsPath'>;

/** Bad input is a value; an exception means a bug of ours. */
export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string };

const ok = <T>(value: T): Parsed<T> => ({ ok: true, value });
const bad = (what: string, text: unknown, want: string): Parsed<never> => ({
  ok: false,
  reason: `${JSON.stringify(String(text).slice(0, 64))} is not ${what}: ${want}`,
});

/** Unwraps a parse of data that is already known to be good; throws (our bug) when it is not. */
export function must<T>(parsed: Parsed<T>): T {
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.value;
}

export function parseIp(text: string): Parsed<Ip> {
  const want = 'want an IPv4 address such as 10.0.1.2 or an IPv6 address without a zone';
  if (text.includes(':')) {
    // The host of a URL is written as RFC 5952 has it, by native code: a plan of 10,000 endpoints parses as many.
    if (!text.includes('%') && isIPv6(text)) return ok(new URL(`http://[${text}]`).hostname.slice(1, -1) as Ip);
  } else if (isIPv4(text)) {
    // Four decimal numbers without leading zeros: there is no other way to write it.
    return ok(text as Ip);
  }
  return bad('an IP address', text, want);
}

export function parseCidr(text: string): Parsed<Cidr> {
  const want = 'want an address and a prefix length, such as 10.0.1.2/24';
  const match = /^([^/]{2,45})\/(0|[1-9]\d{0,2})$/.exec(text);
  if (!match?.[1] || !match[2]) return bad('an address with a prefix length', text, want);
  const ip = parseIp(match[1]);
  if (!ip.ok) return ip;
  const bits = Number(match[2]);
  if (bits > (isIpv6(ip.value) ? 128 : 32)) return bad('an address with a prefix length', text, want);
  return ok(`${ip.value}/${bits}` as Cidr);
}

export function parseMac(text: string): Parsed<Mac> {
  const lower = text.toLowerCase();
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(lower)) {
    return bad('a MAC address', text, 'want six hex pairs such as 02:42:0a:00:01:02');
  }
  if (Number.parseInt(lower.slice(0, 2), 16) & 1) return bad('a unicast MAC address', text, 'the group bit is set');
  if (lower === '00:00:00:00:00:00') return bad('a usable MAC address', text, 'all zero');
  return ok(lower as Mac);
}

export function parseVni(value: number): Parsed<Vni> {
  if (!Number.isInteger(value) || value < 1 || value > 0xffffff) return bad('a VNI', value, 'want 1 to 16777215');
  return ok(value as Vni);
}

export function parseIfName(text: string): Parsed<IfName> {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$/.test(text)) {
    return bad('an interface name', text, 'want 1 to 15 letters, digits, _ . -, not starting with . or -');
  }
  return ok(text as IfName);
}

export function parseNetnsPath(text: string): Parsed<NetnsPath> {
  if (!/^(\/[A-Za-z0-9_.-]+)+$/.test(text) || text.length > 255 || text.split('/').includes('..')) {
    return bad('a network namespace path', text, 'want an absolute path such as /run/netns/web or /proc/123/ns/net');
  }
  return ok(text as NetnsPath);
}

export function isIpv6(ip: Ip): boolean {
  return ip.includes(':');
}

/** An IPv4 address as a number. */
export function addressNumber(ip: string): number {
  return ip.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0);
}

/** `10.0.1.2/24` to its address part. */
export function addressOf(cidr: Cidr): Ip {
  return cidr.slice(0, cidr.indexOf('/')) as Ip;
}

/** `10.0.1.2/24` to 24. */
export function prefixLengthOf(cidr: Cidr): number {
  return Number(cidr.slice(cidr.indexOf('/') + 1));
}

/** `10.0.1.2/24` to `10.0.1.0/24`: the prefix that the kernel routes to the device that has the address. */
export function prefixOf(cidr: Cidr): Cidr {
  const bits = prefixLengthOf(cidr);
  if (cidr.includes(':')) return must(parseCidr(`${ipaddr.IPv6.networkAddressFromCIDR(cidr).toString()}/${bits}`));
  const address = addressNumber(addressOf(cidr));
  const network = address - (address % 2 ** (32 - bits));
  return `${[24, 16, 8, 0].map((shift) => (network >>> shift) & 0xff).join('.')}/${bits}` as Cidr;
}
