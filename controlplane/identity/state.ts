import type { NodeId } from '../ids.ts';
import type { Store } from '../store.ts';
import { type Role, TrustAnchor } from './certificates.ts';
import { loadNodeKey, type NodeKey } from './keys.ts';

/** Where others reach a node. */
export interface Addressing {
  /** `IP:PORT` that others reach this node's gossip at. */
  readonly advertise: string;
  readonly vtep: string;
}

/** What makes this host a member: written by init or join in one commit, gone after leave. */
export interface Identity {
  readonly key: NodeKey;
  readonly clusterId: string;
  /** Own X.509 certificate, DER. */
  readonly certificate: Uint8Array;
  readonly anchor: TrustAnchor;
  /** The CA's private key (PKCS#8): managers only. */
  readonly authorityKey: Uint8Array | null;
  /** Pre-shared key of the mesh, 32 bytes. */
  readonly networkKey: Uint8Array;
  readonly role: Role;
  /** VTEP: underlay address for VXLAN. */
  readonly vtep: string;
  /** Gossip address that others are told, `IP:PORT`. */
  readonly advertise: string;
  readonly createdMs: number;
}

const key = ['identity'];

interface StoredIdentity {
  format: 1;
  pkcs8: Uint8Array;
  clusterId: string;
  certificate: Uint8Array;
  authority: Uint8Array;
  authorityKey: Uint8Array | null;
  networkKey: Uint8Array;
  role: Role;
  vtep: string;
  advertise: string;
  createdMs: number;
}

/** @returns null when this host is no member @throws when the stored identity cannot be read */
export function loadIdentity(store: Store): Identity | null {
  const stored = store.get(key) as StoredIdentity | undefined;
  if (stored === undefined) return null;
  if (stored.format !== 1)
    throw new Error(`the state is of format ${String(stored.format)}; this agent reads format 1`);
  const { pkcs8, authority, format: _, ...rest } = stored;
  return { ...rest, key: loadNodeKey(pkcs8), anchor: new TrustAnchor(authority) };
}

export async function saveIdentity(store: Store, identity: Identity, peers: KnownPeers): Promise<void> {
  const { key: nodeKey, anchor, ...rest } = identity;
  const stored: StoredIdentity = { format: 1, pkcs8: nodeKey.pkcs8, authority: anchor.der, ...rest };
  await store.commit([
    { key, value: stored },
    { key: ['peers'], value: [...peers] },
  ]);
}

/** Says that init or join was finished: an identity without this is what a crash in the middle left behind. */
export async function markJoined(store: Store): Promise<void> {
  await store.commit([{ key: ['joined'], value: true }]);
}

export const isJoined = (store: Store): boolean => store.get(['joined']) === true;

/** Addresses of members, as the join answer gave them: where to begin before the tables are known. */
export type KnownPeers = ReadonlyMap<NodeId, readonly string[]>;

export function loadPeers(store: Store): KnownPeers {
  const stored = store.get(['peers']);
  return new Map(Array.isArray(stored) ? (stored as [NodeId, string[]][]) : []);
}

/** Removes everything of the control plane: after leave, and after a join that did not succeed. */
export async function wipe(store: Store): Promise<void> {
  // What was written behind is listed only when it has been committed.
  await store.commit([]);
  const tables = ['joined', 'identity', 'peers', 'member', 'record', 'position', 'own', 'epoch'];
  await store.commit(
    tables.flatMap((table) => [...store.entries([table])].map(([each]) => ({ key: each, value: null }))),
  );
}
