import { decode, encode } from '../encoding.ts';
import type { NodeKey, SignatureVerifier } from '../identity/keys.ts';
import { type NodeId, nodeIdOf, publicKeyOf } from '../ids.ts';
import type { Claim, Incarnation } from './machine.ts';

/** Topic of what nodes say of each other's liveness. */
export const livenessTopic = 'liveness';

/** An accusation, or, where author and subject are the same, the word of a node that it lives: a refutation. */
export interface Statement {
  readonly author: NodeId;
  readonly subject: NodeId;
  /** Of the subject. */
  readonly incarnation: Incarnation;
  /** null in a refutation. */
  readonly claim: Claim | null;
}

/** A statement as it travels: the signed bytes are passed on as they came. */
export interface SignedStatement {
  readonly statement: Statement;
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
}

/** [payload, signature] */
export type WireStatement = readonly [Uint8Array, Uint8Array];

/** In one frame. Accusations travel with the refutation that they follow, and nobody says more at once. */
export const maxStatements = 64;
// Two keys of 32 bytes and a few numbers.
const maxPayloadBytes = 128;
const formatVersion = 1;
const claims: readonly (Claim | null)[] = [null, 'slow', 'silent', 'refused'];

/** @param serial makes the bytes differ from an earlier statement that says the same, which gossip would not carry again */
export function signStatement(
  key: NodeKey,
  clusterId: string,
  { subject, incarnation: { epoch, count }, claim }: Omit<Statement, 'author'>,
  serial: number,
): SignedStatement {
  const payload = encode([
    formatVersion,
    key.publicKey,
    publicKeyOf(subject),
    epoch,
    count,
    claims.indexOf(claim),
    serial,
  ]);
  const statement = { author: key.nodeId, subject, incarnation: { epoch, count }, claim };
  return { statement, payload, signature: key.sign(signedBytes(clusterId, payload)) };
}

/** Decodes without checking the signature. @returns null for anything that is not a statement */
export function decodeStatement(wire: unknown): SignedStatement | null {
  if (!Array.isArray(wire) || wire.length !== 2) return null;
  const [payload, signature] = wire as unknown[];
  if (!(payload instanceof Uint8Array) || payload.length > maxPayloadBytes) return null;
  if (!(signature instanceof Uint8Array) || signature.length !== 64) return null;
  let fields: unknown;
  try {
    fields = decode(payload);
  } catch {
    return null;
  }
  if (!Array.isArray(fields) || fields.length !== 7 || fields[0] !== formatVersion) return null;
  const [, authorKey, subjectKey, epoch, count, code, serial] = fields as unknown[];
  if (!isKey(authorKey) || !isKey(subjectKey) || ![epoch, count, code, serial].every(isCount)) return null;
  const claim = claims[code as number];
  const [author, subject] = [nodeIdOf(authorKey), nodeIdOf(subjectKey)];
  // Nobody accuses itself, and nobody refutes for another.
  if (claim === undefined || (author === subject) !== (claim === null)) return null;
  const incarnation = { epoch: epoch as number, count: count as number };
  return {
    statement: { author, subject, incarnation, claim },
    // Copies: a slice would keep the whole frame that it came in.
    payload: Buffer.from(payload),
    signature: Buffer.from(signature),
  };
}

export function verifyStatement(verifier: SignatureVerifier, clusterId: string, signed: SignedStatement): boolean {
  return verifier.verify(signed.statement.author, signedBytes(clusterId, signed.payload), signed.signature);
}

export const statementsToWire = (signed: readonly SignedStatement[]): Uint8Array =>
  encode(signed.map(({ payload, signature }): WireStatement => [payload, signature]));

/** @returns null for a frame that is no list of statements, or too long a one */
export function decodeStatements(bytes: Uint8Array): SignedStatement[] | null {
  let frame: unknown;
  try {
    frame = decode(bytes);
  } catch {
    return null;
  }
  if (!Array.isArray(frame) || frame.length > maxStatements) return null;
  const statements = frame.map(decodeStatement);
  return statements.every((each) => each !== null) ? statements : null;
}

const isKey = (value: unknown): value is Uint8Array => value instanceof Uint8Array && value.length === 32;
const isCount = (value: unknown): boolean => typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;

// Separates these signatures from any other use of the node's key, and one cluster's statements from another's.
const domain = Buffer.from('weft liveness 1\0');
const signedBytes = (clusterId: string, payload: Uint8Array): Uint8Array =>
  Buffer.concat([domain, Buffer.from(clusterId), Buffer.of(0), payload]);
