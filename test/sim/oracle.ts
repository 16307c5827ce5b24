import type { Cluster } from '../../controlplane/cluster.ts';
import type { EndpointId, NetworkId, NodeId } from '../../controlplane/ids.ts';
import { addressesOf, networkTopic } from '../../controlplane/tables/kinds.ts';
import { clusterTopic } from '../../controlplane/tables/record.ts';
import type { ServiceKey } from '../../controlplane/tables/services.ts';
import { ringPools } from '../../controlplane/tables/subnets.ts';
import type { Host } from './host.ts';
import { Suspicions } from './suspicions.ts';

/** How long a node that joins takes to know who owns what. */
const catchUpMs = 5_000;

/** The code under test did what it must never do. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** What the run knows of an endpoint: `*ing` while the call that does it has not returned, or never will. */
export interface KnownEndpoint {
  readonly id: EndpointId;
  readonly network: NetworkId;
  /** One of each family that its network has. */
  readonly ips: readonly string[];
  readonly owner: NodeId;
  readonly allocatedMs: number;
  /** When it was asked to go; of one that was never detached null. */
  freedMs: number | null;
  state: 'announcing' | 'live' | 'withdrawing' | 'gone';
}

interface KnownNetwork {
  readonly name: string;
  readonly vni: number;
  /** Who wrote the last change of it. */
  writer: NodeId;
  state: 'live' | 'removing' | 'removed';
  /** Its fate was decided by a node that was removed before others could know: nothing is promised of it. */
  excused: boolean;
}

/** Knows what was asked of the cluster and what was acknowledged, and holds every node to it at every moment. */
export class Oracle {
  readonly endpoints = new Map<EndpointId, KnownEndpoint>();
  readonly networks = new Map<NetworkId, KnownNetwork>();
  readonly suspicions = new Suspicions();
  /** Nodes that were removed or have left. */
  readonly removed = new Set<NodeId>();
  readonly #holders = new Map<string, NodeId>();
  /** Virtual addresses of services that no node has seen given back. */
  readonly #virtual = new Map<string, ServiceKey>();
  /**
   * Networks where an address may have gone to another node under its holder: a node was removed by force whose last
   * grants the remover could not know. Nothing can help against that: the reclaim has to beat whatever the removed node
   * may have signed, or its addresses could never be used again.
   */
  readonly #forked = new Set<NetworkId>();
  /** Whether that has happened at all. */
  removedBlindly = false;
  readonly #lost = new Set<NodeId>();
  #vnisForked = false;
  /** Endpoints of nodes whose disk was turned back: they may come back, or be gone, as others know. */
  readonly #revived = new Set<EndpointId>();
  readonly #fail: (message: string) => void;
  readonly #later: (task: () => void) => void;

  /** @param later runs a task when what happens now has happened */
  constructor(fail: (message: string) => void, later: (task: () => void) => void) {
    this.#fail = fail;
    this.#later = later;
  }

  /** A node has allocated the address and may use it from now on. */
  allocated(network: NetworkId, ip: string, by: Host): void {
    const key = `${network} ${ip}`;
    const holder = this.#holders.get(key);
    if (this.removed.has(by.nodeId)) return;
    if (holder !== undefined && !this.removed.has(holder) && !this.#forked.has(network)) {
      this.#fail(`address ${ip} of ${this.#nameOf(network)} was given to ${by.name}, and ${holder} has it`);
    }
    const service = this.#virtual.get(key);
    if (service !== undefined && !this.#isOver(network) && !this.#forked.has(network))
      this.#fail(`address ${ip} of ${this.#nameOf(network)} was given to ${by.name}, and service ${service} has it`);
    this.#holders.set(key, by.nodeId);
  }

  /** A service has the address from now on, or still. */
  virtual(network: NetworkId, ip: string, service: ServiceKey, by: Host): void {
    const key = `${network} ${ip}`;
    // Others may have said something newer meanwhile, or taken it for the same service.
    if (this.removed.has(by.nodeId) || !isShown(by.cluster, service, ip)) return;
    const other = this.#virtual.get(key);
    const holder = this.#holders.get(key);
    if (!this.#forked.has(network) && !this.#isOver(network)) {
      if (holder !== undefined && !this.removed.has(holder))
        this.#fail(`address ${ip} of ${this.#nameOf(network)} was given to service ${service}, and ${holder} has it`);
      if (other !== undefined && other !== service)
        this.#fail(`address ${ip} of ${this.#nameOf(network)} was given to services ${other} and ${service}`);
    }
    this.#virtual.set(key, service);
  }

  #isOver(network: NetworkId): boolean {
    return this.networks.get(network)?.state !== 'live';
  }

