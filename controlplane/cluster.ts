import type { Availabilities } from './availability.ts';
import type { Convergence } from './convergence.ts';
import type { Credentials } from './identity/credentials.ts';
import type { Identity } from './identity/state.ts';
import type { NetworkId, NodeId } from './ids.ts';
import type { Interests } from './interests.ts';
import type { Keys } from './keys/keys.ts';
import type { Leaving } from './leaving.ts';
import type { Liveness } from './liveness/liveness.ts';
import { livenessTopic } from './liveness/statement.ts';
import type { Mesh } from './mesh/mesh.ts';
import type { Verdict } from './mesh/transport.ts';
import type { Networks } from './networks.ts';
import type { NodeLabels } from './node-labels.ts';
import type { Offences } from './offences.ts';
import { type ClusterInit, makeParts, type Parts } from './parts.ts';
import type { Removal } from './removal.ts';
import type { Allocator } from './ring/allocator.ts';
import type { Inheritance } from './ring/inheritance.ts';
import type { RoleChange } from './roles/change.ts';
import type { Roles } from './roles/roles.ts';
import type { Services } from './services.ts';
import type { HybridClock } from './tables/clock.ts';
import type { NodeValue } from './tables/kinds.ts';
import { clusterTopic } from './tables/record.ts';
import type { Replica } from './tables/replica.ts';
import type { Tables } from './tables/tables.ts';
import type { Touched, View } from './tables/view.ts';
import { addressWarnings, clockWarning, nameWarnings, serviceWarnings } from './warnings.ts';

/** A running member: the tables, the mesh that keeps them equal, and the verbs that change them. */
export class Cluster {
  readonly self: NodeId;
  readonly credentials: Credentials;
  readonly tables: Tables;
  readonly view: View;
  readonly transport: Mesh;
  readonly replica: Replica;
  readonly allocator: Allocator;
  readonly inheritance: Inheritance;
  readonly networks: Networks;
  readonly services: Services;
  readonly availabilities: Availabilities;
  readonly nodeLabels: NodeLabels;
  readonly interests: Interests;
  readonly removal: Removal;
  readonly roles: Roles;
  readonly liveness: Liveness;
  readonly roleChange: RoleChange;
  readonly leaving: Leaving;
  readonly keys: Keys;
  readonly convergence: Convergence;
  readonly clock: HybridClock;
  /** Who does what it must not do. */
  readonly offences: Offences;
  readonly #parts: Parts;
  readonly #exchangeWaiters = new Set<() => void>();

  constructor(init: ClusterInit) {
    const parts = makeParts(init);
    this.#parts = parts;
    this.self = parts.self;
    this.credentials = parts.credentials;
    this.tables = parts.tables;
    this.view = parts.view;
    this.transport = parts.transport;
    this.replica = parts.replica;
    this.allocator = parts.allocator;
    this.inheritance = parts.inheritance;
    this.networks = parts.networks;
    this.services = parts.services;
    this.availabilities = parts.availabilities;
    this.nodeLabels = parts.nodeLabels;
    this.interests = parts.interests;
    this.removal = parts.removal;
    this.roles = parts.roles;
    this.liveness = parts.liveness;
    this.roleChange = parts.roleChange;
    this.leaving = parts.leaving;
    this.keys = parts.keys;
    this.convergence = parts.convergence;
    this.clock = parts.clock;
    this.offences = parts.offences;
  }

  /** As it is now: renewals and rotations change it. */
  get identity(): Identity {
    return this.credentials.identity;
  }

  /** The root that this node's own certificate is of, DER. */
  get ownRootCertificate(): Uint8Array {
    const { trust, certificate } = this.identity;
    return (trust.anchors.find((anchor) => anchor.issued(certificate)) ?? trust.current).der;
  }

  get isManager(): boolean {
    return this.#parts.isManager();
  }

