import { randomBytes } from 'node:crypto';
import { type Environment, jittered, type Log } from '../environment.ts';
import { ControlPlaneError } from '../errors.ts';
import { type Credentials, meshKeyDigest } from '../identity/credentials.ts';
import type { NodeId } from '../ids.ts';
import type { Requests, Transport } from '../mesh/transport.ts';
import type { HybridClock } from '../tables/clock.ts';
import type { MeshKeyValue } from '../tables/kinds.ts';
import { clusterTopic } from '../tables/record.ts';
import type { Tables } from '../tables/tables.ts';
import type { View } from '../tables/view.ts';
import { newest, outlived } from './generations.ts';
import { maxMeshKeys, meshKeyBytes } from './wire.ts';

// A node that is away for longer than the overlap gets the new key at a manager's join port.
const overlapMs = 3_600_000;
// Nodes that leave one after the other make one new key.
const restMs = 60_000;
const fetchRetryMs = 2_000;
const askTimeoutMs = 5_000;
// Peers asked for a key in one round; the next round asks others.
const askedAtOnce = 4;

export interface MeshKeysInit {
  readonly credentials: Credentials;
  readonly tables: Tables;
  readonly view: View;
  readonly clock: HybridClock;
  readonly transport: Requests & Pick<Transport, 'connections'>;
  readonly environment: Environment;
  readonly log: Log;
  readonly isManager: () => boolean;
}

export interface MeshKeyState {
  readonly digest: string;
  /** False while members lack the newest key. */
  readonly done: boolean;
  readonly missing: readonly NodeId[];
}

/**
 * The pre-shared keys of the mesh, its outermost door. A manager announces the digest of a new one; members fetch the
 * key from each other, take both for a while, and drop the old one when all have the new one.
 */
export class MeshKeys {
  readonly #init: MeshKeysInit;
  #cancel: () => void = () => {};
  /** The key that counts, and since when it does here: by a clock that is never set, whatever that of its maker said. */
  #newest = { digest: '', sinceMs: 0 };
  #fetching = false;
  #stopped = false;

  constructor(init: MeshKeysInit) {
    this.#init = init;
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  get state(): MeshKeyState {
    const { digest, done } = this.#current;
    return { digest, done, missing: this.#missing(digest) };
  }

  /** The same without who lacks it, which takes looking at every node. */
  get #current(): Pick<MeshKeyState, 'digest' | 'done'> {
    const all = this.#announced();
    const [held] = this.#held();
    const digest = newest(all) ?? held ?? '';
    return { digest, done: all.get(digest)?.done ?? true };
  }

  /** Fetches what is announced, and drops what all have left behind. */
  async follow(): Promise<void> {
    const all = this.#announced();
    const { digest } = this.#current;
    if (digest !== this.#newest.digest) this.#newest = { digest, sinceMs: this.#init.environment.monotonicMs() };
    await this.#init.credentials.change(({ networkKeys }) => {
      const held = new Map(networkKeys.map((key) => [meshKeyDigest(key).toString('hex'), key]));
      const current = newest(new Map([...all].filter(([digest]) => held.has(digest))));
      const gone = new Set(outlived(all, [...held.keys()]));
      const kept = [...held].filter(([digest]) => !gone.has(digest));
      // First the one to connect with.
      kept.sort(([a], [b]) => Number(b === current) - Number(a === current));
      const same = kept.length === networkKeys.length && kept.every(([, key], i) => key === networkKeys[i]);
      return same ? null : { networkKeys: kept.map(([, key]) => key) };
    });
    this.#fetch();
  }

