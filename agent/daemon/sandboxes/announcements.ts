import type { Cluster } from '../../../controlplane/cluster.ts';
import {
  addressesOf,
  type EndpointValue,
  isName,
  maxAliases,
  maxPorts,
  networkTopic,
} from '../../../controlplane/tables/kinds.ts';
import type { StoredLeg, StoredSandbox } from '../../sandbox-state.ts';

/** What has an endpoint; `hostname` where that is not among the aliases, `ports` where none are published by us. */
type Announced = Pick<StoredSandbox, 'name'> &
  Partial<Pick<StoredSandbox, 'hostname' | 'published'>> & {
    readonly ready?: boolean;
    readonly ports?: readonly string[];
    /** What is to be published while it is there. */
    readonly asks?: EndpointValue['asks'] | null;
  };

/**
 * What else an endpoint is called: the aliases that were asked for, and the host name, as Docker has it, where there is room
 * for it and it can be a name.
 */
export function aliasesOf({ name, hostname = null }: Announced, { aliases }: Pick<StoredLeg, 'aliases'>): string[] {
  const all = hostname === null || !isName(hostname) ? aliases : [...aliases, hostname];
  return [...new Set(all)].filter((each) => each !== name).slice(0, maxAliases);
}

/** What it serves: the ports that it was told to publish, each once, as many as the tables take. */
export function portsOf({ published = [], ports }: Pick<Announced, 'published' | 'ports'>): string[] {
  const all = ports ?? published.map(({ port, protocol }) => `${port}/${protocol}`);
  return [...new Set(all)].slice(0, maxPorts);
}

/** The endpoints of this host's sandboxes in the tables. */
export class Announcements {
  readonly #cluster: () => Cluster;

  constructor(cluster: () => Cluster) {
    this.#cluster = cluster;
  }

  has(leg: StoredLeg): boolean {
    return this.#cluster().tables.own(networkTopic(leg.networkId), `ep/${leg.endpointId}`) !== null;
  }

  async announce(sandbox: Announced & Pick<StoredSandbox, 'id'>, leg: StoredLeg): Promise<void> {
    const { ip, ip6, mac, createdMs } = leg;
    const ports = portsOf(sandbox);
    const { serves } = (this.#cluster().tables.own(networkTopic(leg.networkId), `ep/${leg.endpointId}`)?.record.value ??
      {}) as Partial<EndpointValue>;
    const value: EndpointValue = {
      name: sandbox.name,
      sandbox: sandbox.id,
      ...(ip === null ? {} : { ip }),
      ...(ip6 === null ? {} : { ip6 }),
      mac,
      aliases: aliasesOf(sandbox, leg),
      createdMs,
      ...(sandbox.ready === false ? { ready: false } : {}),
      ...(ports.length === 0 ? {} : { ports }),
      ...(sandbox.asks == null ? {} : { asks: sandbox.asks }),
      // That is not for who announces it to say.
      ...(serves === undefined ? {} : { serves }),
    };
    // Before it is on disk: a crash takes the endpoint back with the next epoch, and nobody has built on it. The disk takes
    // as long as all else together.
    await this.#cluster().tables.put(networkTopic(leg.networkId), `ep/${leg.endpointId}`, value, true);
  }

  async withdraw(legs: readonly StoredLeg[]): Promise<void> {
    if (legs.length === 0) return;
    const { tables, view, networks } = this.#cluster();
    for (const leg of legs) {
      const network = view.networks.get(leg.networkId);
      if (network !== undefined) for (const ip of addressesOf(leg)) networks.rest(network, ip);
    }
    // Early, as above: a crash brings it back, and whoever has it told takes it back again. All at once: none waits for the disk.
    await Promise.all(
      legs.map(({ networkId, endpointId }) => tables.remove(networkTopic(networkId), `ep/${endpointId}`, true)),
    );
  }

  /**
   * Takes back own endpoints that nobody has.
   * @param legs of this host, asked again for each; null: not known now
   */
  async withdrawOrphans(legs: () => readonly StoredLeg[] | null): Promise<void> {
    for (const { networkId, id } of this.#orphans(legs())) {
      if (!this.#orphans(legs()).some((each) => each.id === id)) continue;
      await this.#cluster().tables.remove(networkTopic(networkId), `ep/${id}`);
    }
  }

  #orphans(legs: readonly StoredLeg[] | null) {
    if (legs === null) return [];
    const { view, self } = this.#cluster();
    const wanted = new Set<string>(legs.map(({ endpointId }) => endpointId));
    return [...view.endpoints.values()]
      .flatMap((endpoints) => [...endpoints.values()])
      .filter(({ id, owner }) => owner === self && !wanted.has(id));
  }
}
