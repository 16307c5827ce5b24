import { type Environment, jittered, type Log } from '../environment.ts';
import type { Role } from '../identity/certificates.ts';
import type { NodeId } from '../ids.ts';
import { formatHostPort, parseHostPort } from './address.ts';
import { Dialer } from './dialer.ts';
import { isFull, shape } from './shape.ts';
import type { Connection, Knock, Transport, TransportEvents } from './transport.ts';

// Changes of the tables come in bursts; a start is not held up by it.
const coalesceMs = 20;
// How often connections that are not wanted are looked at.
const tidyPeriodMs = 10_000;
// Dials at a time for requests to members without a connection; more requests wait.
const maxDialsOnDemand = 32;

export interface MeshInit {
  readonly self: NodeId;
  readonly transport: Transport;
  readonly environment: Environment;
  readonly log: Log;
  /** All members that are known and not removed, this one included. */
  readonly nodes: () => ReadonlyMap<NodeId, Role>;
  /** `IP:PORT`, most preferred first; none for who is not known. */
  readonly addressesOf: (peer: NodeId) => readonly string[];
  /** The members of each network that this node is on. */
  readonly networks: () => readonly ReadonlySet<NodeId>[];
  readonly isSuspended: (peer: NodeId) => boolean;
  /** Above so many nodes, not each is connected to each (shape.ts). */
  readonly fullMeshUpTo?: number | undefined;
}

/**
 * A transport that keeps the connections which the shape of the mesh asks for, and makes others when a request needs
 * them: to its users, every member that lives can be asked.
 */
export class Mesh implements Transport {
  readonly dialer: Dialer;
  readonly #init: MeshInit;
  readonly #inner: Transport;
  /** When each connection was last wanted or used, by the clock that does not jump. */
  readonly #used = new Map<NodeId, number>();
  /** Requests under way on each connection, in either direction. */
  readonly #busy = new Map<NodeId, number>();
  /** From what address each member was seen to dial: a hint for redialling, nothing that is ever passed on. */
  readonly #seenAt = new Map<NodeId, string>();
  readonly #waiting = new Set<() => void>();
  #dialsOnDemand = 0;
  #full = false;
  #held = false;
  #cancelWake: (() => void) | null = null;
  #cancelTidy: () => void = () => {};

  constructor(init: MeshInit) {
    const { self, transport, environment, log } = init;
    this.#init = init;
    this.#inner = transport;
    this.dialer = new Dialer({ self, transport, environment, log });
  }

