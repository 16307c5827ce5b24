import { Availabilities } from './availability.ts';
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
import { LabelledPorts } from './labelled-ports.ts';
import { Leaving } from './leaving.ts';
import { Liveness } from './liveness/liveness.ts';
import type { Refusals } from './mesh/membership.ts';
import { Mesh } from './mesh/mesh.ts';
import type { Transport } from './mesh/transport.ts';
import { Networks } from './networks.ts';
import { NodeLabels } from './node-labels.ts';
import { Offences } from './offences.ts';
import { Removal } from './removal.ts';
import { Allocator } from './ring/allocator.ts';
import { Inheritance } from './ring/inheritance.ts';
import { RoleChange } from './roles/change.ts';
import { Roles } from './roles/roles.ts';
import { Services } from './services.ts';
import { Standing } from './standing.ts';
import type { Store } from './store.ts';
import { HybridClock } from './tables/clock.ts';
import { networkOfTopic, type OnValue, objectionTo } from './tables/kinds.ts';
import { Members } from './tables/members.ts';
import type { Reaping } from './tables/own.ts';
import { Replica } from './tables/replica.ts';
import { isPool, ringPools } from './tables/subnets.ts';
import { Tables } from './tables/tables.ts';
import { View } from './tables/view.ts';
import { VirtualAddresses } from './virtual-addresses.ts';
import { restsFor } from './warnings.ts';

// What others wrote is in kernels first, and many records share a commit: each costs as much time as two records, and a wait
// for the disk, which own records wait for too. A crash costs as much of it, which is pulled again.
const writeBehindMs = 100;

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
  /** What this node says of its part in a network that it is on. @default nothing */
  readonly saying?: ((network: NetworkId) => OnValue | null) | undefined;
  /** This node was removed by a manager. */
  readonly onRemoved: () => void;
  /** Above so many nodes the mesh is not full any more. @default 20 */
  readonly fullMeshUpTo?: number | undefined;
  /** When an own stream is freed of its tombstones. @default 300 of them, a minute after the last time */
  readonly reaping?: Reaping | undefined;
}

/** What a running member is made of. */
export interface Parts {
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
  readonly standing: Standing;
  readonly labelledPorts: LabelledPorts;
  readonly availabilities: Availabilities;
  readonly nodeLabels: NodeLabels;
  readonly virtualAddresses: VirtualAddresses;
  readonly members: Members;
  /** Whether this node is one and acts as one. */
  readonly isManager: () => boolean;
}

/**
 * Makes the parts and connects them, and starts none. Those that need each other in a circle find the later one through
 * a function that is called when all are there.
 */
