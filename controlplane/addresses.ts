import { isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';

// Address arithmetic: rings count in offsets from the start of a subnet. BigInt stays inside this file.

export interface Subnet {
  /** First address as a number. */
  readonly base: number;
  readonly prefixLength: number;
  /** Number of addresses, network and broadcast address included. */
  readonly size: number;
}

export function ipv4ToNumber(text: string): number {
  let [value, part] = [0, 0];
  for (let i = 0; i < text.length; i += 1) {
    const digit = text.charCodeAt(i) - 48;
    if (digit >= 0) part = part * 10 + digit;
    else [value, part] = [value * 256 + part, 0];
  }
  return value * 256 + part;
}

export function numberToIpv4(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
}

const ipv4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?=\d)|$)){4}$/;

/** An IPv4 address in its one spelling, without leading zeros. Every endpoint that comes or is loaded asks. */
export const isIpv4 = (text: string): boolean => ipv4.test(text);

/** @returns null unless the text is an IPv4 prefix with no host bits set */
export function parseSubnet(text: string): Subnet | null {
  const match = /^(\d{1,3}(?:\.\d{1,3}){3})\/(\d{1,2})$/.exec(text);
  if (match?.[1] === undefined || match[2] === undefined) return null;
  if (match[1].split('.').some((part) => Number(part) > 255 || String(Number(part)) !== part)) return null;
  const prefixLength = Number(match[2]);
  if (prefixLength > 32) return null;
  const base = ipv4ToNumber(match[1]);
  const size = 2 ** (32 - prefixLength);
  return base % size === 0 ? { base, prefixLength, size } : null;
}

/** A subnet of either family, as a ring counts its addresses. */
export interface AddressSpace {
  /** `10.0.1.0/24`, `fd00::/64`. */
  readonly text: string;
  readonly family: 4 | 6;
  readonly prefixLength: number;
  /** How many addresses the ring counts, from the first one on; of an IPv6 subnet no more than the first 2^32. */
  readonly size: number;
  readonly base: bigint;
  /** The base of an IPv4 subnet as a number; 0 for IPv6. */
  readonly base4: number;
}

const maxRingSize = 2 ** 32;

/** @returns null unless the text is a prefix of either family in its one spelling, with no host bits set */
export function parseSpace(text: string): AddressSpace | null {
  if (!text.includes(':')) {
    const subnet = parseSubnet(text);
    if (subnet === null) return null;
    const { base, prefixLength, size } = subnet;
    return { text, family: 4, prefixLength, size, base: BigInt(base), base4: base };
  }
  const match = /^([0-9a-f:.]{2,39})\/(\d{1,3})$/.exec(text);
  const [, address = '', bits = ''] = match ?? [];
  const prefixLength = Number(bits);
  if (prefixLength > 128 || String(prefixLength) !== bits) return null;
  const base = ipv6ToBigint(address);
  if (base === null) return null;
  const hostBits = 128 - prefixLength;
  if (base % 2n ** BigInt(hostBits) !== 0n) return null;
  return { text, family: 6, prefixLength, size: Math.min(2 ** hostBits, maxRingSize), base, base4: 0 };
}

/** The IPv6 prefix that an address with a prefix length lies in. @returns null for anything else */
export function spaceAround(text: string): AddressSpace | null {
  if (!ipaddr.IPv6.isValidCIDR(text)) return null;
  const [, bits] = ipaddr.IPv6.parseCIDR(text);
  return parseSpace(`${ipaddr.IPv6.networkAddressFromCIDR(text).toRFC5952String()}/${bits}`);
}

/** @returns null unless the text is an IPv6 address as RFC 5952 writes it */
function ipv6ToBigint(text: string): bigint | null {
  // The host of a URL is written as RFC 5952 has it, by native code: every endpoint that comes or is loaded asks.
  if (text.includes('%') || !isIPv6(text) || new URL(`http://[${text}]`).hostname.slice(1, -1) !== text) return null;
  const [head = '', tail = ''] = text.split('::');
  const hex = (part: string): string =>
    part === ''
      ? ''
      : part
          .split(':')
          .map((group) => group.padStart(4, '0'))
          .join('');
  return BigInt(`0x${hex(head)}${hex(tail).padStart(32 - hex(head).length, '0')}`);
}

export function addressAt({ family, base }: AddressSpace, offset: number): string {
  const value = base + BigInt(offset);
  if (family === 4) return numberToIpv4(Number(value));
  const bytes = Buffer.from(value.toString(16).padStart(32, '0'), 'hex');
  return new ipaddr.IPv6([...bytes]).toRFC5952String();
}

/** @returns null when the address is none of those that the ring counts */
export function offsetIn({ family, base, base4, size }: AddressSpace, address: string): number | null {
  if (address.includes(':') !== (family === 6)) return null;
  if (family === 4) {
    const offset = ipv4ToNumber(address) - base4;
    return offset >= 0 && offset < size ? offset : null;
  }
  const value = ipv6ToBigint(address);
  if (value === null || value < base || value >= base + BigInt(size)) return null;
  return Number(value - base);
}

/**
 * A network has room for its own addresses, and is no larger than the largest private block (IPv4) or a site (IPv6).
 */
export function isNetworkSubnet(text: string): boolean {
  const space = parseSpace(text);
  if (space === null) return false;
  const [shortest, longest] = space.family === 4 ? [8, 29] : [48, 120];
  return space.prefixLength >= shortest && space.prefixLength <= longest;
}

/** Whether the two share an address. */
export function overlap(a: AddressSpace, b: AddressSpace): boolean {
  if (a.family !== b.family) return false;
  const bits = BigInt((a.family === 4 ? 32 : 128) - Math.min(a.prefixLength, b.prefixLength));
  return a.base >> bits === b.base >> bits;
}

export function formatSubnet({ base, prefixLength }: Subnet): string {
  return `${numberToIpv4(base)}/${prefixLength}`;
}

export function contains(subnet: Subnet, address: number): boolean {
  return address >= subnet.base && address < subnet.base + subnet.size;
}

/** The address blocks that networks get their subnets from, numbered one after the other. */
export class SubnetPool {
  readonly #blocks: readonly Subnet[];
  readonly #subnetSize: number;
  readonly #prefixLength: number;
  /** How many subnets the blocks hold. */
  readonly size: number;

  constructor(blocks: readonly string[], prefixLength: number) {
    this.#prefixLength = prefixLength;
    this.#subnetSize = 2 ** (32 - prefixLength);
    this.#blocks = blocks.flatMap((text) => {
      const block = parseSubnet(text);
      return block !== null && block.prefixLength <= prefixLength ? [block] : [];
    });
    this.size = this.#blocks.reduce((sum, { size }) => sum + size / this.#subnetSize, 0);
  }

  at(index: number): Subnet {
    let rest = index;
    for (const { base, size } of this.#blocks) {
      const count = size / this.#subnetSize;
      if (rest < count) {
        return { base: base + rest * this.#subnetSize, prefixLength: this.#prefixLength, size: this.#subnetSize };
      }
      rest -= count;
    }
    throw new RangeError(`the pool has ${this.size} subnets, not ${index + 1}`);
  }

  /** Numbers of the subnets that share an address with `other`. */
  *overlapping(other: Subnet): Generator<number> {
    let first = 0;
    for (const { base, size } of this.#blocks) {
      const from = Math.max(base, other.base);
      const to = Math.min(base + size, other.base + other.size);
      for (let address = from; address < to; address += this.#subnetSize) {
        yield first + Math.floor((address - base) / this.#subnetSize);
      }
      first += size / this.#subnetSize;
    }
  }
}
