import type { Environment, Log } from '../environment.ts';
import type { Authority } from '../identity/authority.ts';
import type { Role } from '../identity/certificates.ts';
import type { Credentials } from '../identity/credentials.ts';
import { type NodeId, publicKeyOf } from '../ids.ts';
import type { Members } from '../tables/members.ts';
import type { View } from '../tables/view.ts';
import { encodeRenewal, maxRequestBytes } from './wire.ts';

export interface IssuerInit {
  readonly credentials: Credentials;
  readonly members: Members;
  readonly view: View;
  readonly environment: Environment;
  readonly log: Log;
  /** Which role a member's next certificate gives it. */
  readonly wantedRole: (nodeId: NodeId) => Role | null;
}

/** Makes certificates for members: what a manager does that holds the key of the current root. */
export class Issuer {
  readonly #init: IssuerInit;

  constructor(init: IssuerInit) {
    this.#init = init;
  }

  /** What this node issues with: the current root's key, or while it lacks that one, the key of one that still counts. */
  get authority(): Authority | null {
    const { authorities, trust } = this.#init.credentials.identity;
    for (const { der } of trust.anchors) {
      const held = authorities.find(({ certificate }) => Buffer.from(certificate).equals(der));
      if (held !== undefined) return held;
    }
    return null;
  }

  get hasCurrent(): boolean {
    const { authority } = this;
    const { current } = this.#init.credentials.identity.trust;
    return authority !== null && Buffer.from(authority.certificate).equals(current.der);
  }

  /** A certificate for a member, newer than the one it has. @throws when it is none, or without the root's key */
  async issue(nodeId: NodeId): Promise<Uint8Array> {
    const { credentials, members, environment, view, wantedRole } = this.#init;
    const { authority } = this;
    if (authority === null) throw new Error('this node does not have the key of a root');
    const publicKey = publicKeyOf(nodeId);
    const known = members.get(nodeId);
    const role = wantedRole(nodeId);
    if (publicKey === null || known === null || role === null) throw new Error('the node is no member');
    const { issueCertificate } = await import('../identity/authority.ts');
    const lifetimeMs = view.cluster?.certExpiryMs;
    return issueCertificate(authority, credentials.identity.clusterId, { nodeId, publicKey, role }, environment.now(), {
      ...(lifetimeMs === undefined ? {} : { lifetimeMs }),
      afterMs: known.notBeforeMs,
    });
  }

  /**
   * Answers `renew`.
   * @param request PKCS#10 request for the node's own key, DER
   * @param from the node as the connection has proved it
   * @param meshKeys what a node gets that could not reach the mesh
   * @throws when the request is not for that node's key, or this node cannot issue
   */
  async answer(request: Uint8Array, from: NodeId, meshKeys: readonly Uint8Array[] = []): Promise<Uint8Array> {
    const { credentials, members, log, wantedRole } = this.#init;
    if (request.length > maxRequestBytes) throw new Error('the request is too large');
    const { checkCertificateRequest } = await import('../identity/authority.ts');
    const checked = await checkCertificateRequest(request);
    if (!checked.ok) throw new Error(checked.reason);
    if (checked.nodeId !== from) throw new Error('the request is for the key of another node');
    if (members.isRemoved(from)) throw new Error('the node was removed from the cluster');
    const certificate = await this.issue(from);
    const role = wantedRole(from);
    const { trust, authorities } = credentials.identity;
    log.info({ node: from, role }, 'renewed the certificate of a node');
    return encodeRenewal({
      certificate,
      links: trust.links,
      authorities: role === 'manager' ? authorities : [],
      meshKeys,
    });
  }
}
