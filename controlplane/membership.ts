import { randomBytes } from 'node:crypto';
import { SubnetPool } from './addresses.ts';
import { Cluster, type ClusterInit } from './cluster.ts';
import type { Environment, Log } from './environment.ts';
import { ControlPlaneError } from './errors.ts';
import { TrustAnchor } from './identity/certificates.ts';
import type { Bootstrap } from './identity/join.ts';
import { askToJoin, type JoinAnswer } from './identity/join-client.ts';
import { type JoinVerdict, refuse, startJoinListener } from './identity/join-listener.ts';
import { JoinTokens } from './identity/join-tokens.ts';
import { type NodeKey, newNodeKey } from './identity/keys.ts';
import { type Identity, type KnownPeers, loadIdentity, loadPeers, saveIdentity, wipe } from './identity/state.ts';
import { digestOf, type JoinToken, parseToken } from './identity/token.ts';
import { type NodeId, parseNodeId, publicKeyOf, randomBase36 } from './ids.ts';
import { formatHostPort, type HostPort, parseHostPort } from './mesh/address.ts';
import { libp2pTransport } from './mesh/libp2p.ts';
import type { Store } from './store.ts';
import type { ClusterValue } from './tables/kinds.ts';
import { clusterTopic } from './tables/record.ts';

export const defaultPools: readonly string[] = ['10.0.0.0/8'];
export const defaultSubnetBits = 24;
export const defaultDataPathPort = 4789;
export const ingressName = 'ingress';

const meshTimeoutMs = 10_000;
// Members named in a join answer: enough to find the mesh when some are down.
const peersInAnswer = 8;

export interface MembershipInit {
  readonly store: Store;
  readonly environment: Environment;
  readonly log: Log;
  readonly hostname: string;
  readonly version: string;
  readonly listenHost: string;
  readonly gossipPort: number;
  readonly joinPort: number;
  readonly pending: () => string;
  readonly avoid: () => readonly string[];
  readonly onRemoved: () => void;
}

export interface Addressing {
  /** `IP:PORT` that others reach this node's gossip at. */
  readonly advertise: string;
  readonly vtep: string;
}

export interface ClusterSettings {
  readonly pools: readonly string[];
  readonly subnetBits: number;
  readonly dataPathPort: number;
}

/** A running membership: the cluster, and on managers the tokens and the join listener. */
export interface Membership {
  readonly cluster: Cluster;
  /** null on workers. */
  readonly tokens: JoinTokens | null;
  /** Where this manager takes joins, `IP:PORT`. */
  readonly joinAddress: string | null;
  stop(): Promise<void>;
}

/** Starts what was stored. @returns null when this host is no member */
export async function resume(init: MembershipInit): Promise<Membership | null> {
  const identity = loadIdentity(init.store);
  return identity === null ? null : run(init, identity, loadPeers(init.store));
}

