import { damagedState } from '../../controlplane/errors.ts';
import type { Store } from '../../controlplane/store.ts';
import { checked } from '../../controlplane/subnet-spec.ts';
import type { NetworkCreateRequest } from '../api/schema.ts';
import { freeAddress, freeSubnet, isHost, shareAddress } from '../drivers/addresses.ts';
import type { LocalDriver } from '../drivers/driver.ts';
import { localDriver, predefinedNetworks } from '../drivers/index.ts';
import type { NetworksById } from '../drivers/legs.ts';
import { type LocalIpam, type LocalNetwork, newLocalNetworkId, parseLocalNetwork } from '../drivers/local-network.ts';
import { conflict, invalid, notFound, RequestError } from './api-error.ts';

// Docker has no bound; each is a bridge, and rules that every forwarded packet passes.
const networksMax = 256;

export interface LocalNetworksInit {
  readonly store: Store;
  /** Who has that name already, for a message; null when nobody has. */
  readonly nameHeld: (name: string) => string | null;
  /** IPv4 prefixes that no new network may share an address with: those that this host routes, and the cluster's. */
  readonly inUse: (network: LocalNetwork) => Promise<readonly string[]>;
  /** The wanted state has changed. */
  readonly changed: () => void;
}

/** The networks of this host alone: which there are, and whose addresses are whose. */
export class LocalNetworks {
  readonly #init: LocalNetworksInit;
  readonly #networks = new Map<string, LocalNetwork>(predefinedNetworks.map((network) => [network.id, network]));
  /** The address of each network that was given last. */
  readonly #last = new Map<string, string>();
  /** Addresses that were given and are no sandbox's yet, `id ip`. */
  readonly #reserved = new Set<string>();
  /** One is made after the other, so that no two choose the same subnet. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(init: LocalNetworksInit) {
    this.#init = init;
    for (const [, value] of init.store.entries(['network'])) {
      const network = parseLocalNetwork(value);
      if (network === null) throw damagedState('network');
      this.#networks.set(network.id, network);
    }
  }

  get byId(): NetworksById {
    return this.#networks;
  }

  list(): LocalNetwork[] {
    return [...this.#networks.values()];
  }

  /** @throws RequestError `network_exists`, `subnet_in_use`, `exhausted`, `too_many_networks`, `invalid` */
  create(request: NetworkCreateRequest, driver: LocalDriver, write = true): Promise<LocalNetwork> {
    const made = this.#turn.then(() => this.#create(request, driver, write));
    this.#turn = made.catch(() => undefined);
    return made;
  }

