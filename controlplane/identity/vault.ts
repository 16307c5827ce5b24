import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

const ivBytes = 12;
const tagBytes = 16;

/** AES-256-GCM under one key, of 32 bytes; each text has its own random nonce, in front of it. */
export function seal(key: Uint8Array, text: Uint8Array): Uint8Array {
  const iv = randomBytes(ivBytes);
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  const sealed = Buffer.concat([cipher.update(text), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), sealed]);
}

/** @returns null for what was sealed with another key, or was changed since */
export function unseal(key: Uint8Array, sealed: Uint8Array): Uint8Array | null {
  if (sealed.length < ivBytes + tagBytes) return null;
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, ivBytes), { authTagLength: tagBytes });
    decipher.setAuthTag(sealed.subarray(ivBytes, ivBytes + tagBytes));
    return Buffer.concat([decipher.update(sealed.subarray(ivBytes + tagBytes)), decipher.final()]);
  } catch {
    return null;
  }
}

/** Seals what must not be readable from a copy of the state directory alone: the CA's private keys. */
export class Vault {
  readonly #key: Uint8Array;

  /** @param key 32 bytes, kept elsewhere than what is sealed with it */
  constructor(key: Uint8Array) {
    if (key.length !== 32) throw new Error(`a vault's key has 32 bytes, not ${key.length}`);
    this.#key = key;
  }

  seal(text: Uint8Array): Uint8Array {
    return seal(this.#key, text);
  }

  open(sealed: Uint8Array): Uint8Array | null {
    return unseal(this.#key, sealed);
  }
}
