import type { Cluster } from '../../controlplane/cluster.ts';
import type { NetworkId, NodeId } from '../../controlplane/ids.ts';
import { parseHostPort } from '../../controlplane/mesh/address.ts';
import { leastMtu, type OnValue } from '../../controlplane/tables/kinds.ts';
import type { Network } from '../../controlplane/tables/view.ts';
import type { HostProbe } from '../../dataplane/path/probe.ts';
import { type Path, PathProber } from '../../dataplane/path/prober.ts';
import { sentBytes } from '../../dataplane/path/sent-bytes.ts';
import { UdpProbe } from '../../dataplane/path/udp.ts';
import type { ProbeTarget } from '../../dataplane/path/way.ts';
import { must, parseIp } from '../../dataplane/values.ts';
import { largestMtu, mtuWarning, mtuWarnings, type NetworkMtu, needOf, networkMtu, overheadOf } from '../mtu.ts';
import { isOtherFamily } from '../remotes.ts';
import type { Logger } from './log.ts';

// Records come in bursts; each look goes over all members of all networks that this node is on.
const refreshMs = 20;

export interface NetworkMtusInit {
  readonly hostProbe: HostProbe;
  readonly log: Logger;
  readonly gossipPort: number;
  readonly intervalMs: number;
  /** The MTU of a network is another one. */
  readonly changed: () => void;
}

/** While the node is a member. */
interface Run {
  readonly cluster: Cluster;
  readonly udp: UdpProbe;
  readonly prober: PathProber;
  readonly unwatch: readonly (() => void)[];
}

/**
 * Follows the MTU of each network: measures the paths to the nodes that this one shares a network with, says in the tables
 * what it can send to them, and takes the least of what all say.
 */
export class NetworkMtus {
  readonly #init: NetworkMtusInit;
  #run: Run | null = null;
  #device: { readonly name: string; readonly mtu: number } | null = null;
  #timer: NodeJS.Timeout | null = null;
  /** Networks of which somebody has said something since the last refresh. */
  readonly #touched = new Set<NetworkId>();
  #udpProblem = '';
  /** Of the networks that this node is on. */
  #current: ReadonlyMap<NetworkId, NetworkMtu> = new Map();
  /** What all had said of the networks that this node is on, by the last refresh. */
  readonly #said = new Map<NetworkId, ReadonlyMap<NodeId, OnValue>>();
  /** Addresses of members, who may ask. */
  #addresses: ReadonlySet<string> = new Set();
  #nodesTouched = true;

  constructor(init: NetworkMtusInit) {
    this.#init = init;
  }

