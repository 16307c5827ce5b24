import { BlockList } from 'node:net';
import type { NetworkId } from '../../controlplane/ids.ts';
import { gatewayBridgeName } from '../../dataplane/gateway-subnet.ts';
import type { Logger } from '../daemon/log.ts';
import type { OnBridge } from '../dns/bridge-askers.ts';
import type { DockerClient } from './client.ts';
import type { DockerEndpoints } from './endpoints.ts';
import { DockerError, isNotFound } from './errors.ts';
import type { DockerContainerSummary, DockerNetwork } from './shapes.ts';

export interface AskingInit {
  readonly client: Pick<DockerClient, 'network' | 'networks'>;
  readonly endpoints: Pick<DockerEndpoints, 'list' | 'networks'>;
  readonly log: Logger;
  /** Containers have come or gone, or have other addresses. */
  readonly changed: () => void;
}

/**
 * Containers by the addresses that they ask the host's resolver from: on docker_gwbridge; or, since Docker gives none there to a
 * container that has another way out, on a bridge network of its own.
 */
export class AskingContainers {
  readonly #init: AskingInit;
  /** Id of the container of each endpoint of ours. */
  #containerOf = new Map<string, string>();
  /** Id of the container of each address. */
  #onGateway: ReadonlyMap<string, string> = new Map();
  #beside = new Map<string, string>();
  /** Addresses that are looked for. */
  readonly #wanted = new Set<string>();
  #identifying: Promise<void> | null = null;
  #identifyNext: Promise<void> | null = null;

  constructor(init: AskingInit) {
    this.#init = init;
  }

  containerOf(endpointId: string): string | undefined {
    return this.#containerOf.get(endpointId);
  }

  /** Those on docker_gwbridge, with all networks that they are joined to by now. */
  onGateway(): OnBridge[] {
    return this.#askers(this.#onGateway);
  }

  /** Those on other bridges. */
  beside(): OnBridge[] {
    return this.#askers(this.#beside);
  }

  /** Whether somebody has come whose container is not known yet. */
  get isBehind(): boolean {
    return this.#untold().length > 0;
  }

  #askers(containers: ReadonlyMap<string, string>): OnBridge[] {
    // What is joined to one namespace is of one container: so a network counts from the moment that it is joined.
    const networks = new Map<string, NetworkId[]>();
    const netnsOf = new Map<string, string>();
    for (const { leg, netns } of this.#init.endpoints.list()) {
      if (netns === null) continue;
      networks.set(netns, [...(networks.get(netns) ?? []), leg.networkId]);
      const container = this.#containerOf.get(leg.endpointId);
      if (container !== undefined) netnsOf.set(container, netns);
    }
    return [...containers].flatMap(([address, container]) => {
      const netns = netnsOf.get(container);
      return netns === undefined ? [] : [{ address, networks: networks.get(netns) ?? [] }];
    });
  }

  /** Takes in a list of all containers. @throws DockerError */
  async follow(containers: readonly DockerContainerSummary[]): Promise<void> {
    const ours = new Set<string>(this.#init.endpoints.list().map(({ leg }) => leg.endpointId));
    const told = new Map<string, string>();
    const beside = new Map<string, string>();
    for (const { id, networks } of containers) {
      const all = [...networks.values()].filter(({ endpointId }) => endpointId !== '');
      const others = all.filter(({ endpointId }) => !ours.has(endpointId));
      if (others.length === all.length) continue;
      for (const { endpointId } of all) told.set(endpointId, id);
      for (const { ipv4 } of others) if (ipv4 !== '') beside.set(ipv4, id);
    }
    // What was found out about those that no list has told of yet.
    const untold = [...this.#containerOf].filter(([endpoint]) => ours.has(endpoint) && !told.has(endpoint));
    const waiting = new Set(untold.map(([, container]) => container));
    const found = [...this.#beside].filter(([, container]) => waiting.has(container));
    this.#containerOf = new Map([...untold, ...told]);
    this.#beside = new Map([...found, ...beside]);
    this.#onGateway = addressesIn(await this.#network(gatewayBridgeName));
    this.#init.changed();
  }

  /**
   * Looks who has an address, and whose the endpoints are that no list has told of yet: Docker lists what a container is on only
   * once it has started, when its program runs and asks for names. Whoever calls during a look has the next one. Never rejects.
   */
  identify(address: string): Promise<void> {
    this.#wanted.add(address);
    if (this.#identifying === null) {
      this.#identifying = this.#identify().finally(() => {
        this.#identifying = null;
      });
      return this.#identifying;
    }
    this.#identifyNext ??= this.#identifying.then(() => {
      this.#identifyNext = null;
      return this.identify(address);
    });
    return this.#identifyNext;
  }

  // Networks are asked, and not the containers themselves, which Docker locks while they start.
  async #identify(): Promise<void> {
    const { endpoints, changed, log } = this.#init;
    const wanted = [...this.#wanted];
    this.#wanted.clear();
    try {
      const untold = new Set<string>(this.#untold().map(({ leg }) => leg.networkId));
      const ids = [...endpoints.networks().values()].filter(({ networkId }) => untold.has(networkId));
      const [gateway, ...ours] = await Promise.all(
        [gatewayBridgeName, ...ids.map(({ id }) => id)].map((id) => this.#network(id)),
      );
      this.#onGateway = addressesIn(gateway ?? null);
      for (const network of ours) {
        for (const [container, { endpointId }] of network?.containers ?? [])
          this.#containerOf.set(endpointId, container);
      }
      await this.#lookBeside(wanted.filter((address) => !this.#onGateway.has(address)));
      changed();
    } catch (error) {
      if (!(error instanceof DockerError)) log.error({ err: error }, 'looking who asks for names failed');
    }
  }

  async #lookBeside(wanted: readonly string[]): Promise<void> {
    if (wanted.length === 0) return;
    const known = new Set(this.#containerOf.values());
    for (const { id, driver, ipam } of await this.#init.client.networks()) {
      if (driver !== 'bridge' || !ipam.pools.some(({ subnet }) => wanted.some((address) => covers(subnet, address))))
        continue;
      for (const [address, container] of addressesIn(await this.#network(id))) {
        if (known.has(container)) this.#beside.set(address, container);
      }
    }
  }

  #untold() {
    return this.#init.endpoints
      .list()
      .filter(({ leg, netns }) => netns !== null && !this.#containerOf.has(leg.endpointId));
  }

  /** null where Docker has none of that name or id. */
  async #network(id: string): Promise<DockerNetwork | null> {
    try {
      return await this.#init.client.network(id);
    } catch (error) {
      if (isNotFound(error)) return null;
      throw error;
    }
  }
}

/** Container by address. Docker tells of a network that is inspected. */
const addressesIn = (network: DockerNetwork | null): Map<string, string> =>
  new Map([...(network?.containers ?? [])].map(([id, { ipv4 }]) => [ipv4.replace(/\/.*/, ''), id]));

function covers(subnet: string, address: string): boolean {
  const [first = '', bits = ''] = subnet.split('/');
  if (!/^\d+\.\d+\.\d+\.\d+$/.test(first) || !/^\d{1,2}$/.test(bits) || Number(bits) > 32) return false;
  const list = new BlockList();
  list.addSubnet(first, Number(bits));
  return list.check(address);
}
