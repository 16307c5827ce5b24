import { type Checked, type RootDigest, TrustAnchor } from './certificates.ts';

/** How a reader who trusts an earlier root comes to trust a later one. */
export interface Link {
  /** The later root, self-signed; DER. */
  readonly root: Uint8Array;
  /** The same name and key, signed by an earlier root; DER. Null for the first root of a cluster. */
  readonly cross: Uint8Array | null;
}

/** Links shown in a handshake or an answer: nobody is further behind than this many rotations and still follows. */
export const maxLinks = 8;
/** Roots that are accepted at a time: the current one, the next, and what rotations at the same moment added. */
export const maxAnchors = 4;

/**
 * The roots of the cluster as one node knows them: during a rotation several. A value: following a link or dropping
 * roots makes another one.
 */
export class Trust {
  /** Accepted now; the first is the one that certificates come from. Never empty. */
  readonly anchors: readonly TrustAnchor[];
  /** Accepted once, the latest dropped first: only to recognise what was admitted then. */
  readonly retired: readonly TrustAnchor[];
  readonly #crosses: ReadonlyMap<RootDigest, Uint8Array>;

  private constructor(
    anchors: readonly TrustAnchor[],
    retired: readonly TrustAnchor[],
    crosses: ReadonlyMap<RootDigest, Uint8Array>,
  ) {
    this.anchors = anchors;
    this.retired = retired;
    this.#crosses = crosses;
  }

  /** @throws when a root is no certificate, or there is none */
  static of(active: readonly Link[], retired: readonly Link[] = []): Trust {
    if (active.length === 0) throw new Error('a member trusts at least one root');
    const crosses = new Map<RootDigest, Uint8Array>();
    const load = ({ root, cross }: Link): TrustAnchor => {
      const anchor = new TrustAnchor(root);
      if (cross !== null) crosses.set(anchor.digest, cross);
      return anchor;
    };
    return new Trust(active.map(load), retired.map(load), crosses);
  }

  /** The root that certificates come from. */
  get current(): TrustAnchor {
    const [current] = this.anchors;
    if (current === undefined) throw new Error('a member trusts at least one root');
    return current;
  }

  anchor(digest: RootDigest): TrustAnchor | null {
    return this.anchors.find((each) => each.digest === digest) ?? null;
  }

  /** Roots that are accepted now, with what vouches for each. */
  get active(): Link[] {
    return this.anchors.map((anchor) => this.#link(anchor));
  }

  get dropped(): Link[] {
    return this.retired.map((anchor) => this.#link(anchor));
  }

  /** What leads a reader from any earlier root to those of now, the latest first. */
  get links(): Link[] {
    return [...this.active, ...this.dropped].filter(({ cross }) => cross !== null).slice(0, maxLinks);
  }

  #link(anchor: TrustAnchor): Link {
    return { root: anchor.der, cross: this.#crosses.get(anchor.digest) ?? null };
  }

  /** Checks a certificate against the roots of now, dates included. */
  check(der: Uint8Array, nowMs: number): Checked {
    return firstGood(this.anchors, der, nowMs);
  }

  /**
   * Checks whose certificate it is, whatever its date: for records, whose owner may have been away for long. A node
   * that is barred is so by its removal, not by a date.
   */
  recognise(der: Uint8Array): Checked {
    return firstGood(this.anchors, der, null);
  }

  /** The same, for what this node admitted itself: a root that was dropped since counts too. */
  recall(der: Uint8Array): Checked {
    return firstGood([...this.anchors, ...this.retired], der, null);
  }

  /** Adds each root that one of the roots accepted here vouches for, directly or in steps. */
  follow(links: readonly Link[]): Trust {
    let trust: Trust = this;
    let open = links.slice(0, maxLinks);
    for (let before = -1; before !== open.length; ) {
      before = open.length;
      open = open.filter((link) => {
        const next = trust.#step(link);
        if (next !== null) trust = next;
        return next === null;
      });
    }
    return trust;
  }

  #step({ root, cross }: Link): Trust | null {
    if (cross === null || this.anchors.length >= maxAnchors) return null;
    let next: TrustAnchor;
    try {
      next = new TrustAnchor(root);
    } catch {
      return null;
    }
    if ([...this.anchors, ...this.retired].some(({ digest }) => digest === next.digest)) return null;
    if (!this.anchors.some((anchor) => anchor.vouchesFor(next, cross))) return null;
    return new Trust([next, ...this.anchors], this.retired, new Map([...this.#crosses, [next.digest, cross]]));
  }

  /** Puts one root in front: the one that certificates come from now. */
  prefer(digest: RootDigest): Trust {
    const first = this.anchor(digest);
    if (first === null || first === this.current) return this;
    const others = this.anchors.filter((anchor) => anchor !== first);
    return new Trust([first, ...others], this.retired, this.#crosses);
  }

  /** Drops roots; never the last one. */
  without(digests: ReadonlySet<RootDigest>): Trust {
    const kept = this.anchors.filter(({ digest }) => !digests.has(digest));
    if (kept.length === 0 || kept.length === this.anchors.length) return this;
    const dropped = this.anchors.filter(({ digest }) => digests.has(digest));
    return new Trust(kept, [...dropped, ...this.retired].slice(0, maxLinks), this.#crosses);
  }
}

function firstGood(anchors: readonly TrustAnchor[], der: Uint8Array, nowMs: number | null): Checked {
  let refused: Checked | null = null;
  for (const anchor of anchors) {
    const checked = anchor.check(der, nowMs);
    if (checked.ok) return checked;
    // The root that did issue it says more than those that did not.
    if (refused === null || anchor.issued(der)) refused = checked;
  }
  return refused ?? { ok: false, reason: 'no root is trusted' };
}
