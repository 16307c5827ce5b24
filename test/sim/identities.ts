import 'reflect-metadata';
import { createHash, webcrypto } from 'node:crypto';
import { BasicConstraintsExtension, X509CertificateGenerator } from '@peculiar/x509';
import { type Authority, issueCertificate } from '../../controlplane/identity/authority.ts';
import type { Role } from '../../controlplane/identity/certificates.ts';
import { loadNodeKey, type NodeKey } from '../../controlplane/identity/keys.ts';
import type { Identity } from '../../controlplane/identity/state.ts';
import { Trust } from '../../controlplane/identity/trust.ts';
import { Vault } from '../../controlplane/identity/vault.ts';
import { simulateCrypto } from './crypto.ts';
import { Prng } from './prng.ts';
import { simulationStartMs } from './time.ts';

export const simulationClusterId = 'simulation000000000000000';

/** What seals the keys of the CA in tests. */
export const testVault = new Vault(Buffer.alloc(32, 7));

// PrivateKeyInfo header of an Ed25519 key (RFC 8410, section 7).
const pkcs8Prefix = Buffer.from('302e020100300506032b657004220420', 'hex');

/** The same label gives the same key, so the same node id, signatures and certificates in every run. */
export function keyFrom(label: string): NodeKey {
  return loadNodeKey(Buffer.concat([pkcs8Prefix, createHash('sha256').update(label).digest()]));
}

let authority: Promise<Authority> | null = null;
const identities = new Map<string, Promise<Identity>>();

async function makeAuthority(): Promise<Authority> {
  const { pkcs8, publicKey } = keyFrom('certificate authority');
  const algorithm = { name: 'Ed25519' };
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(publicKey).toString('base64url') };
  const keys = {
    privateKey: await webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']),
    publicKey: await webcrypto.subtle.importKey('jwk', jwk, algorithm, true, ['verify']),
  };
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: [{ O: [simulationClusterId] }, { CN: ['weft-ca'] }],
    notBefore: new Date(simulationStartMs - 86_400_000),
    notAfter: new Date(simulationStartMs + 3650 * 86_400_000),
    keys: keys as webcrypto.CryptoKeyPair,
    signingAlgorithm: algorithm,
    extensions: [new BasicConstraintsExtension(true, 0, true)],
  });
  return { certificate: Buffer.from(certificate.rawData), pkcs8 };
}

/**
 * Identity number `index` of the simulated cluster; the same in every run, and made once.
 * @param laterMs so much after the start of the simulation its certificate was made
 */
export function identityOf(index: number, role: Role, laterMs = 0): Promise<Identity> {
  const label = `${role} ${index}${laterMs === 0 ? '' : ` ${laterMs}`}`;
  const identity = identities.get(label) ?? makeIdentity(index, role, laterMs, label);
  identities.set(label, identity);
  return identity;
}

async function makeIdentity(index: number, role: Role, laterMs: number, label: string): Promise<Identity> {
  const restore = simulateCrypto(new Prng(label));
  try {
    authority ??= makeAuthority();
    const ca = await authority;
    const key = keyFrom(`node ${index}`);
    return {
      key,
      clusterId: simulationClusterId,
      certificate: await issueCertificate(ca, simulationClusterId, { ...key, role }, simulationStartMs + laterMs),
      trust: Trust.of([{ root: ca.certificate, cross: null }]),
      authorities: role === 'manager' ? [ca] : [],
      networkKeys: [Buffer.alloc(32)],
      role,
      vtep: `192.0.2.${index + 1}`,
      advertise: `192.0.2.${index + 1}:7946`,
      device: null,
      createdMs: simulationStartMs,
    };
  } finally {
    restore();
  }
}
