import type { Cluster } from '../../controlplane/cluster.ts';
import type { NetworkId } from '../../controlplane/ids.ts';
import { mayAsk } from '../../controlplane/labelled-ports.ts';
import type { Store } from '../../controlplane/store.ts';
import type { NetworkCreateRequest } from '../api/schema.ts';
import type { Logger } from '../daemon/log.ts';
import type { Carrier } from '../ingress/serving.ts';
import type { StoredLeg } from '../sandbox-state.ts';
import { requestFor } from './adopt.ts';
import type { AskingContainers } from './asking.ts';
import { AwaitedPools } from './awaited-pools.ts';
import { DockerClient } from './client.ts';
import { Containers } from './containers.ts';
import { callsOf } from './driver.ts';
import { DockerEndpoints, type DockerEndpointsInit } from './endpoints.ts';
import { internalWarnings } from './internal.ts';
import { unheardOf } from './labels.ts';
import { Mirror } from './mirror.ts';
import type { GatewayNetwork } from './mirror-plan.ts';
import type { Answer } from './plugin.ts';
import type { MirroredNetwork } from './state.ts';

/** How long a network that Docker does not list is left to it. */
const graceMs = 60_000;

export interface DockerInit extends Pick<DockerEndpointsInit, 'changed' | 'applied'> {
  readonly store: Store;
  readonly log: Logger;
  readonly socketPath: string;
  /** @throws RequestError where the node is in no cluster */
  readonly cluster: () => Cluster;
  /** null outside of a cluster. */
  readonly active: () => Cluster | null;
  /** Makes a network in the cluster. @param id null: a new one. @throws RequestError, ControlPlaneError */
  readonly create: (request: NetworkCreateRequest, id: NetworkId | null) => Promise<void>;
  /** docker_gwbridge; null where it is not made. */
  readonly gateway: () => GatewayNetwork | null;
  /** Who may ask for names has changed. */
  readonly askersChanged: () => void;
}

/** Docker on this host: what it asks of us, what it was given, and what it is to have. */
export class Docker {
  readonly endpoints: DockerEndpoints;
  readonly #init: DockerInit;
  readonly #client: DockerClient;
  readonly #pools = new AwaitedPools();
  readonly #mirror: Mirror;
  readonly #containers: Containers;
  /** Ids of the networks that Docker listed last. */
  #listed: ReadonlySet<string> = new Set();

  constructor(init: DockerInit) {
    const { store, log, cluster, changed, applied } = init;
    this.#init = init;
    const client = new DockerClient({ socketPath: init.socketPath });
    this.#client = client;
    this.endpoints = new DockerEndpoints({ store, cluster, changed, applied });
    this.#containers = new Containers({ client, endpoints: this.endpoints, log, changed: init.askersChanged });
    this.#mirror = new Mirror({
      ...{ client, log, gateway: init.gateway },
      containers: () => this.#containers.wake(),
      killed: (event) => void this.#containers.killed(event),
      listed: (ids) => {
        const before = this.#listed;
        this.#listed = ids;
        if (ids.size !== before.size || [...ids].some((id) => !before.has(id))) this.#containers.wake();
        return this.endpoints.keepNetworks(ids, Date.now() - graceMs);
      },
      known: () => this.endpoints.networks(),
      refused: (id) => this.endpoints.awaitNoMore(id),
      adopt: async ({ network, as }) => {
        await init.create(requestFor(network), as);
        if (as !== null) this.#pools.arrived(as);
      },
      networks: () => {
        const member = init.active();
        return member && [...member.view.networks.values()];
      },
    });
  }

  /** What dockerd may ask of its plugin. */
  get calls(): ReadonlyMap<string, Answer> {
    return callsOf({
      ...{ cluster: this.#init.cluster, endpoints: this.endpoints, pools: this.#pools },
      isRemoving: (id) => this.#mirror.isRemoving(id),
      making: () => this.#mirror.making,
      bridged: () => this.#mirror.bridged(),
    });
  }

  /** Containers, by where they ask for names from. */
  get asking(): AskingContainers {
    return this.#containers.asking;
  }

  /** Containers that run, to be put on the ingress network and taken off again. */
  carriers(ingress: NetworkId): Carrier[] {
    const legs = new Map<string, StoredLeg[]>();
    for (const { leg, netns } of this.endpoints.list()) {
      const container = this.asking.containerOf(leg.endpointId);
      if (netns !== null && container !== undefined) legs.set(container, [...(legs.get(container) ?? []), leg]);
    }
    const isIt = ({ id, networkId }: MirroredNetwork): boolean => networkId === ingress && this.#listed.has(id);
    const network = [...this.endpoints.networks().values()].find(isIt)?.id;
    const isThere = (leg: StoredLeg): boolean =>
      this.endpoints.list().some((each) => each.leg.endpointId === leg.endpointId && each.netns !== null);
    return [...legs].map(([id, its]) => ({
      ...{ id, legs: its },
      join: async (alias) => {
        if (network === undefined) throw new Error('Docker on this host does not have that network yet');
        // Others came before, which took its time.
        if (!its.some(isThere)) return;
        await this.#client.connect(network, id, { aliases: [alias] });
      },
      leave: async () => network && this.#client.disconnect(network, id),
    }));
  }

  /** What is not as somebody may want it, one line each. */
  warnings(): readonly string[] {
    const member = this.#init.active();
    return [
      ...this.#mirror.warnings(),
      ...this.#containers.warnings(),
      ...(member === null ? [] : internalWarnings(this.endpoints.list(), member)),
      ...(member === null ? [] : this.#unheardOf(member)),
    ];
  }

  #unheardOf({ isManager, self, view }: Cluster): readonly string[] {
    if (isManager || mayAsk(view, self)) return [];
    return unheardOf(this.endpoints.list(), view.nodes.get(self)?.hostname ?? self);
  }

  /** Follows Docker until the signal aborts. */
  follow(signal: AbortSignal): Promise<void> {
    return this.#mirror.run(signal);
  }

  /** The cluster's networks have changed. */
  wake(): void {
    this.#mirror.wake();
  }

  stop(): void {
    this.#containers.stop();
  }

  /** The node left the cluster. */
  async forget(): Promise<void> {
    await this.endpoints.forget();
    this.wake();
  }
}
