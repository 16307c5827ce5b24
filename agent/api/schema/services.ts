import { z } from 'zod';
import { addresses, isoTime, port, reference } from './fields.ts';
import { Availability } from './nodes.ts';

const protocol = z.enum(['tcp', 'udp', 'sctp']);
const published = {
  Protocol: protocol.default('tcp'),
  PublishedPort: port,
  /** So many ports one after another, from that one on. */
  Count: z.int().min(1).max(1024).default(1),
};
/** Whether an endpoint sees the client's address or that of the node it came in at; `local`: the client's, by endpoints of that node alone. */
const source = z.enum(['keep', 'snat', 'local']);
/** `ingress`: every node answers; `host`: those where an endpoint is, each for its own alone. */
const mode = z.enum(['ingress', 'host']);
/** For how long after its last connection a client comes to the same endpoint; 0: it need not. */
const affinityMs = z
  .int()
  .min(0)
  .max(7 * 86_400_000);

/** Whose endpoints come first, as long as one of them takes connections: those of the node that was asked, or of nodes with the same label `zone`. */
const prefer = z.enum(['none', 'local', 'zone']);
/** For how long connections go on to an endpoint that takes no new ones; 0: as long as they last. */
const drainMs = z
  .int()
  .min(0)
  .max(7 * 86_400_000);
/** What the name leads to, on its network: `vip`, one address; `dnsrr`, those of the endpoints. */
const endpointMode = z.strictObject({ Mode: z.enum(['vip', 'dnsrr']) });

/** `Network` may be left out where it is clear: one has endpoints of that name, or there is one besides ingress. */
export const ServicePublishRequest = z.strictObject({
  Network: reference.optional(),
  /** Added to what the service has; none where it has some, or an address. */
  Ports: z
    .array(z.strictObject({ ...published, TargetPort: port, PublishMode: mode.default('ingress') }))
    .max(64)
    .default([]),
  Source: source.optional(),
  AffinityMs: affinityMs.optional(),
  Prefer: prefer.optional(),
  DrainMs: drainMs.optional(),
  EndpointSpec: endpointMode.optional(),
});
export type ServicePublishRequest = z.infer<typeof ServicePublishRequest>;

export const ServiceUnpublishRequest = z.strictObject({
  Network: reference.optional(),
  /** All where none are named. */
  Ports: z.array(z.strictObject(published)).min(1).max(64).optional(),
});
export type ServiceUnpublishRequest = z.infer<typeof ServiceUnpublishRequest>;

/** The endpoints of one name or alias on a network, and the ports at which nodes answer for them; words as in Docker's `EndpointSpec`. */
export const Service = z.strictObject({
  Name: z.string(),
  Network: z.string(),
  NetworkID: z.string(),
  CreatedAt: isoTime,
  Ports: z.array(
    z.strictObject({
      Protocol: protocol,
      /** Of the endpoints. */
      TargetPort: z.int(),
      /** Of the nodes. */
      PublishedPort: z.int(),
      Count: z.int(),
      PublishMode: mode,
      /** Containers ask for it by their label `weft.publish`. */
      ByLabel: z.boolean(),
      /** The older service, `NAME on network NETWORK`, which has the port instead; empty where it is this one's. */
      LostTo: z.string(),
    }),
  ),
  Source: source,
  AffinityMs: affinityMs,
  Prefer: prefer,
  DrainMs: drainMs,
  EndpointSpec: endpointMode,
  /** Of mode `vip`: one of each family that the network has; none where `LostVIP` says why. */
  VirtualIPs: z.array(z.strictObject({ NetworkID: z.string(), /** With prefix length. */ Addr: z.string() })),
  /** Why the service has not the virtual address that it was given; empty for nothing lost. */
  LostVIP: z.string(),
  /** null where a list shows a network that this worker does not follow. */
  Endpoints: z
    .array(
      z.strictObject({
        ID: z.string(),
        Name: z.string(),
        Node: z.string(),
        NodeID: z.string(),
        NodeStatus: z.enum(['ready', 'down']),
        NodeAvailability: Availability,
        ...addresses,
        /** Names lead to it, and so do published ports. */
        Ready: z.boolean(),
        /** It has a leg on ingress, where connections reach it. */
        Backend: z.boolean(),
        Local: z.boolean(),
        /**
         * To published ports, of those that came in at this node: now, and since its gate was set up anew or 30 days without one.
         * Other nodes have counts of their own.
         */
        Connections: z.strictObject({ Active: z.int().min(0), Total: z.int().min(0) }),
      }),
    )
    .nullable(),
});
export type Service = z.infer<typeof Service>;