  /** Loads the tables, opens a new epoch and starts the mesh. */
  async start(): Promise<void> {
    const { transport, replica, liveness, view, tables } = this;
    await tables.load();
    view.start();
    this.removal.start();
    this.roles.start();
    this.interests.restore();
    await transport.start({
      gossip: (topic, bytes, from): Verdict => {
        liveness.heard(from);
        return topic === livenessTopic ? liveness.gossip(bytes) : replica.gossip(topic, bytes, from);
      },
      request: (method, body, from) => {
        liveness.heard(from);
        return this.#answer(method, body, from);
      },
      pinged: (peer) => liveness.heard(peer),
      connected: (peer) => {
        replica.connected(peer);
        liveness.connected(peer);
      },
      disconnected: (peer) => {
        replica.disconnected(peer);
        liveness.disconnected(peer);
      },
    });
    transport.subscribe(livenessTopic);
    for (const topic of tables.topics) transport.subscribe(topic);
    replica.onExchange = () => {
      for (const waiter of this.#exchangeWaiters) waiter();
    };
    replica.start();
    // The mesh gives every worker a few managers.
    this.roles.watch(() => {
      transport.wake();
      this.interests.refresh();
      // Another role is another certificate.
      this.keys.follow();
      view.promoted();
    });
    liveness.start();
    this.#parts.standing.start();
    this.#parts.labelledPorts.start();
    // Who is back is dialled at once, and who is suspended is bridged over.
    liveness.watch((peer) => {
      if (liveness.stateOf(peer).status === 'alive') transport.heard(peer);
      else transport.wake();
      this.#parts.labelledPorts.heardOfLiveness();
    });
    view.watch((touched) => this.#follow(touched));
    const everything = {
      nodes: true,
      networks: true,
      services: true,
      endpoints: new Map<NetworkId, ReadonlySet<string>>(),
      rings: new Set(view.ownership.rings),
      fences: new Set(view.removedNodes()),
      on: new Set<NetworkId>(),
      roles: true,
      keys: false,
    };
    const shown = new Map([...view.holdings].map(([id, { certificate }]) => [id, certificate]));
    this.#follow({ ...everything, removed: view.removedNodes(), certificates: shown });
    this.keys.start();
    transport.reshape();
  }

  async stop(): Promise<void> {
    this.interests.stop();
    this.removal.stop();
    this.#parts.standing.stop();
    this.#parts.labelledPorts.stop();
    this.inheritance.stop();
    this.roles.stop();
    this.liveness.stop();
    this.roleChange.stop();
    await this.keys.stop();
    this.replica.stop();
    this.view.close();
    await this.transport.stop();
    await this.credentials.close();
    await this.tables.flushed();
  }

  /** Resolves once this node has compared itself fully with at least one other. @throws when the signal aborts */
  exchanged(signal: AbortSignal): Promise<void> {
    const done = (): boolean =>
      [...this.transport.connections().keys()].some((peer) => this.replica.exchangesWith(peer) > 0);
    if (done()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const waiter = (): void => {
        if (!done()) return;
        this.#exchangeWaiters.delete(waiter);
        resolve();
      };
      this.#exchangeWaiters.add(waiter);
      signal.addEventListener('abort', () => {
        this.#exchangeWaiters.delete(waiter);
        reject(signal.reason);
      });
    });
  }

  /** Writes this node's own node record. */
  async announce(node: NodeValue): Promise<void> {
    await this.tables.put(clusterTopic, 'node', node);
  }

  /** Bars a node for ever. @throws ControlPlaneError `not_manager`, `node_is_self`, `node_not_down` */
  removeNode(nodeId: NodeId, force: boolean): Promise<void> {
    return this.removal.remove(nodeId, force);
  }

  /** Asks a manager to remove this node. @throws ControlPlaneError `last_manager`, `no_manager_reachable` */
  askToLeave(): Promise<void> {
    return this.leaving.ask();
  }

  roleOf(nodeId: NodeId): 'manager' | 'worker' | null {
    return this.#parts.members.roleOf(nodeId);
  }

  async #answer(method: string, body: Uint8Array, from: NodeId): Promise<Uint8Array> {
    switch (method) {
      case 'compare':
        return this.replica.answerCompare(body, from);
      case 'pull':
        return this.replica.answerPull(body, from);
      case 'range':
        return this.allocator.answerAsk(body, from);
      case 'digest':
        return this.convergence.answer(body);
      case 'positions':
        return this.convergence.answerPositions(body);
      case 'look':
        return this.liveness.prober.help(body);
      case 'liveness':
        return this.liveness.answer(body);
      case 'stand-down':
        return this.roleChange.answerStandDown(from);
      case 'step-down':
        return this.roleChange.answerStepDown(from);
      case 'renew':
        return this.keys.issuer.answer(body, from);
      case 'mesh-key':
        return this.keys.meshKeys.answer(body);
      case 'leave':
        return this.leaving.answer(from);
      default:
        throw new Error(`unknown method ${method.slice(0, 32)}`);
    }
  }

  /** What follows from a change of the tables, besides the kernel. */
  #follow(touched: Touched): void {
    const { nodes, on, removed, roles, keys, certificates } = touched;
    // Before anybody takes an address.
    if (touched.services || touched.networks) this.#parts.virtualAddresses.follow();
    for (const nodeId of removed) {
      this.removal.bar(nodeId);
      this.liveness.forget(nodeId);
      this.tables.propagation.forget(nodeId);
    }
    // Before anything that a node writes in its new role is looked at.
    for (const certificate of certificates.values()) this.#parts.members.recognise(certificate);
    if (keys) this.keys.follow();
    if (roles || removed.length > 0) this.roles.follow();
    this.interests.follow(touched);
    this.#parts.labelledPorts.follow(touched);
    if (nodes || on.size > 0 || removed.length > 0) this.transport.wake();
    this.networks.follow(touched.endpoints.keys());
    this.inheritance.follow(touched);
  }

  /** What a person should know of addresses, names and clocks, one line each. */
  warnings(): string[] {
    const { view } = this.#parts;
    const clocks = clockWarning(this.#parts);
    return [
      ...addressWarnings(this.#parts),
      ...nameWarnings(view),
      ...serviceWarnings(view),
      ...this.#parts.labelledPorts.warnings(),
      ...(clocks === null ? [] : [clocks]),
    ];
  }
}
