import type { Environment, Log } from '../environment.ts';
import { ControlPlaneError } from '../errors.ts';
import type { Authority } from '../identity/authority.ts';
import { type RootDigest, TrustAnchor } from '../identity/certificates.ts';
import type { Credentials } from '../identity/credentials.ts';
import { maxAnchors, maxLinks, type Trust } from '../identity/trust.ts';
import type { NodeId } from '../ids.ts';
import type { HybridClock } from '../tables/clock.ts';
import type { ReissuedValue, RootValue } from '../tables/kinds.ts';
import type { Members } from '../tables/members.ts';
import { clusterTopic } from '../tables/record.ts';
import type { Tables } from '../tables/tables.ts';
import type { View } from '../tables/view.ts';
import { type Generation, maxGeneration, newest, outlived } from './generations.ts';
import type { Issuer } from './issuer.ts';

// When a rotation is not finished because some node is away: by then no certificate of the old root is valid any more.
const defaultLimitMs = 90 * 86_400_000;

export interface RootsInit {
  readonly credentials: Credentials;
  readonly members: Members;
  readonly issuer: Issuer;
  readonly tables: Tables;
  readonly view: View;
  readonly clock: HybridClock;
  readonly environment: Environment;
  readonly log: Log;
  /** Seals the join tokens with the key of the current root. */
  readonly sealTokens: () => Promise<void>;
}

/** How far a change of the root is. */
export interface RootState {
  readonly digest: RootDigest;
  /** X.509 DER. */
  readonly certificate: Uint8Array;
  readonly notAfterMs: number;
  /** False while members have certificates of an earlier root. */
  readonly done: boolean;
  /** Members whose certificate is of an earlier root. */
  readonly missing: readonly NodeId[];
}

/**
 * The roots of the cluster and how they change. A manager announces a new root in the tables, cross-signed by the one
 * before; every node follows it by that signature and gets a certificate of it; when all have one, a manager says so and
 * every node drops the roots before it.
 */
export class Roots {
  readonly #init: RootsInit;

  constructor(init: RootsInit) {
    this.#init = init;
  }

  get state(): RootState {
    const { credentials, view } = this.#init;
    const { current } = credentials.identity.trust;
    const value = view.shared<RootValue>('ca').get(current.digest);
    return {
      digest: current.digest,
      certificate: current.der,
      notAfterMs: current.notAfterMs,
      done: value?.done ?? true,
      missing: this.#missing(current.digest),
    };
  }

  /** Trusts what the tables announce and the roots of now vouch for, and drops what all have left behind. */
  async follow(): Promise<void> {
    const { credentials, view, members, tables } = this.#init;
    const announced = view.shared<RootValue>('ca');
    await credentials.change(({ trust, authorities }) => {
      const links = [...announced.values()].sort((a, b) => a.generation - b.generation);
      // The latest ones: those before them were followed when they came, or are too far behind to lead here.
      let next = trust.follow(links.slice(-maxLinks));
      const trusted = new Map<RootDigest, Generation>(
        next.active.flatMap(({ root, cross }) => {
          const { digest } = new TrustAnchor(root);
          // A root that others vouch for and no record here tells of is later than all that are: this node was away.
          const known = announced.get(digest) ?? (cross === null ? null : { generation: maxGeneration, done: false });
          return known === null ? [] : [[digest, known] as const];
        }),
      );
      const current = newest(trusted);
      if (current !== null) next = next.prefer(current);
      const dropped = new Set(
        outlived(
          trusted,
          next.anchors.map(({ digest }) => digest),
        ),
      );
      next = next.without(dropped);
      if (sameRoots(next.anchors, trust.anchors)) return null;
      return { trust: next, authorities: ordered(authorities, next) };
    });
    for (const [nodeId, { certificate }] of view.shared<ReissuedValue>('reissued')) {
      members.recognise(certificate);
      const known = members.get(nodeId as NodeId);
      // One that has fetched its own since speaks for itself.
      const isBack = known?.root === this.state.digest && !Buffer.from(known.certificate).equals(certificate);
      if (isBack) await tables.remove(clusterTopic, `reissued/${nodeId}`);
    }
  }

