import { X509Certificate } from 'node:crypto';
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
  /** Milliseconds since the epoch. */
  readonly notAfterMs: number;
}

// Organizational units, after SwarmKit's swarm-manager and swarm-worker (ca/certificates.go).
export const organizationalUnit: Record<Role, string> = { manager: 'weft-manager', worker: 'weft-worker' };

/** A certificate of a node is about 300 bytes; anything far larger is not one. */
export const maxCertificateBytes = 4096;

/** The certificate authority as every node knows it: enough to check members, not to make them. */
export class TrustAnchor {
  readonly #certificate: X509Certificate;
  /** X.509 DER of the CA. */
  readonly der: Uint8Array;

  constructor(der: Uint8Array) {
    this.der = der;
    this.#certificate = new X509Certificate(Buffer.from(der));
  }

  /**
   * Checks that the certificate was issued by this CA, is valid at `nowMs` and is over the key its subject names. With
   * null the dates do not count.
   * @returns the member, or the reason why it is none
   */
  check(der: Uint8Array, nowMs: number | null): { ok: true; member: Member } | { ok: false; reason: string } {
    if (der.length > maxCertificateBytes) return { ok: false, reason: 'certificate too large' };
    let certificate: X509Certificate;
    try {
      certificate = new X509Certificate(Buffer.from(der));
    } catch {
      return { ok: false, reason: 'not an X.509 certificate' };
    }
    // The parser stops at the end of the certificate; what follows would be kept and passed on as if it were part of it.
    if (certificate.raw.length !== der.length) return { ok: false, reason: 'bytes behind the certificate' };
    if (!certificate.checkIssued(this.#certificate) || !certificate.verify(this.#certificate.publicKey)) {
      return { ok: false, reason: 'certificate was not issued by this cluster' };
    }
    const notAfterMs = Date.parse(certificate.validTo);
    if (nowMs !== null && nowMs >= notAfterMs)
      return { ok: false, reason: `certificate expired on ${certificate.validTo}` };
    if (nowMs !== null && nowMs < Date.parse(certificate.validFrom)) {
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
    return { ok: true, member: { nodeId, role, clusterId, certificate: der, notAfterMs } };
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
