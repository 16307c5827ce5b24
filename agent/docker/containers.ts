import { ingressName } from '../../controlplane/networks.ts';
import { addressesOf, isName, isPort, maxAliases, maxPorts } from '../../controlplane/tables/kinds.ts';
import type { Logger } from '../daemon/log.ts';
import { meshAlias } from '../ingress/serving.ts';
import { AskingContainers } from './asking.ts';
import type { DockerClient } from './client.ts';
import type { DockerEndpoints, EndpointDescription } from './endpoints.ts';
import { DockerError, isNotFound } from './errors.ts';
import type { UnreadableEvent } from './events.ts';
import { askedOf } from './labels.ts';
import { isDockerId } from './protocol.ts';
import type { DockerContainer, DockerContainerSummary, DockerEvent } from './shapes.ts';

/** Events of one moment are looked at together. */
const coalesceMs = 20;
/** Between a network's gap in events and the next look, if nothing happens. */
const everyMs = 60_000;
/** After one that failed: of containers that go meanwhile Docker's list may be an error. */
const againMs = 1_000;
/** After one that lacked a container: Docker tells of it some time before it lists what that is on. Then twice as long. */
const soonMs = 250;
/** For what Docker says of one container: those after it are not to wait longer for one that is being copied from. */
const inspectMs = 2_000;

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
      ...{ ready, ports, container: isDockerId(id) ? id : null },
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
  /** Who of them asks for names. */
  readonly asking: AskingContainers;
  readonly #init: ContainersInit;
  readonly #graceMs: number;
  /** By endpoint. */
  readonly #asked = new Map<string, Asked>();
  #problems: readonly string[] = [];
  /** Endpoints that no container has, and since when: one that ends has it for a moment longer than its container runs. */
  #lostMs: ReadonlyMap<string, number> = new Map();
  #timer: NodeJS.Timeout | null = null;
  /** When that ends, by a clock that does not jump. */
  #dueMs = 0;
  #running = false;
  #again = false;
  #stopped = false;
  /** Until the next look after one that lacked something. */
  #soonMs = soonMs;

  constructor(init: ContainersInit) {
    this.#init = init;
    this.#graceMs = init.graceMs ?? 60_000;
    this.asking = new AskingContainers(init);
  }

  /** Labels that cannot be heeded, one line each. */
  warnings(): readonly string[] {
    return this.#problems;
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer) clearTimeout(this.#timer);
  }

  /** A container was killed: its exit, and its way off its networks, take Docker a while. */
  async killed({ id, atMs }: DockerEvent): Promise<void> {
    const { endpoints, log } = this.#init;
    for (const { leg } of endpoints.list()) {
      // It may have been started again since.
      if (this.asking.containerOf(leg.endpointId) !== id || leg.createdMs > atMs) continue;
      try {
        await endpoints.killed(leg.endpointId);
      } catch (error) {
        log.warn({ err: error }, 'an endpoint of a container that was killed is taken back only when Docker leaves it');
      }
    }
  }

  /** Something has happened in Docker, or an endpoint was joined. */
  wake(delayMs = coalesceMs): void {
    if (this.#stopped) return;
    if (this.#running) {
      this.#again = true;
      return;
    }
    const dueMs = performance.now() + delayMs;
    // One event after the other puts nothing off.
    if (this.#timer !== null && this.#dueMs <= dueMs) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#dueMs = dueMs;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.#look();
    }, delayMs);
  }

  async #look(): Promise<void> {
    this.#running = true;
    this.#again = false;
    let nextMs = everyMs;
    try {
      try {
        const isWhole = await this.#sync();
        if (!isWhole) nextMs = this.#soonMs;
        this.#soonMs = isWhole ? soonMs : Math.min(this.#soonMs * 2, everyMs);
      } finally {
        // Also while there is no Docker: what it gave back is nobody's.
        await this.#init.endpoints.returnUnused(Date.now() - this.#graceMs);
      }
    } catch (error) {
      nextMs = againMs;
      // Without Docker nothing is known; it is looked at again when it is there.
      if (!(error instanceof DockerError)) this.#init.log.error({ err: error }, "following Docker's containers failed");
    } finally {
      this.#running = false;
      this.wake(this.#again ? coalesceMs : nextMs);
    }
  }

  /** False when something is to be looked at again soon. */
  async #sync(): Promise<boolean> {
    const { client, endpoints, log } = this.#init;
    let isWhole = true;
    const sinceMs = Date.now();
    const containers = await client.containers({}, { all: true });
    const present = new Map(containers.flatMap((each) => endpointIdsOf(each).map((id) => [id, each] as const)));
    await this.asking.follow(containers);
    const { asked, problems } = askedOf(containers, (id) => endpoints.findNetwork(id));
    this.#problems = problems;
    for (const { leg, netns } of endpoints.list()) {
      const container = present.get(leg.endpointId);
      if (netns === null) continue;
      if (container === undefined) {
        isWhole = false;
        continue;
      }
      if (container.state === 'running') await endpoints.runs(leg.endpointId);
      if (hasChanged(container, this.#asked.get(leg.endpointId)) && !(await this.#ask(container))) isWhole = false;
      if (!ended.has(container.state)) await endpoints.ask(leg.endpointId, asked.get(leg.endpointId) ?? null);
    }
    for (const container of containers) if (ended.has(container.state)) await this.#forgetLeg(container);
    for (const id of this.#asked.keys()) if (!present.has(id)) this.#asked.delete(id);
    const held = heldBy(containers);
    const lost = endpoints.list().flatMap(({ leg }) => (held.has(leg.endpointId) ? [] : [leg]));
    this.#lostMs = new Map(lost.map(({ endpointId: id }) => [id, this.#lostMs.get(id) ?? sinceMs]));
    for (const leg of lost) {
      const { endpointId: id, networkId } = leg;
      if ((this.#lostMs.get(id) ?? sinceMs) > sinceMs - this.#graceMs) continue;
      log.warn({ endpoint: id.slice(0, 12) }, 'Docker has lost an endpoint without a word; it is taken back');
      await endpoints.remove(id);
      for (const ip of addressesOf(leg)) await endpoints.returnAddress(networkId, ip);
    }
    return isWhole;
  }

  /**
   * A container that does not run keeps the ids of its networks, and does not start where one of them has been made anew since. Of
   * the leg that it had for published ports it need not know: it is given one again.
   */
  async #forgetLeg({ id, networks }: DockerContainerSummary): Promise<void> {
    const { client, endpoints, log } = this.#init;
    const networkId = networks.get(ingressName)?.networkId ?? '';
    if (networkId === '' || endpoints.networks().has(networkId)) return;
    try {
      const container = await client.container(id, { timeoutMs: inspectMs });
      if (!container.networks.get(ingressName)?.aliases.includes(meshAlias)) return;
      await client.disconnect(ingressName, id, { timeoutMs: inspectMs });
    } catch (error) {
      if (!(error instanceof DockerError)) throw error;
      if (!isNotFound(error)) log.warn({ err: error }, 'a container keeps its leg on a network that is another by now');
    }
  }

  /** False when Docker did not say in time. */
  async #ask({ id }: DockerContainerSummary): Promise<boolean> {
    const { client, endpoints } = this.#init;
    try {
      const container = await client.container(id, { timeoutMs: inspectMs });
      for (const [endpointId, names] of namesOf(container)) {
        await endpoints.describe(endpointId, names);
        this.#asked.set(endpointId, { name: container.name, health: container.health });
      }
    } catch (error) {
      if (error instanceof DockerError && error.code === 'timeout') return false;
      if (!isNotFound(error)) throw error;
    }
    return true;
  }
}

const endpointIdsOf = ({ networks }: DockerContainerSummary): string[] =>
  [...networks.values()].map(({ endpointId }) => endpointId).filter((id) => id !== '');