/** Makes a cluster with this node as its first manager. Nothing is left behind when it fails. */
export async function initCluster(
  init: MembershipInit,
  addressing: Addressing,
  settings: ClusterSettings,
): Promise<Membership> {
  if (new SubnetPool(settings.pools, settings.subnetBits).size === 0) {
    throw new ControlPlaneError(
      'invalid_pool',
      `the address pool ${settings.pools.join(', ')} holds no subnet of /${settings.subnetBits}`,
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
    certificate: await issueCertificate(authority, clusterId, node, now),
    anchor: new TrustAnchor(authority.certificate),
    authorityKey: authority.pkcs8,
    networkKey: randomBytes(32),
    role: 'manager',
    ...addressing,
    createdMs: now,
  };
  return begin(init, identity, new Map(), async ({ cluster, tokens }) => {
    const value: ClusterValue = {
      stamp: [...cluster.clock.next()],
      root: cluster.self,
      pools: [...settings.pools],
      subnetBits: settings.subnetBits,
      dataPathPort: settings.dataPathPort,
    };
    await cluster.tables.put(clusterTopic, 'cluster', value);
    await tokens?.rotate('worker');
    await tokens?.rotate('manager');
    const plain = { internal: false, attachable: false, options: {}, labels: {} };
    await cluster.networks.create({ ...plain, name: ingressName, ingress: true });
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
  addressing: (localAddress: string) => Addressing,
): Promise<Membership> {
  const parsed = parseToken(tokenText);
  if (!parsed.ok) {
    throw new ControlPlaneError(
      'join_token_malformed',
      parsed.reason,
      'a token looks like WFTKN-1-<50 characters>-<25 characters>',
    );
  }
  const { newCertificateRequest } = await import('./identity/authority.ts');
  const key = newNodeKey();
  const { bootstrap, localAddress } = await askAny(managers, parsed.token, await newCertificateRequest(key));
  const identity = identityFrom(bootstrap, key, parsed.token, addressing(localAddress), init.environment.now());
  const peers: KnownPeers = new Map(bootstrap.peers.map(({ id, addresses }) => [id as NodeId, addresses]));
  return begin(init, identity, peers, async ({ cluster }) => {
    try {
      await cluster.exchanged(AbortSignal.timeout(meshTimeoutMs));
    } catch {
      const tried = [...cluster.dialer.states().values()]
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

async function askAny(managers: readonly HostPort[], token: JoinToken, csr: Uint8Array): Promise<JoinAnswer> {
  let failure: unknown = new ControlPlaneError('join_unreachable', 'no manager address was given');
  for (const manager of managers) {
    try {
      return await askToJoin(manager, token, csr, AbortSignal.timeout(20_000));
    } catch (error) {
      failure = error;
      // Only a manager that cannot be reached is a reason to try the next one.
      if (!(error instanceof ControlPlaneError) || error.code !== 'join_unreachable') throw error;
    }
  }
  throw failure;
}

function identityFrom(
  bootstrap: Bootstrap,
  key: NodeKey,
  token: JoinToken,
  addressing: Addressing,
  nowMs: number,
): Identity {
  const bytes = (text: string): Uint8Array => Buffer.from(text, 'base64');
  const authority = bytes(bootstrap.authority);
  const certificate = bytes(bootstrap.certificate);
  const bad = (reason: string): ControlPlaneError =>
    new ControlPlaneError(
      'join_bad_answer',
      `the manager's answer cannot be used: ${reason}`,
      'look at the manager: its log and its clock',
    );
  if (!Buffer.from(digestOf(authority)).equals(token.caDigest)) throw bad('its authority is not the one of the token');
  const anchor = new TrustAnchor(authority);
  const checked = anchor.check(certificate, nowMs);
  if (!checked.ok) throw bad(checked.reason);
  if (checked.member.nodeId !== key.nodeId) throw bad('the certificate is for another key');
  return {
    key,
    clusterId: checked.member.clusterId,
    certificate,
    anchor,
    authorityKey: bootstrap.authorityKey === null ? null : bytes(bootstrap.authorityKey),
    networkKey: bytes(bootstrap.networkKey),
    role: checked.member.role,
    ...addressing,
    createdMs: nowMs,
  };
}

/** Starts a new membership and runs its first steps; on any failure everything is taken back. */
async function begin(
  init: MembershipInit,
  identity: Identity,
  peers: KnownPeers,
  firstSteps: (membership: Membership) => Promise<void>,
): Promise<Membership> {
  await saveIdentity(init.store, identity, peers);
  let membership: Membership | null = null;
  try {
    membership = await run(init, identity, peers);
    await firstSteps(membership);
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
    if (!force) throw error;
  }
  await membership.stop();
  await wipe(store);
}

async function run(init: MembershipInit, identity: Identity, peers: KnownPeers): Promise<Membership> {
  const { environment, log, store } = init;
  const listen = { host: init.listenHost, port: init.gossipPort };
  const clusterInit: ClusterInit = {
    identity,
    peers,
    store,
    environment,
    log,
    makeTransport: (admit) =>
      libp2pTransport({
        key: identity.key,
        networkKey: identity.networkKey,
        listen,
        certificate: () => identity.certificate,
        admit,
        log,
      }),
    pending: init.pending,
    avoid: init.avoid,
    onRemoved: init.onRemoved,
  };
  const cluster = new Cluster(clusterInit);
  let listener: { close(): Promise<void> } | null = null;
  const stop = async (): Promise<void> => {
    await listener?.close();
    await cluster.stop();
  };
  try {
    await cluster.start();
    let tokens: JoinTokens | null = null;
    if (identity.authorityKey !== null) {
      const { anchor, authorityKey } = identity;
      const authority = { certificate: anchor.der, pkcs8: authorityKey };
      tokens = new JoinTokens({ tables: cluster.tables, view: cluster.view, clock: cluster.clock, authority });
      const decide = joinDecider(init, cluster, tokens);
      listener = await startJoinListener({
        listen: { host: init.listenHost, port: init.joinPort },
        certificate: identity.certificate,
        authority: anchor.der,
        pkcs8: identity.key.pkcs8,
        decide,
        now: () => environment.now(),
        log,
      });
    }
    await cluster.announce({
      hostname: init.hostname,
      vtep: identity.vtep,
      gossip: [identity.advertise],
      version: init.version,
      createdMs: identity.createdMs,
    });
    const host = parseHostPort(identity.advertise)?.host ?? init.listenHost;
    const joinAddress = tokens === null ? null : formatHostPort({ host, port: init.joinPort });
    return { cluster, tokens, joinAddress, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Decides on one join: the role that the token gives, and a certificate for the joiner's own key. */
function joinDecider(init: MembershipInit, cluster: Cluster, tokens: JoinTokens) {
  return async (secret: Uint8Array, request: Uint8Array): Promise<JoinVerdict> => {
    const token = tokens.check(secret);
    if (token.role === null) {
      return token.reason === 'rotated'
        ? refuse(403, 'join_token_rotated', 'the join token was rotated and is no longer valid')
        : refuse(403, 'join_token_invalid', 'the join token is not one of this cluster');
    }
    const { checkCertificateRequest, issueCertificate } = await import('./identity/authority.ts');
    const checked = await checkCertificateRequest(request);
    if (!checked.ok) return refuse(400, 'join_malformed', checked.reason);
    const { nodeId } = checked;
    const { identity, view } = cluster;
    const publicKey = publicKeyOf(nodeId);
    if (identity.authorityKey === null || publicKey === null || view.nodes.has(nodeId) || view.isRemoved(nodeId)) {
      return refuse(409, 'join_refused', 'this key was a member already; a join makes a new one');
    }
    const authority = { certificate: identity.anchor.der, pkcs8: identity.authorityKey };
    const node = { nodeId, publicKey, role: token.role };
    const certificate = await issueCertificate(authority, identity.clusterId, node, init.environment.now());
    init.log.info({ node: nodeId, role: token.role }, 'accepted a join');
    const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
    const bootstrap: Bootstrap = {
      clusterId: identity.clusterId,
      role: token.role,
      certificate: base64(certificate),
      authority: base64(identity.anchor.der),
      authorityKey: token.role === 'manager' ? base64(identity.authorityKey) : null,
      networkKey: base64(identity.networkKey),
      peers: contacts(cluster),
    };
    return { ok: true, bootstrap };
  };
}

/** This node first, then others that are connected. */
function contacts(cluster: Cluster): Bootstrap['peers'] {
  const { self, identity, view, transport } = cluster;
  const others = [...transport.connections().keys()].flatMap((id) => {
    const addresses = view.nodes.get(id)?.gossip;
    return addresses === undefined || parseNodeId(id) === null ? [] : [{ id, addresses }];
  });
  return [{ id: self, addresses: [identity.advertise] }, ...others].slice(0, peersInAnswer);
}
