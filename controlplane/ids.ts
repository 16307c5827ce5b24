import { randomBytes } from 'node:crypto';
import { base58btc } from 'multiformats/bases/base58';

declare const brand: unique symbol;
type Branded<T, Name extends string> = T & { readonly [brand]: Name };

/** libp2p PeerId of a node's Ed25519 key: base58btc of the identity multihash of its public key. */
export type NodeId = Branded<string, 'NodeId'>;
/** 25 base36 digits, as Docker's ids of cluster objects. */
export type NetworkId = Branded<string, 'NetworkId'>;
/** 64 hex digits, as Docker's endpoint ids. */
export type EndpointId = Branded<string, 'EndpointId'>;

// protobuf PublicKey{Type: Ed25519, Data: 32 bytes} behind the identity multihash code and its length
// (libp2p specs, peer-ids: keys of up to 42 bytes are inlined).
const peerIdPrefix = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20);

// Version vectors name every owner in every exchange, and base58 costs more than all else of reading them. More than the
// nodes of any cluster; when full it starts anew.
const maxKnownIds = 32_768;
const idsByKey = new Map<string, NodeId>();
const keysById = new Map<string, Uint8Array>();

/** @param publicKey raw Ed25519 public key, 32 bytes */
export function nodeIdOf(publicKey: Uint8Array): NodeId {
  if (publicKey.length !== 32) throw new Error(`an Ed25519 public key has 32 bytes, not ${publicKey.length}`);
  const name = Buffer.from(publicKey.buffer, publicKey.byteOffset, 32).toString('latin1');
  const known = idsByKey.get(name);
  if (known !== undefined) return known;
  const id = base58btc.baseEncode(Buffer.concat([peerIdPrefix, publicKey])) as NodeId;
  if (idsByKey.size >= maxKnownIds) idsByKey.clear();
  idsByKey.set(name, id);
  return id;
}

/** The raw Ed25519 public key inside a node id, or null when the text is not such an id. Not to be written to. */
export function publicKeyOf(text: string): Uint8Array | null {
  const known = keysById.get(text);
  if (known !== undefined) return known;
  if (text.length < 50 || text.length > 56) return null;
  let bytes: Uint8Array;
  try {
    bytes = base58btc.baseDecode(text);
  } catch {
    return null;
  }
  if (bytes.length !== 38 || peerIdPrefix.some((byte, i) => bytes[i] !== byte)) return null;
  const key = bytes.subarray(6);
  if (keysById.size >= maxKnownIds) keysById.clear();
  keysById.set(text, key);
  return key;
}

export function parseNodeId(text: string): NodeId | null {
  return publicKeyOf(text) === null ? null : (text as NodeId);
}

/** Random id of `length` base36 digits, without modulo bias. */
export function randomBase36(length: number): string {
  let out = '';
  while (out.length < length) {
    for (const byte of randomBytes(length * 2)) {
      if (byte < 252 && out.length < length) out += (byte % 36).toString(36);
    }
  }
  return out;
}

export const newNetworkId = (): NetworkId => randomBase36(25) as NetworkId;
export const newEndpointId = (): EndpointId => randomBytes(32).toString('hex') as EndpointId;

export const isNetworkId = (text: string): text is NetworkId => /^[0-9a-z]{25}$/.test(text);
export const isEndpointId = (text: string): text is EndpointId => /^[0-9a-f]{64}$/.test(text);
