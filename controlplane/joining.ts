import { isIPv6 } from 'node:net';
import type { Cluster } from './cluster.ts';
import type { Log } from './environment.ts';
import { ControlPlaneError } from './errors.ts';
import { TrustAnchor } from './identity/certificates.ts';
import type { Bootstrap } from './identity/join.ts';
import { askToJoin, type JoinAnswer } from './identity/join-client.ts';
import { type JoinVerdict, refuse } from './identity/join-listener.ts';
import type { JoinTokens } from './identity/join-tokens.ts';
import { type NodeKey, newNodeKey } from './identity/keys.ts';
import type { LimitedToken, LimitedTokens } from './identity/limited-tokens.ts';
import type { Addressing, Identity, KnownPeers } from './identity/state.ts';
import { digestOf, type JoinToken, parseToken } from './identity/token.ts';
import { type Link, Trust } from './identity/trust.ts';
import { type NodeId, parseNodeId, publicKeyOf } from './ids.ts';
import type { HostPort } from './mesh/address.ts';
import { inRandomOrder } from './mesh/shape.ts';

// Both ends of a join: what the joiner asks for and believes, and how a manager decides.

// Members named in a join answer: enough to find the mesh when some are down.
const peersInAnswer = 8;

/**
 * Asks the managers in turn for membership, for a new key. Keeps nothing.
 * @throws ControlPlaneError with a code of its own for each way in which it can fail
 */
export async function requestMembership(
  managers: readonly HostPort[],
  tokenText: string,
  addressing: (localAddress: string) => Promise<Addressing>,
  nowMs: number,
): Promise<{ identity: Identity; peers: KnownPeers }> {
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
  const answer = await askAny(managers, parsed.token, await newCertificateRequest(key), addressing);
  const { bootstrap } = answer;
  const identity = identityFrom(bootstrap, key, parsed.token, answer.addressing, nowMs);
  const peers: KnownPeers = new Map(bootstrap.peers.map(({ id, addresses }) => [id as NodeId, addresses]));
  return { identity, peers };
}

async function askAny(
  managers: readonly HostPort[],
  token: JoinToken,
  csr: Uint8Array,
  addressing: (localAddress: string) => Promise<Addressing>,
): Promise<JoinAnswer> {
  let failure: unknown = new ControlPlaneError(
    'join_unreachable',
    'no manager address was given',
    'give the address of a manager: `weft join-token worker` there shows the whole command',
  );
  for (const manager of managers) {
    try {
      return await askToJoin(manager, token, csr, addressing, AbortSignal.timeout(20_000));
    } catch (error) {
      failure = error;
      // Only a manager that cannot be reached is a reason to try the next one.
      if (!(error instanceof ControlPlaneError) || error.code !== 'join_unreachable') throw error;
    }
  }
  throw failure;
}

/** Believes an answer as far as the token vouches for it. @throws ControlPlaneError `join_bad_answer` */
export function identityFrom(
  bootstrap: Bootstrap,
  key: NodeKey,
  token: JoinToken,
  addressing: Addressing,
  nowMs: number,
): Identity {
  const bytes = (text: string): Uint8Array => Buffer.from(text, 'base64');
  const roots = bootstrap.roots.map(({ root, cross }) => ({
    root: bytes(root),
    cross: cross === null ? null : bytes(cross),
  }));
  const certificate = bytes(bootstrap.certificate);
  const bad = (reason: string): ControlPlaneError =>
    new ControlPlaneError(
      'join_bad_answer',
      `the manager's answer cannot be used: ${reason}`,
      'look at the manager: its log and its clock',
    );
  const pinned = roots[0] === undefined ? null : Buffer.from(digestOf(roots[0].root));
  if (!pinned?.equals(token.caDigest)) throw bad('its authority is not the one of the token');
  const trust = trustOf(roots);
  if (trust === null) throw bad('its authorities are no certificates');
  const checked = trust.check(certificate, nowMs);
  if (!checked.ok) throw bad(checked.reason);
  if (checked.member.nodeId !== key.nodeId) throw bad('the certificate is for another key');
  return {
    key,
    clusterId: checked.member.clusterId,
    certificate,
    trust: trust.prefer(checked.member.root),
    authorities: bootstrap.authorities.map((each) => ({
      certificate: bytes(each.certificate),
      pkcs8: bytes(each.pkcs8),
    })),
    networkKeys: bootstrap.networkKeys.map(bytes),
    role: checked.member.role,
    ...addressing,
    createdMs: nowMs,
  };
}

