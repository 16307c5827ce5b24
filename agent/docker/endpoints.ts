import { isDeepStrictEqual } from 'node:util';
import type { Cluster } from '../../controlplane/cluster.ts';
import { damagedState } from '../../controlplane/errors.ts';
import type { NetworkId } from '../../controlplane/ids.ts';
import type { Store, Write } from '../../controlplane/store.ts';
import { addressesOf } from '../../controlplane/tables/kinds.ts';
import type { AskedPorts } from '../../controlplane/tables/services.ts';
import type { Network } from '../../controlplane/tables/view.ts';
import { randomMac } from '../../dataplane/mac.ts';
import { waitingName } from '../../dataplane/names.ts';
import { conflict, notFound } from '../daemon/api-error.ts';
import { Announcements } from '../daemon/sandboxes/announcements.ts';
import type { Family } from '../daemon/sandboxes/attachment.ts';
import { kernelFollows } from '../daemon/sandboxes/kernel-follows.ts';
import { unusedMac } from '../daemon/sandboxes/overlay-claims.ts';
import type { HandedEndpoint } from '../plan.ts';
import type { StoredLeg } from '../sandbox-state.ts';
import {
  type DockerAddress,
  type DockerEndpoint,
  type MirroredNetwork,
  StoredAddress,
  StoredEndpoint,
  StoredNetwork,
} from './state.ts';

/** As many as a bridge of the kernel has ports (BR_MAX_PORTS, net/bridge/br_private.h); of addresses a few more may rest in Docker. */
const maxEndpoints = 1023;
const maxAddresses = 4096;
const maxNetworks = 4096;
/** Who is still there so long after it was killed is not dead. */
const surviveMs = 10_000;

export interface DockerEndpointsInit {
  readonly store: Store;
  readonly cluster: () => Cluster;
  /** The wanted state has changed. */
  readonly changed: () => void;
  /** Resolves when the kernel has the endpoint; rejects with why it has not. */
  readonly applied: (endpointId: string, signal: AbortSignal) => Promise<void>;
}

/** What a container is called on an endpoint, and serves there. */
export interface EndpointDescription {
  readonly name: string;
  readonly aliases: readonly string[];
  /** Names may lead to it. */
  readonly ready: boolean;
  /** `80/tcp` */
  readonly ports: readonly string[];
  /** Id of the container; null for one that is none. */
  readonly container: string | null;
}

/** Of an endpoint that Docker makes: addresses that it was given, and a MAC if it asks for one. */
export interface EndpointAsked {
  readonly id: string;
  readonly dockerNetwork: string;
  readonly ip: string | null;
  readonly ip6: string | null;
  readonly mac: string | null;
}

/**
 * What Docker has on this host of the cluster's networks: networks, addresses and endpoints, on disk before Docker hears of it,
 * since it does not say any of it again. Each verb may be repeated.
 */
export class DockerEndpoints {
  readonly #init: DockerEndpointsInit;
  readonly #networks = new Map<string, MirroredNetwork>();
  readonly #endpoints = new Map<string, DockerEndpoint>();
  readonly #addresses = new Map<string, DockerAddress>();
  /** Since when Docker does not list a network. */
  #unlistedMs: ReadonlyMap<string, number> = new Map();
  /** Since when an address is seen without an endpoint. */
  #unusedMs: ReadonlyMap<string, number> = new Map();
  readonly #announcements: Announcements;
  /** Endpoints whose container was killed, and since when (`performance.now()`). */
  readonly #killed = new Map<string, number>();
  /** Who waits for a change of the networks. */
  readonly #watches = new Set<() => void>();
  /** The last of what is to be done with each endpoint. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(init: DockerEndpointsInit) {
    this.#init = init;
    this.#announcements = new Announcements(init.cluster);
    for (const [[, kind], value] of init.store.entries(['docker'])) {
      if (kind === 'network') {
        const row = parsed(StoredNetwork.safeParse(value));
        this.#networks.set(row.id, row);
      } else if (kind === 'endpoint') {
        const row = parsed(StoredEndpoint.safeParse(value));
        this.#endpoints.set(row.leg.endpointId, row);
      } else {
        const row = parsed(StoredAddress.safeParse(value));
        this.#addresses.set(addressKey(row), row);
      }
    }
  }

  list(): readonly DockerEndpoint[] {
    return [...this.#endpoints.values()];
  }

  /** Those that are joined to a container. */
  handed(): HandedEndpoint[] {
    return this.list().flatMap(({ leg, netns, taken }) => (netns === null ? [] : [{ leg, netns, taken }]));
  }