  async start(events: TransportEvents): Promise<void> {
    await this.#inner.start({
      gossip: (topic, bytes, from) => events.gossip(topic, bytes, from),
      // Neighbours pull from each other because they are connected: that is no reason to stay so.
      request: (method, body, from) =>
        method === 'pull'
          ? events.request(method, body, from)
          : this.#using(from, () => events.request(method, body, from)),
      pinged: (peer) => events.pinged(peer),
      connected: (peer) => {
        this.#connected(peer);
        events.connected(peer);
      },
      disconnected: (peer) => {
        this.#used.delete(peer);
        this.dialer.disconnected(peer);
        events.disconnected(peer);
      },
    });
    this.#scheduleTidy();
  }

  async stop(): Promise<void> {
    this.#cancelWake?.();
    this.#cancelTidy();
    this.dialer.stop();
    await this.#inner.stop();
  }

  publish(topic: string, bytes: Uint8Array): void {
    this.#inner.publish(topic, bytes);
  }

  subscribe(topic: string): void {
    this.#inner.subscribe(topic);
  }

  unsubscribe(topic: string): void {
    this.#inner.unsubscribe(topic);
  }

  ping(peer: NodeId, signal: AbortSignal): Promise<void> {
    return this.#inner.ping(peer, signal);
  }

  knock(addresses: readonly string[], signal: AbortSignal): Promise<Knock> {
    return this.#inner.knock(addresses, signal);
  }

  dial(peer: NodeId, addresses: readonly string[], signal: AbortSignal): Promise<void> {
    return this.#inner.dial(peer, addresses, signal);
  }

  disconnect(peer: NodeId): Promise<void> {
    return this.#inner.disconnect(peer);
  }

  connections(): ReadonlyMap<NodeId, Connection> {
    return this.#inner.connections();
  }

  /** Whether each node is to be connected to each, and this one is to all that are not taken for dead. */
  get isWhole(): boolean {
    return this.#full && [...this.dialer.missing].every((peer) => this.#init.isSuspended(peer));
  }

  /** Whether a request is worth a try: the peer is connected, or has an address at which nobody failed just now. */
  canReach(peer: NodeId): boolean {
    if (this.#inner.connections().has(peer)) return true;
    const dial = this.dialer.states().get(peer);
    return this.#addressesOf(peer).length > 0 && !this.#init.isSuspended(peer) && (dial?.lastError ?? '') === '';
  }

  /** Dials the peer first when it is not connected. @throws as the transport does */
  request(peer: NodeId, method: string, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    return this.#using(peer, async () => {
      if (!this.#inner.connections().has(peer)) await this.#dialOnDemand(peer, signal);
      return await this.#inner.request(peer, method, body, signal);
    });
  }

  /** Something that the shape follows from has changed. */
  wake(): void {
    this.#cancelWake ??= this.#init.environment.timer(coalesceMs, () => this.reshape());
  }

  /** The member was heard of as alive. */
  heard(peer: NodeId): void {
    this.dialer.heard(peer);
    this.wake();
  }

  /** From now on nobody is dialled but for a request that has to be made. */
  hold(): void {
    this.#held = true;
  }

  /** Ends `hold`. */
  release(): void {
    this.#held = false;
    this.reshape();
  }

  /** Dials and hangs up as the shape says, now. */
  reshape(): void {
    this.#cancelWake?.();
    this.#cancelWake = null;
    if (this.#held) return;
    const { self, nodes, networks, isSuspended, fullMeshUpTo, environment } = this.#init;
    const known = nodes();
    const nowMs = environment.monotonicMs();
    const open = this.#inner.connections();
    const present = new Map(
      [...open.keys()].map((peer) => [peer, this.#busy.has(peer) ? 0 : nowMs - (this.#used.get(peer) ?? nowMs)]),
    );
    const suspended = new Set([...known.keys()].filter(isSuspended));
    this.#full = isFull({ nodes: known, fullMeshUpTo });
    const { connect, retry, disconnect } = shape({
      self,
      nodes: known,
      suspended,
      networks: networks(),
      present,
      fullMeshUpTo,
    });
    const wanted = [...connect, ...retry];
    for (const peer of wanted) if (open.has(peer)) this.#used.set(peer, nowMs);
    for (const peer of this.#seenAt.keys()) if (!known.has(peer)) this.#seenAt.delete(peer);
    this.dialer.set(new Map(wanted.map((peer) => [peer, this.#addressesOf(peer)])));
    for (const peer of disconnect) {
      this.#inner.disconnect(peer).catch((error: unknown) => {
        this.#init.log.debug({ err: error, peer }, 'closing a connection failed; it is tried again');
      });
    }
  }

  #connected(peer: NodeId): void {
    this.dialer.connected(peer);
    const connection = this.#inner.connections().get(peer);
    const host = connection?.direction === 'inbound' ? parseHostPort(connection.address)?.host : undefined;
    if (host !== undefined && this.#seenAt.get(peer) !== host) {
      this.#seenAt.set(peer, host);
      this.wake();
    }
    this.#used.set(peer, this.#init.environment.monotonicMs());
  }

  /** As its record says, and then where it was seen, at the port that it says it listens at. */
  #addressesOf(peer: NodeId): readonly string[] {
    const told = this.#init.addressesOf(peer);
    const host = this.#seenAt.get(peer);
    const port = parseHostPort(told[0] ?? '')?.port;
    if (host === undefined || port === undefined) return told;
    return [...new Set([...told, formatHostPort({ host, port })])];
  }

  async #using<T>(peer: NodeId, work: () => Promise<T>): Promise<T> {
    this.#busy.set(peer, (this.#busy.get(peer) ?? 0) + 1);
    try {
      return await work();
    } finally {
      const left = (this.#busy.get(peer) ?? 1) - 1;
      if (left > 0) this.#busy.set(peer, left);
      else this.#busy.delete(peer);
      if (this.#inner.connections().has(peer)) this.#used.set(peer, this.#init.environment.monotonicMs());
    }
  }

  async #dialOnDemand(peer: NodeId, signal: AbortSignal): Promise<void> {
    const addresses = this.#addressesOf(peer);
    if (addresses.length === 0) throw new Error(`${peer} is not connected, and no address of it is known`);
    if (this.#dialsOnDemand >= maxDialsOnDemand) await this.#turn(signal);
    signal.throwIfAborted();
    this.#dialsOnDemand += 1;
    try {
      await this.dialer.dial(peer, addresses);
    } finally {
      this.#dialsOnDemand -= 1;
      const [next] = this.#waiting;
      next?.();
    }
  }

  /** Resolves when another dial has ended, and at once when the signal aborts: who gave up takes nobody's turn. */
  #turn(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    return new Promise((resolve) => {
      const go = (): void => {
        this.#waiting.delete(go);
        signal.removeEventListener('abort', go);
        resolve();
      };
      this.#waiting.add(go);
      signal.addEventListener('abort', go);
    });
  }

  #scheduleTidy(): void {
    const { environment } = this.#init;
    this.#cancelTidy = environment.timer(jittered(environment, tidyPeriodMs), () => {
      this.reshape();
      this.#scheduleTidy();
    });
  }
}
