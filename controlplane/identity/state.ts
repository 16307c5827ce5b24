import { z } from 'zod';
import { ControlPlaneError, damagedState } from '../errors.ts';
import type { NodeId } from '../ids.ts';
import type { Store, Write } from '../store.ts';
import type { Authority } from './authority.ts';
import type { Role } from './certificates.ts';
import { loadNodeKey, type NodeKey } from './keys.ts';
import { Trust } from './trust.ts';
import type { Vault } from './vault.ts';

/** Where others reach a node. */
export interface Addressing {
  /** `IP:PORT` that others reach this node's gossip at. */
  readonly advertise: string;
  readonly vtep: string;
  /** The interface that the advertised address was found on; null where the operator gave the address. */
  readonly device: string | null;
}

/** What makes this host a member: written by init or join in one commit, changed by renewals, gone after leave. */
export interface Identity {
  readonly key: NodeKey;
  readonly clusterId: string;
  /** Own X.509 certificate, DER. */
  readonly certificate: Uint8Array;
  /** The roots that members' certificates are checked against. */
  readonly trust: Trust;
  /** Keys of the cluster's roots, first the one that certificates are issued with: managers only. */
  readonly authorities: readonly Authority[];
  /** Pre-shared keys of the mesh, 32 bytes each; the first is the one to connect with. Never empty. */
  readonly networkKeys: readonly Uint8Array[];
  readonly role: Role;
  /** VTEP: underlay address for VXLAN. */
  readonly vtep: string;
  /** Gossip address that others are told, `IP:PORT`. */
  readonly advertise: string;
  /** The interface that it was found on; null where the operator gave it. */
  readonly device: string | null;
  readonly createdMs: number;
}

const key = ['identity'];

const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);
const networkKey = bytes.refine(({ length }) => length === 32);
const link = z.object({ root: bytes, cross: bytes.nullable() });
const common = {
  pkcs8: bytes,
  clusterId: z.string(),
  certificate: bytes,
  role: z.enum(['worker', 'manager']),
  vtep: z.string(),
  advertise: z.string(),
  createdMs: z.number(),
};

const StoredIdentity = z.object({
  format: z.literal(2),
  ...common,
  anchors: z.array(link).min(1),
  retired: z.array(link),
  /** `sealed`: the private key, in the vault. */
  authorities: z.array(z.object({ certificate: bytes, sealed: bytes })),
  networkKeys: z.array(networkKey).min(1),
  /** Absent where a version wrote it that did not look for the interface. */
  device: z.string().nullable().default(null),
});

/** As written before there were several roots and keys, the CA's key unsealed. */
const Format1 = z.object({
  format: z.literal(1),
  ...common,
  authority: bytes,
  authorityKey: bytes.nullable(),
  networkKey,
});
type StoredIdentity = z.infer<typeof StoredIdentity>;
type Format1 = z.infer<typeof Format1>;

/**
 * @returns null when this host is no member
 * @throws ControlPlaneError `sealed_state` when the vault does not open what is there, `damaged_state` when it cannot be
 * read, `state_format` when a newer version wrote it
 */
export function loadIdentity(store: Store, vault: Vault): Identity | null {
  const stored = store.get(key);
  if (stored === undefined) return null;
  const format = (stored as { format?: unknown } | null)?.format;
  if (typeof format === 'number' && format > 2) {
    throw new ControlPlaneError(
      'state_format',
      `the state on disk is of format ${format}; this agent reads 1 and 2`,
      'run the version of Weft that wrote it, or a later one',
    );
  }
  const parsed = z.union([StoredIdentity, Format1]).safeParse(stored);
  if (!parsed.success) throw damagedState('identity', parsed.error);
  try {
    return parsed.data.format === 1 ? fromFormat1(parsed.data) : fromFormat2(parsed.data, vault);
  } catch (error) {
    throw error instanceof ControlPlaneError ? error : damagedState('identity', error);
  }
}

function fromFormat2(stored: StoredIdentity, vault: Vault): Identity {
  const { pkcs8, anchors, retired, authorities, format: _, ...rest } = stored;
  const opened = authorities.map(({ certificate, sealed }) => ({ certificate, pkcs8: opening(vault, sealed) }));
  return {
    ...rest,
    key: loadNodeKey(pkcs8),
    trust: Trust.of(anchors, retired),
    authorities: opened,
  };
}

function fromFormat1(stored: Format1): Identity {
  const { pkcs8, authority, authorityKey, networkKey, format: _, ...rest } = stored;
  return {
    ...rest,
    device: null,
    key: loadNodeKey(pkcs8),
    trust: Trust.of([{ root: authority, cross: null }]),
    authorities: authorityKey === null ? [] : [{ certificate: authority, pkcs8: authorityKey }],
    networkKeys: [networkKey],
  };
}

function opening(vault: Vault, sealed: Uint8Array): Uint8Array {
  const opened = vault.open(sealed);
  if (opened !== null) return opened;
  throw new ControlPlaneError(
    'sealed_state',
    "the cluster's CA key on this disk was sealed with another unlock key than the one that is here now",
    'give the agent the unlock key that it had, or join again with `weft join` after moving the state directory away',
  );
}

/** Stores an identity of an earlier format in the present one, which seals the keys of the CA. */
export async function migrateIdentity(store: Store, vault: Vault, identity: Identity): Promise<void> {
  if ((store.get(key) as { format?: unknown }).format !== 2) await store.commit([identityWrite(identity, vault)]);
}

/** The write that stores an identity. */
export function identityWrite(identity: Identity, vault: Vault): Write {
  const { key: nodeKey, trust, authorities, networkKeys, ...rest } = identity;
  const stored: StoredIdentity = {
    format: 2,
    pkcs8: nodeKey.pkcs8,
    ...rest,
    anchors: trust.active,
    retired: trust.dropped,
    authorities: authorities.map(({ certificate, pkcs8 }) => ({ certificate, sealed: vault.seal(pkcs8) })),
    networkKeys: [...networkKeys],
  };
  return { key, value: stored };
}

export async function saveIdentity(store: Store, vault: Vault, identity: Identity, peers: KnownPeers): Promise<void> {
  await store.commit([identityWrite(identity, vault), { key: ['peers'], value: [...peers] }]);
}

/** Says that init or join was finished: an identity without this is what a crash in the middle left behind. */
export async function markJoined(store: Store): Promise<void> {
  await store.commit([{ key: ['joined'], value: true }]);
}

export const isJoined = (store: Store): boolean => store.get(['joined']) === true;

/** Addresses of members, as the join answer gave them: where to begin before the tables are known. */
export type KnownPeers = ReadonlyMap<NodeId, readonly string[]>;

export function loadPeers(store: Store): KnownPeers {
  const stored = z.array(z.tuple([z.string(), z.array(z.string())])).safeParse(store.get(['peers']));
  return new Map(stored.success ? (stored.data as [NodeId, string[]][]) : []);
}

/** Removes everything of the control plane, private keys above all: after leave, and after a join that did not succeed. */
export async function wipe(store: Store): Promise<void> {
  // What was written behind is listed only when it has been committed.
  await store.commit([]);
  const tables = ['joined', 'identity', 'peers', 'member', 'record', 'position', 'own', 'epoch', 'resting'];
  await store.commit(
    tables.flatMap((table) => [...store.entries([table])].map(([each]) => ({ key: each, value: null }))),
  );
}
