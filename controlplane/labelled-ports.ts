import type { Environment, Log } from './environment.ts';
import { ControlPlaneError } from './errors.ts';
import type { NodeId } from './ids.ts';
import { portText } from './service-checks.ts';
import type { Services } from './services.ts';
import {
  alike,
  overlapping,
  type Service,
  type ServiceKey,
  type ServicePort,
  serviceKey,
  without,
} from './tables/services.ts';
import type { Endpoint, Network, Touched, View } from './tables/view.ts';

/** What no endpoint asks for any more: a container that is started again, or moved, asks again by then. */
export const askAgainMs = 60_000;

/** What one endpoint asks to be published. */
interface Wish {
  readonly owner: NodeId;
  readonly endpoint: string;
  readonly network: Endpoint['networkId'];
  readonly name: string;
  readonly key: ServiceKey;
  readonly ports: readonly ServicePort[];
}

export interface LabelledPortsInit {
  readonly self: NodeId;
  readonly view: View;
  readonly services: Services;
  readonly environment: Environment;
  readonly log: Log;
  readonly isManager: (node: NodeId) => boolean;
  readonly isSuspended: (node: NodeId) => boolean;
}

/** The label of a worker, set by managers, with which its endpoints are heard. */
const allowLabel = { key: 'weft.publish', value: 'allow' };

/** Whether a worker may ask for ports of the cluster. */
export const mayAsk = (view: Pick<View, 'nodeLabels'>, node: NodeId): boolean =>
  view.nodeLabels(node)[allowLabel.key] === allowLabel.value;

/** How a manager says so. */
export const allowWords = (hostname: string): string =>
  `weft node update --label-add ${allowLabel.key}=${allowLabel.value} ${hostname}`;

/**
 * Publishes what endpoints ask for, and takes it back when none asks any more. Endpoints of managers are heard, and of workers
 * that a manager has allowed it, or any worker could take any port of the cluster. Each manager publishes for its own; of
 * those that are up the first by id publishes for workers, and takes back.
 */
export class LabelledPorts {
  readonly #init: LabelledPortsInit;
  /** By network, owner and endpoint. */
  readonly #wishes = new Map<string, Wish>();
  /** By service and port: since when nobody has asked for it. */
  #unaskedMs = new Map<string, number>();
  readonly #problems = new Map<string, string>();
  #running = false;
  #again = false;
  #stopped = false;
  #cancel: () => void = () => {};

  constructor(init: LabelledPortsInit) {
    this.#init = init;
  }

