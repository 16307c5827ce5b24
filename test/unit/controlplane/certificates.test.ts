import 'reflect-metadata';
import assert from 'node:assert/strict';
import { generateKeyPairSync, webcrypto } from 'node:crypto';
import { test } from 'node:test';
import { Pkcs10CertificateRequestGenerator, X509Certificate, X509CertificateGenerator } from '@peculiar/x509';
import {
  type Authority,
  checkCertificateRequest,
  issueCertificate,
  newAuthority,
  newCertificateRequest,
} from '../../../controlplane/identity/authority.ts';
import { TrustAnchor, toPem } from '../../../controlplane/identity/certificates.ts';
import { loadNodeKey, newNodeKey } from '../../../controlplane/identity/keys.ts';

const nowMs = Date.UTC(2026, 0, 1);
const dayMs = 86_400_000;
const clusterId = 'c'.repeat(25);
const authority = await newAuthority(clusterId, nowMs);
const foreign = await newAuthority(clusterId, nowMs);
const anchor = new TrustAnchor(authority.certificate);
const key = newNodeKey();
const issue = (by: Authority, role: 'worker' | 'manager' = 'worker', atMs = nowMs) =>
  issueCertificate(by, clusterId, { ...key, role }, atMs);

const reasonAgainst = (der: Uint8Array, atMs = nowMs): string => {
  const checked = anchor.check(der, atMs);
  return checked.ok ? '' : checked.reason;
};

test('an issued certificate makes a member of its role', async () => {
  for (const role of ['worker', 'manager'] as const) {
    const certificate = await issue(authority, role);
    const checked = anchor.check(certificate, nowMs);
    assert.ok(checked.ok);
    const { notBeforeMs, notAfterMs, ...member } = checked.member;
    assert.deepEqual(member, { nodeId: key.nodeId, role, clusterId, certificate, root: anchor.digest });
    assert.deepEqual([notBeforeMs, notAfterMs], [nowMs - 3_600_000, nowMs + 90 * dayMs]);
  }
});

test('a certificate of another CA is refused, though that has the same name', async () => {
  assert.match(reasonAgainst(await issue(foreign)), /not issued by this cluster/);
});

test('a certificate holds from an hour before it was made for ninety days', async () => {
  const certificate = await issue(authority);
  assert.equal(reasonAgainst(certificate, nowMs - 3_599_000), '');
  assert.match(reasonAgainst(certificate, nowMs - 3_601_000), /not valid before .*compare the clocks/);
  assert.equal(reasonAgainst(certificate, nowMs + 90 * dayMs - 1_000), '');
  assert.match(reasonAgainst(certificate, nowMs + 90 * dayMs), /expired on/);
});

test('a certificate that names another node than its key is refused', async () => {
  const other = newNodeKey();
  const node = { nodeId: other.nodeId, publicKey: key.publicKey, role: 'worker' as const };
  assert.match(reasonAgainst(await issueCertificate(authority, clusterId, node, nowMs)), /names another node/);
});

test('the CA itself is no node, nor is what has no role or another key', async () => {
  assert.match(reasonAgainst(authority.certificate), /not a certificate of a node/);
  const signingKey = await webcrypto.subtle.importKey('pkcs8', authority.pkcs8, 'Ed25519', false, ['sign']);
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const ec = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const base = {
    issuer: new X509Certificate(authority.certificate).subject,
    notBefore: new Date(nowMs),
    notAfter: new Date(nowMs + dayMs),
    signingKey,
    signingAlgorithm: { name: 'Ed25519' },
  };
  const make = async (subject: string, publicKey: webcrypto.CryptoKey) =>
    Buffer.from((await X509CertificateGenerator.create({ ...base, subject, publicKey })).rawData);
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(key.publicKey).toString('base64url') };
  const own = await webcrypto.subtle.importKey('jwk', jwk, 'Ed25519', true, ['verify']);
  const named = `O=${clusterId}, OU=weft-worker, CN=${key.nodeId}`;
  assert.equal(reasonAgainst(await make(named, own)), '');
  for (const [subject, publicKey] of [
    [`O=${clusterId}, OU=weft-king, CN=${key.nodeId}`, own],
    [`OU=weft-worker, CN=${key.nodeId}`, own],
    [named, ec.publicKey],
  ] as const) {
    assert.match(reasonAgainst(await make(subject, publicKey)), /not a certificate of a node/);
  }
});

