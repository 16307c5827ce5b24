import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import type { HybridClock } from '../tables/clock.ts';
import type { TokenValue } from '../tables/kinds.ts';
import { clusterTopic } from '../tables/record.ts';
import type { Tables } from '../tables/tables.ts';
import type { View } from '../tables/view.ts';
import type { Authority } from './authority.ts';
import type { Role } from './certificates.ts';
import { digestOf, formatToken, newSecret } from './token.ts';

const roles = ['worker', 'manager'] as const;
const keptRetired = 16;
const ivBytes = 12;
const tagBytes = 16;

export type TokenCheck = { readonly role: Role } | { readonly role: null; readonly reason: 'rotated' | 'unknown' };

/**
 * The cluster's join tokens. They stand in the tables, so that every manager accepts and shows the same ones, sealed
 * with a key that only holders of the CA's key can derive.
 */
export class JoinTokens {
  readonly #tables: Tables;
  readonly #view: View;
  readonly #clock: HybridClock;
  readonly #authority: Authority;
  readonly #key: Uint8Array;

  constructor(init: { tables: Tables; view: View; clock: HybridClock; authority: Authority }) {
    this.#tables = init.tables;
    this.#view = init.view;
    this.#clock = init.clock;
    this.#authority = init.authority;
    this.#key = Buffer.from(hkdfSync('sha256', init.authority.pkcs8, '', 'weft join tokens', 32));
  }

  /** The token of a role as text, or null before the tables have it. */
  token(role: Role): string | null {
    const secret = this.#secret(role);
    return secret === null ? null : formatToken({ caDigest: digestOf(this.#authority.certificate), secret });
  }

  /** Replaces the token of a role; joins with the old one are refused from now on. */
  async rotate(role: Role): Promise<void> {
    const old = this.#secret(role);
    const retired = this.#view.token(role)?.retired ?? [];
    const value: TokenValue = {
      stamp: [...this.#clock.next(this.#view.token(role)?.stamp)],
      sealed: this.#seal(newSecret()),
      retired: [...retired, ...(old === null ? [] : [fingerprint(old)])].slice(-keptRetired),
    };
    await this.#tables.put(clusterTopic, `token/${role}`, value);
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

  #secret(role: Role): Uint8Array | null {
    const sealed = this.#view.token(role)?.sealed;
    if (sealed === undefined || sealed.length !== ivBytes + tagBytes + 16) return null;
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#key, sealed.subarray(0, ivBytes));
      decipher.setAuthTag(sealed.subarray(ivBytes, ivBytes + tagBytes));
      return Buffer.concat([decipher.update(sealed.subarray(ivBytes + tagBytes)), decipher.final()]);
    } catch {
      // Sealed by another CA, or garbled: no token of this cluster.
      return null;
    }
  }

  #seal(secret: Uint8Array): Buffer<ArrayBuffer> {
    const iv = randomBytes(ivBytes);
    const cipher = createCipheriv('aes-256-gcm', this.#key, iv);
    const text = Buffer.concat([cipher.update(secret), cipher.final()]);
    return Buffer.concat([iv, cipher.getAuthTag(), text]);
  }
}

const fingerprint = (secret: Uint8Array) => createHash('sha256').update(secret).digest();
