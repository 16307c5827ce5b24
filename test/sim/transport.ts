import type { NodeId } from '../../controlplane/ids.ts';
import type { Refusals } from '../../controlplane/mesh/membership.ts';
import type { Connection, Knock, Transport, TransportEvents, Verdict } from '../../controlplane/mesh/transport.ts';
import { otherEnd, type SimNetwork, type Wire } from './network.ts';

const maxSaid = 100;

interface Message {
  readonly id: number;
  readonly topic: string;
  readonly bytes: Uint8Array;
  /** Told what each node thinks of it that it gets to. */
  readonly judged: ((verdict: Verdict) => void) | undefined;
}

/** One run of one node's mesh, over the simulated underlay. Gossip floods along connections to whoever subscribes. */
export class SimTransport implements Transport {
  readonly self: NodeId;
  readonly address: string;
  readonly #network: SimNetwork;
  readonly #certificate: () => Uint8Array;
  readonly #refusals: Refusals;
  readonly #admit: (certificate: Uint8Array, peerId: string) => string | null;
  readonly #wires = new Map<NodeId, Set<Wire>>();
  /** As it was last asked for; null since a wire came or went. */
  #connections: ReadonlyMap<NodeId, Connection> | null = null;
  readonly #topics = new Set<string>();
  readonly #seen = new Set<number>();
  readonly #pending = new Map<Wire, Set<(error: Error) => void>>();
  #events: TransportEvents | null = null;

  constructor(init: {
    self: NodeId;
    address: string;
    network: SimNetwork;
    certificate: () => Uint8Array;
    admit: (certificate: Uint8Array, peerId: string) => string | null;
    refusals: Refusals;
  }) {
    this.#refusals = init.refusals;
    this.self = init.self;
    this.address = init.address;
    this.#network = init.network;
    this.#certificate = init.certificate;
    this.#admit = init.admit;
  }

  async start(events: TransportEvents): Promise<void> {
    this.#events = events;
    this.#network.listen(this.address, this);
  }

  async stop(): Promise<void> {
    this.#shut(false);
  }

  /** The process is gone. @param silent so is its host: nobody is told */
  kill(silent: boolean): void {
    this.#events = null;
    this.#pending.clear();
    if (silent) this.#network.powerOff(this.address);
    this.#shut(silent);
  }

  #shut(silent: boolean): void {
    this.#events = null;
    this.#network.close(this.address, this);
    for (const wire of [...this.#wires.values()].flatMap((wires) => [...wires])) {
      this.closeWire(wire, 'stopped', silent);
    }
  }

