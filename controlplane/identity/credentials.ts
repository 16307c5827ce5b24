import { createHash } from 'node:crypto';
import type { Store } from '../store.ts';
import { type Identity, identityWrite } from './state.ts';
import type { Link } from './trust.ts';
import type { Vault } from './vault.ts';

// Of keys that are held: every change of the tables asks for them.
const meshKeyDigests = new WeakMap<Uint8Array, Buffer>();

/**
 * How a mesh key is named: in the tables in full, in front of a connection by its first eight bytes. Not to be written
 * to.
 */
export function meshKeyDigest(key: Uint8Array): Buffer {
  const digest = meshKeyDigests.get(key) ?? createHash('sha256').update('weft mesh key\0').update(key).digest();
  meshKeyDigests.set(key, digest);
  return digest;
}

/** What a renewal or a rotation may change of an identity. */
export type Change = Partial<Pick<Identity, 'certificate' | 'trust' | 'authorities' | 'networkKeys' | 'role'>>;

/** This node's identity as it is now. Changed whole and on disk first, so that a crash leaves the old or the new one. */
export class Credentials {
  readonly #store: Store;
  readonly #vault: Vault;
  readonly #watchers = new Set<() => void>();
  #identity: Identity;
  #changing: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(init: { identity: Identity; store: Store; vault: Vault }) {
    this.#identity = init.identity;
    this.#store = init.store;
    this.#vault = init.vault;
  }

  get identity(): Identity {
    return this.#identity;
  }

  /** The mesh's keys by their names, the one to connect with first. */
  get meshKeys(): { readonly id: Uint8Array; readonly digest: string; readonly key: Uint8Array }[] {
    return this.#identity.networkKeys.map((key) => {
      const digest = meshKeyDigest(key);
      return { id: digest.subarray(0, 8), digest: digest.toString('hex'), key };
    });
  }

  /**
   * Makes a change, one after the other. Resolves when it is on disk and in force.
   * @param decide is given the identity as it is by then; null for no change
   */
  change(decide: (identity: Identity) => Change | null): Promise<void> {
    const changed = this.#changing.then(async () => {
      if (this.#closed) return;
      const change = decide(this.#identity);
      if (change === null) return;
      const next = { ...this.#identity, ...change };
      await this.#store.commit([identityWrite(next, this.#vault)]);
      this.#identity = next;
      for (const watcher of this.#watchers) watcher();
    });
    this.#changing = changed.catch(() => {});
    return changed;
  }

  /** Takes up roots that one of those trusted here vouches for. */
  async learn(links: readonly Link[]): Promise<void> {
    const { trust } = this.#identity;
    if (trust.follow(links) === trust) return;
    await this.change((before) => ({ trust: before.trust.follow(links) }));
  }

  /** From now on nothing is written: an answer that comes after leaving must not bring the identity back. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#changing;
  }

  /** @param watcher is told after each change */
  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }
}
