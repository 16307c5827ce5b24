import crypto, { KeyObject, webcrypto } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import type { Prng } from './prng.ts';

// What a run does to node:crypto from outside, for all modules: chance comes from the seed, what many simulated hosts
// compute alike is computed once, and nothing waits for a thread. The results are those of the real functions.

/** Entries of one memory; then it starts anew, which costs time and nothing else. */
const maxEntries = 50_000;

const { sign, verify, hash, createPrivateKey, createPublicKey, X509Certificate } = crypto;

class Memory<T> {
  readonly #known = new Map<string, T>();

  get(key: string, compute: () => T): T {
    const known = this.#known.get(key);
    return known === undefined ? this.set(key, compute()) : known;
  }

  set(key: string, value: T): T {
    if (this.#known.size >= maxEntries) this.#known.clear();
    this.#known.set(key, value);
    return value;
  }
}

const text = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');

const privateKeys = new Memory<KeyObject>();
const publicKeys = new Memory<KeyObject>();
const certificates = new Memory<crypto.X509Certificate>();
const fingerprints = new WeakMap<KeyObject, string>();

/** The public key, of either half of a pair. */
function fingerprint(key: KeyObject): string {
  const known = fingerprints.get(key) ?? key.export({ format: 'jwk' }).x ?? '';
  fingerprints.set(key, known);
  return known;
}

const signedBy = (key: KeyObject, data: Uint8Array): Buffer => Buffer.concat([Buffer.from(fingerprint(key)), data]);

/**
 * A signature is valid when it was made here, by that key over those bytes: what Ed25519 promises, at the cost of a hash.
 * Certificates are signed for real.
 */
class Signatures {
  /** Signature -> key and data. */
  readonly #made = new Map<string, Buffer>();

  readonly sign = (_: null, data: Uint8Array, key: KeyObject): Buffer => {
    const signed = signedBy(key, data);
    const signature = hash('sha512', signed, 'buffer');
    this.#made.set(text(signature), signed);
    return signature;
  };

  /** @param callback is told by a promise job, as nothing here waits for a thread */
  readonly verify = (
    _: null,
    data: Uint8Array,
    key: KeyObject,
    signature: Uint8Array,
    callback?: (error: null, isGood: boolean) => void,
  ): boolean => {
    const isGood = this.#made.get(text(signature))?.equals(signedBy(key, data)) ?? false;
    if (callback !== undefined) queueMicrotask(() => callback(null, isGood));
    return isGood;
  };
}

const createPublicKeyOnce = (input: crypto.PublicKeyInput): KeyObject =>
  input.key instanceof Uint8Array && input.type === 'spki'
    ? publicKeys.get(text(input.key), () => createPublicKey(input))
    : createPublicKey(input);

const createPrivateKeyOnce = (input: crypto.PrivateKeyInput): KeyObject =>
  input.key instanceof Uint8Array && input.type === 'pkcs8'
    ? privateKeys.get(text(input.key), () => createPrivateKey(input))
    : createPrivateKey(input);

/** Equal bytes give the same object, which remembers who has issued it. */
class CertificateOnce extends X509Certificate {
  readonly #issued = new Map<string, boolean>();
  readonly #verified = new Map<string, boolean>();

  override checkIssued(issuer: crypto.X509Certificate): boolean {
    return remembered(this.#issued, issuer.fingerprint256, () => super.checkIssued(issuer));
  }

  override verify(key: KeyObject): boolean {
    return remembered(this.#verified, fingerprint(key), () => super.verify(key));
  }
}

function remembered(memory: Map<string, boolean>, key: string, compute: () => boolean): boolean {
  const result = memory.get(key) ?? compute();
  memory.set(key, result);
  return result;
}

const certificateOnce = new Proxy(CertificateOnce, {
  construct: (target, [bytes]: [Uint8Array]) => certificates.get(text(bytes), () => new target(bytes)),
});

/** WebCrypto for Ed25519 keys without its threads: their answers would come at no time that a seed decides. */
const unthreaded = {
  sign: async (_: unknown, key: webcrypto.CryptoKey, data: Uint8Array) =>
    arrayBuffer(sign(null, new Uint8Array(data), KeyObject.from(key))),
  verify: async (_: unknown, key: webcrypto.CryptoKey, signature: Uint8Array, data: Uint8Array) =>
    verify(null, new Uint8Array(data), KeyObject.from(key), new Uint8Array(signature)),
  exportKey: async (format: 'jwk' | 'pkcs8' | 'spki' | 'raw', key: webcrypto.CryptoKey) => {
    const object = KeyObject.from(key);
    if (format === 'jwk') return object.export({ format });
    if (format === 'raw') return arrayBuffer(Buffer.from(fingerprint(object), 'base64url'));
    return arrayBuffer(object.export({ format: 'der', type: format }));
  },
  digest: async (algorithm: string | { name: string }, data: Uint8Array) => {
    const name = typeof algorithm === 'string' ? algorithm : algorithm.name;
    return arrayBuffer(crypto.createHash(name.replace('-', '')).update(new Uint8Array(data)).digest());
  },
};

const arrayBuffer = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer;

/** Of these the results cannot be had without a thread: one after the other, and virtual time waits for them. */
const threaded = { importKey: inTurn(webcrypto.subtle.importKey), generateKey: inTurn(webcrypto.subtle.generateKey) };
let underWay = 0;
let last: Promise<unknown> = Promise.resolve();

function inTurn(work: (...args: never[]) => Promise<unknown>): (...args: never[]) => Promise<unknown> {
  return (...args) => {
    underWay += 1;
    const result = last.then(() => work.apply(webcrypto.subtle, args));
    const over = (): void => {
      underWay -= 1;
    };
    last = result.then(over, over);
    return result;
  };
}

/** Whether anything is under way that ends at no time that a seed decides. */
export const isThreading = (): boolean => underWay > 0;

Object.assign(webcrypto.subtle, unthreaded, threaded);
Object.assign(crypto, {
  createPrivateKey: createPrivateKeyOnce,
  createPublicKey: createPublicKeyOnce,
  X509Certificate: certificateOnce,
});
syncBuiltinESMExports();

/**
 * Chance and signatures of one run, for all modules, until the result is called. Ids and serial numbers are drawn deep
 * inside the code under test, and decide the order of things there.
 */
export function simulateCrypto(prng: Prng): () => void {
  const { randomBytes, sign, verify } = crypto;
  const made = new Signatures();
  Object.assign(crypto, {
    randomBytes: (size: number): Buffer => prng.bytes(size),
    sign: made.sign,
    verify: made.verify,
  });
  syncBuiltinESMExports();
  return () => {
    Object.assign(crypto, { randomBytes, sign, verify });
    syncBuiltinESMExports();
  };
}