  publish(topic: string, bytes: Uint8Array): void {
    if (this.#events === null) return;
    const judged = this.#network.planted.get(bytes);
    const message = { id: this.#network.nextMessageId(), topic, bytes: Buffer.from(bytes), judged };
    this.#seen.add(message.id);
    this.#network.trace.frame(`${this.self} publishes ${topic}`, bytes);
    this.#network.said.push(message);
    if (this.#network.said.length > maxSaid) this.#network.said.shift();
    this.#flood(message, null);
  }

  #flood(message: Message, except: NodeId | null): void {
    const { prng, faults } = this.#network;
    for (const [peer, [wire]] of this.#wires) {
      if (peer === except || wire === undefined || prng.chance(faults.loss)) continue;
      const copies = prng.chance(faults.duplication) ? 2 : 1;
      for (let copy = 0; copy < copies; copy += 1) {
        const other = otherEnd(wire, this);
        this.#network.along(wire, this, () => other.#arrive(message, this.self, copy > 0));
      }
    }
  }

  #arrive(message: Message, from: NodeId, again: boolean): void {
    const known = this.#seen.has(message.id);
    if (this.#events === null || !this.#topics.has(message.topic) || (known && !again)) return;
    this.#seen.add(message.id);
    const verdict = this.#events.gossip(message.topic, message.bytes, from);
    message.judged?.(verdict);
    if (verdict === 'reject' && !this.#network.liars.has(from))
      throw new Error(`${this.self} rejects gossip of an honest node`);
    if (verdict === 'accept' && !known) this.#flood(message, from);
  }

  subscribe(topic: string): void {
    this.#topics.add(topic);
  }

  unsubscribe(topic: string): void {
    this.#topics.delete(topic);
  }

  request(peer: NodeId, method: string, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const [wire] = this.#wires.get(peer) ?? [];
    if (wire === undefined) return Promise.reject(new Error(`${peer} is not connected`));
    const { trace } = this.#network;
    trace.frame(`${this.self} asks ${peer} ${method}`, body);
    return new Promise((resolve, reject) => {
      const pending = this.#pending.get(wire) ?? new Set();
      this.#pending.set(wire, pending);
      const fail = (error: Error): void => {
        if (!pending.delete(fail)) return;
        signal.removeEventListener('abort', abort);
        reject(error);
      };
      const abort = (): void => fail(reasonOf(signal));
      signal.addEventListener('abort', abort);
      pending.add(fail);
      this.#send(wire, () => {
        otherEnd(wire, this).#answer(wire, method, Buffer.from(body), (reply) => {
          if (!pending.delete(fail)) return;
          signal.removeEventListener('abort', abort);
          if (reply instanceof Error) return reject(reply);
          trace.frame(`${this.self} hears from ${peer}`, reply);
          resolve(reply);
        });
      });
    });
  }

  #answer(wire: Wire, method: string, body: Uint8Array, reply: (result: Uint8Array | Error) => void): void {
    const lie = this.#network.liars.get(this.self);
    if (lie !== undefined) {
      const nonsense = lie();
      if (nonsense !== null) this.#send(wire, () => reply(Buffer.from(nonsense)));
      return;
    }
    const answering = this.#events?.request(method, body, otherEnd(wire, this).self);
    answering?.then(
      (bytes) => this.#send(wire, () => reply(Buffer.from(bytes))),
      (error: unknown) => this.#send(wire, () => reply(new Error(`${method}: ${String(error)}`))),
    );
  }

  #send(wire: Wire, arrive: () => void): void {
    const { prng, faults } = this.#network;
    if (this.#events !== null && !prng.chance(faults.requestLoss)) this.#network.along(wire, this, arrive);
  }

  ping(peer: NodeId, signal: AbortSignal): Promise<void> {
    const [wire] = this.#wires.get(peer) ?? [];
    if (wire === undefined) return Promise.reject(new Error(`${peer} is not connected`));
    return new Promise((resolve, reject) => {
      const pending = this.#pending.get(wire) ?? new Set();
      this.#pending.set(wire, pending);
      const done = (finish: () => void): void => {
        pending.delete(fail);
        finish();
      };
      const fail = (error: Error): void => done(() => reject(error));
      pending.add(fail);
      signal.addEventListener('abort', () => fail(new Error('no answer in time')), { once: true });
      const other = otherEnd(wire, this);
      this.#network.along(wire, this, () => {
        other.#events?.pinged(this.self);
        this.#network.along(wire, other, () => done(resolve));
      });
    });
  }

  async knock(addresses: readonly string[], signal: AbortSignal): Promise<Knock> {
    const [address] = addresses;
    if (address === undefined) return 'silent';
    const peer = this.#network.hostAt(address);
    if (peer === null) return 'silent';
    return new Promise((resolve) => {
      signal.addEventListener('abort', () => resolve('silent'), { once: true });
      this.#network.carry(this.self, peer, () => {
        if (this.#network.isOff(address)) return;
        const answer = this.#network.at(address) === null ? 'refused' : 'accepted';
        this.#network.carry(peer, this.self, () => resolve(answer));
      });
    });
  }

  async dial(peer: NodeId, addresses: readonly string[], signal: AbortSignal): Promise<void> {
    if (this.#wires.has(peer)) return;
    const address = addresses[0];
    if (address === undefined) throw new Error('no address is known');
    const rejection = await new Promise<string | null>((resolve) => {
      const abort = (): void => resolve(`${address}: ${reasonOf(signal).message}`);
      signal.addEventListener('abort', abort);
      const done = (result: string | null): void => {
        signal.removeEventListener('abort', abort);
        resolve(result);
      };
      this.#network.carry(this.self, peer, () => {
        if (this.#network.isOff(address)) return;
        const target = this.#network.at(address);
        this.#network.carry(peer, this.self, () => done(target === null ? `${address}: refused` : this.#meet(target)));
      });
    });
    if (rejection !== null) throw new Error(rejection);
  }

  /** The handshake: both ends show their certificates. @returns why there is no connection, or null */
  #meet(target: SimTransport): string | null {
    if (this.#events === null || target.#events === null) return 'stopped meanwhile';
    const refusal = this.#refusalOf(target) ?? target.#refusalOf(this);
    if (refusal === null) this.#network.connect(this, target);
    return refusal;
  }

  /** @returns why this node does not admit that one, which is told so, or null */
  #refusalOf(other: SimTransport): string | null {
    const objection = this.#admit(other.#certificate(), other.self);
    const explanation = objection === null ? null : this.#refusals.explain(other.self);
    if (explanation !== null) other.#refusals.refused(explanation);
    return objection;
  }

  openWire(wire: Wire): void {
    const { self } = otherEnd(wire, this);
    const wires = this.#wires.get(self) ?? new Set();
    this.#wires.set(self, wires.add(wire));
    this.#connections = null;
    this.#network.trace.say(`${this.self} is connected to ${self}`);
    if (wires.size === 1) this.#events?.connected(self);
  }

  closeWire(wire: Wire, why: string, silent = false): void {
    if (!wire.openAt.delete(this)) return;
    const { self } = otherEnd(wire, this);
    const wires = this.#wires.get(self);
    wires?.delete(wire);
    if (wires?.size === 0) this.#wires.delete(self);
    this.#connections = null;
    this.#network.trace.say(`${this.self} loses its connection to ${self}: ${why}`);
    for (const fail of [...(this.#pending.get(wire) ?? [])]) fail(new Error(`connection lost: ${why}`));
    this.#pending.delete(wire);
    this.#network.closed(wire, this, silent);
    if (!this.#wires.has(self)) this.#events?.disconnected(self);
  }

  async disconnect(peer: NodeId): Promise<void> {
    for (const wire of [...(this.#wires.get(peer) ?? [])]) this.closeWire(wire, 'hung up');
  }

  connections(): ReadonlyMap<NodeId, Connection> {
    this.#connections ??= new Map([...this.#wires].flatMap(([peer, [wire]]) => this.#connection(peer, wire)));
    return this.#connections;
  }

  #connection(peer: NodeId, wire: Wire | undefined): [NodeId, Connection][] {
    if (wire === undefined) return [];
    const direction = wire.dialer === this ? 'outbound' : 'inbound';
    return [[peer, { direction, address: otherEnd(wire, this).address, sinceMs: wire.sinceMs }]];
  }
}

const reasonOf = ({ reason }: AbortSignal): Error => (reason instanceof Error ? reason : new Error(String(reason)));
