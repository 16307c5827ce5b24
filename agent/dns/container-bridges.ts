import { readdirSync } from 'node:fs';
import { BlockList, isIP } from 'node:net';
import { networkInterfaces } from 'node:os';

const sysfs = '/sys/class/net';
const refreshMs = 5_000;
/** A network and its first container come together. */
const atOnceMs = 250;

/**
 * Bridges of this host that no card is a port of: Docker's, ours, those of virtual machines. Who is there may have been told to
 * ask us (Docker's default nameserver is one for all its containers), and nobody from outside is.
 */
export class ContainerBridges {
  readonly #nowMs: () => number;
  #subnets = new BlockList();
  #own = new Set<string>();
  #readMs = Number.NEGATIVE_INFINITY;

  /** @param nowMs of a clock that does not jump */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /**
   * Whether somebody with that address is on one of them; not the host itself. As of some seconds ago at most, and with those that
   * have come since.
   */
  has(address: string): boolean {
    if (this.#nowMs() - this.#readMs >= refreshMs) this.#read();
    if (this.#has(address)) return true;
    if (this.#nowMs() - this.#readMs < atOnceMs) return false;
    this.#read();
    return this.#has(address);
  }

  #has(address: string): boolean {
    return isIP(address) === 4 && !this.#own.has(address) && this.#subnets.check(address);
  }

  #read(): void {
    this.#readMs = this.#nowMs();
    this.#subnets = new BlockList();
    this.#own = new Set();
    for (const [name, addresses] of Object.entries(networkInterfaces())) {
      const inside = isInside(name);
      for (const { family, address, cidr } of addresses ?? []) {
        this.#own.add(address);
        const bits = Number(cidr?.split('/')[1] ?? Number.NaN);
        if (inside && family === 'IPv4' && bits > 0) this.#subnets.addSubnet(address, bits);
      }
    }
  }
}

/** A bridge whose ports are all ends of something virtual: neither a card nor what is made on one (VLAN, bond). */
function isInside(name: string): boolean {
  const ports = entries(`${sysfs}/${name}/brif`);
  return ports?.every((port) => !entries(`${sysfs}/${port}`)?.some(isOfCard)) ?? false;
}

const isOfCard = (entry: string): boolean => entry === 'device' || entry.startsWith('lower_');

function entries(path: string): string[] | null {
  try {
    return readdirSync(path);
  } catch {
    // No bridge, or gone meanwhile.
    return null;
  }
}
