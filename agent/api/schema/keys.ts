import { z } from 'zod';
import { certExpiryMs, isoTime } from './fields.ts';

const rotation = {
  /** Members lack the newest one, and the one before it counts too. */
  Rotating: z.boolean(),
  Nodes: z.int(),
  /** Members that lack the newest one. */
  Missing: z.array(z.strictObject({ ID: z.string(), Hostname: z.string() })),
};

export const Ca = z.strictObject({
  /** SHA-256 of the root's DER, hex; join tokens pin it. */
  RootDigest: z.string(),
  /** PEM. */
  RootCertificate: z.string(),
  NotAfter: isoTime,
  NodeCertExpiryMs: certExpiryMs,
  ...rotation,
});
export type Ca = z.infer<typeof Ca>;

export const MeshKey = z.strictObject({
  /** Names the key and says nothing of it; hex. */
  Digest: z.string(),
  ...rotation,
});
export type MeshKey = z.infer<typeof MeshKey>;

export const RotateRequest = z.strictObject({
  /** Begin another change although one is under way. */
  Force: z.boolean().default(false),
  /** Instead of beginning one: finish the one that is under way, without the nodes that are missing. */
  Finish: z.boolean().default(false),
});
export type RotateRequest = z.infer<typeof RotateRequest>;

export const RotateCaRequest = z.strictObject({
  ...RotateRequest.shape,
  /** How long certificates last from now on. */
  NodeCertExpiryMs: certExpiryMs.optional(),
});
export type RotateCaRequest = z.infer<typeof RotateCaRequest>;
