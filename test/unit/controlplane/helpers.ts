import './unthreaded.ts';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cluster } from '../../../controlplane/cluster.ts';
import { encode } from '../../../controlplane/encoding.ts';
import type { Environment, Log } from '../../../controlplane/environment.ts';
import type { Identity, KnownPeers } from '../../../controlplane/identity/state.ts';
import type { NodeId } from '../../../controlplane/ids.ts';
import type { Refusals } from '../../../controlplane/mesh/membership.ts';
import type { Connection, Knock, Transport, TransportEvents, Verdict } from '../../../controlplane/mesh/transport.ts';
import type { Store } from '../../../controlplane/store.ts';
import { type Record, type SignedRecord, signRecord, toWire } from '../../../controlplane/tables/record.ts';
import { Disk } from '../../sim/disk.ts';
import { testVault } from '../../sim/identities.ts';
import { VirtualTime } from '../../sim/time.ts';

const nothing = (): void => {};
export const quietLog: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing };

export async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'weft-controlplane-'));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A store whose commits reach the disk at once, or when `release` is called, one by one. */
export function memoryStore(disk = new Disk()): Store & { held: boolean; release(): void; readonly disk: Disk } {
  const waiting: (() => void)[] = [];
  return {
    disk,
    held: false,
    release: () => waiting.shift()?.(),
    get: (key) => disk.get(key),
    entries: (prefix) => disk.entries(prefix),
    commit(writes) {
      const encoded = writes.map(({ key, value }) => ({ key, bytes: value === null ? null : encode(value) }));
      return new Promise((resolve) => {
        const apply = (): void => {
          disk.apply(encoded);
          resolve();
        };
        if (this.held) waiting.push(apply);
        else apply();
      });
    },
    close: async () => {},
  };
}

/** Resolves when all that can run has run. */
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Waits for work that waits for virtual time. */
export async function whileTimePasses<T>(time: VirtualTime, work: Promise<T>): Promise<T> {
  let over = false;
  const done = (): void => {
    over = true;
  };
  work.then(done, done);
  while (!over) await time.run(1);
  return work;
}

export function virtualEnvironment(time: VirtualTime, random: () => number = () => 0.5): Environment {
  const now = (): number => time.now();
  return { now, monotonicMs: now, random, timer: (delayMs, task) => time.after(delayMs, task) };
}

/** A mesh of one node: what it sends is kept, what it is sent is put in by the test. */
export class FakeTransport implements Transport {
  events: TransportEvents | null = null;
  readonly open = new Map<NodeId, Connection>();
  readonly published: { topic: string; bytes: Uint8Array }[] = [];
  readonly dialled: NodeId[] = [];
  readonly dialledAt: (readonly string[])[] = [];
  /** Peers that take a connection when they are dialled. */
  readonly listening = new Set<NodeId>();
  readonly topics = new Set<string>();
  /** What a knock finds, at once. */
  knocked: Knock = 'refused';
  answer: (peer: NodeId, method: string, body: Uint8Array) => Promise<Uint8Array> = async () => {
    throw new Error('nobody answers');
  };

  async start(events: TransportEvents): Promise<void> {
    this.events = events;
  }

  async stop(): Promise<void> {
    this.events = null;
  }

  publish(topic: string, bytes: Uint8Array): void {
    this.published.push({ topic, bytes });
  }

  subscribe(topic: string): void {
    this.topics.add(topic);
  }

  unsubscribe(topic: string): void {
    this.topics.delete(topic);
  }

  request(peer: NodeId, method: string, body: Uint8Array): Promise<Uint8Array> {
    return this.answer(peer, method, body);
  }

  async ping(peer: NodeId): Promise<void> {
    if (!this.open.has(peer)) throw new Error(`${peer} is not connected`);
  }

  async knock(): Promise<Knock> {
    return this.knocked;
  }

  async dial(peer: NodeId, addresses: readonly string[], _signal: AbortSignal): Promise<void> {
    this.dialled.push(peer);
    this.dialledAt.push(addresses);
    if (!this.listening.has(peer)) throw new Error('refused');
    this.connect(peer, 'outbound');
  }

  async disconnect(peer: NodeId): Promise<void> {
    if (this.open.delete(peer)) this.events?.disconnected(peer);
  }

  /** A connection comes to be, whoever dialled. */
  connect(peer: NodeId, direction: Connection['direction'], address = '192.0.2.1:7946', sinceMs = 0): void {
    this.open.set(peer, { direction, address, sinceMs });
    this.events?.connected(peer);
  }

  connections(): ReadonlyMap<NodeId, Connection> {
    return this.open;
  }

  canReach(peer: NodeId): boolean {
    return this.open.has(peer);
  }

  gossip(topic: string, records: readonly SignedRecord[], from: NodeId): Verdict | undefined {
    return this.events?.gossip(topic, encode(records.map(toWire)), from);
  }
}

/** A cluster of production code around one identity, under virtual time. */
export function makeCluster(
  identity: Identity,
  store: Store,
  time = new VirtualTime(),
  peers: KnownPeers = new Map(),
  onRemoved = nothing,
) {
  const transport = new FakeTransport();
  let admit: (certificate: Uint8Array, peerId: string) => string | null = () => null;
  let refusals: Refusals = { explain: () => null, refused: nothing };
  const cluster = new Cluster({
    identity,
    vault: testVault,
    peers,
    store,
    environment: virtualEnvironment(time),
    log: quietLog,
    makeTransport: (given, _, givenRefusals) => {
      admit = given;
      refusals = givenRefusals;
      return transport;
    },
    pending: () => '',
    avoid: () => [],
    onRemoved,
  });
  return { cluster, transport, time, refusals, admit: (of: Identity) => admit(of.certificate, of.key.nodeId) };
}

/** Signs records of another node, in order. */
export class Writer {
  readonly #identity: Identity;
  readonly #seqs = new Map<string, number>();
  epoch: number;

  constructor(identity: Identity, epoch = 1) {
    this.#identity = identity;
    this.epoch = epoch;
  }

  get nodeId(): NodeId {
    return this.#identity.key.nodeId;
  }

  write(topic: string, key: string, value: unknown): SignedRecord {
    const seq = (this.#seqs.get(topic) ?? 0) + 1;
    const record: Record = { topic, owner: this.nodeId, epoch: this.epoch, seq, key, value };
    const signed = signRecord(this.#identity.key, this.#identity.clusterId, record);
    this.#seqs.set(topic, seq);
    return signed;
  }
}
