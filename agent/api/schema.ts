import { z } from 'zod';

/**
 * Shapes of the local API (`/v1` on the agent's socket): what the server checks, the CLI reads and the OpenAPI document
 * describes. Field names are Docker's where Docker has a word for the thing (Engine API 1.41).
 */

// Bounds of names: Docker's rule for names, and a length that fits a hostname label.
const name = z
  .string()
  .regex(
    /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/,
    'want 1 to 63 letters, digits, _ . or -, starting with a letter or digit',
  );
/** A name, an id or an unambiguous prefix of an id. */
const reference = z
  .string()
  .min(1)
  .max(64)
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/, 'want a name, an id or the start of an id');
const ipText = z.string().min(2).max(45);
const cidrText = z.string().min(4).max(49);
const port = z.int().min(1).max(65535);
const labels = z
  .record(z.string().min(1).max(128), z.string().max(1024))
  .refine((all) => Object.keys(all).length <= 64, {
    message: 'at most 64 labels',
  });
const isoTime = z.string();
// Docker's least is an hour; less serves to try renewals out.
const certExpiryMs = z
  .int()
  .min(10_000)
  .max(10 * 365 * 86_400_000);

export const ErrorReply = z.strictObject({
  /** What went wrong, on what, and why: one line for a person. */
  message: z.string(),
  /** Stable identifier for programs, e.g. `network_not_found`. */
  code: z.string(),
  /** What to do next, where there is something to do. */
  hint: z.string().optional(),
});

export const Version = z.strictObject({
  Version: z.string(),
  ApiVersion: z.string(),
  NodeVersion: z.string(),
  Os: z.string(),
  Arch: z.string(),
  KernelVersion: z.string(),
});

const addressing = {
  /** Address other nodes reach this one at, with or without the gossip port; found from the default route when absent. */
  AdvertiseAddr: z.string().max(64).optional(),
  /** VTEP: underlay address for VXLAN; the advertise address when absent. */
  DataPathAddr: ipText.optional(),
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
});

export const InitReply = z.strictObject({
  NodeID: z.string(),
  ClusterID: z.string(),
  /** `HOST:PORT` of the join listener, as another node would name it. */
  JoinAddr: z.string(),
  JoinTokens: z.strictObject({ Worker: z.string(), Manager: z.string() }),
});

export const JoinRequest = z.strictObject({
  ...addressing,
  /** Managers to ask, tried in order, `HOST[:2377]`. */
  RemoteAddrs: z.array(z.string().min(1).max(256)).min(1).max(8),
  JoinToken: z.string().min(1).max(256),
});

export const JoinReply = z.strictObject({
  NodeID: z.string(),
  ClusterID: z.string(),
  Role: z.enum(['manager', 'worker']),
});

export const LeaveRequest = z.strictObject({ Force: z.boolean().default(false) });

export const Role = z.enum(['worker', 'manager']);
export const JoinTokenReply = z.strictObject({
  Role,
  Token: z.string(),
  JoinAddr: z.string(),
});

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

export const MeshKey = z.strictObject({
  /** Names the key and says nothing of it; hex. */
  Digest: z.string(),
  ...rotation,
});

export const RotateRequest = z.strictObject({
  /** Begin another change although one is under way. */
  Force: z.boolean().default(false),
  /** Instead of beginning one: finish the one that is under way, without the nodes that are missing. */
  Finish: z.boolean().default(false),
});
export const RotateCaRequest = z.strictObject({
  ...RotateRequest.shape,
  /** How long certificates last from now on. */
  NodeCertExpiryMs: certExpiryMs.optional(),
});

export const Node = z.strictObject({
  /** libp2p PeerId of the node's Ed25519 key. */
  ID: z.string(),
  Hostname: z.string(),
  Role,
  /** `down`: this node has suspended it; `unknown`: this node has just started and has heard nothing yet. */
  Status: z.enum(['ready', 'down', 'unknown']),
  /** Why it is down: `agent down`, `host down`, `unreachable`, or `flapping` for one that is back too often; else empty. */
  StatusMessage: z.string(),
  Self: z.boolean(),
  /** Of managers whether this node reaches them; `promoted`: is to be one and has no certificate for it yet. */
  ManagerStatus: z.enum(['', 'reachable', 'unreachable', 'promoted']),
  /** VTEP. */
  DataPathAddr: z.string(),
  /** `IP:PORT` gossip addresses. */
  GossipAddrs: z.array(z.string()),
  EngineVersion: z.string(),
  CreatedAt: isoTime,
  /** null on a worker, of another node: it follows only the networks it is on. */
  Endpoints: z.int().nullable(),
});

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

export const NodeUpdateRequest = z.strictObject({ Role });
export const NodeUpdateReply = z.strictObject({
  /** False when the node had that role already. */
  Changed: z.boolean(),
});

