import { setTimeout as pause } from 'node:timers/promises';
import ipaddr from 'ipaddr.js';
import type { Cluster } from '../../controlplane/cluster.ts';
import type { NodeId } from '../../controlplane/ids.ts';
import type { Health } from '../../controlplane/liveness/liveness.ts';
import { BridgeAskers, type KnownAskers, nobodys, type OnBridge } from '../dns/bridge-askers.ts';
import { ContainerBridges } from '../dns/container-bridges.ts';
import { Forwarder } from '../dns/forwarder.ts';
import { Names } from '../dns/names.ts';
import { type Asker, Resolver } from '../dns/resolver.ts';
import { DnsServer } from '../dns/server.ts';
import { portsOfHost } from '../dns/services.ts';
import type { HostResolver, Resolver as Settings } from '../files/resolv-conf.ts';
import type { StoredLeg } from '../sandbox-state.ts';
import type { Background } from './background.ts';
import type { Logger } from './log.ts';

const port = 53;
/** Until the bridge has its address. */
const soonMs = 100;
/** Until whoever has the port lets go of it. */
const laterMs = 5_000;
/** A resolver in a container waits for four or five (Docker's, resolv.conf(5)). */
const findMs = 2_000;
/** Addresses on docker_gwbridge that are nobody's whom we know; when full it starts anew. */
const maxStrangers = 4_096;
/** As long as an agent may be silent before it counts as down while its host answers. */
const restartMs = 15_000;

export interface NameServiceInit {
  readonly log: Logger;
  readonly background: Background;
  /** Address of docker_gwbridge with prefix length; null outside a cluster. */
  readonly bridge: () => string | null;
  /** All that may ask for names of networks. */
  readonly askers: () => KnownAskers;
  /** Looks who has an address; `askersChanged` is called when that is somebody who may ask. Never rejects. */
  readonly findAsker: (address: string) => Promise<void>;
  /** Sandboxes are to ask somebody else now, or us again. */
  readonly changed: () => void;
}

/** The agent's resolver at the address of docker_gwbridge, and whether it is to be had. */
export class NameService implements Disposable {
  readonly #init: NameServiceInit;
  readonly #forwarder: Forwarder;
  readonly #bridges = new ContainerBridges(() => performance.now());
  #cluster: Cluster | null = null;
  #names: Names | null = null;
  #unwatch: () => void = () => {};
  /** null: to be asked for again. */
  #askers: BridgeAskers | null = null;
  /** Looked for in vain since the askers changed. */
  readonly #strangers = new Set<string>();
  #server: DnsServer | null = null;
  /** Why the port cannot be had; '' when it can, or that is not known yet. */
  #problem = '';
  #upstreams: readonly string[] = [];

  constructor(init: NameServiceInit) {
    this.#init = init;
    this.#forwarder = new Forwarder({ log: init.log, nowMs: () => performance.now() });
  }

  /** Where sandboxes are to ask; null: not here. */
  get address(): string | null {
    return this.#problem === '' ? hostPart(this.#init.bridge()) : null;
  }

  warnings(): string[] {
    return this.#problem === '' ? [] : [this.#problem];
  }

  /** Whom to ask what is not ours: what the configuration says, else the host. */
  follow(host: HostResolver, defaults: Settings): void {
    this.#upstreams = upstreamsOf(host, defaults);
    this.#putUpstreams();
  }

  /** Somebody came, went, or is on other networks. */
  askersChanged(): void {
    this.#askers = null;
    this.#strangers.clear();
  }

  start(cluster: Cluster): void {
    this.stop();
    this.#cluster = cluster;
    const names = new Names(cluster.view);
    this.#names = names;
    this.#unwatch = cluster.view.watch((touched) => names.follow(touched));
    this.#putUpstreams();
    this.#init.background.later(0, () => this.#tryToListen(cluster));
  }

  stop(): void {
    this.#server?.close();
    this.#server = null;
    this.#unwatch();
    this.#names = null;
    this.#cluster = null;
    this.askersChanged();
    this.#problem = '';
  }

  [Symbol.dispose](): void {
    this.stop();
    this.#forwarder.stop();
  }