  start(): void {
    for (const endpoints of this.#init.view.endpoints.values()) {
      for (const [name, endpoint] of endpoints) this.#heard(endpoint.networkId, name, endpoint);
    }
    this.#wake(0);
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  warnings(): string[] {
    return [...this.#problems.values()];
  }

  follow({ endpoints, services, networks, nodes, roles, removed }: Touched): void {
    let heard = services || networks || nodes || roles || removed.length > 0;
    for (const [network, names] of endpoints) {
      const all = this.#init.view.endpointsOf(network);
      for (const name of names) heard = this.#heard(network, name, all.get(name)) || heard;
    }
    if (heard) this.#wake(0);
  }

  /** @returns whether it asks for something, or did */
  #heard(network: Endpoint['networkId'], name: string, endpoint: Endpoint | undefined): boolean {
    const key = `${network} ${name}`;
    if (endpoint?.asks === undefined) return this.#wishes.delete(key);
    const { service, ports } = endpoint.asks;
    this.#wishes.set(key, {
      ...{ owner: endpoint.owner, endpoint: endpoint.name, network, name: service, key: serviceKey(network, service) },
      ports: ports.map(([protocol, published, target, count]) => ({
        ...{ protocol, published, target, count },
        ...{ mode: 'ingress', label: true },
      })),
    });
    return true;
  }

  /** A node is back, or is not: another one may be the first, which publishes for workers. */
  heardOfLiveness(): void {
    const { isManager } = this.#init;
    if ([...this.#wishes.values()].some(({ owner }) => !isManager(owner))) this.#wake(0);
  }

  #wake(delayMs: number): void {
    if (this.#stopped) return;
    this.#again = true;
    if (this.#running) return;
    this.#cancel();
    this.#cancel = this.#init.environment.timer(delayMs, () => void this.#run());
  }

  async #run(): Promise<void> {
    this.#running = true;
    this.#again = false;
    const nextMs = await this.#settle().catch((error: unknown) => {
      this.#init.log.error({ err: error }, 'ports that endpoints ask for are not looked after');
      return askAgainMs;
    });
    this.#running = false;
    if (this.#again) this.#wake(0);
    else if (nextMs !== null) this.#wake(nextMs);
  }

  /** @returns in how many milliseconds to look again, whatever happens until then; null: not at all */
  async #settle(): Promise<number | null> {
    const { self, view, isManager } = this.#init;
    this.#problems.clear();
    if (!isManager(self)) {
      this.#unaskedMs.clear();
      return null;
    }
    const counting = [...this.#wishes.values()].filter(({ owner }) => isManager(owner) || mayAsk(view, owner));
    for (const wish of counting) {
      const network = view.networks.get(wish.network);
      const isOurs = isManager(wish.owner) ? wish.owner === self : this.#isFirst();
      if (isOurs && network !== undefined) await this.#publish(network, wish, counting);
    }
    return this.#takeBack(counting);
  }

  async #publish(network: Network, { name, key, endpoint, ports }: Wish, counting: readonly Wish[]): Promise<void> {
    const { services, view } = this.#init;
    for (const port of ports) {
      try {
        const has = entriesOf(view.services.get(key));
        const missing = without(
          port,
          has.filter((each) => alike(each, port)),
        );
        if (missing.length === 0) continue;
        await this.#makeWay(missing, counting);
        await services.publish({ network, name, ports: missing });
      } catch (error) {
        if (!(error instanceof ControlPlaneError)) throw error;
        const line = `${endpoint} asks by its label for port ${portText(port)} of the cluster: ${error.message}`;
        this.#problems.set(`${key} ${endpoint} ${portText(port)}`, line);
      }
    }
  }

  /** What a container asked for that was made anew with another label, or on another network, nobody waits for. */
  async #makeWay(ports: readonly ServicePort[], counting: readonly Wish[]): Promise<void> {
    const { services, view } = this.#init;
    for (const service of [...view.services.values()]) {
      const unasked = unaskedOf(service, counting);
      const going = unasked.filter((each) => ports.some((port) => overlapping(each, port)));
      const network = view.networks.get(service.network);
      if (going.length > 0 && network !== undefined) await services.unpublishLabelled(network, service.name, going);
    }
  }

  async #takeBack(counting: readonly Wish[]): Promise<number | null> {
    const { view, services, environment } = this.#init;
    const nowMs = environment.monotonicMs();
    const since = new Map<string, number>();
    let nextMs: number | null = null;
    for (const service of [...view.services.values()]) {
      const unasked = unaskedOf(service, counting);
      const going = unasked.filter((port) => {
        const id = `${service.key} ${portText(port)}`;
        const sinceMs = this.#unaskedMs.get(id) ?? nowMs;
        const leftMs = sinceMs + askAgainMs - nowMs;
        since.set(id, sinceMs);
        if (leftMs > 0) nextMs = Math.min(nextMs ?? leftMs, leftMs);
        return leftMs <= 0;
      });
      if (going.length === 0) continue;
      const network = view.networks.get(service.network);
      if (network !== undefined && this.#isFirst()) await services.unpublishLabelled(network, service.name, going);
      // Another one takes it back, unless it goes before it has.
      else nextMs = Math.min(nextMs ?? askAgainMs, askAgainMs);
    }
    this.#unaskedMs = since;
    return nextMs;
  }

  #isFirst(): boolean {
    const { self, view, isManager, isSuspended } = this.#init;
    return [...view.nodes.keys()].every((id) => id >= self || !isManager(id) || isSuspended(id));
  }
}

const entriesOf = (service: Service | undefined): ServicePort[] =>
  service === undefined ? [] : [...service.ports, ...service.lost.map(({ port }) => port)];

/** What of a service's entries no endpoint asks for any more. */
function unaskedOf(service: Service, counting: readonly Wish[]): ServicePort[] {
  const asked = counting.flatMap(({ key, ports }) => (key === service.key ? ports : []));
  return entriesOf(service).flatMap((port) =>
    port.label
      ? without(
          port,
          asked.filter((each) => alike(each, port)),
        )
      : [],
  );
}
