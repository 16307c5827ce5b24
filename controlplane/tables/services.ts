import { z } from 'zod';
import { isNetworkId, type NetworkId } from '../ids.ts';
import { count, ipv4, ipv6, name, timestamp } from './fields.ts';
import type { EndpointValue } from './kinds.ts';

/** Entries of one service, and ports that one entry may stand for; with as many a record stays within its size (record.ts). */
export const maxServicePorts = 64;
export const maxPortCount = 1024;

/** Longer than that, a client is better told by what the service itself sets. */
export const maxAffinityMs = 7 * 86_400_000;

/** Who wants to wait for longer sets nothing: connections then go on as long as they last. */
export const maxDrainMs = 7 * 86_400_000;

export const publishProtocols = ['tcp', 'udp', 'sctp'] as const;
export type PublishProtocol = (typeof publishProtocols)[number];

/** A port, or `count` of them one after another, at which nodes answer: `published + i` leads to `target + i` of the endpoints. */
export interface ServicePort {
  readonly protocol: PublishProtocol;
  readonly published: number;
  readonly target: number;
  readonly count: number;
  /** `ingress`: every node answers; `host`: those where an endpoint is. */
  readonly mode: 'ingress' | 'host';
  /** Asked for by endpoints, and taken back when none asks any more; else a command published it. */
  readonly label?: true;
}

const port = z.int().min(1).max(65_535);
/** As records hold it, protocol first: names of fields would take two thirds of a record. */
const portTuple = z
  .tuple([
    z.enum(publishProtocols),
    port,
    port,
    z.int().min(1).max(maxPortCount),
    z.enum(['ingress', 'host']),
    z.literal('label').optional(),
  ])
  .refine(([, published, target, count]) => Math.max(published, target) + count - 1 <= 65_535, 'no such ports');

type PortTuple = z.infer<typeof portTuple>;

export const portOf = ([protocol, published, target, count, mode, by]: PortTuple): ServicePort => ({
  ...{ protocol, published, target, count, mode },
  ...(by === undefined ? {} : { label: true }),
});
export const tupleOf = ({ protocol, published, target, count, mode, label }: ServicePort): PortTuple => [
  ...([protocol, published, target, count, mode] as const),
  ...(label ? (['label'] as const) : ([] as const)),
];

/** Entries that one endpoint can ask for; with as many, its record stays within its size (record.ts). */
export const maxAskedPorts = 8;

/** What an endpoint asks to be published: as which service of its network, and for each entry protocol, published, target, count. */
export const AskedPorts = z.object({
  service: name,
  ports: z
    .array(
      z
        .tuple([z.enum(publishProtocols), port, port, z.int().min(1).max(maxPortCount)])
        .refine(([, published, target, many]) => Math.max(published, target) + many - 1 <= 65_535, 'no such ports'),
    )
    .min(1)
    .max(maxAskedPorts),
});
export type AskedPorts = z.infer<typeof AskedPorts>;

/** Published ports, one after another. */
export type PublishedPorts = Pick<ServicePort, 'protocol' | 'published' | 'count'>;

/** Whether two have a published port in common. */
export const overlapping = (a: PublishedPorts, b: PublishedPorts): boolean =>
  a.protocol === b.protocol && a.published < b.published + b.count && b.published < a.published + a.count;

/** Whether what two have in common leads to the same in both. */
export const alike = (a: ServicePort, b: ServicePort): boolean =>
  a.mode === b.mode && a.protocol === b.protocol && a.target - a.published === b.target - b.published;

/** Whether another entry publishes the same already. */
export const within = (port: ServicePort, other: ServicePort): boolean =>
  alike(port, other) &&
  port.published >= other.published &&
  port.published + port.count <= other.published + other.count;

/** What is left of an entry when these ports go: each port that stays leads where it led. */
export function without(port: ServicePort, going: readonly PublishedPorts[]): ServicePort[] {
  const cut = going.find((each) => overlapping(each, port));
  if (cut === undefined) return [port];
  const end = port.published + port.count;
  const part = (from: number, to: number): ServicePort[] =>
    from >= to ? [] : [{ ...port, published: from, target: port.target + from - port.published, count: to - from }];
  const left = [...part(port.published, cut.published), ...part(cut.published + cut.count, end)];
  return left.flatMap((each) => without(each, going));
}

