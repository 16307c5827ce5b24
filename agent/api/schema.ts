/**
 * Shapes of the local API (`/v1` on the agent's socket): what the server checks, the CLI reads and the OpenAPI document
 * describes. Field names are Docker's where Docker has a word for the thing (Engine API 1.41).
 */

import { z } from 'zod';

export * from './schema/drift.ts';
export * from './schema/dry-run.ts';
export { Role } from './schema/fields.ts';
export * from './schema/keys.ts';
export * from './schema/membership.ts';
export * from './schema/networks.ts';
export * from './schema/nodes.ts';
export * from './schema/sandboxes.ts';
export * from './schema/selftest.ts';
export * from './schema/services.ts';
export * from './schema/status.ts';

export const ErrorReply = z.strictObject({
  /** What went wrong, on what, and why: one line for a person. */
  message: z.string(),
  /** Stable identifier for programs, e.g. `network_not_found`. */
  code: z.string(),
  /** What to do next, where there is something to do. */
  hint: z.string().optional(),
});
export type ErrorReply = z.infer<typeof ErrorReply>;

export const Empty = z.strictObject({});