/** As Docker's `network create`: `--subnet`, `--gateway`, `--ip-range`, `--aux-address`. */
export const IpamConfig = z.strictObject({
  Subnet: cidrText,
  Gateway: ipText.optional(),
  /** The part of the subnet that addresses are taken from unless one is asked for. */
  IPRange: cidrText.optional(),
  /** Addresses that others hold, by name. */
  AuxiliaryAddresses: z
    .record(z.string().min(1).max(64), ipText)
    .refine((all) => Object.keys(all).length <= 16, { message: 'at most 16 auxiliary addresses' })
    .optional(),
});

export const NetworkCreateRequest = z.strictObject({
  Name: name,
  Driver: z.string().max(64).optional(),
  Internal: z.boolean().optional(),
  Attachable: z.boolean().optional(),
  EnableIPv6: z.boolean().optional(),
  IPAM: z.strictObject({ Config: z.array(IpamConfig).max(1) }).optional(),
  Options: z.record(z.string().max(128), z.string().max(256)).optional(),
  Labels: labels.optional(),
});

export const NetworkCreateReply = z.strictObject({ Id: z.string(), Warning: z.string() });

export const NetworkContainer = z.strictObject({
  Name: z.string(),
  EndpointID: z.string(),
  MacAddress: z.string(),
  IPv4Address: z.string(),
  IPv6Address: z.string(),
});

/** As `docker network inspect` of an overlay network, plus `VNI`, `MTU` and `Endpoints`. */
export const Network = z.strictObject({
  Name: z.string(),
  Id: z.string(),
  Created: isoTime,
  Scope: z.literal('swarm').or(z.literal('cluster')),
  Driver: z.string(),
  EnableIPv6: z.boolean(),
  IPAM: z.strictObject({
    Driver: z.string(),
    Options: z.record(z.string(), z.string()).nullable(),
    /** One for each subnet; addresses are taken from the next one when those before it are full. */
    Config: z.array(
      z.strictObject({
        Subnet: z.string(),
        Gateway: z.string(),
        IPRange: z.string().optional(),
        AuxiliaryAddresses: z.record(z.string(), z.string()).optional(),
      }),
    ),
  }),
  Internal: z.boolean(),
  Attachable: z.boolean(),
  Ingress: z.boolean(),
  /** Sandboxes of this host on the network, by sandbox id. */
  Containers: z.record(z.string(), NetworkContainer),
  Options: z.record(z.string(), z.string()),
  Labels: z.record(z.string(), z.string()),
  /** Nodes that are on the network. */
  Peers: z.array(z.strictObject({ Name: z.string(), IP: z.string() })),
  VNI: z.int(),
  MTU: z.int(),
  /** SHA-256, hex: nodes that show the same have the same records of the network; empty on a node that has them not. */
  Digest: z.string(),
  /** Endpoints on all hosts; null where a list shows a network that this worker does not follow. */
  Endpoints: z.int().nullable(),
  /** Addresses of each subnet, as far as this node knows. */
  Capacity: z.array(
    z.strictObject({
      Subnet: z.string(),
      /** For endpoints: without the subnet's own, the gateway's and auxiliary addresses. */
      Total: z.int(),
      /** Held by endpoints. */
      Used: z.int(),
      /** Released a moment ago, of this node's: they are not used again at once. */
      Resting: z.int(),
      /** Free, and this node's to hand out. */
      FreeHere: z.int(),
      /** Free or resting, and other nodes' to hand out. */
      FreeElsewhere: z.array(z.strictObject({ NodeID: z.string(), Hostname: z.string(), Free: z.int() })),
    }),
  ),
});

export const NetworkUpdateRequest = z.strictObject({
  /** One more subnet, from the cluster's pool where none is named. */
  SubnetAdd: IpamConfig.partial({ Subnet: true }),
});
export const NetworkUpdateReply = z.strictObject({ Subnet: z.string() });

export const ConnectRequest = z.strictObject({
  Sandbox: reference,
  /** Names besides the sandbox's own that resolve to the endpoint. */
  Aliases: z.array(name).max(16).optional(),
  /** That address and no other. */
  IPAddress: ipText.optional(),
});
export const DisconnectRequest = z.strictObject({ Sandbox: reference });

export const SandboxCreateRequest = z.strictObject({
  Name: name.optional(),
  Networks: z.array(reference).max(16).default([]),
  /** Adopt the namespace at this path. */
  NetnsPath: z.string().max(255).optional(),
  /** Adopt the namespace of this process. */
  Pid: z.int().min(1).max(4194304).optional(),
  Aliases: z.array(name).max(16).optional(),
  /** That address and no other; with one network only. */
  IPAddress: ipText.optional(),
  Labels: labels.optional(),
});