/** What a service is called by inside of its network, of the families that the network has. */
const virtualAddress = z
  .object({ ip: ipv4.optional(), ip6: ipv6.optional() })
  .refine(({ ip, ip6 }) => ip !== undefined || ip6 !== undefined, 'a virtual address that is none');

/** `service/<network id>/<name>`: how the endpoints of that name are reached. One record per writer; the highest stamp wins, removal included. */
export const ServiceValue = z
  .object({
    stamp: timestamp,
    removed: z.boolean(),
    /** Where it is reached from outside; none for one that has only a virtual address. */
    ports: z
      .array(portTuple)
      .max(maxServicePorts)
      .refine((all) => {
        const ports = all.map(portOf);
        return ports.every((one, at) => !ports.slice(0, at).some((other) => overlapping(one, other)));
      }, 'a port twice'),
    /** What endpoints see of a client: its own address, that of the node it came in at, or its own, by endpoints of that node alone. */
    source: z.enum(['keep', 'snat', 'local']),
    /** For how long after its last connection a client is led to the same endpoint; 0 for none. */
    affinityMs: count.max(maxAffinityMs),
    createdMs: count,
    /** Endpoints of the node that was asked, or of its zone, come first, as long as one of them takes connections; absent: all alike. */
    prefer: z.enum(['local', 'zone']).optional(),
    /** How long connections go on to an endpoint that takes no new ones; absent: as long as they last. */
    drainMs: z.int().min(1).max(maxDrainMs).optional(),
    /** Endpoint mode `vip`: its name leads to this address. Absent: `dnsrr`, its name leads to its endpoints. */
    vip: virtualAddress.optional(),
  })
  .refine(({ ports, vip }) => ports.length > 0 || vip !== undefined, 'neither a port nor a virtual address');
export type ServiceValue = z.infer<typeof ServiceValue>;

/** `<network id>/<name>`. */
export type ServiceKey = `${string}/${string}`;

export const serviceKey = (network: NetworkId, serviceName: string): ServiceKey => `${network}/${serviceName}`;

export function parseServiceKey(text: string): { readonly network: NetworkId; readonly name: string } | null {
  const at = text.indexOf('/');
  const [network, rest] = [text.slice(0, Math.max(at, 0)), text.slice(at + 1)];
  return isNetworkId(network) && name.safeParse(rest).success ? { network, name: rest } : null;
}

export type VirtualAddress = z.infer<typeof virtualAddress>;

/** An entry that another service has at least one port of. */
export interface LostPort {
  readonly port: ServicePort;
  readonly to: ServiceKey;
}

/** A virtual address that a service's record has, and the service has not. */
export interface LostAddress {
  readonly vip: VirtualAddress;
  /** `endpoint db has it`. */
  readonly why: string;
}

/** A service as it counts: on a network that there is, with the ports and the virtual address that are its own. */
export type Service = Omit<ServiceValue, 'ports'> & {
  readonly key: ServiceKey;
  readonly network: NetworkId;
  readonly name: string;
  /** What nodes answer at. */
  readonly ports: readonly ServicePort[];
  /** What was published in two halves of a cluster, and is another service's. */
  readonly lost: readonly LostPort[];
  /** The same of its virtual address; then it has none, and its name leads to its endpoints. */
  readonly lostVip?: LostAddress;
};

/** Whether an endpoint is one of the service; as with names, upper and lower case are the same. */
export function isOf(
  service: Pick<Service, 'network' | 'name'>,
  { networkId, name: own, aliases }: Pick<EndpointValue, 'name' | 'aliases'> & { readonly networkId: NetworkId },
): boolean {
  const wanted = service.name.toLowerCase();
  return networkId === service.network && [own, ...aliases].some((each) => each.toLowerCase() === wanted);
}
