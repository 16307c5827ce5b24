import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import { type NodeId, nodeIdOf, publicKeyOf } from '../ids.ts';

/** A node's Ed25519 key pair: its identity, its libp2p key and the key of its certificate. */
export interface NodeKey {
  readonly nodeId: NodeId;
  /** Raw public key, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Private key as PKCS#8 DER (RFC 8410). */
  readonly pkcs8: Uint8Array;
  /** Raw private seed, 32 bytes. */
  readonly seed: Uint8Array;
  /** Ed25519 signature, 64 bytes (RFC 8032). */
  sign(message: Uint8Array): Uint8Array;
}

export function newNodeKey(): NodeKey {
  return loadNodeKey(generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'der' }));
}

/** @throws when the bytes are not a PKCS#8 Ed25519 key */
export function loadNodeKey(pkcs8: Uint8Array): NodeKey {
  const key = createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' });
  if (key.asymmetricKeyType !== 'ed25519') throw new Error(`want an Ed25519 key, not ${key.asymmetricKeyType}`);
  const { x = '', d = '' } = key.export({ format: 'jwk' });
  const [publicKey, seed] = [Buffer.from(x, 'base64url'), Buffer.from(d, 'base64url')];
  return { nodeId: nodeIdOf(publicKey), publicKey, pkcs8, seed, sign: (message) => sign(null, message, key) };
}

export function rawPublicKey(key: KeyObject): Uint8Array {
  return Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url');
}

// SubjectPublicKeyInfo header of an Ed25519 key (RFC 8410, section 4).
const spkiPrefix = Buffer.from('302a300506032b6570032100', 'hex');

export function publicKeyObject(raw: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([spkiPrefix, raw]), format: 'der', type: 'spki' });
}

/** Checks signatures of nodes; keeps the parsed keys of those seen lately. */
export class SignatureVerifier {
  readonly #keys = new Map<NodeId, KeyObject>();
  // More than the nodes of a large cluster; when full the oldest key is parsed again on its next use.
  static readonly maxKeys = 8192;

  verify(nodeId: NodeId, message: Uint8Array, signature: Uint8Array): boolean {
    const key = this.#keyOf(nodeId);
    return key !== null && signature.length === 64 && verify(null, message, key, signature);
  }

  /** The same on another thread. @param told later, unless it is clear at once */
  verifyAside(nodeId: NodeId, message: Uint8Array, signature: Uint8Array, told: (isGood: boolean) => void): void {
    const key = this.#keyOf(nodeId);
    if (key === null || signature.length !== 64) told(false);
    else verify(null, message, key, signature, (error, isGood) => told(error === null && isGood));
  }

  #keyOf(nodeId: NodeId): KeyObject | null {
    const known = this.#keys.get(nodeId);
    if (known !== undefined) return known;
    const raw = publicKeyOf(nodeId);
    if (raw === null) return null;
    const key = publicKeyObject(raw);
    if (this.#keys.size >= SignatureVerifier.maxKeys) {
      const oldest = this.#keys.keys().next();
      if (!oldest.done) this.#keys.delete(oldest.value);
    }
    this.#keys.set(nodeId, key);
    return key;
  }
}
