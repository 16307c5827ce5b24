import { Convergence } from './convergence.ts';
import type { Environment, Log } from './environment.ts';
import type { Role } from './identity/certificates.ts';
import { Credentials } from './identity/credentials.ts';
import type { Identity, KnownPeers } from './identity/state.ts';
import type { Vault } from './identity/vault.ts';
import type { NetworkId, NodeId } from './ids.ts';
import { Interests } from './interests.ts';
import type { DoorCall } from './keys/door.ts';
import { Keys } from './keys/keys.ts';
import { Leaving } from './leaving.ts';
import { Liveness } from './liveness/liveness.ts';
import { livenessTopic } from './liveness/statement.ts';
import type { Refusals } from './mesh/membership.ts';
import { Mesh } from './mesh/mesh.ts';
import type { Transport, Verdict } from './mesh/transport.ts';
import { Networks } from './networks.ts';
import { Offences } from './offences.ts';
import { Removal } from './removal.ts';
import { Allocator } from './ring/allocator.ts';
import { Inheritance } from './ring/inheritance.ts';
import { RoleChange } from './roles/change.ts';
import { Roles } from './roles/roles.ts';
import { Standing, sharedVteps } from './standing.ts';
import type { Store } from './store.ts';
import { HybridClock } from './tables/clock.ts';
import { type NodeValue, objectionTo } from './tables/kinds.ts';
import { Members } from './tables/members.ts';
import type { Reaping } from './tables/own.ts';
import { clusterTopic } from './tables/record.ts';
import { Replica } from './tables/replica.ts';
import { isPool, ringPools } from './tables/subnets.ts';
import { Tables } from './tables/tables.ts';
import { type Touched, View } from './tables/view.ts';

