/** IPv4 arithmetic: rings count in offsets from the start of a subnet. */

export interface Subnet {
  /** First address as a number. */
  readonly base: number;
  readonly prefixLength: number;
  /** Number of addresses, network and broadcast address included. */
  readonly size: number;
}

export function ipv4ToNumber(text: string): number {
  return text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

export function numberToIpv4(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
}

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

/** A network has room for its own addresses and is no larger than the largest private block. */
export function isNetworkSubnet(text: string): boolean {
  const subnet = parseSubnet(text);
  return subnet !== null && subnet.prefixLength >= 8 && subnet.prefixLength <= 29;
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
