import { Cluster } from '../../controlplane/cluster.ts';
import type { Environment, Log } from '../../controlplane/environment.ts';
import { type Identity, type KnownPeers, loadIdentity } from '../../controlplane/identity/state.ts';
import type { NodeId } from '../../controlplane/ids.ts';
import { Disk, type DiskSpeed, DiskStore } from './disk.ts';
import { testVault } from './identities.ts';
import type { SimNetwork } from './network.ts';
import type { Prng } from './prng.ts';
import { SimTransport } from './transport.ts';

export interface HostInit {
  readonly name: string;
  readonly identity: Identity;
  /** What the join answer named. */
  readonly peers: () => KnownPeers;
  readonly network: SimNetwork;
  /** Above so many nodes, not each is connected to each. */
  readonly fullMeshUpTo: number | undefined;
  readonly prng: Prng;
  readonly diskSpeed: DiskSpeed;
  /** How far this host's clock is from the true one when it is right. */
  readonly skewMs: number;
  readonly onRemoved: (host: Host) => void;
  /** Code under test logged an error: none of the simulated faults should make it do so. */
  readonly onError: (host: Host, message: string, error: unknown) => void;
}

/** A host that runs one agent at a time: its disk outlives the agent. */
export class Host {
  readonly name: string;
  readonly nodeId: NodeId;
  readonly isManager: boolean;
  disk = new Disk();
  /** How far the clock is from the true one now. */
  skewMs: number;
  readonly #init: HostInit;
  #running: { cluster: Cluster; transport: SimTransport; store: DiskStore; end: () => void } | null = null;
  /** How many agents have run here. */
  incarnation = 0;
  /** What the code under test has warned of here. */
  readonly warned = new Set<string>();

  constructor(init: HostInit) {
    this.#init = init;
    this.skewMs = init.skewMs;
    this.name = init.name;
    this.nodeId = init.identity.key.nodeId;
    this.isManager = init.identity.role === 'manager';
  }

  /** The running agent's cluster, or null. */
  get cluster(): Cluster | null {
    return this.#running?.cluster ?? null;
  }

  /** Whether the disk has all that the running agent has written. */
  get isStored(): boolean {
    return this.#running?.store.isSettled === true;
  }

  /** The true time. */
  get nowMs(): number {
    return this.#init.network.time.now();
  }

  /** @param prepare sees the cluster before it starts */
  async start(prepare: (cluster: Cluster) => void): Promise<Cluster> {
    const { network, prng, diskSpeed, fullMeshUpTo } = this.#init;
    const peers = this.#init.peers();
    this.incarnation += 1;
    const timers = new Set<() => void>();
    const chance = prng.fork('environment');
    let alive = true;
    const environment: Environment = {
      now: () => network.time.now() + this.skewMs,
      monotonicMs: () => network.time.now(),
      random: () => chance.next(),
      timer: (delayMs, task) => {
        if (!alive) return () => {};
        const cancel = network.time.after(delayMs + network.lagOf(this.nodeId), () => {
          timers.delete(cancel);
          task();
        });
        timers.add(cancel);
        return cancel;
      },
    };
    const store = new DiskStore(this.disk, network.time, prng.fork('disk'), diskSpeed);
    // As a renewal or a rotation left it; the first start has it from the join.
    const identity = loadIdentity(store, testVault) ?? this.#init.identity;
    let transport: SimTransport | null = null;
    const cluster = new Cluster({
      identity,
      vault: testVault,
      peers,
      store,
      environment,
      log: this.#log(() => alive),
      makeTransport: (admit, credentials, refusals) => {
        const { advertise } = identity;
        const certificate = (): Uint8Array => credentials.identity.certificate;
        transport = new SimTransport({ self: this.nodeId, address: advertise, network, certificate, admit, refusals });
        return transport;
      },
      pending: () => '',
      avoid: () => [],
      hostAnswers: (vtep, timeoutMs) => network.echo(this.nodeId, vtep, timeoutMs),
      onRemoved: () => this.#init.onRemoved(this),
      fullMeshUpTo,
      // A run has few tombstones, and little time.
      reaping: { minTombstones: 3, minAgeMs: 5_000 },
    });
    if (transport === null) throw new Error('the cluster made no transport');
    const end = (): void => {
      alive = false;
      for (const cancel of timers) cancel();
    };
    this.#running = { cluster, transport, store, end };
    prepare(cluster);
    await cluster.start();
    const { vtep, advertise, createdMs } = identity;
    await cluster.announce({ hostname: this.name, vtep, gossip: [advertise], version: 'simulated', createdMs });
    return cluster;
  }

  /** Sets the clock as right as it ever is. */
  setClock(): void {
    this.skewMs = this.#init.skewMs;
  }

  /** `kill -9` of the agent, or, silent, the power of the host. */
  crash(silent: boolean): void {
    const running = this.#running;
    this.#running = null;
    running?.end();
    running?.store.crash();
    running?.transport.kill(silent);
  }

  /** A join that did not succeed leaves nothing behind. */
  wipe(): void {
    this.crash(false);
    this.disk = new Disk();
  }

  /** An orderly stop. */
  async stop(): Promise<void> {
    const running = this.#running;
    this.#running = null;
    await running?.cluster.stop();
    await running?.store.close();
    // The process ends here: whatever still waited in it never comes back.
    running?.store.crash();
    running?.end();
  }

  #log(alive: () => boolean): Log {
    const quiet = (): void => {};
    const error = (fields: object, message: string): void => {
      if (alive()) this.#init.onError(this, message, 'err' in fields ? fields.err : undefined);
    };
    return { debug: quiet, info: quiet, warn: (_, message) => this.warned.add(message), error };
  }
}