export interface ClusterInit {
  readonly identity: Identity;
  /** Members from the join answer, to begin with. */
  readonly peers: KnownPeers;
  readonly store: Store;
  readonly environment: Environment;
  readonly log: Log;
  /** @param admit decides on a certificate shown by a peer; returns why not, or null */
  readonly makeTransport: (
    admit: (certificate: Uint8Array, peerId: string) => string | null,
    credentials: Credentials,
    refusals: Refusals,
  ) => Transport;
  /** Asks managers on their join ports for a certificate. @default nobody is asked there */
  readonly askDoors?: ((call: DoorCall) => Promise<Uint8Array>) | undefined;
  /** Seals the keys of the CA on disk. */
  readonly vault: Vault;
  /** What is pending in this host's kernel, for others who ask; '' for nothing. */
  readonly pending: () => string;
  readonly avoid: () => readonly string[];
  /** Addresses of endpoints that this host keeps, also before they are announced (again). @default none */
  readonly held?: ((network: NetworkId) => readonly string[]) | undefined;
  /** ICMP echo to a VTEP; resolves with null where it cannot be asked. @default it cannot */
  readonly hostAnswers?: ((vtep: string, timeoutMs: number) => Promise<boolean | null>) | undefined;
  /** This node was removed by a manager. */
  readonly onRemoved: () => void;
  /** Above so many nodes the mesh is not full any more. @default 20 */
  readonly fullMeshUpTo?: number | undefined;
  /** When an own stream is freed of its tombstones. @default 300 of them, a minute after the last time */
  readonly reaping?: Reaping | undefined;
}

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
  readonly #standing: Standing;
  readonly #members: Members;
  readonly #init: ClusterInit;
  readonly #exchangeWaiters = new Set<() => void>();

  constructor(init: ClusterInit) {
    const { identity, store, environment, log } = init;
    this.#init = init;
    const self = identity.key.nodeId;
    this.self = self;
    this.offences = new Offences(() => environment.now());
    const clock = new HybridClock(() => environment.now());
    const credentials = new Credentials({ identity, store, vault: init.vault });
    this.credentials = credentials;
    const members = new Members(() => credentials.identity.trust, store, environment);
    members.recognise(identity.certificate);
    const transport = new Mesh({
      self,
      transport: init.makeTransport((certificate, peerId) => this.#admit(certificate, peerId), credentials, {
        explain: (peerId) => this.removal.statementOn(peerId as NodeId),
        refused: (statement) => this.removal.told(statement),
      }),
      environment,
      log,
      nodes: () => this.#nodes(),
      addressesOf: (peer) =>
        this.removal.has(peer) ? [] : (view.nodes.get(peer)?.gossip ?? init.peers.get(peer) ?? []),
      networks: () => this.interests.circles(),
      isSuspended: (peer) => this.liveness.isSuspended(peer),
      fullMeshUpTo: init.fullMeshUpTo,
    });
    const tables = new Tables({
      key: identity.key,
      clusterId: identity.clusterId,
      store,
      members,
      validate: (signed) => {
        const { owner } = signed.record;
        return objectionTo(signed, members.roleOf(owner), members.certifiedRoleOf(owner));
      },
      now: () => environment.now(),
      pause: () => new Promise((resolve) => environment.timer(0, resolve)),
      reaping: init.reaping,
      log,
    });
    const roleOf = (node: NodeId): Role | null => members.roleOf(node);
    const view = new View(tables, clock, roleOf, () => environment.now());
    view.onSkewed = (owner) => this.offences.report(owner, 'time stamp more than a minute ahead of the clock here');
    const catchUp = (node: NodeId): Promise<void> => this.replica.pullNow(node);
    const canReach = (node: NodeId): boolean => transport.canReach(node);
    const allocator = new Allocator({
      tables,
      view,
      transport,
      environment,
      store,
      log,
      canReach,
      catchUp,
      spaceOf: (ring) => this.networks.spaceOf(ring),
      mayOwn: (ring, node) => (isPool(ring) ? roleOf(node) === 'manager' : roleOf(node) !== null),
      inheritance: (owner) => this.#restsFor(owner),
    });
    this.inheritance = new Inheritance({
      tables,
      view,
      allocator,
      log,
      isManager: () => this.isManager,
      managers: () => [...view.nodes.keys()].filter((id) => roleOf(id) === 'manager'),
    });
    this.clock = clock;
    this.#standing = new Standing({ self, view, offences: this.offences, environment, log });
    this.#members = members;
    this.transport = transport;
    this.tables = tables;
    this.view = view;
    this.allocator = allocator;
    this.replica = new Replica({ tables, members, transport, environment, offences: this.offences, log });
    this.roles = new Roles({ tables, members, environment, log });
    this.interests = new Interests({
      tables,
      view,
      transport,
      replica: this.replica,
      allocator,
      environment,
      log,
      isManager: (node) => members.roleOf(node) === 'manager',
    });
    this.removal = new Removal({
      clusterId: identity.clusterId,
      tables,
      view,
      members,
      transport,
      inheritance: this.inheritance,
      roles: this.roles,
      clock,
      environment,
      log,
      isManager: () => this.isManager,
      isSuspended: (nodeId) => this.liveness.isSuspended(nodeId),
      onRemoved: init.onRemoved,
    });
    this.liveness = new Liveness({
      key: identity.key,
      clusterId: identity.clusterId,
      transport,
      environment,
      log,
      epoch: () => tables.epoch,
      isMember: (node) => members.get(node) !== null,
      place: (peer) => view.nodes.get(peer) ?? null,
      population: () => view.nodes.size,
      missing: () => transport.dialer.states().keys(),
      hostAnswers: init.hostAnswers ?? (async () => null),
    });
    this.leaving = new Leaving({
      self,
      view,
      roles: this.roles,
      removal: this.removal,
      allocator,
      inheritance: this.inheritance,
      transport,
      log,
      isManager: () => this.isManager,
      catchUp: (node) => this.#catchUpAll(node),
    });
    this.roleChange = new RoleChange({
      tables,
      view,
      roles: this.roles,
      clock,
      transport,
      environment,
      log,
      isManager: () => this.isManager,
      catchUp: (node) => this.replica.pullNow(node),
      // Numbers of one that did not stand down rest with it until it is a manager again, or removed.
      handOver: (to) => this.inheritance.handOver(to, ringPools),
      takeOver: (from) => this.removal.takeOver(from),
    });
    this.keys = new Keys({
      ...{ credentials, members, tables, view, clock, transport, environment, log },
      wantedRole: (nodeId) => this.roles.wanted(nodeId),
      askDoors: init.askDoors ?? null,
    });
    this.convergence = new Convergence({
      tables,
      view,
      transport,
      pending: init.pending,
      isSuspended: (node) => this.liveness.isSuspended(node),
    });
    this.networks = new Networks({
      tables,
      view,
      clock,
      allocator,
      now: () => environment.now(),
      isManager: () => this.isManager,
      avoid: init.avoid,
      held: init.held,
      log,
    });
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
    const { role } = this.identity;
    return role === 'manager' && !this.#members.demoted.has(this.self) && !this.roleChange.isStandingDown;
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
    this.#standing.start();
    // Who is back is dialled at once, and who is suspended is bridged over.
    liveness.watch((peer) => (liveness.stateOf(peer).status === 'alive' ? transport.heard(peer) : transport.wake()));
    view.watch((touched) => this.#follow(touched));
    const everything = {
      nodes: true,
      networks: true,
      endpoints: new Set<NetworkId>(),
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
    this.#standing.stop();
    this.inheritance.stop();
    this.roles.stop();
    this.liveness.stop();
    this.roleChange.stop();
    await this.keys.stop();
    this.replica.stop();
    this.view.close();
    await this.transport.stop();
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
    return this.#members.roleOf(nodeId);
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

  #admit(certificate: Uint8Array, peerId: string): string | null {
    const admitted = this.#members.admit(certificate);
    if (!admitted.ok) return admitted.reason;
    if (admitted.member.nodeId !== peerId) return 'the certificate is that of another node';
    return admitted.member.clusterId === this.identity.clusterId ? null : 'the node is of another cluster';
  }

  /** What follows from a change of the tables, besides the kernel. */
  #follow(touched: Touched): void {
    const { nodes, on, removed, roles, keys, certificates } = touched;
    for (const nodeId of removed) {
      this.removal.bar(nodeId);
      this.liveness.forget(nodeId);
    }
    // Before anything that a node writes in its new role is looked at.
    for (const certificate of certificates.values()) this.#members.recognise(certificate);
    if (keys) this.keys.follow();
    if (roles || removed.length > 0) this.roles.follow();
    this.interests.follow(touched);
    if (nodes || on.size > 0 || removed.length > 0) this.transport.wake();
    this.networks.follow(touched.endpoints);
    this.inheritance.follow(touched);
  }

  /** The first exchange may bring networks whose topics it did not ask for. */
  async #catchUpAll(node: NodeId): Promise<void> {
    const before = this.tables.topics.length;
    await this.replica.pullNow(node);
    if (this.tables.topics.length > before) await this.replica.pullNow(node);
  }

  /** What a person should know of addresses, one line each. */
  addressWarnings(): string[] {
    const { view } = this;
    const lines = [...this.networks.warnings()];
    for (const { node } of this.inheritance.waiting()) lines.push(this.#restsFor(node) ?? '');
    for (const { endpoint } of view.ownership.hidden()) {
      const { name, ip, networkId, owner } = endpoint;
      const network = view.networks.get(networkId);
      if (owner !== this.self || network === undefined) continue;
      lines.push(
        `${ip} of ${name} on ${network.name} does not belong to this node any more, and others ignore it: ` +
          `\`weft network disconnect ${network.name} ${name}\`, then connect it again`,
      );
    }
    for (const nodes of sharedVteps(view)) {
      const names = nodes.map((id) => `${view.nodes.get(id)?.hostname} (${id})`).join(' and ');
      lines.push(`${names} say they have the same VTEP: \`weft node rm\` the one that is gone`);
    }
    return lines.filter((line) => line !== '');
  }

  /** What the numbers of a removed node wait for; null when it was not removed. */
  #restsFor(owner: NodeId): string | null {
    if (!this.view.isRemoved(owner)) return null;
    const names = this.inheritance.waitsFor(owner).map((id) => this.view.nodes.get(id)?.hostname ?? id);
    return `what the removed node ${owner} owned rests until ${names.join(', ') || 'a manager'} has agreed to its heir`;
  }

  /** All members that this node knows of, itself included, with their roles. */
  #nodes(): Map<NodeId, Role> {
    // Whom the join answer named counts also where the tables do not know it (yet): if nobody else is left who knows
    // both sides, nothing else would bring them together.
    const ids = new Set([this.self, ...this.view.nodes.keys(), ...this.#init.peers.keys()]);
    const present = [...ids].filter((id) => !this.removal.has(id));
    return new Map(present.map((id) => [id, this.#members.roleOf(id) ?? 'worker']));
  }
}