test('bytes that are no certificate are refused', async () => {
  const certificate = await issue(authority);
  assert.match(reasonAgainst(Buffer.alloc(0)), /not an X.509/);
  assert.match(reasonAgainst(Buffer.from('garbage')), /not an X.509/);
  assert.match(reasonAgainst(certificate.subarray(0, 100)), /not an X.509/);
  assert.match(reasonAgainst(Buffer.alloc(5_000)), /too large/);
  for (let at = 0; at < certificate.length; at += 7) {
    const changed = Buffer.from(certificate);
    changed[at] = (changed[at] ?? 0) ^ 1;
    assert.ok(!anchor.check(changed, nowMs).ok, `byte ${at}`);
  }
});

test('PEM is what OpenSSL reads', async () => {
  assert.match(
    toPem(await issue(authority)),
    /^-----BEGIN CERTIFICATE-----\n([\w+/=]{1,64}\n)+-----END CERTIFICATE-----\n$/,
  );
});

test('a request for the own key is accepted', async () => {
  assert.deepEqual(await checkCertificateRequest(await newCertificateRequest(key)), { ok: true, nodeId: key.nodeId });
});

test('a request with a forged signature is refused', async () => {
  const request = Buffer.from(await newCertificateRequest(key));
  const at = request.length - 10;
  request[at] = (request[at] ?? 0) ^ 1;
  const checked = await checkCertificateRequest(request);
  assert.ok(!checked.ok);
});

test('a request signed by another key is refused', async () => {
  const [own, other] = [newNodeKey(), newNodeKey()];
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(own.publicKey).toString('base64url') };
  const keys = {
    publicKey: await webcrypto.subtle.importKey('jwk', jwk, 'Ed25519', true, ['verify']),
    privateKey: await webcrypto.subtle.importKey('pkcs8', Buffer.from(other.pkcs8), 'Ed25519', false, ['sign']),
  };
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: `CN=${own.nodeId}`,
    keys: keys as webcrypto.CryptoKeyPair,
    signingAlgorithm: { name: 'Ed25519' },
  });
  const checked = await checkCertificateRequest(Buffer.from(request.rawData));
  assert.deepEqual(checked, { ok: false, reason: 'the request is not signed by its own key' });
});

test('a request for an RSA key, and what is no request, are refused', async () => {
  const algorithm = {
    name: 'RSASSA-PKCS1-v1_5',
    modulusLength: 2048,
    publicExponent: new Uint8Array([1, 0, 1]),
    hash: 'SHA-256',
  };
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const request = await Pkcs10CertificateRequestGenerator.create({ name: 'CN=x', keys, signingAlgorithm: algorithm });
  for (const der of [Buffer.from(request.rawData), Buffer.from('garbage'), Buffer.alloc(0), authority.certificate]) {
    const checked = await checkCertificateRequest(der);
    assert.match(checked.ok ? '' : checked.reason, /Ed25519/);
  }
});

test('a node key survives being stored; other keys are refused', () => {
  const loaded = loadNodeKey(key.pkcs8);
  assert.equal(loaded.nodeId, key.nodeId);
  assert.deepEqual(loaded.sign(Buffer.from('x')), key.sign(Buffer.from('x')));
  const x25519 = generateKeyPairSync('x25519').privateKey.export({ type: 'pkcs8', format: 'der' });
  assert.throws(() => loadNodeKey(x25519), /want an Ed25519 key, not x25519/);
  assert.throws(() => loadNodeKey(Buffer.from('garbage')));
});