function trustOf(roots: readonly Link[]): Trust | null {
  try {
    return Trust.of(roots);
  } catch {
    return null;
  }
}

function refuseEnded({ state }: LimitedToken): JoinVerdict {
  if (state === 'expired') return refuse(403, 'join_token_expired', 'the join token has expired');
  if (state === 'used up') return refuse(403, 'join_token_used_up', 'the join token was used as often as it may be');
  return refuse(403, 'join_token_revoked', 'the join token was revoked');
}

/** Decides on one join: the role that the token gives, and a certificate for the joiner's own key. */
export function joinDecider(
  init: { now: () => number; log: Log },
  cluster: Cluster,
  tokens: JoinTokens,
  limited: LimitedTokens,
) {
  return async (secret: Uint8Array, request: Uint8Array, vtep: string | undefined): Promise<JoinVerdict> => {
    const ending = limited.find(secret);
    if (ending !== null && ending.state !== 'good') return refuseEnded(ending);
    const token = ending ?? tokens.check(secret);
    if (token.role === null) {
      return token.reason === 'rotated'
        ? refuse(403, 'join_token_rotated', 'the join token was rotated and is no longer valid')
        : refuse(403, 'join_token_invalid', 'the join token is not one of this cluster');
    }
    // Before anything is made of it, and before the token counts as used.
    const stranger = vtep === undefined ? null : wrongFamily(vtep, cluster.identity.vtep);
    if (stranger !== null) return refuse(409, 'join_wrong_family', stranger);
    const { checkCertificateRequest, defaultLifetimeMs, issueCertificate } = await import('./identity/authority.ts');
    const checked = await checkCertificateRequest(request);
    if (!checked.ok) return refuse(400, 'join_malformed', checked.reason);
    const { nodeId } = checked;
    const { identity, view } = cluster;
    const publicKey = publicKeyOf(nodeId);
    const [authority] = identity.authorities;
    if (authority === undefined || publicKey === null || view.nodes.has(nodeId) || view.isRemoved(nodeId)) {
      return refuse(409, 'join_refused', 'this key was a member already; a join makes a new one');
    }
    // Others may have used it up since it was looked at.
    if (ending !== null && !(await limited.use(ending.id, nodeId))) {
      return refuseEnded(limited.find(secret) ?? { ...ending, state: 'revoked' });
    }
    const node = { nodeId, publicKey, role: token.role };
    const lifetimeMs = view.cluster?.certExpiryMs ?? defaultLifetimeMs;
    const certificate = await issueCertificate(authority, identity.clusterId, node, init.now(), { lifetimeMs });
    init.log.info({ node: nodeId, role: token.role }, 'accepted a join');
    const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
    const bootstrap: Bootstrap = {
      clusterId: identity.clusterId,
      role: token.role,
      certificate: base64(certificate),
      roots: rootsFor(cluster).map(({ root, cross }) => ({
        root: base64(root),
        cross: cross === null ? null : base64(cross),
      })),
      authorities:
        token.role === 'manager'
          ? identity.authorities.map((each) => ({ certificate: base64(each.certificate), pkcs8: base64(each.pkcs8) }))
          : [],
      networkKeys: identity.networkKeys.map(base64),
      peers: contacts(cluster, nodeId),
    };
    return { ok: true, bootstrap };
  };
}

/** Why a node with this VTEP cannot be a member beside one with that; null when it can. */
export function wrongFamily(vtep: string, members: string): string | null {
  if (familyOf(vtep) === familyOf(members)) return null;
  return `${vtep} is ${familyOf(vtep)}, and VXLAN traffic of this cluster goes over ${familyOf(members)}, as to ${members}`;
}

const familyOf = (ip: string): string => (isIPv6(ip) ? 'IPv6' : 'IPv4');

/** The root that the listener shows first: the joiner's token names it. */
function rootsFor({ identity, ownRootCertificate }: Cluster): Link[] {
  return identity.trust.prefer(new TrustAnchor(ownRootCertificate).digest).active;
}

/** This node first, then others that are connected: other ones for each joiner, so that a mass join is spread. */
function contacts(cluster: Cluster, joiner: NodeId): Bootstrap['peers'] {
  const { self, identity, view, transport } = cluster;
  const others = inRandomOrder(joiner, [...transport.connections().keys()]).flatMap((id) => {
    const addresses = view.nodes.get(id)?.gossip;
    return addresses === undefined || parseNodeId(id) === null ? [] : [{ id, addresses }];
  });
  return [{ id: self, addresses: [identity.advertise] }, ...others].slice(0, peersInAnswer);
}