  freed(network: NetworkId, ips: readonly string[], by: Host): void {
    for (const ip of ips)
      if (this.#holders.get(`${network} ${ip}`) === by.nodeId) this.#holders.delete(`${network} ${ip}`);
  }

  created(id: NetworkId, name: string, vni: number, by: NodeId): void {
    for (const other of this.networks.values()) {
      if (other.vni === vni && other.state === 'live' && !other.excused && !this.#vnisForked) {
        this.#fail(`networks ${other.name} and ${name} both have VNI ${vni}`);
      }
    }
    this.networks.set(id, { name, vni, writer: by, state: 'live', excused: this.removed.has(by) });
  }

  /** @param known whether the remover had all that the node ever signed, and the node will never sign again */
  nodeRemoved(nodeId: NodeId, known: boolean): void {
    this.removed.add(nodeId);
    if (known) return;
    this.#forkAll();
    for (const network of this.networks.values()) {
      // What an earlier leaver had written may have passed to this one, and be lost with it.
      if (this.removed.has(network.writer)) network.excused = true;
    }
  }

  /** The node's disk is gone: nothing is promised of what it wrote, since nobody else may have had it. */
  lost(nodeId: NodeId): void {
    this.#lost.add(nodeId);
    this.#forkAll();
    for (const network of this.networks.values()) if (network.writer === nodeId) network.excused = true;
  }

  /** The node lies from now on: nothing is promised of what it says of itself. */
  betrayed(nodeId: NodeId): void {
    this.#lost.add(nodeId);
  }

  /** The node's disk is an old one: what it has done since then is undone, or not if it had gone through before. */
  turnedBack(nodeId: NodeId): void {
    this.#forkAll();
    for (const network of this.networks.values()) if (network.writer === nodeId) network.excused = true;
    for (const endpoint of this.endpoints.values()) {
      if (endpoint.owner !== nodeId) continue;
      endpoint.state = endpoint.state === 'gone' ? 'withdrawing' : 'announcing';
      this.#revived.add(endpoint.id);
    }
  }

  /** A range may be given twice: what its giver had signed is forgotten. */
  #forkAll(): void {
    this.removedBlindly = true;
    for (const id of this.networks.keys()) this.#forked.add(id);
    this.#vnisForked = true;
    this.removedBlindly = true;
  }

  /** After a restart: what was acknowledged must be there, what was not may be or not, and now we know. */
  restarted(host: Host, cluster: Cluster): void {
    for (const endpoint of this.endpoints.values()) {
      if (endpoint.owner !== host.nodeId) continue;
      const present = cluster.tables.own(networkTopic(endpoint.network), `ep/${endpoint.id}`) !== null;
      if (this.#isLost(endpoint)) {
        if (!present) this.freed(endpoint.network, endpoint.ips, host);
        continue;
      }
      if (endpoint.state === 'live' && !present)
        this.#fail(`${host.name} lost its endpoint ${short(endpoint.id)} in a crash`);
      if (endpoint.state === 'gone' && present)
        this.#fail(`${host.name} found its dead endpoint ${short(endpoint.id)} again`);
      if (endpoint.state === 'announcing' || endpoint.state === 'withdrawing') {
        endpoint.state = present ? 'live' : 'gone';
        if (!present) this.freed(endpoint.network, endpoint.ips, host);
      }
    }
  }

