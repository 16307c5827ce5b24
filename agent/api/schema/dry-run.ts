import { z } from 'zod';
import { name, reference } from './fields.ts';
import { LeaveRequest } from './membership.ts';
import { ConnectRequest, NetworkCreateRequest } from './networks.ts';
import { NodeUpdateRequest } from './nodes.ts';
import { ServicePublishRequest, ServiceUnpublishRequest } from './services.ts';

/** A call of the API, and what it would be asked. */
export const DryRunRequest = z.discriminatedUnion('Verb', [
  z.strictObject({ Verb: z.literal('networkCreate'), Request: NetworkCreateRequest }),
  z.strictObject({ Verb: z.literal('networkRemove'), Network: reference }),
  z.strictObject({ Verb: z.literal('networkConnect'), Network: reference, Request: ConnectRequest }),
  z.strictObject({ Verb: z.literal('servicePublish'), Service: name, Request: ServicePublishRequest }),
  z.strictObject({ Verb: z.literal('serviceUnpublish'), Service: name, Request: ServiceUnpublishRequest }),
  /** Of a role nothing is foretold. */
  z.strictObject({ Verb: z.literal('nodeUpdate'), Node: reference, Request: NodeUpdateRequest }),
  z.strictObject({ Verb: z.literal('leave'), Request: LeaveRequest }),
]);
export type DryRunRequest = z.infer<typeof DryRunRequest>;

export const DryRunReply = z.strictObject({
  /** What would be done to the kernel and the files of this host, as commands that a person with a root shell could run. */
  Commands: z.array(z.string()),
  /** What would be in the way, one line each. */
  Conflicts: z.array(z.string()),
});
export type DryRunReply = z.infer<typeof DryRunReply>;

export const ReloadRequest = z.strictObject({ DryRun: z.boolean().default(false) });
export type ReloadRequest = z.infer<typeof ReloadRequest>;

export const ReloadReply = z.strictObject({
  Changed: z.array(
    z.strictObject({
      Key: z.string(),
      From: z.string(),
      To: z.string(),
      /** false: at the next start of the agent. */
      Live: z.boolean(),
    }),
  ),
  Commands: z.array(z.string()),
});
export type ReloadReply = z.infer<typeof ReloadReply>;
