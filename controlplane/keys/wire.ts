import { z } from 'zod';
import { decode, encode } from '../encoding.ts';
import type { Authority } from '../identity/authority.ts';
import { maxCertificateBytes } from '../identity/certificates.ts';
import { type Link, maxLinks } from '../identity/trust.ts';

// The messages of renewing and of passing on keys: requests over the mesh, and over the join port for who is shut out.

const bytes = (max: number) => z.custom<Uint8Array>((value) => value instanceof Uint8Array && value.length <= max);
const der = bytes(maxCertificateBytes);

/** Largest PKCS#10 request: one for an Ed25519 key takes 200 bytes. */
export const maxRequestBytes = 1_024;
/** Keys that a node holds at a time: the current one, the next, and what rotations at the same moment added. */
export const maxMeshKeys = 4;
export const meshKeyBytes = 32;

const RenewalReply = z.object({
  certificate: der,
  /** From any earlier root to those of now. */
  links: z.array(z.object({ root: der, cross: der.nullable() })).max(maxLinks),
  /** For managers: keys of the roots. */
  authorities: z.array(z.object({ certificate: der, pkcs8: bytes(256) })).max(maxLinks),
  /** The mesh's keys, for a node that could not reach it; empty in the mesh. */
  meshKeys: z.array(bytes(meshKeyBytes).refine(({ length }) => length === meshKeyBytes)).max(maxMeshKeys),
});

/** What a manager answers to `renew`. */
export interface RenewalReply {
  readonly certificate: Uint8Array;
  readonly links: readonly Link[];
  readonly authorities: readonly Authority[];
  readonly meshKeys: readonly Uint8Array[];
}

export const encodeRenewal = (reply: RenewalReply): Uint8Array => encode(reply);

/** @returns null for anything that is not an answer to `renew`; its certificate is not looked at */
export function parseRenewal(body: Uint8Array): RenewalReply | null {
  try {
    const parsed = RenewalReply.safeParse(decode(body));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}
