import { z } from 'zod';
import { isoTime } from './fields.ts';

/** Findings in one reply; a host that has lost more is told how many more. */
export const driftItemsMax = 1_000;

export const DriftReply = z.strictObject({
  /** What the agent does about drift by itself. */
  Mode: z.enum(['repair', 'observe']),
  /** In the kernel now, or, after a repair, still. */
  Items: z
    .array(
      z.strictObject({
        /** What is affected, as in `weft status`. */
        Object: z.string(),
        /** `foreign`: somebody else's, and left alone. */
        What: z.enum(['missing', 'extra', 'wrong', 'foreign']),
        Why: z.string(),
        Since: isoTime,
      }),
    )
    .max(driftItemsMax),
  /** How many more there are. */
  More: z.int(),
  /** Steps that the repair took. */
  Repaired: z.int(),
});
export type DriftReply = z.infer<typeof DriftReply>;