  async #create(request: NetworkCreateRequest, driver: LocalDriver, write: boolean): Promise<LocalNetwork> {
    const { Name: name, Internal: internal = false, Options: options = {}, Labels: labels = {} } = request;
    if (driver.predefined) {
      throw invalid(`there is one network ${driver.name} on each host, and no other of its driver`, 'use that one');
    }
    const held = this.#init.nameHeld(name);
    if (held !== null)
      throw conflict('network_exists', `network with name ${name} already exists: ${held}`, 'choose another name');
    if (this.#networks.size >= networksMax) {
      throw conflict('too_many_networks', `this host has ${networksMax} networks of its own, as many as it can`);
    }
    const bare = {
      id: newLocalNetworkId(),
      name,
      driver: driver.name,
      createdMs: Date.now(),
      internal,
      options,
      labels,
    };
    const ipam = driver.addressed ? await this.#ipamFor({ ...bare, ipam: null }, request, driver) : null;
    const network: LocalNetwork = { ...bare, ipam };
    const refusal = (await driver.refusal?.(network, this.list())) ?? null;
    if (refusal !== null) throw conflict('network_refused', refusal);
    if (!write) return network;
    await driver.create?.(network);
    try {
      await this.#init.store.commit([{ key: ['network', network.id], value: network }]);
    } catch (error) {
      await driver.remove?.(network);
      throw error;
    }
    this.#networks.set(network.id, network);
    this.#init.changed();
    return network;
  }

  async #ipamFor(network: LocalNetwork, { IPAM }: NetworkCreateRequest, driver: LocalDriver): Promise<LocalIpam> {
    const given = IPAM?.Config[0];
    const inUse = await this.#init.inUse(network);
    const subnet = given?.Subnet ?? freeSubnet(inUse);
    if (subnet === null) {
      throw new RequestError(
        507,
        'exhausted',
        'every subnet tried for the network shares addresses with something that this host knows',
        'give one with --subnet',
      );
    }
    const { space, gateway, ipRange, aux } = checked({
      subnet,
      gateway: given?.Gateway,
      ipRange: given?.IPRange,
      aux: given?.AuxiliaryAddresses,
      family: 4,
    });
    const other = driver.routed ? inUse.find((prefix) => shareAddress(space.text, prefix)) : undefined;
    if (other !== undefined) {
      throw conflict(
        'subnet_in_use',
        `${space.text} shares addresses with ${other}, which this host uses`,
        'choose another subnet, or leave --subnet out',
      );
    }
    return { subnet: space.text, gateway, ipRange: ipRange ?? null, aux: aux ?? {} };
  }

  /** @param endpoints how many are on it @throws RequestError `network_in_use`, `network_predefined` */
  async remove(network: LocalNetwork, endpoints: number): Promise<void> {
    this.mustBeRemovable(network, endpoints);
    const { id } = network;
    await localDriver(network.driver)?.remove?.(network);
    await this.#init.store.commit([{ key: ['network', id], value: null }]);
    this.#networks.delete(id);
    this.#last.delete(id);
    this.#init.changed();
  }

  /** @throws RequestError `network_predefined`, `network_in_use` */
  mustBeRemovable({ id, name }: LocalNetwork, endpoints: number): void {
    if (predefinedNetworks.some((each) => each.id === id)) {
      throw conflict('network_predefined', `${name} is a pre-defined network and cannot be removed`);
    }
    const coming = [...this.#reserved].some((each) => each.startsWith(`${id} `));
    if (endpoints > 0 || coming) {
      throw conflict(
        'network_in_use',
        endpoints > 0
          ? `network ${name} has ${endpoints} active endpoints`
          : `network ${name} is about to have an endpoint`,
        'take the sandboxes off it first: `weft network disconnect`',
      );
    }
  }

  /**
   * An address for an endpoint, which stays reserved until it is released.
   * @param used those of the endpoints that are on it @throws RequestError `exhausted`, `address_in_use`, `invalid`
   */
  allocate({ id, name, ipam }: LocalNetwork, wanted: string | null, used: readonly string[]): string | null {
    // Removed since it was looked up.
    if (!this.#networks.has(id)) throw notFound('network', name);
    if (ipam === null) {
      if (wanted === null) return null;
      throw invalid(`endpoints on network ${name} have no addresses`, 'leave --ip out');
    }
    const reserved = [...this.#reserved]
      .filter((each) => each.startsWith(`${id} `))
      .map((each) => each.slice(id.length + 1));
    const taken = new Set([...used, ...reserved, ipam.gateway, ...Object.values(ipam.aux)]);
    if (wanted !== null) {
      if (!isHost(ipam, wanted)) throw invalid(`${wanted} is not a host address of network ${name} (${ipam.subnet})`);
      if (taken.has(wanted))
        throw conflict('address_in_use', `${wanted} on network ${name} is taken`, 'choose another');
      this.#reserved.add(`${id} ${wanted}`);
      return wanted;
    }
    const ip = freeAddress(ipam, taken, this.#last.get(id) ?? null);
    if (ip === null) throw new RequestError(507, 'exhausted', `network ${name} (${ipam.subnet}) has no free address`);
    this.#last.set(id, ip);
    this.#reserved.add(`${id} ${ip}`);
    return ip;
  }

  /** The address is a sandbox's now, or nobody's. */
  release(networkId: string, ip: string | null): void {
    this.#reserved.delete(`${networkId} ${ip}`);
  }
}
