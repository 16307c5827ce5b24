import { timingSafeEqual } from 'node:crypto';
import { type Environment, jittered, type Log } from '../environment.ts';
import { ControlPlaneError } from '../errors.ts';
import { type NodeId, randomBase36 } from '../ids.ts';
import type { HybridClock } from '../tables/clock.ts';
import type { JoinUseValue, LimitedTokenValue } from '../tables/kinds.ts';
import { clusterTopic } from '../tables/record.ts';
import type { Tables } from '../tables/tables.ts';
import type { View } from '../tables/view.ts';
import type { Authority } from './authority.ts';
import type { Role } from './certificates.ts';
import { sealingKey } from './join-tokens.ts';
import { digestOf, formatToken, newSecret } from './token.ts';
import { seal, unseal } from './vault.ts';

/** Tokens that a cluster has at a time, those that ended within the last day included. */
const maxTokens = 64;
/** So long after its end a token is shown, and known for one that ended rather than for none. */
const rememberedMs = 86_400_000;
const forgetPeriodMs = 3_600_000;
/** All records of this file's kinds. */
const prefix = 'join-';

/** A token that is good for so long and for so many joins. */
export interface LimitedToken {
  readonly id: string;
  readonly role: Role;
  readonly createdMs: number;
  /** Milliseconds since the epoch; null for ever. */
  readonly expiresMs: number | null;
  /** null for any number. */
  readonly maxUses: number | null;
  readonly uses: number;
  readonly state: 'good' | 'expired' | 'used up' | 'revoked';
}

export interface LimitedTokensInit {
  readonly tables: Tables;
  readonly view: View;
  readonly clock: HybridClock;
  readonly environment: Environment;
  readonly log: Log;
  /** Keys of the cluster's roots, the current one first. */
  readonly authorities: () => readonly Authority[];
  /** The root that this manager's join listener shows, DER. */
  readonly root: () => Uint8Array;
}

/**
 * Join tokens with an end. All managers know all of them and each use of one, so that any of them takes the join; in a
 * partition each side counts by itself, and more nodes may join than meant. A rotation of the CA ends them.
 */
export class LimitedTokens {
  readonly #init: LimitedTokensInit;
  #cancel: () => void = () => {};

  constructor(init: LimitedTokensInit) {
    this.#init = init;
  }

  /** From now on forgets what is over, while this node is a manager. */
  start(): void {
    const { environment, log } = this.#init;
    this.#cancel = environment.timer(jittered(environment, forgetPeriodMs), () => {
      this.#forget().catch((error: unknown) =>
        log.error({ err: error }, 'join tokens that are over were not forgotten'),
      );
      this.start();
    });
  }

  stop(): void {
    this.#cancel();
  }

  list(): LimitedToken[] {
    const shown = [...this.#all()].filter(([, value]) => !this.#isLongOver(value));
    return shown.map(([id, value]) => this.#describe(id, value));
  }

  /** @throws ControlPlaneError `too_many_tokens` */
  async create(role: Role, expiresMs: number | null, maxUses: number | null): Promise<{ id: string; token: string }> {
    const { tables, clock, environment, authorities, root } = this.#init;
    if (this.list().length >= maxTokens) {
      throw new ControlPlaneError(
        'too_many_tokens',
        `there are ${maxTokens} join tokens already`,
        'revoke some that are not needed: `weft token ls`, `weft token rm ID`; they are forgotten a day later',
      );
    }
    const [authority] = authorities();
    if (authority === undefined) throw new Error('a node without the key of the CA makes no join tokens');
    const secret = newSecret();
    const id = randomBase36(10);
    const value: LimitedTokenValue = {
      stamp: [...clock.next()],
      revoked: false,
      role,
      sealed: Buffer.from(seal(sealingKey(authority), secret)),
      createdMs: environment.now(),
      expiresMs,
      maxUses,
    };
    await tables.put(clusterTopic, `join-token/${id}`, value);
    return { id, token: formatToken({ caDigest: digestOf(root()), secret }) };
  }

  /** @returns false when there is no such token */
  async revoke(id: string): Promise<boolean> {
    const { tables, clock } = this.#init;
    const value = this.#all().get(id);
    if (value === undefined) return false;
    if (value.revoked) return true;
    const revoked: LimitedTokenValue = { ...value, revoked: true, stamp: [...clock.next(value.stamp)] };
    await tables.put(clusterTopic, `join-token/${id}`, revoked);
    return true;
  }

  /** The token with that secret, good or not; all are compared, in constant time. */
  find(secret: Uint8Array): LimitedToken | null {
    let found: LimitedToken | null = null;
    for (const [id, value] of this.#all()) {
      const own = this.#secret(value);
      if (own !== null && own.length === secret.length && timingSafeEqual(own, secret)) {
        found = this.#describe(id, value);
      }
    }
    return found;
  }

  /**
   * Counts a join. What joins at the same moment here is counted one after the other.
   * @returns false when the token is not good any more
   */
  async use(id: string, nodeId: NodeId): Promise<boolean> {
    const { tables, clock } = this.#init;
    const value = this.#all().get(id);
    if (value === undefined || this.#describe(id, value).state !== 'good') return false;
    if (value.maxUses === null) return true;
    const use: JoinUseValue = { stamp: [...clock.next()], expiresMs: value.expiresMs };
    await tables.put(clusterTopic, `join-use/${id}/${nodeId}`, use);
    return true;
  }

  #all(): Map<string, LimitedTokenValue> {
    return this.#init.view.shared<LimitedTokenValue>('join-token');
  }

  #describe(id: string, value: LimitedTokenValue): LimitedToken {
    const { role, createdMs, expiresMs, maxUses, revoked } = value;
    const uses = this.#uses(id).length;
    const expired = expiresMs !== null && this.#init.environment.now() >= expiresMs;
    const state = revoked ? 'revoked' : expired ? 'expired' : maxUses !== null && uses >= maxUses ? 'used up' : 'good';
    return { id, role, createdMs, expiresMs, maxUses, uses, state };
  }

  /** Keys of the records of its uses, without their prefix. */
  #uses(id: string): string[] {
    return [...this.#init.view.shared('join-use').keys()].filter((key) => key.startsWith(`${id}/`));
  }

  #secret({ sealed }: LimitedTokenValue): Uint8Array | null {
    for (const authority of this.#init.authorities()) {
      const secret = unseal(sealingKey(authority), sealed);
      if (secret?.length === 16) return secret;
    }
    return null;
  }

  #isLongOver({ stamp, revoked, expiresMs }: LimitedTokenValue): boolean {
    const endedMs = Math.min(revoked ? stamp[0] : Number.POSITIVE_INFINITY, expiresMs ?? Number.POSITIVE_INFINITY);
    return endedMs + rememberedMs <= this.#init.environment.now();
  }

  /**
   * Takes back what this node wrote of tokens that expired long ago. All records of a token expire alike, so whichever
   * goes first, what is left makes nothing good again. A revocation stays until then, and of a token without an end for
   * ever: some manager that is away, or a role that comes back, may show the token as it was before.
   */
  async #forget(): Promise<void> {
    const { tables, environment } = this.#init;
    for (const { record } of [...tables.records(clusterTopic, prefix)]) {
      const { expiresMs } = record.value as LimitedTokenValue | JoinUseValue;
      const isOver = expiresMs !== null && expiresMs + rememberedMs <= environment.now();
      if (isOver && record.owner === tables.self) await tables.remove(clusterTopic, record.key);
    }
  }
}
