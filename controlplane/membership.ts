import { randomBytes } from 'node:crypto';
import { SubnetPool } from './addresses.ts';
import { Cluster } from './cluster.ts';
import type { Environment, Log } from './environment.ts';
import { ControlPlaneError } from './errors.ts';
import { newNodeKey } from './identity/keys.ts';
import {
  type Addressing,
  type Identity,
  identityWrite,
  isJoined,
  type KnownPeers,
  loadIdentity,
  loadPeers,
  markJoined,
  migrateIdentity,
  saveIdentity,
  wipe,
} from './identity/state.ts';
import { Trust } from './identity/trust.ts';
import type { Vault } from './identity/vault.ts';
import { type NetworkId, randomBase36 } from './ids.ts';
import { requestMembership } from './joining.ts';
import { askAtDoors } from './keys/door.ts';
import { formatHostPort, type HostPort, parseHostPort } from './mesh/address.ts';
import { libp2pTransport } from './mesh/libp2p.ts';
import { ingressName } from './networks.ts';
import type { ClusterInit } from './parts.ts';
import { Reception } from './reception.ts';
import type { Store } from './store.ts';
import type { ClusterValue, OnValue } from './tables/kinds.ts';
import { clusterTopic } from './tables/record.ts';

export const defaultPools: readonly string[] = ['10.0.0.0/8'];
export const defaultSubnetBits = 24;
export const defaultDataPathPort = 4789;
/** As Docker's `--cert-expiry`. */
export const defaultCertExpiryMs = 90 * 86_400_000;

const meshTimeoutMs = 10_000;

export interface MembershipInit {
  readonly store: Store;
  /** Seals the keys of the CA on disk. */
  readonly vault: Vault;
  readonly environment: Environment;
  readonly log: Log;
  readonly hostname: string;
  readonly version: string;
  /** Where gossip and joins are taken; null: all addresses of the family at which others reach this node. */
  readonly listenHost: string | null;
  readonly gossipPort: number;
  readonly joinPort: number;
  readonly pending: () => string;
  readonly avoid: () => readonly string[];
  /** Addresses of endpoints that this host keeps, also before they are announced (again). @default none */
  readonly held?: ((network: NetworkId) => readonly string[]) | undefined;
  /** What this node says of its part in a network that it is on. @default nothing */
  readonly saying?: ((network: NetworkId) => OnValue | null) | undefined;
  /** ICMP echo to a VTEP; resolves with null where it cannot be asked. @default it cannot */
  readonly hostAnswers?: ((vtep: string, timeoutMs: number) => Promise<boolean | null>) | undefined;
  readonly onRemoved: () => void;
}

export interface ClusterSettings {
  readonly pools: readonly string[];
  readonly subnetBits: number;
  readonly dataPathPort: number;
  /** How long a certificate of a node lasts. */
  readonly certExpiryMs: number;
  /** Published ports are reached over IPv6, too; all hosts forward it. @default false */
  readonly ipv6?: boolean;
}

/** A running membership: the cluster, and what a manager keeps for those who want to join. */
export interface Membership {
  readonly cluster: Cluster;
  readonly reception: Reception;
  /** Dials the others, if that was left to the caller. */
  reach(): void;
  stop(): Promise<void>;
}

/**
 * Starts what was stored, but dials nobody before `reach`: the tables tell enough to bring the host up to date. `addressing`
 * says where others reach this host now, given what it was told and found at first.
 * @returns null when this host is no member
 */
export async function resume(
  init: MembershipInit,
  addressing: (stored: Addressing) => Promise<Addressing>,
): Promise<Membership | null> {
  const identity = loadIdentity(init.store, init.vault);
  if (identity !== null && !isJoined(init.store)) {
    init.log.warn({ node: identity.key.nodeId }, 'the last init or join was broken off; its traces are removed');
    await wipe(init.store);
    return null;
  }
  if (identity === null) return null;
  await migrateIdentity(init.store, init.vault, identity);
  return run(init, await readdressed(init, identity, addressing), loadPeers(init.store), (cluster) =>
    cluster.transport.hold(),
  );
}

/** The identity with the addresses of now, on disk before anybody is told of them. */
async function readdressed(
  init: MembershipInit,
  identity: Identity,
  addressing: (stored: Addressing) => Promise<Addressing>,
): Promise<Identity> {
  const { advertise, vtep, device } = identity;
  const now = await addressing({ advertise, vtep, device });
  if (now.advertise === advertise && now.vtep === vtep && now.device === device) return identity;
  init.log.info({ was: { advertise, vtep }, now }, 'this node has another address');
  const next = { ...identity, ...now };
  await init.store.commit([identityWrite(next, init.vault)]);
  return next;
}