export const Endpoint = z.strictObject({
  ID: z.string(),
  Network: z.string(),
  NetworkID: z.string(),
  /** Sandbox name, as its own node announced it. */
  Name: z.string(),
  SandboxID: z.string(),
  Node: z.string(),
  NodeID: z.string(),
  IPv4Address: z.string(),
  MacAddress: z.string(),
  /** VTEP of the endpoint's node. */
  VTEP: z.string(),
  Aliases: z.array(z.string()),
  Local: z.boolean(),
});

export const SandboxEndpoint = z.strictObject({
  Network: z.string(),
  NetworkID: z.string(),
  EndpointID: z.string(),
  Interface: z.string(),
  IPv4Address: z.string(),
  MacAddress: z.string(),
  /** `ok`, or why the kernel does not have it yet. */
  Status: z.string(),
});

export const Sandbox = z.strictObject({
  ID: z.string(),
  Name: z.string(),
  Created: isoTime,
  NetnsPath: z.string(),
  /** True when the namespace was there before and outlives the sandbox. */
  Adopted: z.boolean(),
  Labels: z.record(z.string(), z.string()),
  Networks: z.array(SandboxEndpoint),
  /** Leg on docker_gwbridge; null when all networks are internal. */
  Gateway: z.strictObject({ Interface: z.string(), IPv4Address: z.string(), Gateway: z.string() }).nullable(),
});

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
  LastError: z.string(),
  /** Next dial; empty when connected. */
  NextRetry: z.string(),
});

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
    Failed: z.array(z.strictObject({ Object: z.string(), Why: z.string() })),
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
    /** Records of owners whose clock has not been compared with this node's. */
    Unmeasured: z.int(),
    /** Theirs less ours, as far as the round trip of a request can tell. */
    Clocks: z.array(z.strictObject({ ID: z.string(), Hostname: z.string(), OffsetMs: z.int(), RttMs: z.number() })),
  }),
  /** What nodes did that they must not do, since the start of this agent; the latest first. */
  Offenders: z.array(
    z.strictObject({ ID: z.string(), Hostname: z.string(), What: z.string(), Count: z.int(), Last: isoTime }),
  ),
});

export const WaitRequest = z.strictObject({
  Network: reference.optional(),
  TimeoutSeconds: z.number().min(0).max(3600).default(30),
});
export const WaitReply = z.strictObject({
  Converged: z.boolean(),
  ElapsedMs: z.number(),
  /**
   * Every node; Lag is empty for one that has all of it, in tables and in its kernel, and for one that is suspended:
   * that is not waited for.
   */
  Nodes: z.array(z.strictObject({ ID: z.string(), Hostname: z.string(), Lag: z.string(), Suspended: z.boolean() })),
});

export const Empty = z.strictObject({});

export type ErrorReply = z.infer<typeof ErrorReply>;
export type Version = z.infer<typeof Version>;
export type InitRequest = z.infer<typeof InitRequest>;
export type InitReply = z.infer<typeof InitReply>;
export type JoinRequest = z.infer<typeof JoinRequest>;
export type JoinReply = z.infer<typeof JoinReply>;
export type LeaveRequest = z.infer<typeof LeaveRequest>;
export type Role = z.infer<typeof Role>;
export type JoinTokenReply = z.infer<typeof JoinTokenReply>;
export type Ca = z.infer<typeof Ca>;
export type MeshKey = z.infer<typeof MeshKey>;
export type RotateRequest = z.infer<typeof RotateRequest>;
export type RotateCaRequest = z.infer<typeof RotateCaRequest>;
export type Node = z.infer<typeof Node>;
export type Token = z.infer<typeof Token>;
export type NodeUpdateRequest = z.infer<typeof NodeUpdateRequest>;
export type NodeUpdateReply = z.infer<typeof NodeUpdateReply>;
export type NetworkCreateRequest = z.infer<typeof NetworkCreateRequest>;
export type NetworkCreateReply = z.infer<typeof NetworkCreateReply>;
export type Network = z.infer<typeof Network>;
export type NetworkUpdateRequest = z.infer<typeof NetworkUpdateRequest>;
export type NetworkUpdateReply = z.infer<typeof NetworkUpdateReply>;
export type ConnectRequest = z.infer<typeof ConnectRequest>;
export type DisconnectRequest = z.infer<typeof DisconnectRequest>;
export type SandboxCreateRequest = z.infer<typeof SandboxCreateRequest>;
export type Endpoint = z.infer<typeof Endpoint>;
export type Sandbox = z.infer<typeof Sandbox>;
export type Peer = z.infer<typeof Peer>;
export type Status = z.infer<typeof Status>;
export type WaitRequest = z.infer<typeof WaitRequest>;
export type WaitReply = z.infer<typeof WaitReply>;
