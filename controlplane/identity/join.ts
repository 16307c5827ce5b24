import { isIP } from 'node:net';
import { z } from 'zod';
import { parseNodeId } from '../ids.ts';

// The join protocol: one HTTPS request to a manager, whose certificate chain the token pins.

/** Body of `POST /v1/join`. Binary fields are base64. */
export const JoinCall = z.strictObject({
  /** Secret of the join token, 16 bytes. */
  secret: z.base64().max(32),
  /** PKCS#10 request for the node's own key, DER. */
  request: z.base64().max(2048),
  /** Where the node's VXLAN traffic is to arrive: all members need one of the same family. */
  vtep: z
    .string()
    .max(45)
    .refine((text) => isIP(text) !== 0)
    .optional(),
});

export const Bootstrap = z.strictObject({
  clusterId: z.string().max(64),
  role: z.enum(['worker', 'manager']),
  certificate: z.base64().max(8192),
  /** Roots to trust, the one of the token first. */
  roots: z
    .array(z.strictObject({ root: z.base64().max(8192), cross: z.base64().max(8192).nullable() }))
    .min(1)
    .max(8),
  /** Managers only: private keys of roots, PKCS#8. */
  authorities: z.array(z.strictObject({ certificate: z.base64().max(8192), pkcs8: z.base64().max(1024) })).max(8),
  networkKeys: z.array(z.base64().max(64)).min(1).max(8),
  peers: z
    .array(
      z.strictObject({
        id: z.string().refine((value) => parseNodeId(value) !== null),
        addresses: z.array(z.string().max(64)).max(8),
      }),
    )
    .max(64),
});

export const JoinRefusal = z.object({ code: z.string().max(64), message: z.string().max(512) });

export type JoinCall = z.infer<typeof JoinCall>;
export type Bootstrap = z.infer<typeof Bootstrap>;
export type JoinRefusal = z.infer<typeof JoinRefusal>;

export const joinPath = '/v1/join';
/** Where members ask that the mesh does not let in any more (keys/door.ts). */
export const renewPath = '/v1/renew';
/** Requests are two small base64 fields. */
export const maxCallBytes = 8_192;
export const maxReplyBytes = 131_072;
