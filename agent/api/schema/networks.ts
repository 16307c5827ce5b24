import { z } from 'zod';
import {
  addresses,
  cidrText,
  ipText,
  isoTime,
  labels,
  name,
  reference,
  wantedAddresses,
  wantedInterface,
} from './fields.ts';

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
export type IpamConfig = z.infer<typeof IpamConfig>;

export const NetworkCreateRequest = z.strictObject({
  Name: name,
  Driver: z.string().max(64).optional(),
  Internal: z.boolean().optional(),
  Attachable: z.boolean().optional(),
  /** false: IPv6 alone. */
  EnableIPv4: z.boolean().optional(),
  EnableIPv6: z.boolean().optional(),
  /** At most one subnet of each family; of a family without one it is chosen. */
  IPAM: z.strictObject({ Config: z.array(IpamConfig).max(2) }).optional(),
  Options: z.record(z.string().max(128), z.string().max(256)).optional(),
  Labels: labels.optional(),
});
export type NetworkCreateRequest = z.infer<typeof NetworkCreateRequest>;

export const NetworkCreateReply = z.strictObject({ Id: z.string(), Warning: z.string() });
export type NetworkCreateReply = z.infer<typeof NetworkCreateReply>;

export const NetworkContainer = z.strictObject({
  Name: z.string(),
  EndpointID: z.string(),
  MacAddress: z.string(),
  ...addresses,
});

/** As `docker network inspect`, plus `VNI`, `MTU` and `Endpoints`. */
export const Network = z.strictObject({
  Name: z.string(),
  Id: z.string(),
  Created: isoTime,
  /** `local`: of this host alone. */
  Scope: z.enum(['swarm', 'cluster', 'local']),
  Driver: z.string(),
  EnableIPv4: z.boolean(),
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
  /** null of networks of this host alone. */
  VNI: z.int().nullable(),
  /** null where endpoints have no interface of their own: host, none. */
  MTU: z.int().nullable(),
  /** What makes the MTU another than this host's device leaves; empty for nothing. */
  MTUWhy: z.string(),
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
export type Network = z.infer<typeof Network>;

export const NetworkUpdateRequest = z.strictObject({
  /** One more subnet, from the cluster's pool where none is named. */
  SubnetAdd: IpamConfig.partial({ Subnet: true }),
});
export type NetworkUpdateRequest = z.infer<typeof NetworkUpdateRequest>;

export const NetworkUpdateReply = z.strictObject({ Subnet: z.string() });
export type NetworkUpdateReply = z.infer<typeof NetworkUpdateReply>;

export const ConnectRequest = z.strictObject({
  Sandbox: reference,
  /** Names besides the sandbox's own that resolve to the endpoint. */
  Aliases: z.array(name).max(16).optional(),
  ...wantedAddresses,
  ...wantedInterface,
  /** Added to the sandbox's own. */
  Labels: labels.optional(),
});
export type ConnectRequest = z.infer<typeof ConnectRequest>;

export const DisconnectRequest = z.strictObject({ Sandbox: reference });
export type DisconnectRequest = z.infer<typeof DisconnectRequest>;
