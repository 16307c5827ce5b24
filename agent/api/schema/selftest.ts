import { z } from 'zod';
import { reference } from './fields.ts';

export const SelfTestRequest = z.strictObject({
  /** Empty: all other nodes. */
  Nodes: z.array(reference).max(1000).default([]),
});
export type SelfTestRequest = z.infer<typeof SelfTestRequest>;

export const SelfTestReply = z.strictObject({
  /** One for each node, by hostname. */
  Results: z.array(
    z.strictObject({
      ID: z.string(),
      Hostname: z.string(),
      DataPathAddr: z.string(),
      /** Where it was sent to: the node's leg on the ingress network; empty while that is not known. */
      Address: z.string(),
      State: z.enum(['ok', 'failed', 'untested']),
      /**
       * `vxlan`: nothing comes back; `offload`: checksums that a network card makes are wrong; `tcp`: ICMP comes back and TCP
       * does not; `size`: packets that fill the MTU get lost; empty for none.
       */
      Fault: z.enum(['', 'vxlan', 'offload', 'tcp', 'size']),
      /** What is wrong and what to do, or why it was not tested. */
      Message: z.string(),
      RTTMilliseconds: z.number().nullable(),
      /** Of the largest packet that was sent, in bytes. */
      Bytes: z.int(),
    }),
  ),
  /** This host makes checksums in software, since its network card was found to spoil them. */
  SoftwareChecksums: z.boolean(),
});
export type SelfTestReply = z.infer<typeof SelfTestReply>;
