import type { Cluster } from '../../controlplane/cluster.ts';
import type { NetworkId } from '../../controlplane/ids.ts';
import { type EndpointValue, networkTopic, servesWithin } from '../../controlplane/tables/kinds.ts';
import { isOf, type Service } from '../../controlplane/tables/services.ts';
import type { Endpoint, Network } from '../../controlplane/tables/view.ts';
import { RequestError } from '../daemon/api-error.ts';
import type { Background } from '../daemon/background.ts';
import type { Logger } from '../daemon/log.ts';
import type { StoredLeg } from '../sandbox-state.ts';
import { ingressIn } from './mesh.ts';

/** On ingress, of a leg that was made for the mesh, and goes when nothing needs it any more. */
export const meshAlias = 'mesh.weft';
/** Changes of one moment are looked at together. */
const coalesceMs = 10;
const againMs = 2_000;
/** What is being made or changed is done with that soon. */
const busyAgainMs = 20;

/** A sandbox of this host, or a container of its Docker. */
export interface Carrier {
  readonly id: string;
  readonly legs: readonly Pick<StoredLeg, 'networkId' | 'endpointId' | 'aliases'>[];
  /** Gets a leg on the ingress network, of that alias besides its name. */
  readonly join: (alias: string) => Promise<unknown>;
  readonly leave: () => Promise<unknown>;
}

/** The services that a carrier is an endpoint of. Pure. @param own its endpoints, as the tables have them */
export function servedBy(own: readonly Endpoint[], services: Iterable<Service>): string[] {
  const served: string[] = [];
  for (const service of services) {
    if (service.ports.length === 0) continue;
    if (own.some((each) => isOf(service, each))) served.push(service.key);
  }
  return served.sort();
}

export interface ServingInit {
  readonly log: Logger;
  readonly background: Background;
  /** null unless the node is a member, and to stay one. */
  readonly cluster: () => Cluster | null;
  readonly carriers: () => readonly Carrier[];
}

/** Sees to it that what serves a published port has a leg on the ingress network, and that the others know. */
export class Serving {
  readonly #init: ServingInit;
  readonly #problems = new Map<string, string>();
  /** Of the next run, by a clock that does not jump; null: none is due. */
  #dueMs: number | null = null;
  #running = false;
  #again = false;
  /** A carrier was in the hands of somebody else. */
  #busy = false;

  constructor(init: ServingInit) {
    this.#init = init;
  }

  warnings(): string[] {
    return [...this.#problems.values()];
  }

  /** Services, endpoints or carriers have changed. */
  wake(delayMs = coalesceMs): void {
    const dueMs = performance.now() + delayMs;
    if (this.#running) this.#again = true;
    else if (this.#dueMs === null || dueMs < this.#dueMs) {
      this.#dueMs = dueMs;
      this.#init.background.later(delayMs, () => this.#run());
    }
  }

  async #run(): Promise<void> {
    // A later one that was overtaken.
    if (this.#running) return;
    this.#dueMs = null;
    this.#running = true;
    this.#again = false;
    this.#busy = false;
    try {
      await this.#sync();
    } finally {
      this.#running = false;
      if (this.#again) this.wake();
      else if (this.#busy) this.wake(busyAgainMs);
      else if (this.#problems.size > 0) this.wake(againMs);
    }
  }

  async #sync(): Promise<void> {
    const { cluster: clusterNow, carriers, log } = this.#init;
    const cluster = clusterNow();
    const ingress = cluster && ingressIn(cluster.view.networks);
    const before = new Map(this.#problems);
    this.#problems.clear();
    if (!cluster || !ingress) return;
    const services = [...cluster.view.services.values()];
    for (const carrier of carriers()) {
      try {
        await this.#settle(cluster, ingress, services, carrier);
      } catch (error) {
        if (error instanceof RequestError && error.code === 'sandbox_busy') {
          this.#busy = true;
          continue;
        }
        const message = error instanceof Error ? error.message : String(error);
        this.#problems.set(carrier.id, `what serves a published port has no leg on ingress: ${message}`);
        if (!before.has(carrier.id)) log.warn({ err: error }, 'a leg on ingress for a published port; trying again');
      }
    }
  }

  async #settle(
    { view, self, tables }: Cluster,
    ingress: Network,
    services: readonly Service[],
    carrier: Carrier,
  ): Promise<void> {
    const recordOf = ({ networkId, endpointId }: { networkId: NetworkId; endpointId: string }): Endpoint | undefined =>
      view.endpointsOf(networkId).get(`${self} ${endpointId}`);
    const leg = carrier.legs.find(({ networkId }) => networkId === ingress.id);
    const own = carrier.legs.filter((each) => each !== leg).flatMap((each) => recordOf(each) ?? []);
    const served = servedBy(own, services);
    if (leg === undefined) {
      if (served.length > 0) await carrier.join(meshAlias);
      return;
    }
    const topic = networkTopic(ingress.id);
    const key = `ep/${leg.endpointId}`;
    const value = tables.own(topic, key)?.record.value as EndpointValue | undefined;
    if (value !== undefined) {
      const { serves: before = [], ...rest } = value;
      const serves = servesWithin(value.aliases, served);
      const next = serves.length === 0 ? rest : { ...rest, serves };
      if (before.join() !== serves.join()) await tables.put(topic, key, next, true);
    }
    if (served.length === 0 && leg.aliases.includes(meshAlias)) await carrier.leave();
  }
}
