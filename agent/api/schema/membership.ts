import { z } from 'zod';
import { certExpiryMs, cidrText, ipText, isoTime, port, Role } from './fields.ts';

const addressing = {
  /** Address other nodes reach this one at, with or without the gossip port; found from the default route when absent. */
  AdvertiseAddr: z.string().max(64).optional(),
  /** VTEP: underlay address for VXLAN; the advertise address when absent. */
  DataPathAddr: ipText.optional(),
  /** Subnet of docker_gwbridge on this host; the configuration's, or the first that collides with no route, when absent. */
  GatewaySubnet: z.cidrv4('want an IPv4 prefix such as 172.30.0.0/16').optional(),
};

export const InitRequest = z.strictObject({
  ...addressing,
  /** Address blocks that new networks get their subnets from. */
  DefaultAddrPool: z.array(cidrText).min(1).max(16).optional(),
  /** Prefix length of each subnet taken from the pool. */
  SubnetSize: z.int().min(16).max(29).optional(),
  DataPathPort: port.optional(),
  /** How long a certificate of a node lasts, milliseconds; 90 days when absent. */
  NodeCertExpiryMs: certExpiryMs.optional(),
  /** Published ports are reached over IPv6, too: `ingress` gets a unique local subnet of it, and every host forwards it. */
  EnableIPv6: z.boolean().optional(),
});
export type InitRequest = z.infer<typeof InitRequest>;

export const InitReply = z.strictObject({
  NodeID: z.string(),
  ClusterID: z.string(),
  /** `HOST:PORT` of the join listener, as another node would name it. */
  JoinAddr: z.string(),
  JoinTokens: z.strictObject({ Worker: z.string(), Manager: z.string() }),
});
export type InitReply = z.infer<typeof InitReply>;

export const JoinRequest = z.strictObject({
  ...addressing,
  /** Managers to ask, tried in order, `HOST[:2377]`. */
  RemoteAddrs: z.array(z.string().min(1).max(256)).min(1).max(8),
  JoinToken: z.string().min(1).max(256),
});
export type JoinRequest = z.infer<typeof JoinRequest>;

export const JoinReply = z.strictObject({
  NodeID: z.string(),
  ClusterID: z.string(),
  Role: z.enum(['manager', 'worker']),
});
export type JoinReply = z.infer<typeof JoinReply>;

export const LeaveRequest = z.strictObject({ Force: z.boolean().default(false) });
export type LeaveRequest = z.infer<typeof LeaveRequest>;

export const LeaveReply = z.strictObject({
  /** What was made for this host's owner, who has put something in it: it stays. One line each. */
  Left: z.array(z.string()),
});
export type LeaveReply = z.infer<typeof LeaveReply>;

export const JoinTokenReply = z.strictObject({
  Role,
  Token: z.string(),
  JoinAddr: z.string(),
});
export type JoinTokenReply = z.infer<typeof JoinTokenReply>;

export const TokenCreateRequest = z.strictObject({
  Role,
  /** Seconds until it expires; never when absent. */
  ExpiresSeconds: z.int().min(1).max(315_360_000).optional(),
  /** Joins it is good for; any number when absent. */
  MaxUses: z.int().min(1).max(1_000).optional(),
});

export const Token = z.strictObject({
  ID: z.string(),
  Role,
  CreatedAt: isoTime,
  /** Empty for never. */
  ExpiresAt: z.string(),
  Uses: z.int(),
  /** 0 for any number. */
  MaxUses: z.int(),
  State: z.enum(['good', 'expired', 'used up', 'revoked']),
});
export type Token = z.infer<typeof Token>;
