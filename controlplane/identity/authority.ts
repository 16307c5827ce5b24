import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import {
  BasicConstraintsExtension,
  cryptoProvider,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  Pkcs10CertificateRequestGenerator,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { type NodeId, nodeIdOf } from '../ids.ts';
import { organizationalUnit, type Role } from './certificates.ts';
import { loadNodeKey, type NodeKey } from './keys.ts';

// Loaded only where certificates are made (init, join, managers): the ASN.1 library costs start-up time.
cryptoProvider.set(webcrypto as unknown as Parameters<typeof cryptoProvider.set>[0]);
const algorithm = { name: 'Ed25519' };

const dayMs = 86_400_000;
// As SwarmKit's root CA: it outlives the hosts; rotation, not expiry, replaces it.
const authorityLifetimeMs = 20 * 365 * dayMs;
/** As SwarmKit's node certificates; `weft init --cert-expiry` says otherwise. */
export const defaultLifetimeMs = 90 * dayMs;
// SwarmKit's CertBackdate: the clocks of two hosts may differ.
const maxBackdateMs = 3_600_000;

/** The cluster's certificate authority: only managers hold one. */
export interface Authority {
  /** X.509 DER. */
  readonly certificate: Uint8Array;
  /** Private key, PKCS#8 DER. */
  readonly pkcs8: Uint8Array;
}

export async function newAuthority(clusterId: string, nowMs: number): Promise<Authority> {
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    // A name of its own for each root: TLS finds the issuer of a certificate by name.
    name: [{ O: [clusterId] }, { CN: [`weft-ca-${randomBytes(4).toString('hex')}`] }],
    notBefore: new Date(nowMs - maxBackdateMs),
    notAfter: new Date(nowMs + authorityLifetimeMs),
    keys,
    signingAlgorithm: algorithm,
    extensions: authorityExtensions(),
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  return { certificate: Buffer.from(certificate.rawData), pkcs8 };
}

const authorityExtensions = () => [
  new BasicConstraintsExtension(true, 0, true),
  new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
];

/** The cross-certificate with which `old` vouches for `next`: the name, key and dates of `next`, signed by `old`. DER. */
export async function crossSign(old: Authority, next: Authority): Promise<Uint8Array> {
  const root = new X509Certificate(Buffer.from(next.certificate));
  const cross = await X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject: root.subject,
    issuer: new X509Certificate(Buffer.from(old.certificate)).subject,
    notBefore: root.notBefore,
    notAfter: root.notAfter,
    signingKey: await importPrivate(old.pkcs8),
    publicKey: await root.publicKey.export(algorithm, ['verify']),
    signingAlgorithm: algorithm,
    extensions: authorityExtensions(),
  });
  return Buffer.from(cross.rawData);
}

/** PKCS#10 request (RFC 2986) for the node's own key, DER. */
export async function newCertificateRequest(key: NodeKey): Promise<Uint8Array> {
  const privateKey = await importPrivate(key.pkcs8);
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(key.publicKey).toString('base64url') };
  const publicKey = await webcrypto.subtle.importKey('jwk', jwk, algorithm, true, ['verify']);
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: [key.nodeId] }],
    keys: { privateKey, publicKey } as webcrypto.CryptoKeyPair,
    signingAlgorithm: algorithm,
  });
  return Buffer.from(request.rawData);
}

/** @returns the id of the node whose key the request is for, or why the request is refused */
export async function checkCertificateRequest(
  der: Uint8Array,
): Promise<{ ok: true; nodeId: NodeId } | { ok: false; reason: string }> {
  try {
    const request = new Pkcs10CertificateRequest(Buffer.from(der));
    const key = await request.publicKey.export(algorithm, ['verify']);
    const raw = Buffer.from((await webcrypto.subtle.exportKey('jwk', key)).x ?? '', 'base64url');
    if (raw.length !== 32) return { ok: false, reason: 'the request is not for an Ed25519 key' };
    if (!(await request.verify())) return { ok: false, reason: 'the request is not signed by its own key' };
    return { ok: true, nodeId: nodeIdOf(raw) };
  } catch {
    return { ok: false, reason: 'not a PKCS#10 request for an Ed25519 key' };
  }
}

export interface Validity {
  /** @default 90 days */
  readonly lifetimeMs?: number;
  /** Beginning of the node's certificate so far: the new one begins later, whatever the clocks say. */
  readonly afterMs?: number;
}

/**
 * Whole seconds, as in a certificate. Begins some time ago: an hour, or a tenth of a life that is shorter than ten
 * hours, so that half of the life still lies ahead.
 */
export function validityAt(nowMs: number, { lifetimeMs = defaultLifetimeMs, afterMs = 0 }: Validity): [Date, Date] {
  const begin = Math.max(nowMs - Math.min(maxBackdateMs, lifetimeMs / 10), afterMs + 1000);
  return [new Date(Math.floor(begin / 1000) * 1000), new Date(nowMs + lifetimeMs)];
}

/** @param node whose certificate; subject and key agree when its id is that of its public key */
export async function issueCertificate(
  authority: Authority,
  clusterId: string,
  node: { nodeId: NodeId; publicKey: Uint8Array; role: Role },
  nowMs: number,
  validity: Validity = {},
): Promise<Uint8Array> {
  const [notBefore, notAfter] = validityAt(nowMs, validity);
  const issuer = new X509Certificate(Buffer.from(authority.certificate));
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(node.publicKey).toString('base64url') };
  const certificate = await X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject: [{ O: [clusterId] }, { OU: [organizationalUnit[node.role]] }, { CN: [node.nodeId] }],
    issuer: issuer.subject,
    notBefore,
    notAfter,
    signingKey: await importPrivate(authority.pkcs8),
    publicKey: await webcrypto.subtle.importKey('jwk', jwk, algorithm, true, ['verify']),
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    ],
  });
  return Buffer.from(certificate.rawData);
}

async function importPrivate(pkcs8: Uint8Array): Promise<webcrypto.CryptoKey> {
  // The DER is rewritten by our own loader first, which refuses anything but an Ed25519 key.
  return webcrypto.subtle.importKey('pkcs8', Buffer.from(loadNodeKey(pkcs8).pkcs8), algorithm, false, ['sign']);
}

/** RFC 5280, 4.1.2.2: positive, at most 20 octets. */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes.readUInt8(0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}