  /** Follows what one run of a node's agent shows of the endpoints, and thinks of the others. */
  observe(host: Host, cluster: Cluster): void {
    this.suspicions.observe(cluster);
    const shown = new Map<NetworkId, Set<EndpointId>>();
    const gone = new Map<NetworkId, Set<EndpointId>>();
    const isNew = host.incarnation === 1;
    const catchesUpUntilMs = host.nowMs + catchUpMs;
    const changed = new Set<NetworkId>();
    const look = (): void => {
      const networks = [...changed];
      changed.clear();
      // The grants that vouch for an address come one by one to a node that has just joined.
      if (host.cluster !== cluster || (isNew && host.nowMs < catchesUpUntilMs)) return;
      for (const network of networks) {
        // An interest that is over: what is known of the network is forgotten, and learned anew with the next one.
        if (!cluster.tables.hasInterest(networkTopic(network))) {
          shown.delete(network);
          gone.delete(network);
          continue;
        }
        const before = shown.get(network);
        const now = new Set(idsIn(cluster.view, network));
        shown.set(network, now);
        const dead = gone.get(network) ?? new Set<EndpointId>();
        gone.set(network, dead);
        for (const id of now) {
          const known = this.endpoints.get(id);
          if (dead.has(id) && !this.#revived.has(id) && (known === undefined || !this.#mayHide(known)))
            this.#fail(`${host.name} shows endpoint ${short(id)} again, which was gone there`);
        }
        for (const id of before ?? []) {
          if (now.has(id)) continue;
          dead.add(id);
          const known = this.endpoints.get(id);
          if (known?.state === 'live' && !this.#mayHide(known)) {
            this.#fail(
              `${host.name} lost endpoint ${short(id)} of ${this.#nameOf(network)}, which ${known.owner} still has`,
            );
          }
        }
      }
    };
    // A record does not go for a moment, whatever else the same answer brings.
    cluster.tables.watch((changes) => {
      for (const { topic, key, current } of changes) {
        const known = key.startsWith('ep/') ? this.endpoints.get(key.slice(3) as EndpointId) : undefined;
        if (current !== null || known?.state !== 'live' || this.#mayHide(known)) continue;
        if (cluster.tables.hasInterest(topic))
          this.#fail(`${host.name} lost the record of endpoint ${short(known.id)}`);
      }
    });
    // Who is told that a service has another address, or none, may give the first to somebody else.
    const virtual = new Map<string, ServiceKey>();
    cluster.view.watch(({ services }) => {
      if (!services || host.cluster !== cluster) return;
      for (const [key, service] of this.#virtual) {
        const [, ip = ''] = key.split(' ');
        if (isShown(cluster, service, ip)) virtual.set(key, service);
        else if (virtual.delete(key)) this.#virtual.delete(key);
      }
    });
    // But whom an address belongs to may: no kernel is brought in line between two records of one answer.
    cluster.view.watch(({ endpoints }) => {
      if (endpoints.size > 0 && changed.size === 0) this.#later(look);
      for (const network of endpoints.keys()) changed.add(network);
    });
  }

  /** @returns how the nodes differ from each other or from what was acknowledged, or null when all is well */
  difference(hosts: readonly Host[]): string | null {
    const members = hosts.flatMap((host) => (host.cluster === null ? [] : [{ host, cluster: host.cluster }]));
    // A manager follows every network.
    const first = members.find(({ host }) => host.isManager) ?? members[0];
    if (first === undefined) return null;
    const knownToFirst = knowledgeIn(first.cluster);
    for (const { host, cluster } of members) {
      const differing = cluster === first.cluster ? null : differenceOf(first.cluster, knownToFirst, cluster);
      if (differing !== null) return `${first.host.name} and ${host.name} differ: ${differing}`;
      const wrong = this.#wrongIn(cluster);
      if (wrong !== null) return `${host.name}: ${wrong}`;
    }
    return null;
  }

  #wrongIn({ view, tables }: Cluster): string | null {
    for (const nodeId of this.removed) if (view.nodes.has(nodeId)) return `removed node ${nodeId} is still there`;
    for (const [id, { name, state, excused }] of this.networks) {
      if (!excused && state === 'live' && !view.networks.has(id)) return `network ${name} is missing`;
      if (!excused && state === 'removed' && view.networks.has(id)) return `network ${name} is still there`;
    }
    for (const endpoint of this.endpoints.values()) {
      const present = view.endpointsOf(endpoint.network).has(`${endpoint.owner} ${endpoint.id}`);
      // With a network that is there again, its removal undone by an old disk, its endpoints may be; their ends are forgotten.
      const undone = this.networks.get(endpoint.network)?.excused === true;
      const promised = !undone && !this.#lost.has(endpoint.owner) && !this.#revived.has(endpoint.id);
      const dead = endpoint.state === 'gone' && promised;
      if (present && (dead || this.removed.has(endpoint.owner))) {
        return `dead endpoint ${short(endpoint.id)} is there`;
      }
      const wanted = tables.hasInterest(networkTopic(endpoint.network));
      if (!present && wanted && endpoint.state === 'live' && !this.#mayHide(endpoint)) {
        return `endpoint ${short(endpoint.id)} of ${this.#nameOf(endpoint.network)} is missing`;
      }
    }
    return this.#twiceIn(view);
  }

