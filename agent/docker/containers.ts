import type { EndpointId } from '../../controlplane/ids.ts';
import { isName, isPort, maxAliases, maxPorts } from '../../controlplane/tables/kinds.ts';
import { gatewayBridgeName } from '../../dataplane/gateway-subnet.ts';
import type { Logger } from '../daemon/log.ts';
import type { StoredLeg } from '../sandbox-state.ts';
import type { DockerClient } from './client.ts';
import type { DockerEndpoints, EndpointDescription } from './endpoints.ts';
import { DockerError, isNotFound } from './errors.ts';
import type { UnreadableEvent } from './events.ts';
import type { DockerContainer, DockerContainerSummary, DockerEvent } from './shapes.ts';

/** Events of one moment are looked at together. */
const coalesceMs = 20;
/** Between a network's gap in events and the next look, if nothing happens. */
const everyMs = 60_000;

/** Events after which a container may have other names, or is gone. */
const telling = new Set(['start', 'die', 'rename', 'destroy', 'connect', 'disconnect']);

/** Whoever has it asks that names lead to a container only while its health check says that it is healthy. */
const healthLabel = ['weft.dns', 'healthy'] as const;
const heedsHealth = (labels: ReadonlyMap<string, string>): boolean => labels.get(healthLabel[0]) === healthLabel[1];

/** Events of a container carry its labels; its health is told as `health_status: healthy`. */
export const isTelling = (event: DockerEvent | UnreadableEvent): boolean =>
  event.type === 'unreadable' ||
  telling.has(event.action) ||
  (event.action.startsWith('health_status') && heedsHealth(event.attributes));

/** Whether names may lead to it. Without a health check nobody says that it does not work. */
export const isReady = ({ labels, health }: Pick<DockerContainer, 'labels' | 'health'>): boolean =>
  !heedsHealth(labels) || health === 'none' || health === 'healthy';

/** Whether a container is ended by it whatever it does (signal(7): SIGKILL is 9). */
export const isKilling = (event: DockerEvent | UnreadableEvent): event is DockerEvent =>
  event.type === 'container' && event.action === 'kill' && event.attributes.get('signal') === '9';

/** Docker may go on to list the endpoint of such a container, after a crash while it took it down. */
const ended = new Set(['created', 'exited', 'dead', 'removing']);

/** Ids of the endpoints that containers have. */
export const heldBy = (containers: readonly DockerContainerSummary[]): ReadonlySet<string> =>
  new Set(containers.filter(({ state }) => !ended.has(state)).flatMap(endpointIdsOf));

/** What a container is called on each of its endpoints: its name, what else it answers to, and what it serves. */
export function namesOf(container: DockerContainer): Map<string, EndpointDescription> {
  const { id, name, hostname, networks } = container;
  const ready = isReady(container);
  const ports = container.ports.filter(isPort).slice(0, maxPorts);
  const names = new Map<string, EndpointDescription>();
  for (const { endpointId, aliases, dnsNames } of networks.values()) {
    if (endpointId === '') continue;
    const others = [...new Set([...aliases, ...dnsNames, hostname])].filter((each) => each !== name && isName(each));
    names.set(endpointId, {
      name: isName(name) ? name : id.slice(0, 12),
      aliases: others.slice(0, maxAliases),
      ...{ ready, ports },
    });
  }
  return names;
}

/** What was asked of a container when its endpoint was last described. */
interface Asked {
  readonly name: string;
  readonly health: string;
}

/** Whether a list says of a container what may change what its endpoints are called. */
export const hasChanged = ({ name, labels, health }: DockerContainerSummary, asked: Asked | undefined): boolean =>
  asked === undefined || asked.name !== name || (heedsHealth(labels) && health !== null && health !== asked.health);

/** A container as the host's resolver sees it: where it asks from, and what it is on. */
export interface ContainerAsker {
  readonly gateway: { readonly ip: string };
  readonly legs: readonly StoredLeg[];
}