  /** Begins when the node has become a member, and its device is known. */
  async start(cluster: Cluster): Promise<void> {
    const { log, hostProbe, gossipPort, intervalMs } = this.#init;
    const address = must(parseIp(cluster.identity.vtep));
    const udp = new UdpProbe({ log, address, port: gossipPort, mayAsk: (from) => this.#addresses.has(from) });
    await hostProbe.load();
    const prober = new PathProber({
      log,
      ways: [hostProbe, udp],
      intervalMs,
      sentBytes: () => (this.#device === null ? null : sentBytes(this.#device.name)),
      changed: (id) => this.#pathChanged(id as NodeId),
    });
    const unwatch = [
      cluster.view.watch(({ nodes, networks, on }) => {
        for (const id of on) this.#touched.add(id);
        this.#nodesTouched ||= nodes;
        if (nodes || networks || on.size > 0) this.#schedule();
      }),
      cluster.liveness.watch((peer) => {
        if (prober.path(peer)?.silent === true && cluster.liveness.stateOf(peer).status === 'alive') prober.look(peer);
      }),
    ];
    this.#run = { cluster, udp, prober, unwatch };
    this.#openUdp();
    if (this.#device !== null) prober.setDeviceMtu(this.#device.mtu);
    this.#refresh();
  }

  stop(): void {
    for (const end of this.#run?.unwatch ?? []) end();
    this.#run?.prober[Symbol.dispose]();
    this.#run?.udp[Symbol.dispose]();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#run = null;
    this.#current = new Map();
    this.#said.clear();
    this.#touched.clear();
    this.#nodesTouched = true;
  }

  /** The device that carries the VTEP, each time that it was looked at. */
  setDevice(name: string, mtu: number): void {
    this.#openUdp();
    if (this.#device?.name === name && this.#device.mtu === mtu) return;
    this.#device = { name, mtu };
    this.#run?.prober.setDeviceMtu(mtu);
    this.#schedule();
  }

  /** What this node says of its part in a network; null while it does not know. */
  saying(network: NetworkId): OnValue | null {
    return this.#run === null || this.#device === null ? null : this.#needOf(this.#run, this.#device.mtu, network);
  }

  /** Of these networks, also of those that this node is only about to be on. */
  mtus(ids: Iterable<NetworkId>): ReadonlyMap<NetworkId, number> {
    const mtus = new Map<NetworkId, number>();
    for (const id of ids) {
      const network = this.#run?.cluster.view.networks.get(id);
      const found = network === undefined ? null : this.of(network);
      if (found !== null) mtus.set(id, found.mtu);
    }
    return mtus;
  }

  of(network: Network): NetworkMtu | null {
    const known = this.#current.get(network.id);
    if (known !== undefined) return known;
    return this.#run === null || this.#device === null ? null : this.#mtuOf(this.#run, this.#device.mtu, network);
  }

  path(node: NodeId): Path | null {
    return this.#run?.prober.path(node) ?? null;
  }

  /** Why the network has the MTU it has; '' when that follows from this host's device alone. */
  why(network: Network): string {
    const { cluster } = this.#run ?? {};
    const found = this.of(network);
    if (cluster === undefined || found === null || this.#device === null) return '';
    const { vtep } = cluster.identity;
    const nameOf = (node: NodeId): string => cluster.view.nodes.get(node)?.hostname ?? node;
    return mtuWarning(found, { largest: largestMtu(this.#device.mtu, vtep), vtep, nameOf }) ?? '';
  }

  warnings(): string[] {
    const run = this.#run;
    if (run === null) return [];
    const { view, liveness, identity } = run.cluster;
    const reasons = new Map<string, string>();
    for (const id of this.#current.keys()) {
      const network = view.networks.get(id);
      const why = network === undefined ? '' : this.why(network);
      if (network !== undefined && why !== '') reasons.set(network.name, why);
    }
    const lines = mtuWarnings(reasons);
    const unmeasured: string[] = [];
    for (const [id, { hostname }] of view.nodes) {
      const path = run.prober.path(id);
      if (path === null) continue;
      if (path.silent && path.measuredMs === 0 && !liveness.isSuspended(id)) unmeasured.push(hostname);
      if (path.mtu !== null && path.mtu < leastMtu + overheadOf(identity.vtep)) {
        lines.push(
          `path to ${hostname} takes ${path.mtu} bytes: no network has an MTU below ${leastMtu}, and what is larger is sent \
in fragments, or lost`,
        );
      }
    }
    if (unmeasured.length > 0) {
      const named = `${unmeasured.slice(0, 3).join(', ')}${unmeasured.length > 3 ? ` and ${unmeasured.length - 3} more` : ''}`;
      lines.push(
        `path MTU to ${named} cannot be measured: neither ICMP echo nor UDP at the gossip port is answered; packets are as \
large as the devices at both ends take`,
      );
    }
    return [...lines, this.#udpProblem].filter((line) => line !== '');
  }

  #openUdp(): void {
    const udp = this.#run?.udp;
    if (udp === undefined || udp.isOpen) return;
    try {
      udp.open();
      this.#udpProblem = '';
    } catch (error) {
      const problem = `${(error as Error).message}: path MTUs are measured by ICMP echo alone`;
      if (problem !== this.#udpProblem) this.#init.log.warn({ err: error }, problem);
      this.#udpProblem = problem;
    }
  }

  #pathChanged(node: NodeId): void {
    const run = this.#run;
    if (run === null) return;
    const { mtu, way, silent } = run.prober.path(node) ?? {};
    const peer = run.cluster.view.nodes.get(node)?.hostname ?? node;
    const text = silent ? `path to ${peer} cannot be measured for now` : `path MTU to ${peer} is ${mtu}`;
    this.#init.log.info({ peer, mtu, way }, text);
    this.#schedule();
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#refresh();
    }, refreshMs);
  }

  /** Whom to measure, what to say, and what follows for each network. */
  #refresh(): void {
    const run = this.#run;
    if (run === null || this.#device === null) return;
    const { view, interests, self } = run.cluster;
    if (this.#nodesTouched) this.#addresses = addressesOf(run.cluster);
    this.#nodesTouched = false;
    const mine = [...view.networks.values()].filter(({ id }) => view.sayingOn(id).has(self));
    const earlier = new Map<string, number>();
    for (const { id } of mine) {
      const { mtu, peer } = view.sayingOn(id).get(self) ?? {};
      if (mtu !== undefined && peer !== undefined) earlier.set(peer, mtu + overheadOf(run.cluster.identity.vtep));
    }
    run.prober.set(targetsOf(run.cluster, mine), (id) => earlier.get(id) ?? null);
    this.#followHints(run, mine);
    const { mtu: deviceMtu } = this.#device;
    const needs = mine.map((network) => ({ network, need: this.#needOf(run, deviceMtu, network.id) }));
    const hasNews = needs.some(({ network: { id }, need: { mtu, peer } }) => {
      const said = view.sayingOn(id).get(self);
      return said?.mtu !== mtu || said.peer !== peer;
    });
    // Changes what the tables have of this node, and with them the view.
    if (hasNews) interests.refresh();
    const next = new Map(needs.map(({ network, need }) => [network.id, this.#mtuOf(run, deviceMtu, network, need)]));
    const before = this.#current;
    this.#current = next;
    let changed = false;
    for (const network of mine) {
      const mtu = next.get(network.id)?.mtu;
      const was = before.get(network.id)?.mtu;
      if (mtu === was) continue;
      changed = true;
      const why = this.why(network);
      const write = why === '' ? this.#init.log.info : this.#init.log.warn;
      const text = `network ${network.name}: ${why === '' ? `MTU ${mtu}` : why}`;
      write.call(this.#init.log, { network: network.name, mtu, was }, text);
    }
    if (changed) this.#init.changed();
  }

  /** Where another node comes to say something else, the path from here to it has most likely changed, too. */
  #followHints({ cluster: { view, self }, prober }: Run, mine: readonly Network[]): void {
    const here = new Set(mine.map(({ id }) => id));
    for (const id of this.#said.keys()) if (!here.has(id)) this.#said.delete(id);
    for (const id of here) {
      const before = this.#said.get(id);
      if (before !== undefined && !this.#touched.has(id)) continue;
      const all = new Map(view.sayingOn(id));
      for (const [node, { mtu }] of all) {
        if (node !== self && before?.has(node) && before.get(node)?.mtu !== mtu) prober.hint(node);
      }
      this.#said.set(id, all);
    }
    this.#touched.clear();
  }

  #needOf(run: Run, deviceMtu: number, network: NetworkId): OnValue & { mtu: number } {
    const { self, view, identity } = run.cluster;
    const others = [...view.sayingOn(network).keys()].filter((node) => node !== self);
    const pathMtu = (node: NodeId): number | null => run.prober.path(node)?.mtu ?? null;
    return needOf(others, { vtep: identity.vtep, deviceMtu, pathMtu });
  }

  #mtuOf(run: Run, deviceMtu: number, network: Network, own = this.#needOf(run, deviceMtu, network.id)): NetworkMtu {
    const { self, view, identity } = run.cluster;
    return networkMtu(network, self, own, view.sayingOn(network.id), largestMtu(deviceMtu, identity.vtep));
  }
}

/** Other nodes that are on one of the networks, and where their agents answer; those of this node's family. */
function targetsOf({ view, self, identity }: Cluster, networks: readonly Network[]): Map<string, ProbeTarget> {
  const targets = new Map<string, ProbeTarget>();
  for (const { id } of networks) {
    for (const node of view.sayingOn(id).keys()) {
      const place = node === self || targets.has(node) ? undefined : view.nodes.get(node);
      if (place === undefined || isOtherFamily(place, identity)) continue;
      const port = parseHostPort(place.gossip[0] ?? '')?.port;
      if (port !== undefined && place.vtep !== identity.vtep) targets.set(node, { address: place.vtep, port });
    }
  }
  return targets;
}

function addressesOf({ view }: Cluster): Set<string> {
  const addresses = new Set<string>();
  for (const { vtep, gossip } of view.nodes.values()) {
    for (const text of [vtep, ...gossip.map((each) => parseHostPort(each)?.host ?? '')]) {
      // In the spelling in which a socket names who sent something.
      const address = parseIp(text);
      if (address.ok) addresses.add(address.value);
    }
  }
  return addresses;
}