  /** Addresses on a network that are Docker's to give. */
  addressesOn(network: NetworkId): string[] {
    return [...this.#addresses.values()].filter(({ networkId }) => networkId === network).map(({ ip }) => ip);
  }

  /** Docker's networks of ours, by its ids. */
  networks(): ReadonlyMap<string, MirroredNetwork> {
    return this.#networks;
  }

  /** Whether Docker has a network that is to be that one of the cluster. */
  awaits(networkId: string): boolean {
    return [...this.#networks.values()].some((each) => each.awaited && each.networkId === networkId);
  }

  /** The network of the cluster behind one of Docker's; null when there is none any more. */
  findNetwork(dockerNetwork: string): Network | null {
    const known = this.#networks.get(dockerNetwork);
    return (known && this.#init.cluster().view.networks.get(known.networkId)) ?? null;
  }

  /** @throws RequestError where there is none */
  networkOf(dockerNetwork: string): Network {
    const network = this.findNetwork(dockerNetwork);
    if (network === null) {
      throw conflict(
        'network_not_ready',
        `network ${dockerNetwork.slice(0, 12)} is none of the cluster's (yet)`,
        'try again in a moment; `weft status` says if it cannot be one',
      );
    }
    return network;
  }

  async addNetwork(network: MirroredNetwork): Promise<void> {
    if (!this.#networks.has(network.id) && this.#networks.size >= maxNetworks) {
      throw conflict('too_many_networks', `Docker has ${maxNetworks} networks of Weft's on this host`);
    }
    await this.#commit([{ key: ['docker', 'network', network.id], value: network }]);
    this.#networks.set(network.id, network);
    for (const watch of this.#watches) watch();
  }

  /** Calls back when Docker has one more network of ours, or awaits one no longer. @returns ends that */
  watchNetworks(watch: () => void): () => void {
    this.#watches.add(watch);
    return () => this.#watches.delete(watch);
  }

  /** What Docker made will be none of the cluster: another of its name is. Who waits for it is told. */
  async awaitNoMore(id: string): Promise<void> {
    const { networkId, awaited = false } = this.#networks.get(id) ?? {};
    if (networkId !== undefined && awaited) await this.addNetwork({ id, networkId });
  }

  async removeNetwork(id: string): Promise<void> {
    await this.#commit([{ key: ['docker', 'network', id], value: null }]);
    this.#networks.delete(id);
  }

  /**
   * Forgets what Docker, which was wiped, has lost: networks that it has not listed since before then. One that it makes is not
   * listed for a moment.
   * @param listed ids of all that it has
   */
  async keepNetworks(listed: ReadonlySet<string>, beforeMs: number): Promise<void> {
    const unlisted = [...this.#networks.keys()].filter((id) => !listed.has(id));
    this.#unlistedMs = new Map(unlisted.map((id) => [id, this.#unlistedMs.get(id) ?? Date.now()]));
    for (const id of unlisted) if ((this.#unlistedMs.get(id) ?? beforeMs) < beforeMs) await this.removeNetwork(id);
  }

  /** An address for Docker to give away. @throws ControlPlaneError, RequestError */
  async takeAddress(network: Network, wanted: string | null, family: Family): Promise<string> {
    const kept = wanted === null ? undefined : this.#addresses.get(addressKey({ networkId: network.id, ip: wanted }));
    if (kept !== undefined && kept.freedMs !== null) {
      await this.#saveAddress({ ...kept, freedMs: null });
      return kept.ip;
    }
    if (this.#addresses.size >= maxAddresses) {
      throw conflict('too_many_addresses', `Docker has ${maxAddresses} addresses of Weft's on this host`);
    }
    const { interests, networks, allocator } = this.#init.cluster();
    // What the others have there is known before an address is chosen.
    const leave = await interests.enter(network.id);
    try {
      const { ip, ring, number } = await networks.allocateAddress(network, wanted, family);
      let kept = false;
      try {
        const since = { createdMs: Date.now(), freedMs: null };
        await this.#saveAddress({ networkId: network.id, ip, asked: wanted !== null, mac: null, ...since });
        kept = true;
      } finally {
        allocator.release(ring, number, kept);
      }
      return ip;
    } finally {
      leave();
    }
  }

  /** Docker has no use for it any more. One that it asked for is kept for it for a while: a restart gives it back and asks again. */
  async returnAddress(networkId: NetworkId, ip: string): Promise<void> {
    const row = this.#addresses.get(addressKey({ networkId, ip }));
    if (row === undefined || row.freedMs !== null) return;
    if (row.asked) await this.#saveAddress({ ...row, freedMs: Date.now() });
    else await this.#dropAddress(row);
  }

  async #saveAddress(row: DockerAddress): Promise<void> {
    await this.#commit([{ key: ['docker', 'address', row.networkId, row.ip], value: row }]);
    this.#addresses.set(addressKey(row), row);
  }

  async #dropAddress({ networkId, ip, freedMs }: DockerAddress): Promise<void> {
    this.#addresses.delete(addressKey({ networkId, ip }));
    const { view, networks } = this.#init.cluster();
    const network = view.networks.get(networkId);
    // What was kept has rested meanwhile.
    if (network !== undefined && freedMs === null) networks.rest(network, ip);
    await this.#commit([{ key: ['docker', 'address', networkId, ip], value: null }]);
  }

  /** @returns the MAC that it has. @throws RequestError */
  async create({ id, dockerNetwork, ip, ip6, mac }: EndpointAsked): Promise<string> {
    const network = this.networkOf(dockerNetwork);
    const before = this.#endpoints.get(id);
    if (before === undefined && this.#endpoints.size >= maxEndpoints) {
      throw conflict(
        'too_many_endpoints',
        `Docker has ${maxEndpoints} endpoints on this host, as many as a bridge has ports`,
      );
    }
    if (mac !== null) unusedMac(this.#init.cluster(), network, mac, id);
    const rows = [ip, ip6].flatMap(
      (each) => this.#addresses.get(addressKey({ networkId: network.id, ip: each ?? '' })) ?? [],
    );
    const leg: StoredLeg = {
      networkId: network.id,
      endpointId: id as StoredLeg['endpointId'],
      ifName: waitingName(id),
      mac: mac ?? before?.leg.mac ?? rows.find((row) => row.mac !== null)?.mac ?? randomMac(),
      ...{ ip, ip6, aliases: [], createdMs: before?.leg.createdMs ?? Date.now() },
    };
    const {
      netns = null,
      taken = false,
      name = unnamed(id),
      ready = true,
      ports = [],
      container = null,
      asks = null,
    } = before ?? {};
    await this.#save({ leg, netns, taken, name, ready, ports, container, asks });
    for (const row of rows) if (row.asked && row.mac !== leg.mac) await this.#saveAddress({ ...row, mac: leg.mac });
    return leg.mac;
  }

  /** Tells the others, and resolves when the interface waits on the host. @param netns of the container, which may not be there yet */
  async join(id: string, netns: string): Promise<StoredLeg> {
    return this.#inTurn(id, async () => {
      const endpoint = this.#find(id);
      const joined = { ...endpoint, netns, taken: false };
      const { leg } = joined;
      // Side by side: the others have their entries ready when the first packet leaves.
      const told = Promise.all([this.#save(joined), this.#announce(joined)]);
      this.#init.changed();
      try {
        await told;
        await kernelFollows((signal) => this.#init.applied(id, signal));
      } catch (error) {
        await this.#leave(joined);
        throw error;
      }
      await this.#save({ ...joined, taken: true });
      this.#init.changed();
      return leg;
    });
  }

  /** Whose it is: tells the others. */
  describe(id: string, { aliases, ...its }: EndpointDescription): Promise<void> {
    return this.#tell(id, (endpoint) => ({ ...endpoint, ...its, leg: { ...endpoint.leg, aliases } }));
  }

  /** What its container asks to be published: tells the others. */
  ask(id: string, asks: AskedPorts | null): Promise<void> {
    return this.#tell(id, (endpoint) => ({ ...endpoint, asks }));
  }

  async #tell(id: string, change: (endpoint: DockerEndpoint) => DockerEndpoint): Promise<void> {
    await this.#inTurn(id, async () => {
      const endpoint = this.#endpoints.get(id);
      if (endpoint === undefined) return;
      const described = change(endpoint);
      if (isDeepStrictEqual(described, endpoint)) return;
      // What a crash leaves between the two is told again.
      if (described.netns !== null && !this.#killed.has(id)) await this.#announce(described);
      await this.#save(described);
    });
  }

  #announce({ leg, ...its }: DockerEndpoint): Promise<void> {
    // Until Docker has said whose it is, it is a sandbox of its own to the others.
    return this.#announcements.announce({ ...its, id: its.container ?? leg.endpointId }, leg);
  }

  /** Gives back what no endpoint has had since before then: a moment lies between a request and the endpoint, or its end and the release. */
  async returnUnused(beforeMs: number): Promise<void> {
    const used = new Set(this.list().flatMap(({ leg }) => addressesOf(leg).map((ip) => addressKey({ ...leg, ip }))));
    const unused = [...this.#addresses].filter(([key]) => !used.has(key));
    this.#unusedMs = new Map(unused.map(([key, row]) => [key, row.freedMs ?? this.#unusedMs.get(key) ?? Date.now()]));
    for (const [key, row] of unused) if ((this.#unusedMs.get(key) ?? beforeMs) < beforeMs) await this.#dropAddress(row);
  }

  /** Its container runs no more, though Docker has yet to clear up after it: what others know of it is taken back. */
  async killed(id: string): Promise<void> {
    await this.#inTurn(id, async () => {
      const endpoint = this.#endpoints.get(id);
      if (endpoint === undefined || endpoint.netns === null) return;
      this.#killed.set(id, performance.now());
      await this.#announcements.withdraw([endpoint.leg]);
    });
  }

  /** It runs, whoever was killed: the others are told again if that was some time ago. */
  async runs(id: string, afterMs = surviveMs): Promise<void> {
    const sinceMs = this.#killed.get(id);
    if (sinceMs === undefined || performance.now() - sinceMs < afterMs) return;
    this.#killed.delete(id);
    await this.reconcile();
  }

  /** What others know of it is taken back; its interface goes as soon as the kernel is asked. */
  async leave(id: string): Promise<void> {
    await this.#inTurn(id, async () => {
      const endpoint = this.#endpoints.get(id);
      if (endpoint !== undefined) await this.#leave(endpoint);
    });
  }

  async #leave(endpoint: DockerEndpoint): Promise<void> {
    this.#killed.delete(endpoint.leg.endpointId);
    if (endpoint.netns === null) return;
    const left = { ...endpoint, netns: null, taken: false };
    await Promise.all([this.#save(left), this.#announcements.withdraw([endpoint.leg])]);
    this.#init.changed();
  }

  async remove(id: string): Promise<void> {
    await this.leave(id);
    await this.#commit([{ key: ['docker', 'endpoint', id], value: null }]);
    this.#endpoints.delete(id);
  }

  /** The node left the cluster. */
  async forget(): Promise<void> {
    const keys = [...this.#init.store.entries(['docker'])].map(([key]) => key);
    this.#networks.clear();
    this.#endpoints.clear();
    this.#killed.clear();
    this.#addresses.clear();
    await this.#commit(keys.map((key) => ({ key, value: null })));
  }

  /** Announces what the tables lack: what a crash between the two left behind. Networks that they have are awaited no more. */
  async reconcile(): Promise<void> {
    for (const { id, networkId, awaited } of this.#networks.values()) {
      if (awaited && this.#init.cluster().view.networks.has(networkId)) await this.addNetwork({ id, networkId });
    }
    for (const endpoint of this.list()) {
      const { leg, netns } = endpoint;
      if (netns === null || this.#killed.has(leg.endpointId) || this.#announcements.has(leg)) continue;
      if (!this.#init.cluster().view.networks.has(leg.networkId)) continue;
      await this.#announce(endpoint);
    }
  }

  /** One after the other: Docker asks for the end of what it has given up waiting for. */
  #inTurn<T>(id: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(id) ?? Promise.resolve();
    const done = before.then(work, work);
    this.#turns.set(id, done);
    const end = (): void => {
      if (this.#turns.get(id) === done) this.#turns.delete(id);
    };
    done.then(end, end);
    return done;
  }

  #find(id: string): DockerEndpoint {
    const endpoint = this.#endpoints.get(id);
    if (endpoint === undefined) throw notFound('endpoint', id.slice(0, 12));
    return endpoint;
  }

  async #save(endpoint: DockerEndpoint): Promise<void> {
    const { endpointId } = endpoint.leg;
    const before = this.#endpoints.get(endpointId);
    this.#endpoints.set(endpointId, endpoint);
    try {
      await this.#commit([{ key: ['docker', 'endpoint', endpointId], value: endpoint }]);
    } catch (error) {
      if (before === undefined) this.#endpoints.delete(endpointId);
      else this.#endpoints.set(endpointId, before);
      throw error;
    }
  }

  #commit(writes: readonly Write[]): Promise<void> {
    return this.#init.store.commit(writes);
  }
}

/** What it is called until Docker says whose it is. */
const unnamed = (id: string): string => `docker-${id.slice(0, 12)}`;

const addressKey = ({ networkId, ip }: Pick<DockerAddress, 'networkId' | 'ip'>): string => `${networkId} ${ip}`;

function parsed<T>(result: { success: true; data: T } | { success: false }): T {
  if (!result.success) throw damagedState('docker');
  return result.data;
}