  async #tryToListen(cluster: Cluster): Promise<void> {
    const { log, background, bridge, changed } = this.#init;
    const address = hostPart(bridge());
    if (this.#cluster !== cluster || address === null) return;
    const server = new DnsServer(this.#resolver(cluster), log);
    const before = this.#problem;
    try {
      await server.listen(address, port);
      if (this.#cluster !== cluster) return server.close();
      this.#server = server;
      this.#problem = '';
      log.info({ address, port }, 'answering names of the networks of this host');
    } catch (error) {
      if (this.#cluster !== cluster) return;
      const { code, message } = error as NodeJS.ErrnoException;
      const isEarly = code === 'EADDRNOTAVAIL';
      if (!isEarly) {
        const next = 'another program may have the port: have it listen at its own addresses only';
        this.#problem = `names of networks do not resolve: port ${port} of ${address} cannot be had (${message}); ${next}`;
        if (this.#problem !== before) log.warn({ err: error }, this.#problem);
      }
      background.later(isEarly ? soonMs : laterMs, () => this.#tryToListen(cluster));
    }
    if (this.#problem !== before) changed();
  }

  #resolver(cluster: Cluster): Resolver {
    const { self, liveness } = cluster;
    return new Resolver({
      askers: { of: (address) => this.#askerAt(address), find: (address) => this.#findAsker(address) },
      // On ingress is whoever publishes anything: its names are nobody's business.
      names: (network) => (cluster.view.networks.get(network)?.ingress ? null : (this.#names?.of(network) ?? null)),
      isUp: (node) => {
        const id = node as NodeId;
        return id === self || !liveness.isSuspended(id) || isRestarting(liveness.stateOf(id));
      },
      forwarder: this.#forwarder,
      random: Math.random,
      portOf: portsOfHost(),
    });
  }

  #askerAt(address: string): Asker | null | 'unknown' {
    const bridge = this.#init.bridge();
    if (bridge === null) return null;
    if (this.#strangers.has(address)) return nobodys;
    if (this.#askers === null) {
      this.#askers = new BridgeAskers(bridge, this.#init.askers(), (other) => this.#bridges.has(other));
      this.#names?.keep(this.#askers.networks);
    }
    return this.#askers.of(address);
  }

  /** A container's program asks before Docker lists the container. */
  async #findAsker(address: string): Promise<Asker | null | 'unknown'> {
    const late = new AbortController();
    const isLate = await Promise.race([
      this.#init.findAsker(address).then(() => false),
      pause(findMs, true, { signal: late.signal, ref: false }).catch(() => true),
    ]);
    late.abort();
    const found = this.#askerAt(address);
    if (found !== 'unknown' || isLate) return found;
    if (this.#strangers.size >= maxStrangers) this.#strangers.clear();
    this.#strangers.add(address);
    return nobodys;
  }

  #putUpstreams(): void {
    const own = hostPart(this.#init.bridge());
    const others = this.#upstreams.filter((address) => address !== own);
    this.#forwarder.upstreams = others.map((address) => ({ address, port }));
  }
}

interface Attached {
  readonly gateway: { readonly ip: string } | null;
  readonly legs: readonly Pick<StoredLeg, 'networkId'>[];
}

/** Sandboxes and containers with a leg on docker_gwbridge. */
export const askersOf = (sandboxes: readonly Attached[]): OnBridge[] =>
  sandboxes.flatMap(({ gateway, legs }) =>
    gateway === null ? [] : [{ address: gateway.ip, networks: legs.map(({ networkId }) => networkId) }],
  );

const hostPart = (cidr: string | null): string | null => cidr?.split('/')[0] ?? null;

/** What runs on a host goes on without its agent: names do not blink while that is restarted. */
function isRestarting({ status, why, sinceMs }: Health): boolean {
  return status === 'suspended' && why === 'agent down' && Date.now() - sinceMs < restartMs;
}

/** Also those that mean the host itself, since we ask from there; but none that means nothing without an interface. */
export function upstreamsOf({ resolver, unusable }: HostResolver, defaults: Settings): readonly string[] {
  if (defaults.servers.length > 0) return defaults.servers;
  const ofHost = unusable.filter((address) => ipaddr.process(address).range() !== 'linkLocal');
  return [...resolver.servers, ...ofHost];
}