export interface ContainersInit {
  readonly client: DockerClient;
  readonly endpoints: DockerEndpoints;
  readonly log: Logger;
  /** How long what Docker does not list is left to it. @default one minute */
  readonly graceMs?: number;
  /** Containers have come or gone, or have other addresses on docker_gwbridge. */
  readonly changed: () => void;
}

/** Follows whose endpoints Docker's are: their names, and that they are still there. The driver is told neither. */
export class Containers {
  readonly #init: ContainersInit;
  readonly #graceMs: number;
  /** By endpoint. */
  readonly #asked = new Map<string, Asked>();
  /** Id of the container of each endpoint. */
  #containerOf = new Map<string, string>();
  /** Address of each container on docker_gwbridge, by its id. */
  #gatewayIps: ReadonlyMap<string, string> = new Map();
  /** Endpoints that no container has, and since when: one that ends has it for a moment longer than its container runs. */
  #lostMs: ReadonlyMap<string, number> = new Map();
  #identifying: Promise<void> | null = null;
  #identifyNext: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;
  #running = false;
  #again = false;
  #stopped = false;

  constructor(init: ContainersInit) {
    this.#init = init;
    this.#graceMs = init.graceMs ?? 60_000;
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer) clearTimeout(this.#timer);
  }

  /** Containers that can ask the host's resolver, on all networks that they are joined to by now. */
  askers(): ContainerAsker[] {
    const legs = new Map<string, StoredLeg[]>();
    const netnsOf = new Map<string, string>();
    for (const { leg, netns } of this.#init.endpoints.list()) {
      if (netns === null) continue;
      legs.set(netns, [...(legs.get(netns) ?? []), leg]);
      const container = this.#containerOf.get(leg.endpointId);
      if (container !== undefined) netnsOf.set(container, netns);
    }
    return [...this.#gatewayIps].flatMap(([container, ip]) => {
      const netns = netnsOf.get(container);
      return netns === undefined ? [] : [{ gateway: { ip }, legs: legs.get(netns) ?? [] }];
    });
  }

  /** A container was killed: its exit, and its way off its networks, take Docker a while. */
  async killed({ id, atMs }: DockerEvent): Promise<void> {
    const { endpoints, log } = this.#init;
    for (const { leg } of endpoints.list()) {
      // It may have been started again since.
      if (this.#containerOf.get(leg.endpointId) !== id || leg.createdMs > atMs) continue;
      try {
        await endpoints.killed(leg.endpointId);
      } catch (error) {
        log.warn({ err: error }, 'an endpoint of a container that was killed is taken back only when Docker leaves it');
      }
    }
  }

  /**
   * Looks who is on docker_gwbridge, and whose the endpoints are that no list has told of yet: Docker lists what a container is
   * on only once it has started, when its program runs and asks for names. Whoever calls during a look has the next one. Never
   * rejects.
   */
  identify(): Promise<void> {
    if (this.#identifying === null) {
      this.#identifying = this.#identify().finally(() => {
        this.#identifying = null;
      });
      return this.#identifying;
    }
    this.#identifyNext ??= this.#identifying.then(() => {
      this.#identifyNext = null;
      return this.identify();
    });
    return this.#identifyNext;
  }

  async #identify(): Promise<void> {
    const { client, endpoints, log } = this.#init;
    try {
      const joined = endpoints.list().filter(({ netns }) => netns !== null);
      const untold = joined.filter(({ leg }) => !this.#containerOf.has(leg.endpointId));
      const networks = new Set<string>(untold.map(({ leg }) => leg.networkId));
      const ids = [...endpoints.networks().values()].filter(({ networkId }) => networks.has(networkId));
      // Not by the containers themselves, which Docker locks while they start.
      const [gatewayIps, ...found] = await Promise.all([
        this.#gateways(),
        ...ids.map(({ id }) => client.network(id).catch(ignoreMissing)),
      ]);
      this.#gatewayIps = gatewayIps;
      for (const network of found) {
        for (const [container, { endpointId }] of network?.containers ?? [])
          this.#containerOf.set(endpointId, container);
      }
      this.#init.changed();
    } catch (error) {
      if (!(error instanceof DockerError)) log.error({ err: error }, 'looking who asks for names failed');
    }
  }

  /** Something has happened in Docker, or an endpoint was joined. */
  wake(delayMs = coalesceMs): void {
    if (this.#stopped) return;
    if (this.#running) {
      this.#again = true;
      return;
    }
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.#look();
    }, delayMs);
  }

  async #look(): Promise<void> {
    this.#running = true;
    this.#again = false;
    try {
      try {
        await this.#sync();
      } finally {
        // Also while there is no Docker: what it gave back is nobody's.
        await this.#init.endpoints.returnUnused(Date.now() - this.#graceMs);
      }
    } catch (error) {
      // Without Docker nothing is known; it is looked at again when it is there.
      if (!(error instanceof DockerError)) this.#init.log.error({ err: error }, "following Docker's containers failed");
    } finally {
      this.#running = false;
      this.wake(this.#again ? coalesceMs : everyMs);
    }
  }

  async #sync(): Promise<void> {
    const { client, endpoints, log } = this.#init;
    const sinceMs = Date.now();
    const containers = await client.containers({}, { all: true });
    const present = new Map(containers.flatMap((each) => endpointIdsOf(each).map((id) => [id, each] as const)));
    const joined = new Set(endpoints.list().flatMap(({ leg, netns }) => (netns === null ? [] : [leg.endpointId])));
    const untold = [...this.#containerOf].filter(([id]) => joined.has(id as EndpointId));
    this.#containerOf = new Map([...untold, ...[...present].map(([endpoint, { id }]) => [endpoint, id] as const)]);
    this.#gatewayIps = await this.#gateways();
    this.#init.changed();
    for (const { leg, netns } of endpoints.list()) {
      const container = present.get(leg.endpointId);
      if (container === undefined || netns === null) continue;
      if (container.state === 'running') await endpoints.runs(leg.endpointId);
      if (hasChanged(container, this.#asked.get(leg.endpointId))) await this.#ask(container);
    }
    for (const id of this.#asked.keys()) if (!present.has(id)) this.#asked.delete(id);
    const held = heldBy(containers);
    const lost = endpoints.list().flatMap(({ leg: { endpointId: id } }) => (held.has(id) ? [] : [id]));
    this.#lostMs = new Map(lost.map((id) => [id, this.#lostMs.get(id) ?? sinceMs]));
    for (const [id, lostMs] of this.#lostMs) {
      if (lostMs > sinceMs - this.#graceMs) continue;
      log.warn({ endpoint: id.slice(0, 12) }, 'Docker has lost an endpoint without a word; it is taken back');
      await endpoints.remove(id);
    }
  }

  /** Docker tells whose a port of docker_gwbridge is with the network alone. */
  async #gateways(): Promise<Map<string, string>> {
    try {
      const { containers } = await this.#init.client.network(gatewayBridgeName);
      return new Map([...containers].map(([id, { ipv4 }]) => [id, ipv4.replace(/\/.*/, '')]));
    } catch (error) {
      if (isNotFound(error)) return new Map();
      throw error;
    }
  }

  async #ask({ id }: DockerContainerSummary): Promise<void> {
    const { client, endpoints } = this.#init;
    try {
      const container = await client.container(id);
      for (const [endpointId, names] of namesOf(container)) {
        await endpoints.describe(endpointId, names);
        this.#asked.set(endpointId, { name: container.name, health: container.health });
      }
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}

function ignoreMissing(error: unknown): null {
  if (isNotFound(error)) return null;
  throw error;
}

const endpointIdsOf = ({ networks }: DockerContainerSummary): string[] =>
  [...networks.values()].map(({ endpointId }) => endpointId).filter((id) => id !== '');