/** Makes a cluster with this node as its first manager. Nothing is left behind when it fails. */
export async function initCluster(
  init: MembershipInit,
  addressing: Addressing,
  settings: ClusterSettings,
): Promise<Membership> {
  const unusable = settings.pools.find((pool) => new SubnetPool([pool], settings.subnetBits).size === 0);
  if (unusable !== undefined) {
    throw new ControlPlaneError(
      'invalid_pool',
      `the address pool ${unusable} holds no subnet of /${settings.subnetBits}`,
      'give IPv4 prefixes without host bits that are at least as large as one subnet',
    );
  }
  const { issueCertificate, newAuthority } = await import('./identity/authority.ts');
  const now = init.environment.now();
  const clusterId = randomBase36(25);
  const key = newNodeKey();
  const authority = await newAuthority(clusterId, now);
  const node = { nodeId: key.nodeId, publicKey: key.publicKey, role: 'manager' as const };
  const identity: Identity = {
    key,
    clusterId,
    certificate: await issueCertificate(authority, clusterId, node, now, { lifetimeMs: settings.certExpiryMs }),
    trust: Trust.of([{ root: authority.certificate, cross: null }]),
    authorities: [authority],
    networkKeys: [randomBytes(32)],
    role: 'manager',
    ...addressing,
    createdMs: now,
  };
  return begin(init, identity, new Map(), async ({ cluster, reception }) => {
    const value: ClusterValue = {
      stamp: [...cluster.clock.next()],
      root: cluster.self,
      pools: [...settings.pools],
      subnetBits: settings.subnetBits,
      dataPathPort: settings.dataPathPort,
      certExpiryMs: settings.certExpiryMs,
    };
    await cluster.tables.put(clusterTopic, 'cluster', value);
    await reception.tokens?.rotate('worker');
    await reception.tokens?.rotate('manager');
    const plain = { internal: false, attachable: false, options: {}, labels: {} };
    const ipv6 = settings.ipv6 ? { ipv6: {} } : {};
    await cluster.networks.create({ ...plain, ...ipv6, name: ingressName, ingress: true });
  });
}

/**
 * Joins the cluster of the token through the first manager that answers. `addressing` is asked once the address this
 * host used towards that manager is known. Nothing is left behind when it fails.
 */
export async function joinCluster(
  init: MembershipInit,
  managers: readonly HostPort[],
  tokenText: string,
  addressing: (localAddress: string) => Promise<Addressing>,
): Promise<Membership> {
  const { identity, peers } = await requestMembership(managers, tokenText, addressing, init.environment.now());
  return begin(init, identity, peers, async ({ cluster }) => {
    try {
      await cluster.exchanged(AbortSignal.timeout(meshTimeoutMs));
    } catch {
      const tried = [...cluster.transport.dialer.states().values()]
        .map(({ lastError }) => lastError)
        .filter((each) => each !== '');
      throw new ControlPlaneError(
        'join_no_mesh',
        `the manager accepted this node, but no member could be reached for gossip${tried[0] === undefined ? '' : `: ${tried[0]}`}`,
        `open TCP port 7946 between the hosts (${[...peers.values()].flat().join(', ')}), then join again`,
      );
    }
  });
}

/** Starts a new membership and runs its first steps; on any failure everything is taken back. */
async function begin(
  init: MembershipInit,
  identity: Identity,
  peers: KnownPeers,
  firstSteps: (membership: Membership) => Promise<void>,
): Promise<Membership> {
  await saveIdentity(init.store, init.vault, identity, peers);
  let membership: Membership | null = null;
  try {
    membership = await run(init, identity, peers);
    await firstSteps(membership);
    await markJoined(init.store);
    return membership;
  } catch (error) {
    await membership?.stop();
    await wipe(init.store);
    throw error;
  }
}

/** Leaves the cluster, and forgets it. @throws ControlPlaneError when no manager could be told, unless forced */
export async function leaveCluster(membership: Membership, store: Store, force: boolean): Promise<void> {
  try {
    await membership.cluster.askToLeave();
  } catch (error) {
    // The answer may be lost where the deed was done.
    if (!force && !membership.cluster.view.isRemoved(membership.cluster.self)) throw error;
  }
  await forgetCluster(membership, store);
}

/** Ends the membership on this host without telling anyone. */
export async function forgetCluster(membership: Membership, store: Store): Promise<void> {
  await membership.stop();
  await wipe(store);
}

async function run(
  init: MembershipInit,
  identity: Identity,
  peers: KnownPeers,
  prepare: (cluster: Cluster) => void = () => undefined,
): Promise<Membership> {
  const { environment, log, store } = init;
  const { host: reachedAt = '' } = parseHostPort(identity.advertise) ?? {};
  const host = init.listenHost ?? (reachedAt.includes(':') ? '::' : '0.0.0.0');
  const listen = { host, port: init.gossipPort };
  const clusterInit: ClusterInit = {
    identity,
    peers,
    store,
    environment,
    log,
    vault: init.vault,
    makeTransport: (admit, credentials, refusals) =>
      libp2pTransport({
        key: identity.key,
        meshKeys: () => credentials.meshKeys,
        listen,
        certificate: () => credentials.identity.certificate,
        links: () => credentials.identity.trust.links,
        learn: (links) => credentials.learn(links),
        admit,
        ...refusals,
        monotonicMs: () => environment.monotonicMs(),
        log,
      }),
    askDoors: askAtDoors,
    pending: init.pending,
    avoid: init.avoid,
    held: init.held,
    saying: init.saying,
    hostAnswers: init.hostAnswers,
    onRemoved: init.onRemoved,
  };
  const cluster = new Cluster(clusterInit);
  const reception = new Reception({
    cluster,
    listen: { host, port: init.joinPort },
    environment,
    log,
  });
  const stop = async (): Promise<void> => {
    await reception.stop();
    await cluster.stop();
  };
  try {
    prepare(cluster);
    await cluster.start();
    await reception.start();
    await cluster.announce({
      hostname: init.hostname,
      vtep: identity.vtep,
      gossip: [identity.advertise],
      version: init.version,
      createdMs: identity.createdMs,
      join: formatHostPort({ host: reachedAt, port: init.joinPort }),
    });
    return { cluster, reception, reach: () => cluster.transport.release(), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
