import type { Environment } from '../environment.ts';
import type { Checked, Member, Role } from '../identity/certificates.ts';
import type { Trust } from '../identity/trust.ts';
import type { NodeId } from '../ids.ts';
import type { Store } from '../store.ts';

/** More nodes than any cluster is built for; a further certificate is refused. */
const maxMembers = 20_000;

/**
 * Who belongs to the cluster: nodes whose certificate was seen and holds, less those that were removed. Certificates
 * come with handshakes and with pulled streams, so a node vouches for itself also where it was never met.
 */
export class Members {
  readonly #trust: () => Trust;
  readonly #environment: Environment;
  readonly #store: Store;
  readonly #members = new Map<NodeId, Member>();
  readonly #removed = new Set<NodeId>();
  /** Nodes whose certificate still says manager, and that are none any more. */
  demoted: ReadonlySet<NodeId> = new Set();
  /** A certificate made a node a member, or gave it another role. */
  onRole: (nodeId: NodeId) => void = () => {};

  /** @param trust the roots of now */
  constructor(trust: () => Trust, store: Store, environment: Environment) {
    this.#trust = trust;
    this.#store = store;
    this.#environment = environment;
    for (const [, value] of store.entries(['member'])) {
      if (!(value instanceof Uint8Array)) continue;
      // It was valid when it was admitted. A node that lets nobody in any more because of its date is one thing, tables
      // that count for nothing after a restart, and a kernel that is cleared by them, another.
      const checked = trust().recall(value);
      if (checked.ok) this.#members.set(checked.member.nodeId, checked.member);
    }
  }

  /**
   * Checks a certificate that a peer shows, and remembers its node.
   * @returns the member, or one line that says why it is none
   */
  admit(certificate: Uint8Array): Checked {
    return this.#keep(this.#trust().check(certificate, this.#environment.now()));
  }

  /**
   * Same, of a certificate that came third-hand, with a record or a stream: its dates do not count. Records of a node
   * that is away for longer than its certificate lasts are still its records.
   */
  recognise(certificate: Uint8Array): Checked {
    return this.#keep(this.#trust().recognise(certificate));
  }

  #keep(checked: Checked): Checked {
    if (!checked.ok) return checked;
    const { member } = checked;
    if (this.#removed.has(member.nodeId)) return { ok: false, reason: 'the node was removed from the cluster' };
    const known = this.#members.get(member.nodeId);
    if (known !== undefined && known.notBeforeMs >= member.notBeforeMs) return { ok: true, member: known };
    if (known === undefined && this.#members.size >= maxMembers) {
      return { ok: false, reason: `more than ${maxMembers} members` };
    }
    this.#members.set(member.nodeId, member);
    if (known?.role !== member.role) this.onRole(member.nodeId);
    // Not awaited: a certificate that is lost in a crash comes again with the next handshake or pull.
    this.#store.commit([{ key: ['member', member.nodeId], value: member.certificate }]).catch(() => {});
    return { ok: true, member };
  }

  get(nodeId: NodeId): Member | null {
    return this.#members.get(nodeId) ?? null;
  }

  /** What the node may write: the role of its certificate, unless that was taken away. */
  roleOf(nodeId: NodeId): Role | null {
    return this.demoted.has(nodeId) ? 'worker' : this.certifiedRoleOf(nodeId);
  }

  certifiedRoleOf(nodeId: NodeId): Role | null {
    return this.#members.get(nodeId)?.role ?? null;
  }

  /** Every member and the role of its certificate. */
  *certified(): Generator<readonly [NodeId, Role]> {
    for (const [nodeId, { role }] of this.#members) yield [nodeId, role];
  }

  isRemoved(nodeId: NodeId): boolean {
    return this.#removed.has(nodeId);
  }

  /** Bars a node for ever; its id never comes back because every join makes a new key. */
  remove(nodeId: NodeId): void {
    this.#removed.add(nodeId);
    if (this.#members.delete(nodeId)) {
      this.#store.commit([{ key: ['member', nodeId], value: null }]).catch(() => {});
    }
  }
}
