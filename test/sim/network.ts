import type { NodeId } from '../../controlplane/ids.ts';
import type { Verdict } from '../../controlplane/mesh/transport.ts';
import type { Prng } from './prng.ts';
import type { VirtualTime } from './time.ts';
import type { Trace } from './trace.ts';
import type { SimTransport } from './transport.ts';

/** What the links do to what they carry. */
export interface Faults {
  /** Gossip frames lost, per hop. */
  loss: number;
  /** Gossip frames that arrive twice. */
  duplication: number;
  /** Requests or replies lost: the asker waits for its timeout, and cannot tell which of the two it was. */
  requestLoss: number;
  /** Delay of a frame; each draws its own, so frames overtake each other. */
  maxDelayMs: number;
  /** How often a frame takes up to `spikeMs`. */
  spikeChance: number;
  spikeMs: number;
}

export const noFaults: Faults = {
  loss: 0,
  duplication: 0,
  requestLoss: 0,
  maxDelayMs: 20,
  spikeChance: 0,
  spikeMs: 0,
};

export function someFaults(prng: Prng): Faults {
  return {
    loss: prng.pick([0, 0.05, 0.3]) ?? 0,
    duplication: prng.pick([0, 0.2]) ?? 0,
    requestLoss: prng.pick([0, 0, 0.1, 0.3]) ?? 0,
    maxDelayMs: prng.pick([5, 50, 500]) ?? 50,
    spikeChance: prng.pick([0, 0.05]) ?? 0,
    spikeMs: 5_000,
  };
}

/** A connection, as both ends see it: each end closes on its own. */
export interface Wire {
  readonly dialer: SimTransport;
  readonly listener: SimTransport;
  readonly openAt: Set<SimTransport>;
  readonly sinceMs: number;
}

export const otherEnd = (wire: Wire, end: SimTransport): SimTransport =>
  wire.dialer === end ? wire.listener : wire.dialer;

const ipOf = (address: string): string => address.replace(/:\d+$/, '');

/** The underlay between simulated nodes: which links work, and what they do to frames. */
export class SimNetwork {
  readonly time: VirtualTime;
  readonly trace: Trace;
  readonly prng: Prng;
  faults: Faults = { ...noFaults };
  readonly #listening = new Map<string, SimTransport>();
  readonly #wires = new Set<Wire>();
  /** How long slow hosts take at most to handle a frame or a timer. */
  readonly lagMs = new Map<NodeId, number>();
  /** Members that lie, and what they answer requests with: nothing (null), or what their agent says (undefined). */
  readonly liars = new Map<NodeId, (() => Uint8Array | null) | undefined>();
  /** The last messages that were gossiped: whoever replays them takes them from here. */
  readonly said: { readonly topic: string; readonly bytes: Uint8Array }[] = [];
  /** Messages of liars, and who is told what others think of them. */
  readonly planted = new WeakMap<Uint8Array, (verdict: Verdict) => void>();
  /** Directed links that carry nothing, `from>to`. */
  readonly #blocked = new Set<string>();
  readonly #hosts = new Map<string, NodeId>();
  /** IP addresses of hosts without power. */
  readonly #down = new Set<string>();
  #messages = 0;

  constructor(time: VirtualTime, prng: Prng, trace: Trace) {
    this.time = time;
    this.prng = prng;
    this.trace = trace;
  }

  nextMessageId(): number {
    this.#messages += 1;
    return this.#messages;
  }

  listen(address: string, transport: SimTransport): void {
    this.#listening.set(address, transport);
    this.#down.delete(ipOf(address));
    this.#hosts.set(ipOf(address), transport.self);
  }

  /** Whose address it is, whether an agent runs there or not. */
  hostAt(address: string): NodeId | null {
    return this.#hosts.get(ipOf(address)) ?? null;
  }

  /** The host loses its power; it has it again when its agent listens. */
  powerOff(address: string): void {
    this.#down.add(ipOf(address));
  }

  isOff(address: string): boolean {
    return this.#down.has(ipOf(address));
  }

  /** An ICMP echo: resolves when it is answered, or with false after `timeoutMs`. */
  echo(from: NodeId, address: string, timeoutMs: number): Promise<boolean> {
    const to = this.hostAt(address);
    return new Promise((resolve) => {
      this.time.after(timeoutMs, () => resolve(false));
      if (to === null) return;
      this.carry(from, to, () => {
        if (!this.isOff(address)) this.carry(to, from, () => resolve(true));
      });
    });
  }

  close(address: string, transport: SimTransport): void {
    if (this.#listening.get(address) === transport) this.#listening.delete(address);
  }

  at(address: string): SimTransport | null {
    return this.#listening.get(address) ?? null;
  }

  isBlocked(from: NodeId, to: NodeId): boolean {
    return this.#blocked.size > 0 && this.#blocked.has(`${from}>${to}`);
  }

  /** Nothing gets from the ones to the others any more, in that direction. */
  block(from: readonly NodeId[], to: readonly NodeId[]): void {
    for (const a of from) for (const b of to) if (a !== b) this.#blocked.add(`${a}>${b}`);
  }

  heal(): void {
    this.#blocked.clear();
  }

  /** Resets the connections between two nodes, at both ends. */
  cut(a: NodeId, b: NodeId): void {
    for (const wire of [...this.#wires]) {
      const ends = [wire.dialer, wire.listener];
      if (!ends.some(({ self }) => self === a) || !ends.some(({ self }) => self === b)) continue;
      for (const end of ends) end.closeWire(wire, 'reset');
    }
  }

  get pairs(): (readonly [NodeId, NodeId])[] {
    return [...this.#wires].map(({ dialer, listener }) => [dialer.self, listener.self] as const);
  }

  connect(dialer: SimTransport, listener: SimTransport): void {
    const wire: Wire = { dialer, listener, openAt: new Set([dialer, listener]), sinceMs: this.time.now() };
    this.#wires.add(wire);
    listener.openWire(wire);
    dialer.openWire(wire);
  }

  /** One end is gone: the other end is told where it can be, or finds out by its pings. */
  closed(wire: Wire, end: SimTransport, silent: boolean): void {
    const other = otherEnd(wire, end);
    if (wire.openAt.size === 0) this.#wires.delete(wire);
    if (!wire.openAt.has(other)) return;
    if (!silent) this.carry(end.self, other.self, () => other.closeWire(wire, 'closed by the other end'));
  }

  delayMs(): number {
    const { maxDelayMs, spikeChance, spikeMs } = this.faults;
    const spike = spikeChance > 0 && this.prng.chance(spikeChance);
    return this.prng.next() * (spike ? spikeMs : maxDelayMs);
  }

  lagOf(host: NodeId): number {
    const lagMs = this.lagMs.get(host);
    return lagMs === undefined ? 0 : this.prng.next() * lagMs;
  }

  /** Takes a frame along a connection. A host that runs again since, and knows nothing of the connection, resets it. */
  along(wire: Wire, from: SimTransport, arrive: () => void): void {
    const to = otherEnd(wire, from);
    this.carry(from.self, to.self, () => {
      if (wire.openAt.has(to)) arrive();
      else if (this.at(to.address) !== null) this.carry(to.self, from.self, () => from.closeWire(wire, 'reset'));
    });
  }

  /** Takes a frame over a link, unless the link is dead when it leaves or when it arrives. */
  carry(from: NodeId, to: NodeId, arrive: () => void): void {
    if (this.isBlocked(from, to)) return;
    this.time.after(this.delayMs() + this.lagOf(to), () => {
      if (!this.isBlocked(from, to)) arrive();
    });
  }
}