  /** Makes a new key and announces it. @throws ControlPlaneError `not_manager`, `rotation_under_way` */
  async rotate(force: boolean): Promise<string> {
    const { credentials, tables, view, clock, log } = this.#init;
    this.#needManager();
    const { done, missing } = this.state;
    const full = credentials.identity.networkKeys.length >= maxMeshKeys;
    if (full || (!done && !force)) {
      throw new ControlPlaneError(
        'rotation_under_way',
        `the mesh key is being changed already: ${missing.length} nodes lack the new one`,
        'wait for it (`weft mesh-key`), or finish it without them: `weft mesh-key rotate --finish`',
      );
    }
    const key = randomBytes(meshKeyBytes);
    const digest = meshKeyDigest(key).toString('hex');
    // On disk before others can ask for it.
    await credentials.change(({ networkKeys }) => ({ networkKeys: [...networkKeys, key] }));
    const generations = [...this.#announced().values()].map(({ generation }) => generation);
    const value: MeshKeyValue = {
      stamp: [...clock.next()],
      generation: Math.max(0, ...generations) + 1,
      removals: view.removedNodes().length,
      done: false,
    };
    await tables.put(clusterTopic, `mesh-key/${digest}`, value);
    await this.follow();
    log.info({ key: digest }, 'announced a new mesh key; members fetch it');
    return digest;
  }

  /** Says that the keys before the newest are to be dropped; who lacks it has to come by a manager's join port. */
  async finish(): Promise<void> {
    const { tables, clock, log } = this.#init;
    this.#needManager();
    const { digest, missing } = this.state;
    const value = this.#announced().get(digest);
    if (value === undefined || value.done) return;
    await tables.put(clusterTopic, `mesh-key/${digest}`, { ...value, done: true, stamp: [...clock.next(value.stamp)] });
    await this.follow();
    log.info({ key: digest, without: missing }, 'the new mesh key is the only one from now on');
  }

  #needManager(): void {
    if (this.#init.isManager()) return;
    throw new ControlPlaneError(
      'not_manager',
      'this node is not a manager, and only a manager can change the mesh key',
      'run the command on a manager: `weft node ls` shows which nodes are',
    );
  }

  /** Whether this manager should finish the change that is under way. */
  get canFinish(): boolean {
    const { digest, done } = this.#current;
    if (done || !this.#held().includes(digest)) return false;
    return this.#missing(digest).length === 0 || this.#ageOf(digest) > overlapMs;
  }

  /** Whether to make another key: a node was removed that may have the newest one, or nobody has that. */
  get isWanted(): boolean {
    const { digest, done } = this.#current;
    // Its maker may have been lost with it before anybody fetched it.
    if (!done) return this.#ageOf(digest) > 2 * overlapMs;
    const newest = this.#announced().get(digest);
    if (newest === undefined) return this.#init.view.removedNodes().length > 0;
    return this.#init.view.removedNodes().length > newest.removals && this.#ageOf(digest) > restMs;
  }

  /** For how long the newest key has counted here; it may not have been followed yet. */
  #ageOf(digest: string): number {
    return digest === this.#newest.digest ? this.#init.environment.monotonicMs() - this.#newest.sinceMs : 0;
  }

  /** Answers `mesh-key`: the asker is a member, as its connection has proved. @throws when the key is not here */
  answer(body: Uint8Array): Uint8Array {
    const wanted = Buffer.from(body);
    const key = this.#init.credentials.identity.networkKeys.find((each) => meshKeyDigest(each).equals(wanted));
    if (key === undefined) throw new Error('this node does not have that mesh key');
    return key;
  }

  #announced(): Map<string, MeshKeyValue> {
    return this.#init.view.shared<MeshKeyValue>('mesh-key');
  }

  #held(): string[] {
    return this.#init.credentials.meshKeys.map(({ digest }) => digest);
  }

  #missing(digest: string): NodeId[] {
    const { view } = this.#init;
    const has = (id: NodeId): boolean => Buffer.from(view.holdings.get(id)?.meshKey ?? []).toString('hex') === digest;
    return [...view.nodes.keys()].filter((id) => !view.isRemoved(id) && !has(id));
  }

  #fetch(): void {
    const wanted = newest(this.#announced());
    if (this.#stopped || this.#fetching || wanted === null || this.#held().includes(wanted)) return;
    this.#fetching = true;
    this.#ask(wanted)
      .catch((error: unknown) => {
        this.#init.log.debug({ err: error, key: wanted }, 'nobody asked has the new mesh key; asking again');
        const delayMs = jittered(this.#init.environment, fetchRetryMs);
        this.#cancel = this.#init.environment.timer(delayMs, () => this.#fetch());
      })
      .finally(() => {
        this.#fetching = false;
      });
  }

  /** First who says to have it, of those that are connected. */
  async #ask(digest: string): Promise<void> {
    const { credentials, transport, view, environment } = this.#init;
    const wanted = Buffer.from(digest, 'hex');
    const has = (id: NodeId): boolean => wanted.equals(Buffer.from(view.holdings.get(id)?.meshKey ?? []));
    const peers = [...transport.connections().keys()]
      .map((id) => ({ id, order: environment.random() - (has(id) ? 1 : 0) }))
      .sort((a, b) => a.order - b.order)
      .slice(0, askedAtOnce);
    let failure: unknown = new Error('no member is connected');
    for (const { id } of peers) {
      try {
        const taken = Buffer.from(await transport.request(id, 'mesh-key', wanted, AbortSignal.timeout(askTimeoutMs)));
        if (taken.length !== meshKeyBytes || !meshKeyDigest(taken).equals(wanted))
          throw new Error('the peer answered with another key');
        await credentials.change(({ networkKeys }) =>
          networkKeys.some((each) => taken.equals(each))
            ? null
            : { networkKeys: [taken, ...networkKeys].slice(0, maxMeshKeys) },
        );
        await this.follow();
        return;
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }
}