export function makeParts(init: ClusterInit): Parts {
  const { identity, store, environment, log } = init;
  const self = identity.key.nodeId;
  const offences = new Offences(() => environment.now());
  const clock = new HybridClock(() => environment.now());
  const credentials = new Credentials({ identity, store, vault: init.vault });
  const members = new Members(() => credentials.identity.trust, store, environment);
  members.recognise(identity.certificate);
  const isManager = (): boolean =>
    credentials.identity.role === 'manager' && !members.demoted.has(self) && !roleChange.isStandingDown;
  const admit = (certificate: Uint8Array, peerId: string): string | null => {
    const admitted = members.admit(certificate);
    if (!admitted.ok) return admitted.reason;
    if (admitted.member.nodeId !== peerId) return 'the certificate is that of another node';
    return admitted.member.clusterId === credentials.identity.clusterId ? null : 'the node is of another cluster';
  };
  const transport = new Mesh({
    self,
    transport: init.makeTransport(admit, credentials, {
      explain: (peerId) => removal.statementOn(peerId as NodeId),
      refused: (statement) => removal.told(statement),
    }),
    environment,
    log,
    nodes: () => {
      // Whom the join answer named counts also where the tables do not know it (yet): if nobody else is left who knows
      // both sides, nothing else would bring them together.
      const known = new Set([self, ...view.nodes.keys(), ...init.peers.keys()]);
      const present = [...known].filter((id) => !removal.has(id));
      return new Map(present.map((id) => [id, members.roleOf(id) ?? 'worker']));
    },
    addressesOf: (peer) => (removal.has(peer) ? [] : (view.nodes.get(peer)?.gossip ?? init.peers.get(peer) ?? [])),
    networks: () => interests.circles(),
    isSuspended: (peer) => liveness.isSuspended(peer),
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
    monotonicMs: () => environment.monotonicMs(),
    random: () => environment.random(),
    pause: () => new Promise((resolve) => environment.timer(0, resolve)),
    behind: (write) => environment.timer(writeBehindMs, write),
    reaping: init.reaping,
    log,
  });
  const roleOf = (node: NodeId): Role | null => members.roleOf(node);
  const view = new View(tables, clock, roleOf, () => environment.monotonicMs());
  view.onSkewed = (owner) => offences.report(owner, 'time stamp more than a minute ahead of the clock here');
  const catchUp = (node: NodeId): Promise<void> => replica.pullNow(node);
  const canReach = (node: NodeId): boolean => transport.canReach(node);
  const allocator = new Allocator({
    tables,
    view,
    transport,
    environment,
    store,
    offences,
    log,
    canReach,
    catchUp,
    spaceOf: (ring) => networks.spaceOf(ring),
    mayOwn: (ring, node) => (isPool(ring) ? roleOf(node) === 'manager' : roleOf(node) !== null),
    inheritance: (owner) => restsFor({ view, inheritance }, owner),
  });
  const inheritance = new Inheritance({
    tables,
    view,
    allocator,
    log,
    isManager,
    managers: () => [...view.nodes.keys()].filter((id) => roleOf(id) === 'manager'),
  });
  const isSuspended = (node: NodeId): boolean => liveness.isSuspended(node);
  const standing = new Standing({ self, view, offences, isSuspended, environment, log });
  const follows = (peer: NodeId, topic: string): boolean => {
    const network = networkOfTopic(topic);
    return network === null || roleOf(peer) === 'manager' || view.nodesOn(network).has(peer);
  };
  const isWhole = (): boolean => transport.isWhole && liveness.isSettled;
  const replica = new Replica({ tables, members, transport, environment, offences, follows, isWhole, log });
  const roles = new Roles({ tables, members, environment, log });
  const interests = new Interests({
    tables,
    view,
    transport,
    replica,
    allocator,
    environment,
    log,
    isManager: (node) => members.roleOf(node) === 'manager',
    saying: init.saying ?? (() => null),
  });
  const removal = new Removal({
    clusterId: identity.clusterId,
    tables,
    view,
    members,
    transport,
    inheritance,
    roles,
    clock,
    environment,
    log,
    isManager,
    isSuspended: (nodeId) => liveness.isSuspended(nodeId),
    exchangedMs: () => replica.exchangedMs,
    onRemoved: init.onRemoved,
  });
  const liveness = new Liveness({
    key: identity.key,
    clusterId: identity.clusterId,
    transport,
    environment,
    log,
    epoch: () => tables.epoch,
    isMember: (node) => members.get(node) !== null,
    place: (peer) => view.nodes.get(peer) ?? null,
    population: () => view.nodes.size,
    missing: () => transport.dialer.missing,
    hostAnswers: init.hostAnswers ?? (async () => null),
  });
  const leaving = new Leaving({
    self,
    view,
    roles,
    removal,
    allocator,
    inheritance,
    transport,
    log,
    isManager,
    // The first exchange may bring networks whose topics it did not ask for.
    catchUp: async (node) => {
      const before = tables.topics.length;
      await replica.pullNow(node);
      if (tables.topics.length > before) await replica.pullNow(node);
    },
  });
  const roleChange = new RoleChange({
    tables,
    view,
    roles,
    clock,
    transport,
    environment,
    log,
    isManager,
    catchUp,
    // Numbers of one that did not stand down rest with it until it is a manager again, or removed.
    handOver: (to) => inheritance.handOver(to, ringPools),
    takeOver: (from) => removal.takeOver(from),
  });
  const keys = new Keys({
    ...{ credentials, members, tables, view, clock, transport, environment, log },
    wantedRole: (nodeId) => roles.wanted(nodeId),
    askDoors: init.askDoors ?? null,
  });
  const convergence = new Convergence({
    tables,
    view,
    transport,
    pending: init.pending,
    isSuspended: (node) => liveness.isSuspended(node),
  });
  const networks = new Networks({
    clusterId: identity.clusterId,
    tables,
    view,
    clock,
    allocator,
    now: () => environment.now(),
    isManager,
    avoid: init.avoid,
    held: init.held,
    log,
  });
  const virtualAddresses = new VirtualAddresses({ self, view, networks, allocator });
  const services = new Services({
    ...{ tables, view, clock, isManager, addresses: virtualAddresses },
    now: () => environment.now(),
  });
  const availabilities = new Availabilities({ tables, view, clock, isManager });
  const nodeLabels = new NodeLabels({ tables, view, clock, isManager });
  const labelledPorts = new LabelledPorts({
    ...{ self, view, services, environment, log, isSuspended },
    isManager: (node) => roleOf(node) === 'manager',
  });
  return {
    ...{
      self,
      credentials,
      tables,
      view,
      transport,
      replica,
      allocator,
      inheritance,
      networks,
      services,
      labelledPorts,
      availabilities,
      nodeLabels,
      virtualAddresses,
      interests,
      removal,
    },
    ...{ roles, liveness, roleChange, leaving, keys, convergence, clock, offences, standing, members, isManager },
  };
}
