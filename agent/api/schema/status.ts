import { z } from 'zod';
import { isoTime, reference } from './fields.ts';

export const Version = z.strictObject({
  Version: z.string(),
  ApiVersion: z.string(),
  NodeVersion: z.string(),
  Os: z.string(),
  Arch: z.string(),
  KernelVersion: z.string(),
});
export type Version = z.infer<typeof Version>;

export const Peer = z.strictObject({
  ID: z.string(),
  Hostname: z.string(),
  /** Whether it is taken for alive: a lost connection is no dead node. */
  Status: z.enum(['alive', 'suspect', 'suspended']),
  StatusSince: isoTime,
  /** Why it is not alive; empty when it is. */
  StatusMessage: z.string(),
  /** Of the connection; `none`: the mesh needs none between the two. */
  State: z.enum(['connected', 'connecting', 'waiting', 'none']),
  Since: isoTime,
  Direction: z.enum(['inbound', 'outbound', '-']),
  Address: z.string(),
  /** Smoothed round trip; null before the first. */
  RTTMilliseconds: z.number().nullable(),
  /** Largest IP packet, bytes, that the path to its VTEP takes; null where that is not known. */
  PathMTU: z.int().nullable(),
  /** Why the last dial that failed did, also when it is connected by now; empty when none did. */
  LastError: z.string(),
  LastErrorAt: isoTime,
  /** Next dial; empty when connected. */
  NextRetry: z.string(),
});
export type Peer = z.infer<typeof Peer>;

export const Status = z.strictObject({
  Version: z.string(),
  State: z.enum(['inactive', 'joining', 'active', 'leaving']),
  Hostname: z.string(),
  StartedAt: isoTime,
  NodeID: z.string(),
  ClusterID: z.string(),
  Role: z.string(),
  /** This node's own certificate; null in no cluster. */
  Certificate: z
    .strictObject({
      NotAfter: isoTime,
      /** When it is renewed, by itself. */
      RenewAt: isoTime,
      /** Attempts that failed since the last renewal, and why the last one did. */
      Failures: z.int(),
      LastError: z.string(),
    })
    .nullable(),
  JoinAddr: z.string(),
  GossipAddrs: z.array(z.string()),
  DataPathAddr: z.string(),
  DataPathPort: z.int(),
  Nodes: z.int(),
  Managers: z.int(),
  Networks: z.int(),
  Sandboxes: z.int(),
  Endpoints: z.strictObject({ Local: z.int(), Remote: z.int() }),
  /** Of the tables that all nodes have: nodes, networks, keys. As the digest of a network. */
  Digest: z.string(),
  Peers: z.array(Peer),
  Kernel: z.strictObject({
    State: z.enum(['ok', 'pending', 'failed']),
    Pending: z.int(),
    /** What could not be done, the first hundred, and when it is tried next. */
    Failed: z.array(z.strictObject({ Object: z.string(), Why: z.string(), RetryAt: isoTime })),
    /** What waits for something else, or is only observed; the first hundred. */
    Waiting: z.array(z.strictObject({ Object: z.string(), Why: z.string() })),
    Repairs: z.int(),
  }),
  GatewayBridge: z.strictObject({ Name: z.string(), Subnet: z.string() }).nullable(),
  /** One line each: what a person should look at. */
  Warnings: z.array(z.string()),
  /** How long records took from their owners' writing to the tables here, since the start of this agent. */
  Propagation: z.strictObject({
    /** Cumulative: how many took up to that long. */
    Buckets: z.array(z.strictObject({ LeMs: z.int(), Count: z.int() })),
    Count: z.int(),
    SumMs: z.number(),
    MaxMs: z.number(),
    /** Records of owners whose clock has not been compared with this node's, or has been set since. */
    Unmeasured: z.int(),
    /** Theirs less ours, of those compared within an hour, as far as the round trip of a request can tell. */
    Clocks: z.array(z.strictObject({ ID: z.string(), Hostname: z.string(), OffsetMs: z.int(), RttMs: z.number() })),
  }),
  /** What nodes did that they must not do, since the start of this agent; the latest first. */
  Offenders: z.array(
    z.strictObject({ ID: z.string(), Hostname: z.string(), What: z.string(), Count: z.int(), Last: isoTime }),
  ),
});
export type Status = z.infer<typeof Status>;

export const WaitRequest = z.strictObject({
  Network: reference.optional(),
  TimeoutSeconds: z.number().min(0).max(3600).default(30),
});
export type WaitRequest = z.infer<typeof WaitRequest>;

export const WaitReply = z.strictObject({
  Converged: z.boolean(),
  ElapsedMs: z.number(),
  /**
   * Every node; Lag is empty for one that has all of it, in tables and in its kernel, and for one that is suspended:
   * that is not waited for.
   */
  Nodes: z.array(z.strictObject({ ID: z.string(), Hostname: z.string(), Lag: z.string(), Suspended: z.boolean() })),
});
export type WaitReply = z.infer<typeof WaitReply>;
