import { createHash, randomBytes } from 'node:crypto';

/**
 * Join token in the shape of SwarmKit's (`ca/config.go`): `WFTKN-1-<digest>-<secret>`. The digest is the SHA-256 of the
 * cluster CA's certificate (DER) as 50 base36 digits and pins whom the joiner talks to; the secret is 16 random bytes as
 * 25 base36 digits and says which role the joiner may have.
 */
export interface JoinToken {
  /** SHA-256 of the CA certificate, 32 bytes. */
  readonly caDigest: Uint8Array;
  /** 16 bytes. */
  readonly secret: Uint8Array;
}

const digestDigits = 50;
const secretDigits = 25;

export const newSecret = (): Uint8Array => randomBytes(16);
export const digestOf = (certificateDer: Uint8Array): Uint8Array =>
  createHash('sha256').update(certificateDer).digest();

export function formatToken(token: JoinToken): string {
  return `WFTKN-1-${toBase36(token.caDigest, digestDigits)}-${toBase36(token.secret, secretDigits)}`;
}

/** @returns the token, or one line that says what is wrong with the text */
export function parseToken(text: string): { ok: true; token: JoinToken } | { ok: false; reason: string } {
  const parts = text.trim().split('-');
  if (parts[0] !== 'WFTKN')
    return { ok: false, reason: 'the join token does not start with WFTKN-: it is no token of Weft' };
  if (parts[1] !== '1')
    return {
      ok: false,
      reason: `join token version ${JSON.stringify((parts[1] ?? '').slice(0, 8))} is not known to this agent`,
    };
  const [, , digest = '', secret = ''] = parts;
  if (digest.length < digestDigits || secret.length < secretDigits) {
    return { ok: false, reason: 'the join token is cut short: copy the whole of it' };
  }
  const caDigest = fromBase36(digest, digestDigits, 32);
  const secretBytes = fromBase36(secret, secretDigits, 16);
  if (parts.length !== 4 || caDigest === null || secretBytes === null) {
    return { ok: false, reason: 'the join token is malformed: copy it again from `weft join-token`' };
  }
  return { ok: true, token: { caDigest, secret: secretBytes } };
}

function toBase36(bytes: Uint8Array, digits: number): string {
  return BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
    .toString(36)
    .padStart(digits, '0');
}

function fromBase36(text: string, digits: number, size: number): Uint8Array | null {
  if (text.length !== digits || !/^[0-9a-z]+$/.test(text)) return null;
  let value = 0n;
  for (const digit of text) value = value * 36n + BigInt(Number.parseInt(digit, 36));
  const hex = value.toString(16);
  return hex.length > size * 2 ? null : Buffer.from(hex.padStart(size * 2, '0'), 'hex');
}
