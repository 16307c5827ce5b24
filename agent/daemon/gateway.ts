import { ipv4ToNumber, numberToIpv4 } from '../../controlplane/addresses.ts';
import type { Store } from '../../controlplane/store.ts';
import { chooseGatewaySubnet, gatewayAddressIn, gatewayBridgeName, overlaps } from '../../dataplane/gateway-subnet.ts';
import { hostRoutes } from '../../dataplane/host.ts';
import { bridgeAddress } from '../../dataplane/interfaces.ts';
import { addressOf, must, parseCidr, parseIfName, prefixOf } from '../../dataplane/values.ts';
import type { GatewayNetwork } from '../docker/mirror-plan.ts';
import { conflict } from './api-error.ts';

const key = ['gateway'];

const isIpv4Cidr = (text: string): boolean => !text.includes(':') && parseCidr(text).ok;

/** Subnets smaller than that are not shared out in halves. */
const halvedMin = 16;

/**
 * Docker's containers have their ports on docker_gwbridge, too, with addresses that Docker gives: of the lower half of the
 * subnet, as the network is made in Docker. Those given here are of the upper one.
 * @param address the bridge's own, with prefix length
 * @returns offset of the first that is given here, and the prefix that is Docker's; null for both where there is no half
 */
export function halves(address: string): { readonly first: number; readonly dockers: string | null } {
  const prefix = prefixOf(must(parseCidr(address)));
  const [network = '', bits = '16'] = prefix.split('/');
  const size = 2 ** (32 - Number(bits));
  if (size < halvedMin) return { first: 1, dockers: null };
  return { first: size / 2, dockers: `${network}/${Number(bits) + 1}` };
}

/** As Docker is to have it. @param address the bridge's own, with prefix length */
export const gatewayNetwork = (address: string): GatewayNetwork => ({
  name: gatewayBridgeName,
  subnet: prefixOf(must(parseCidr(address))),
  gateway: addressOf(must(parseCidr(address))),
  range: halves(address).dockers,
});

/** docker_gwbridge of this host: its subnet, chosen once, and the addresses of its ports, known to this host only. */
export class Gateway {
  readonly #store: Store;
  readonly #configured: string | null;
  #address: string | null;
  #last = 0;

  constructor(store: Store, configured: string | null) {
    this.#store = store;
    this.#configured = configured;
    const stored = store.get(key);
    // What is no address is chosen again, as before the first time: the bridge that is there says it too.
    this.#address = typeof stored === 'string' && isIpv4Cidr(stored) ? stored : null;
  }

  /** The bridge's own address with prefix length; null before the first `choose`. */
  get address(): string | null {
    return this.#address;
  }

  /**
   * Adopts the bridge that is there, or chooses a subnet that collides with no route of the host.
   * @param given that one and no other; null: the configured one, or any
   * @throws RequestError when every candidate collides, or the one that was asked for does
   */
  async choose(given: string | null = null): Promise<void> {
    if (this.#address !== null) return;
    const name = must(parseIfName(gatewayBridgeName));
    const existing = await bridgeAddress(name);
    if (existing !== null && given !== null && prefixOf(existing) !== prefixOf(must(parseCidr(given)))) {
      throw conflict(
        'gateway_exists',
        `${gatewayBridgeName} is there already, with ${existing}, and not in ${given}`,
        'leave --gwbridge-subnet out to adopt it, or remove it',
      );
    }
    this.#address = existing ?? (await this.#free(given));
    await this.#store.commit([{ key, value: this.#address }]);
  }

  async forget(): Promise<void> {
    this.#address = null;
    this.#last = 0;
    await this.#store.commit([{ key, value: null }]);
  }

  /** An address for a new port; the one freed last is used again last. */
  allocate(used: readonly string[]): string {
    if (this.#address === null) throw new Error('docker_gwbridge has no subnet yet');
    const [own = '', bits = '16'] = this.#address.split('/');
    const size = 2 ** (32 - Number(bits));
    const base = Math.floor(ipv4ToNumber(own) / size) * size;
    const { first } = halves(this.#address);
    const taken = new Set([...used, own].map((ip) => ipv4ToNumber(ip) - base));
    const last = Math.max(this.#last, first - 1);
    for (let tried = 0; tried < size; tried += 1) {
      const offset = (last + 1 + tried) % size;
      if (offset < first || offset === size - 1 || taken.has(offset)) continue;
      this.#last = offset;
      return numberToIpv4(base + offset);
    }
    throw conflict('gateway_exhausted', `${gatewayBridgeName} (${this.#address}) has no free address`);
  }

  async #free(given: string | null): Promise<string> {
    const inUse = await hostRoutes();
    const wanted = given ?? this.#configured;
    if (wanted !== null) {
      const subnet = must(parseCidr(wanted));
      const collides = inUse.find(
        (prefix) => !prefix.includes(':') && !prefix.endsWith('/0') && overlaps(subnet, prefix),
      );
      if (collides === undefined) return gatewayAddressIn(subnet);
      throw conflict(
        'gateway_collides',
        `${given === null ? 'gateway-subnet' : '--gwbridge-subnet'} ${subnet} collides with ${collides}, which this host uses`,
        given === null ? 'choose another in the config file' : 'choose another, or leave it out',
      );
    }
    const subnet = chooseGatewaySubnet(inUse);
    if (subnet !== null) return gatewayAddressIn(subnet);
    throw conflict(
      'gateway_collides',
      'every subnet tried for docker_gwbridge collides with a route of this host',
      'give one with --gwbridge-subnet, or set gateway-subnet in the config file',
    );
  }
}
