import { z } from 'zod';
import { isoTime, labels, Role } from './fields.ts';

/** `drain`: published ports lead no new connection to endpoints on the node; running ones go on. */
export const Availability = z.enum(['active', 'drain']);
export type Availability = z.infer<typeof Availability>;

export const Node = z.strictObject({
  /** libp2p PeerId of the node's Ed25519 key. */
  ID: z.string(),
  Hostname: z.string(),
  Role,
  /** `down`: this node has suspended it; `unknown`: this node has just started and has heard nothing yet. */
  Status: z.enum(['ready', 'down', 'unknown']),
  /** Why it is down: `agent down`, `host down`, `unreachable`, or `flapping` for one that is back too often; else empty. */
  StatusMessage: z.string(),
  Availability,
  /** What managers say of it; `zone` is what `--prefer zone` goes by. */
  Spec: z.strictObject({ Labels: z.record(z.string(), z.string()) }),
  Self: z.boolean(),
  /** Of managers whether this node reaches them; `promoted`: is to be one and has no certificate for it yet. */
  ManagerStatus: z.enum(['', 'reachable', 'unreachable', 'promoted']),
  /** VTEP. */
  DataPathAddr: z.string(),
  /** The path from this node to its VTEP; null of itself, and of one with which it shares no network. */
  PathMTU: z
    .strictObject({
      /** Largest IP packet; null while it is not known. */
      Bytes: z.int().nullable(),
      /** What it was measured by last. */
      By: z.enum(['icmp', 'udp', '']),
      /** Empty for never, since the start of this agent. */
      MeasuredAt: isoTime.or(z.literal('')),
      /** Whether anything was answered at the last look. */
      Answers: z.boolean(),
    })
    .nullable(),
  /** `IP:PORT` gossip addresses. */
  GossipAddrs: z.array(z.string()),
  EngineVersion: z.string(),
  CreatedAt: isoTime,
  /** null on a worker, of another node: it follows only the networks it is on. */
  Endpoints: z.int().nullable(),
});
export type Node = z.infer<typeof Node>;

export const NodeUpdateRequest = z
  .strictObject({
    Role: Role.optional(),
    Availability: Availability.optional(),
    LabelsAdd: labels.optional(),
    /** Keys; each must be there. */
    LabelsRemove: z.string().min(1).max(128).array().max(64).optional(),
  })
  .refine((asked) => Object.values(asked).some((each) => each !== undefined), 'nothing to change');
export type NodeUpdateRequest = z.infer<typeof NodeUpdateRequest>;

export const NodeUpdateReply = z.strictObject({
  /** False when the node was that already. */
  Changed: z.boolean(),
});
export type NodeUpdateReply = z.infer<typeof NodeUpdateReply>;
