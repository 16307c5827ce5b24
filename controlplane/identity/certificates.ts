import { createHash, X509Certificate } from 'node:crypto';
import { type NodeId, nodeIdOf } from '../ids.ts';
import { rawPublicKey } from './keys.ts';

export type Role = 'worker' | 'manager';

/** What a node certificate says, once its chain and dates are checked. */
export interface Member {
  readonly nodeId: NodeId;
  readonly role: Role;
  readonly clusterId: string;
  /** X.509 DER. */
  readonly certificate: Uint8Array;
  /** Milliseconds since the epoch. Of two certificates of a node the one that begins later is the newer one. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Digest of the root that issued it. */
  readonly root: RootDigest;
}

/** SHA-256 of a root certificate's DER, hex. */
export type RootDigest = string;

export type Checked = { readonly ok: true; readonly member: Member } | { readonly ok: false; readonly reason: string };

// Organizational units, after SwarmKit's swarm-manager and swarm-worker (ca/certificates.go).
export const organizationalUnit: Record<Role, string> = { manager: 'weft-manager', worker: 'weft-worker' };

const notOfThisCluster = 'certificate was not issued by this cluster';

/** A certificate of a node is about 300 bytes; anything far larger is not one. */
export const maxCertificateBytes = 4096;

/** One root of the cluster as every node knows it: enough to check members, not to make them. */
export class TrustAnchor {
  readonly #certificate: X509Certificate;
  /** X.509 DER of the CA. */
  readonly der: Uint8Array;
  readonly digest: RootDigest;

  /** @throws when the bytes are no certificate */
  constructor(der: Uint8Array) {
    this.der = der;
    this.digest = createHash('sha256').update(der).digest('hex');
    this.#certificate = new X509Certificate(Buffer.from(der));
  }

  get clusterId(): string {
    return parseSubject(this.#certificate.subject).get('O') ?? '';
  }

  /** Milliseconds since the epoch. */
  get notAfterMs(): number {
    return Date.parse(this.#certificate.validTo);
  }

  /** Raw Ed25519 public key, 32 bytes. */
  get publicKey(): Uint8Array {
    return rawPublicKey(this.#certificate.publicKey);
  }

  /** Whether `certificate` bears this root's signature. */
  signed(certificate: X509Certificate): boolean {
    return certificate.checkIssued(this.#certificate) && certificate.verify(this.#certificate.publicKey);
  }

  /** Same, of bytes. */
  issued(der: Uint8Array): boolean {
    try {
      return this.signed(new X509Certificate(Buffer.from(der)));
    } catch {
      return false;
    }
  }

  /** Whether this root vouches for `next` by `cross`: the same name and key as `next`, signed by this root. */
  vouchesFor(next: TrustAnchor, cross: Uint8Array): boolean {
    if (cross.length > maxCertificateBytes || next.clusterId !== this.clusterId) return false;
    try {
      const certificate = new X509Certificate(Buffer.from(cross));
      if (!certificate.ca || certificate.raw.length !== cross.length || !this.signed(certificate)) return false;
      const key = Buffer.from(rawPublicKey(certificate.publicKey));
      return key.equals(next.publicKey) && certificate.subject === next.#certificate.subject && next.isRoot;
    } catch {
      return false;
    }
  }

  /** Whether it is a CA's certificate that its own key signed, and no more than that. */
  get isRoot(): boolean {
    const own = this.#certificate;
    return (
      own.ca && own.raw.length === this.der.length && own.publicKey.asymmetricKeyType === 'ed25519' && this.signed(own)
    );
  }

  /**
   * Checks that the certificate was issued by this CA, is valid at `nowMs` and is over the key its subject names. With
   * null the dates do not count.
   * @returns the member, or the reason why it is none
   */
  check(der: Uint8Array, nowMs: number | null): Checked {
    if (der.length > maxCertificateBytes) return { ok: false, reason: 'certificate too large' };
    let certificate: X509Certificate;
    try {
      certificate = new X509Certificate(Buffer.from(der));
    } catch {
      return { ok: false, reason: 'not an X.509 certificate' };
    }
    // The parser stops at the end of the certificate; what follows would be kept and passed on as if it were part of it.
    if (certificate.raw.length !== der.length) return { ok: false, reason: 'bytes behind the certificate' };
    if (!this.signed(certificate)) return { ok: false, reason: notOfThisCluster };
    const notAfterMs = Date.parse(certificate.validTo);
    const notBeforeMs = Date.parse(certificate.validFrom);
    if (nowMs !== null && nowMs >= notAfterMs)
      return { ok: false, reason: `certificate expired on ${certificate.validTo}` };
    if (nowMs !== null && nowMs < notBeforeMs) {
      return { ok: false, reason: `certificate is not valid before ${certificate.validFrom}: compare the clocks` };
    }
    const subject = parseSubject(certificate.subject);
    const role = (['manager', 'worker'] as const).find((each) => organizationalUnit[each] === subject.get('OU'));
    const clusterId = subject.get('O');
    if (certificate.ca || certificate.publicKey.asymmetricKeyType !== 'ed25519' || role === undefined || !clusterId) {
      return { ok: false, reason: 'not a certificate of a node' };
    }
    const nodeId = nodeIdOf(rawPublicKey(certificate.publicKey));
    if (subject.get('CN') !== nodeId) return { ok: false, reason: 'certificate names another node than its key' };
    return {
      ok: true,
      member: { nodeId, role, clusterId, certificate: der, notBeforeMs, notAfterMs, root: this.digest },
    };
  }
}

/** Node prints one `KEY=value` a line; our own subjects hold no value that would need escaping. */
function parseSubject(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    const at = line.indexOf('=');
    if (at > 0) fields.set(line.slice(0, at), line.slice(at + 1));
  }
  return fields;
}

export function toPem(der: Uint8Array): string {
  const base64 = Buffer.from(der)
    .toString('base64')
    .replace(/(.{64})/g, '$1\n')
    .trimEnd();
  return `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
}