  #twiceIn(view: Cluster['view']): string | null {
    for (const id of view.networks.keys()) {
      const ips = [...view.endpointsOf(id).values()].flatMap(addressesOf);
      if (new Set(ips).size < ips.length && !this.#forked.has(id))
        return `an address of ${this.#nameOf(id)} is used twice`;
    }
    return null;
  }

  /** Whether nodes may stop showing the endpoint, or show it again. */
  #mayHide(endpoint: KnownEndpoint): boolean {
    return this.#isLost(endpoint) || this.#forked.has(endpoint.network);
  }

  #isLost({ id, owner, network }: KnownEndpoint): boolean {
    if (this.#revived.has(id)) return true;
    const known = this.networks.get(network);
    return (
      this.removed.has(owner) || this.#lost.has(owner) || known === undefined || known.state !== 'live' || known.excused
    );
  }

  #nameOf(network: NetworkId): string {
    return this.networks.get(network)?.name ?? network;
  }
}

const isShown = (cluster: Cluster | null, service: ServiceKey, ip: string): boolean =>
  addressesOf(cluster?.view.services.get(service)?.vip ?? {}).includes(ip);

function* idsIn(view: Cluster['view'], network: NetworkId): Generator<EndpointId> {
  for (const { id } of view.endpointsOf(network).values()) yield id;
}

const short = (id: string): string => id.slice(0, 8);

/** Everything a node knows of the cluster and of some networks, as lines that are equal on nodes that know the same. */
function knowledgeOf({ tables, view }: Cluster, networks: readonly NetworkId[]): Set<string> {
  const topics = [clusterTopic, ...networks.map(networkTopic)];
  const subnets = networks.flatMap((id) => view.networks.get(id)?.subnets ?? []);
  const rings = [...ringPools, ...subnets.map(({ ring }) => ring)];
  const parts: [string, Iterable<unknown>][] = [
    ['node', view.nodes],
    [
      'network',
      [...view.networks.values()].map((each) => ({ ...each, subnets: each.subnets.map(({ ring }) => ring) })),
    ],
    ['cluster', [view.cluster]],
    ['on', [...view.networks.keys()].map((id) => [id, [...view.nodesOn(id)].sort()])],
    ['endpoint', networks.flatMap((id) => [...view.endpointsOf(id).values()])],
    ['owned', rings.flatMap((ring) => view.custody(ring).runs.map((run) => [ring, run]))],
    ['position', topics.flatMap((topic) => [...tables.vector(topic)].map((entry) => [topic, entry]))],
    ['digest', topics.map((topic) => [topic, tables.digest(topic)])],
  ];
  return new Set(parts.flatMap(([part, values]) => [...values].map((value) => `${part} ${JSON.stringify(value)}`)));
}

/** The same of one node for several others: many of them follow the same networks. */
function knowledgeIn(cluster: Cluster): (networks: readonly NetworkId[]) => Set<string> {
  const known = new Map<string, Set<string>>();
  return (networks) => {
    const key = networks.join();
    const lines = known.get(key) ?? knowledgeOf(cluster, networks);
    known.set(key, lines);
    return lines;
  };
}

/** The first thing that only one of the two knows. */
function differenceOf(a: Cluster, knownToA: ReturnType<typeof knowledgeIn>, b: Cluster): string | null {
  // Of a network that was lost with its writer a disk may still hold endpoints; nobody can say that it is gone.
  const followed = ({ tables }: Cluster, id: NetworkId): boolean => tables.hasInterest(networkTopic(id));
  const both = [...a.view.networks.keys()].filter((id) => followed(a, id) && followed(b, id));
  const [ofA, ofB] = [knownToA(both), knowledgeOf(b, both)];
  for (const line of ofA) if (!ofB.has(line)) return `only the first has ${line}`;
  for (const line of ofB) if (!ofA.has(line)) return `only the second has ${line}`;
  return null;
}
