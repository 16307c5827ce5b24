import { createHash, hkdfSync, timingSafeEqual } from 'node:crypto';
import type { HybridClock } from '../tables/clock.ts';
import type { TokenValue } from '../tables/kinds.ts';
import { clusterTopic } from '../tables/record.ts';
import type { Tables } from '../tables/tables.ts';
import type { View } from '../tables/view.ts';
import type { Authority } from './authority.ts';
import type { Role } from './certificates.ts';
import { digestOf, formatToken, newSecret } from './token.ts';
import { seal, unseal } from './vault.ts';

const roles = ['worker', 'manager'] as const;
const keptRetired = 16;

export type TokenCheck = { readonly role: Role } | { readonly role: null; readonly reason: 'rotated' | 'unknown' };

/**
 * The cluster's join tokens. They stand in the tables, so that every manager accepts and shows the same ones, sealed
 * with a key that only holders of the CA's key can derive.
 */
export class JoinTokens {
  readonly #tables: Tables;
  readonly #view: View;
  readonly #clock: HybridClock;
  readonly #authorities: () => readonly Authority[];
  readonly #root: () => Uint8Array;

  /**
   * @param init.authorities keys of the cluster's roots that this manager holds, the current one first
   * @param init.root the root that this manager's own certificate is of, DER: what its join listener shows
   */
  constructor(init: {
    tables: Tables;
    view: View;
    clock: HybridClock;
    authorities: () => readonly Authority[];
    root: () => Uint8Array;
  }) {
    this.#tables = init.tables;
    this.#view = init.view;
    this.#clock = init.clock;
    this.#authorities = init.authorities;
    this.#root = init.root;
  }

  /** The token of a role as text, or null before the tables have it. */
  token(role: Role): string | null {
    const secret = this.#secret(role);
    return secret === null ? null : formatToken({ caDigest: digestOf(this.#root()), secret });
  }

  /** Replaces the token of a role; joins with the old one are refused from now on. */
  async rotate(role: Role): Promise<void> {
    const old = this.#secret(role);
    const retired = this.#view.token(role)?.retired ?? [];
    const value: TokenValue = {
      stamp: [...this.#clock.next(this.#view.token(role)?.stamp)],
      sealed: Buffer.from(this.#seal(newSecret())),
      retired: [...retired, ...(old === null ? [] : [fingerprint(old)])].slice(-keptRetired),
    };
    await this.#tables.put(clusterTopic, `token/${role}`, value);
  }

  /** Makes the tokens anew that are sealed with the key of an earlier root: who dropped that one could not read them. */
  async reseal(): Promise<void> {
    const [current] = this.#authorities();
    for (const role of roles) {
      const sealed = this.#view.token(role)?.sealed;
      if (current !== undefined && sealed !== undefined && unseal(sealingKey(current), sealed) === null) {
        await this.rotate(role);
      }
    }
  }

  /** Which role the secret gives; compared in constant time. */
  check(secret: Uint8Array): TokenCheck {
    if (secret.length !== 16) return { role: null, reason: 'unknown' };
    let found: Role | null = null;
    for (const role of roles) {
      const current = this.#secret(role);
      if (current !== null && timingSafeEqual(current, secret)) found = role;
    }
    if (found !== null) return { role: found };
    const digest = fingerprint(secret);
    const retired = roles.some((role) => this.#view.token(role)?.retired.some((each) => digest.equals(each)));
    return { role: null, reason: retired ? 'rotated' : 'unknown' };
  }

  /** While roots change, a token may still be sealed with the key of the one before. */
  #secret(role: Role): Uint8Array | null {
    const sealed = this.#view.token(role)?.sealed;
    if (sealed === undefined) return null;
    for (const authority of this.#authorities()) {
      const secret = unseal(sealingKey(authority), sealed);
      if (secret?.length === 16) return secret;
    }
    return null;
  }

  #seal(secret: Uint8Array): Uint8Array {
    const [authority] = this.#authorities();
    if (authority === undefined) throw new Error('a node without the key of the CA makes no join tokens');
    return seal(sealingKey(authority), secret);
  }
}

export const sealingKey = ({ pkcs8 }: Authority): Uint8Array =>
  Buffer.from(hkdfSync('sha256', pkcs8, '', 'weft join tokens', 32));
const fingerprint = (secret: Uint8Array) => createHash('sha256').update(secret).digest();