  /**
   * Makes a new root and announces it.
   * @throws ControlPlaneError `rotation_under_way`, `no_authority`
   */
  async rotate(force: boolean): Promise<RootDigest> {
    const { credentials, issuer, view, tables, clock, environment, log } = this.#init;
    const { state } = this;
    if (!state.done && !force) {
      throw new ControlPlaneError(
        'rotation_under_way',
        `the root is being changed already: ${state.missing.length} nodes have no certificate of the new one yet`,
        'wait for it (`weft ca`), finish it without them (`weft ca rotate --finish`), or begin another with --force',
      );
    }
    if (credentials.identity.trust.anchors.length >= maxAnchors) {
      throw new ControlPlaneError(
        'rotation_under_way',
        `${maxAnchors} roots are accepted at this moment, and no more at a time`,
        'finish the rotation that is under way first: `weft ca rotate --finish`',
      );
    }
    const { authority: old } = issuer;
    if (old === null) throw noAuthority();
    const { crossSign, newAuthority } = await import('../identity/authority.ts');
    const authority = await newAuthority(credentials.identity.clusterId, environment.now());
    const cross = await crossSign(old, authority);
    const { digest } = new TrustAnchor(authority.certificate);
    // On disk before others can learn of it: a root whose key was lost in a crash could never be finished.
    await credentials.change(({ authorities }) => ({ authorities: [...authorities, authority] }));
    const generations = [...view.shared<RootValue>('ca').values()].map(({ generation }) => generation);
    const value: RootValue = {
      stamp: [...clock.next()],
      generation: Math.max(0, ...generations) + 1,
      root: authority.certificate,
      cross,
      done: false,
    };
    await tables.put(clusterTopic, `ca/${digest}`, value);
    await this.follow();
    await this.#init.sealTokens();
    log.info({ root: digest }, 'announced a new root; members get certificates of it');
    return digest;
  }

  /**
   * Says that the roots before the current one are to be dropped. Members that have no certificate of it yet get one
   * made, for others to know them by; they fetch their own when they are back. @throws ControlPlaneError `no_authority`
   */
  async finish(): Promise<void> {
    const { issuer, members, tables, view, clock, log } = this.#init;
    const { digest, missing, done } = this.state;
    const value = view.shared<RootValue>('ca').get(digest);
    if (done || value === undefined) return;
    if (!issuer.hasCurrent) throw noAuthority();
    for (const nodeId of missing) {
      const certificate = await issuer.issue(nodeId);
      members.recognise(certificate);
      await tables.put(clusterTopic, `reissued/${nodeId}`, { stamp: [...clock.next()], certificate });
    }
    await this.#init.sealTokens();
    await tables.put(clusterTopic, `ca/${digest}`, { ...value, done: true, stamp: [...clock.next(value.stamp)] });
    await this.follow();
    log.info(
      { root: digest, without: missing },
      'every member has a certificate of the new root; the old one is dropped',
    );
  }

  /** Whether this manager should finish the rotation that is under way. */
  get canFinish(): boolean {
    const { issuer, view, environment } = this.#init;
    const { digest, missing, done } = this.state;
    if (done || !issuer.hasCurrent) return false;
    const announcedMs = view.shared<RootValue>('ca').get(digest)?.stamp[0] ?? 0;
    const limitMs = view.cluster?.certExpiryMs ?? defaultLimitMs;
    return missing.length === 0 || environment.now() > announcedMs + limitMs;
  }

  #missing(digest: RootDigest): NodeId[] {
    const { view, members } = this.#init;
    return [...view.nodes.keys()].filter((id) => !view.isRemoved(id) && members.get(id)?.root !== digest);
  }
}

const sameRoots = (a: readonly TrustAnchor[], b: readonly TrustAnchor[]): boolean =>
  a.length === b.length && a.every(({ digest }, i) => digest === b[i]?.digest);

/** Keys in the order of their roots; one whose root is not announced yet is kept, one whose root was dropped is not. */
function ordered(authorities: readonly Authority[], { anchors, retired }: Trust): Authority[] {
  const digests = new Map(authorities.map((each) => [new TrustAnchor(each.certificate).digest, each]));
  const active = anchors.flatMap(({ digest }) => digests.get(digest) ?? []);
  for (const { digest } of [...anchors, ...retired]) digests.delete(digest);
  return [...active, ...digests.values()];
}

const noAuthority = (): ControlPlaneError =>
  new ControlPlaneError(
    'no_authority',
    'this node does not have the key of the current root',
    'run the command on a manager; one that has just become one gets the key within seconds',
  );
