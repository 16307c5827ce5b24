import { createHash } from 'node:crypto';
import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import { isIpv4, isNetworkSubnet, parseSubnet } from '../addresses.ts';
import type { Role } from '../identity/certificates.ts';
import { isEndpointId, isNetworkId, type NetworkId, parseNodeId } from '../ids.ts';
import { parseHostPort } from '../mesh/address.ts';
import { maxGeneration } from '../ring/ring.ts';
import { count, ipv4, ipv6, name, timestamp } from './fields.ts';
import { clusterTopic, type SignedRecord } from './record.ts';
import { AskedPorts, parseServiceKey, ServiceValue } from './services.ts';

// What the tables hold: for each kind of key, in which topic it lives, who may write it, and the shape of its value.

// Each ballot bars an heir that was removed or settles a tie; more of them than managers ever were make no sense.
const maxBallot = 10_000;

const text = (max: number) => z.string().max(max);
const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array && value.length <= 64);
const ip = z
  .string()
  .max(45)
  .refine((value) => isIpv4(value) || ipaddr.IPv6.isValid(value), 'not an IP address');
// One spelling each (no host bits), as with addresses (fields.ts).
const pool = z
  .string()
  .max(18)
  .refine((value) => parseSubnet(value) !== null, 'not an IPv4 subnet');
const subnet = pool.refine(isNetworkSubnet, 'not a subnet for a network');
const subnet6 = z
  .string()
  .max(43)
  .refine((value) => value.includes(':') && isNetworkSubnet(value), 'not an IPv6 subnet for a network');
const mac = z.string().regex(/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/, 'not a unicast MAC address');
const hostPort = z
  .string()
  .max(64)
  .refine((value) => {
    const parsed = parseHostPort(value);
    return parsed !== null && ip.safeParse(parsed.host).success;
  }, 'not IP:PORT');
/** Labels or options of one object. */
export const maxLabels = 64;
const label = z
  .record(text(128), text(1024))
  .refine((all) => Object.keys(all).length <= maxLabels, `more than ${maxLabels} labels`);
const nodeId = z.string().refine((value) => parseNodeId(value) !== null, 'not a node id');

/** Smallest MTU that a network has for its paths' sake. */
export const leastMtu = 1280;

/** Names of an endpoint besides its own. */
export const maxAliases = 16;

/** Ports that an endpoint tells of; with as many names and ports as there may be a record stays within its size (record.ts). */
export const maxPorts = 32;
const port = z
  .string()
  .regex(/^[1-9]\d{0,4}\/(tcp|udp|sctp)$/, 'not PORT/PROTOCOL')
  .refine((text) => Number(text.split('/')[0]) <= 65_535, 'not a port');

/** Services that an endpoint is a backend of; together with its aliases no longer than the aliases may be alone. */
export const maxServes = 16;
const maxNamesLength = maxAliases * 63;
const serves = z
  .string()
  .max(89)
  .refine((key) => parseServiceKey(key) !== null, 'not a service');
const lengthOf = (texts: readonly string[]): number => texts.reduce((sum, { length }) => sum + length, 0);

/** Of these services the first that an endpoint with such aliases can tell of. */
export function servesWithin(aliases: readonly string[], services: readonly string[]): string[] {
  let left = maxNamesLength - lengthOf(aliases);
  return services.slice(0, maxServes).filter(({ length }) => {
    left -= length;
    return left >= 0;
  });
}

/** `node`: how the owner is reached. Its VTEP is an attribute; its identity is the key that signs the record. */
export const NodeValue = z.object({
  hostname: text(253),
  vtep: ip,
  /** `IP:PORT`, most preferred first. */
  gossip: z.array(hostPort).min(1).max(8),
  version: text(64),
  createdMs: count,
  /** `IP:PORT` at which the node takes joins while it is a manager. */
  join: hostPort.optional(),
});

// Docker's least is an hour. A node renews at half of it, so that less only serves to try this out.
export const minCertExpiryMs = 10_000;
export const maxCertExpiryMs = 10 * 365 * 86_400_000;

/** `cluster`: settings chosen at init, the same for all. */
export const ClusterValue = z.object({
  stamp: timestamp,
  /** Owner of all subnets and VNIs that nobody else was given. */
  root: nodeId,
  pools: z.array(pool).min(1).max(16),
  subnetBits: z.int().min(16).max(29),
  dataPathPort: z.int().min(1).max(65535),
  /** How long a certificate of a node lasts; 90 days when absent. */
  certExpiryMs: z.int().min(minCertExpiryMs).max(maxCertExpiryMs).optional(),
});

/** What narrows the addresses of a subnet that are handed out. */
const narrowing = {
  /** The part of the subnet that addresses are taken from unless one is asked for. */
  ipRange: pool.or(subnet6).optional(),
  /** Addresses that others hold: name -> address (Docker's `--aux-address`). */
  aux: z
    .record(text(64), ipv4.or(ipv6))
    .refine((all) => Object.keys(all).length <= 16, 'more than 16 auxiliary addresses')
    .optional(),
};

/** `network/<id>`: one record per writer; the highest stamp wins, removal included. Of IPv4, of IPv6, or of both. */
const networkFields = z.object({
  stamp: timestamp,
  removed: z.boolean(),
  name,
  vni: z.int().min(4096).max(0xffffff),
  subnet: subnet.optional(),
  gateway: ipv4.optional(),
  internal: z.boolean(),
  attachable: z.boolean(),
  ingress: z.boolean(),
  options: label,
  labels: label,
  createdMs: count,
  /** Owner of all addresses of the network that nobody else was given. */
  root: nodeId,
  ...narrowing,
  ipv6: z.object({ subnet: subnet6, gateway: ipv6, ...narrowing }).optional(),
});
export const NetworkValue = networkFields.refine(
  (value) =>
    (value.subnet === undefined) === (value.gateway === undefined) &&
    (value.subnet !== undefined || value.ipv6 !== undefined),
  'a network without a subnet',
);

/** `subnet/<network id>/<subnet>`: one more subnet of a network, for when the others are full. */
export const SubnetValue = z.object({
  stamp: timestamp,
  subnet: subnet.or(subnet6),
  gateway: ipv4.or(ipv6),
  /** Owner of all its addresses that nobody else was given. */
  root: nodeId,
  createdMs: count,
  ...narrowing,
});

/** `token/<role>`: the secret of a join token, readable by managers only. */
export const TokenValue = z.object({
  stamp: timestamp,
  sealed: bytes,
  retired: bytes.array().max(16),
});

const der = z.custom<Uint8Array>((value) => value instanceof Uint8Array && value.length <= 1024);
const digest = z.custom<Uint8Array>((value) => value instanceof Uint8Array && value.length === 32);
const generation = z
  .int()
  .min(1)
  .max(2 ** 31);

/** `keys`: what the owner has; a new role is known by its certificate as soon as the records made by it. */
export const HoldingValue = z.object({
  /** Its newest certificate, DER. */
  certificate: der,
  /** Digest of the newest mesh key it has. */
  meshKey: digest,
});

/** `ca/<digest>`: a root of the cluster after the first; the digest is the SHA-256 of its DER, hex. */
export const RootValue = z.object({
  stamp: timestamp,
  /** One more than that of the root before. The highest counts, and of two the lower digest. */
  generation,
  /** Self-signed, DER. */
  root: der,
  /** The same name and key, signed by the root before; DER. */
  cross: der,
  /** Every member has a certificate of this root: those before it are dropped. */
  done: z.boolean(),
});

/** `mesh-key/<digest>`: a private-network key after the first. Members ask each other for the key itself. */
export const MeshKeyValue = z.object({
  stamp: timestamp,
  generation,
  /**
   * How many nodes its maker knew to be removed. Removals are for ever, so whoever knows of more knows of one that was
   * removed later and may have the key; clocks, which may be off by years, do not come into it.
   */
  removals: count,
  /** Every member has this key: those before it are dropped. */
  done: z.boolean(),
});

/** `reissued/<node id>`: a certificate that a manager made for a node that was away while the roots changed. */
export const ReissuedValue = z.object({ stamp: timestamp, certificate: der });

/** `join-token/<id>`: a join token that ends, its secret readable by managers only. */
export const LimitedTokenValue = z.object({
  stamp: timestamp,
  revoked: z.boolean(),
  role: z.enum(['worker', 'manager']),
  sealed: bytes,
  createdMs: count,
  expiresMs: count.nullable(),
  maxUses: z.int().min(1).max(1_000).nullable(),
});

/** `join-use/<token>/<node id>`: the node has joined by the token, which expires then. */
export const JoinUseValue = z.object({ stamp: timestamp, expiresMs: count.nullable() });

/** `removed/<node id>`: the node is barred for ever. */
export const RemovedValue = z.object({ stamp: timestamp });

/** `role/<node id>`: what a manager has decided that the node is to be. */
export const RoleValue = z.object({ stamp: timestamp, role: z.enum(['worker', 'manager']) });

/** `availability/<node id>`: whether new connections of published ports are led to endpoints on the node; they are without. */
export const AvailabilityValue = z.object({ stamp: timestamp, availability: z.enum(['active', 'drain']) });

/** `node-labels/<node id>`: what managers say of a node, such as `zone=a`; all of it each time. */
export const NodeLabelsValue = z.object({ stamp: timestamp, labels: label });

/** `on/<network id>`: the owner takes part in that network, and wants to know all of its topic. */
export const OnValue = z.object({
  /**
   * The largest packet, bytes, that the owner can send to all others on the network, once it is in a tunnel. No smaller than
   * what IPv6 asks of a link (RFC 8200): who lies shall not make a network useless for all.
   */
  mtu: z.int().min(leastMtu).max(65_535).optional(),
  /** Where the path to one of them is what sets it: to whom. */
  peer: nodeId.optional(),
});

/** `ep/<endpoint id>` in the topic of its network, with an address of each family that it has. Its VTEP is that of its owner. */
export const EndpointValue = z
  .object({
    name,
    sandbox: z.string().regex(/^[0-9a-f]{64}$/),
    ip: ipv4.optional(),
    ip6: ipv6.optional(),
    mac,
    aliases: z.array(name).max(maxAliases),
    createdMs: count,
    /** Its names are not to lead to it for now: it is there, and says itself that it does not work. Its address may be asked for. */
    ready: z.literal(false).optional(),
    /** What it serves, `80/tcp`. */
    ports: z.array(port).min(1).max(maxPorts).optional(),
    /** On the ingress network: the services, `<network id>/<name>`, whose published ports lead to it. */
    serves: z.array(serves).min(1).max(maxServes).optional(),
    /** What is to be published while it is there. */
    asks: AskedPorts.optional(),
  })
  .refine(({ ip, ip6 }) => ip !== undefined || ip6 !== undefined, 'an endpoint without an address')
  .refine(
    ({ serves: served, asks }) => served === undefined || asks === undefined,
    'a leg of the mesh that asks for ports',
  )
  .refine(({ aliases, serves = [] }) => lengthOf(aliases) + lengthOf(serves) <= maxNamesLength, 'too many names');

/** Whether an endpoint can be called that. */
export const isName = (text: string): boolean => name.safeParse(text).success;

/** Whether an endpoint can tell of that port. */
export const isPort = (text: string): boolean => port.safeParse(text).success;

/** Addresses of an endpoint, of a leg, or of whatever else has one of a family or both. */
export const addressesOf = ({
  ip,
  ip6,
}: {
  readonly ip?: string | null | undefined;
  readonly ip6?: string | null | undefined;
}): string[] => [ip, ip6].flatMap((address) => address ?? []);

/**
 * `range/<space>/<start>-<end>/<generation>`: who owns these numbers. In the cluster's topic the space is a pool, in that
 * of a network one of its subnets. A grant is never rewritten, so that each generation of a number keeps its one writer.
 */
export const RangeValue = z.object({
  start: count.max(2 ** 32),
  /** Exclusive. */
  end: count.max(2 ** 32),
  to: nodeId,
  /** One more than that of the grant which made the writer the owner; a manager's may be higher (ring/ring.ts). */
  generation: z.int().min(1).max(maxGeneration),
});

/**
 * `fence/<removed node>/<ballot>`: whom this manager promises the removed node's numbers to, for ever.
 * `fence/<removed node>/heir`: this manager has found all promises of a ballot to be its own.
 */
export const FenceValue = z.object({ heir: nodeId, ballot: z.int().min(0).max(maxBallot) });

export type NodeValue = z.infer<typeof NodeValue>;
export type ClusterValue = z.infer<typeof ClusterValue>;
export type NetworkValue = z.infer<typeof NetworkValue>;
export type TokenValue = z.infer<typeof TokenValue>;
export type OnValue = z.infer<typeof OnValue>;
export type AvailabilityValue = z.infer<typeof AvailabilityValue>;
export type NodeLabelsValue = z.infer<typeof NodeLabelsValue>;
export type RoleValue = z.infer<typeof RoleValue>;
export type LimitedTokenValue = z.infer<typeof LimitedTokenValue>;
export type JoinUseValue = z.infer<typeof JoinUseValue>;
export type HoldingValue = z.infer<typeof HoldingValue>;
export type RootValue = z.infer<typeof RootValue>;
export type RemovedValue = z.infer<typeof RemovedValue>;
export type MeshKeyValue = z.infer<typeof MeshKeyValue>;
export type ReissuedValue = z.infer<typeof ReissuedValue>;
export type EndpointValue = z.infer<typeof EndpointValue>;
export type RangeValue = z.infer<typeof RangeValue>;
export type SubnetValue = z.infer<typeof SubnetValue>;
export type FenceValue = z.infer<typeof FenceValue>;

/** Rings of numbers that the cluster topic holds; each network's addresses are a ring in the network's topic. */
export type Pool = 'subnet' | 'vni';

/** First VNI that is handed out, as Docker's overlay driver; ring numbers count from it. */
export const firstVni = 4096;
export const vniCount = 2 ** 24 - firstVni;

interface Kind {
  readonly scope: 'cluster' | 'network';
  /** Whether what follows the table's name and a slash is a key; null when there is no slash. */
  readonly key: (rest: string | null) => boolean;
  readonly value: z.ZodType;
  /** `certified`: judged by the certificate alone, since these records are what takes a role away. */
  readonly managersOnly: boolean | 'certified';
  /** Whether key and value say the same. */
  readonly agree?: (rest: string, value: unknown) => boolean;
}

const alone = (rest: string | null): boolean => rest === null;
const named =
  (test: (rest: string) => boolean) =>
  (rest: string | null): boolean =>
    rest !== null && test(rest);
const grantKey = /^(subnet|vni|[0-9a-f.:]{2,39}_\d{1,3})\/(\d{1,10})-(\d{1,10})\/(\d{1,16})$/;
const subnetKey = /^([0-9a-z]{25})\/([0-9a-f.:]{2,39})_(\d{1,3})$/;
const fenceKey = /^(\w{50,56})\/(heir|\d{1,5})$/;

/** A grant is never rewritten: its key holds what would make it another one. */
function grantAgrees(rest: string, value: unknown): boolean {
  const { start, end, generation } = value as RangeValue;
  const [, , from, to, at] = grantKey.exec(rest) ?? [];
  return start < end && from === String(start) && to === String(end) && at === String(generation);
}

function subnetAgrees(rest: string, value: unknown): boolean {
  const [, , address, bits] = subnetKey.exec(rest) ?? [];
  return (value as SubnetValue).subnet === `${address}/${bits}`;
}

function fenceAgrees(rest: string, value: unknown): boolean {
  const at = fenceKey.exec(rest)?.[2];
  return at === 'heir' || at === String((value as FenceValue).ballot);
}

const isTokenId = (rest: string): boolean => /^[0-9a-z]{10}$/.test(rest);
const isUseKey = (rest: string): boolean =>
  isTokenId(rest.slice(0, 10)) && rest[10] === '/' && parseNodeId(rest.slice(11)) !== null;
const isDigest = (rest: string): boolean => /^[0-9a-f]{64}$/.test(rest);
const rootAgrees = (rest: string, value: unknown): boolean =>
  createHash('sha256')
    .update((value as RootValue).root)
    .digest('hex') === rest;

const kinds: { readonly [prefix: string]: readonly Kind[] } = {
  node: [{ scope: 'cluster', key: alone, value: NodeValue, managersOnly: false }],
  cluster: [{ scope: 'cluster', key: alone, value: ClusterValue, managersOnly: true }],
  network: [{ scope: 'cluster', key: named(isNetworkId), value: NetworkValue, managersOnly: true }],
  subnet: [
    {
      scope: 'cluster',
      key: named((rest) => subnetKey.test(rest)),
      value: SubnetValue,
      managersOnly: true,
      agree: subnetAgrees,
    },
  ],
  service: [
    {
      scope: 'cluster',
      key: named((rest) => parseServiceKey(rest) !== null),
      value: ServiceValue,
      managersOnly: true,
    },
  ],
  fence: [
    {
      scope: 'cluster',
      key: named((rest) => parseNodeId(fenceKey.exec(rest)?.[1] ?? '') !== null),
      value: FenceValue,
      managersOnly: true,
      agree: fenceAgrees,
    },
  ],
  token: [
    { scope: 'cluster', key: (rest) => rest === 'worker' || rest === 'manager', value: TokenValue, managersOnly: true },
  ],
  'join-token': [{ scope: 'cluster', key: named(isTokenId), value: LimitedTokenValue, managersOnly: true }],
  'join-use': [{ scope: 'cluster', key: named(isUseKey), value: JoinUseValue, managersOnly: true }],
  keys: [{ scope: 'cluster', key: alone, value: HoldingValue, managersOnly: false }],
  ca: [{ scope: 'cluster', key: named(isDigest), value: RootValue, managersOnly: true, agree: rootAgrees }],
  'mesh-key': [{ scope: 'cluster', key: named(isDigest), value: MeshKeyValue, managersOnly: true }],
  reissued: [
    { scope: 'cluster', key: named((rest) => parseNodeId(rest) !== null), value: ReissuedValue, managersOnly: true },
  ],
  removed: [
    { scope: 'cluster', key: named((rest) => parseNodeId(rest) !== null), value: RemovedValue, managersOnly: true },
  ],
  role: [
    {
      scope: 'cluster',
      key: named((rest) => parseNodeId(rest) !== null),
      value: RoleValue,
      managersOnly: 'certified',
    },
  ],
  availability: [
    {
      scope: 'cluster',
      key: named((rest) => parseNodeId(rest) !== null),
      value: AvailabilityValue,
      managersOnly: true,
    },
  ],
  'node-labels': [
    {
      scope: 'cluster',
      key: named((rest) => parseNodeId(rest) !== null),
      value: NodeLabelsValue,
      managersOnly: true,
    },
  ],
  on: [{ scope: 'cluster', key: named(isNetworkId), value: OnValue, managersOnly: false }],
  range: [
    {
      scope: 'cluster',
      key: named((rest) => grantKey.test(rest) && !rest.includes('_')),
      value: RangeValue,
      managersOnly: true,
      agree: grantAgrees,
    },
    {
      scope: 'network',
      key: named((rest) => grantKey.test(rest) && rest.includes('_')),
      value: RangeValue,
      managersOnly: false,
      agree: grantAgrees,
    },
  ],
  ep: [{ scope: 'network', key: named(isEndpointId), value: EndpointValue, managersOnly: false }],
};

/** What there may be in the tables. */
export const recordKinds = Object.entries(kinds).flatMap(([prefix, all]) =>
  all.map(({ scope }) => ({ prefix, scope })),
);

export const networkTopic = (id: NetworkId): string => `net/${id}`;

// Every record of a topic asks: the same text for all of them. When full it starts anew.
const maxTopics = 4096;
const networksByTopic = new Map<string, NetworkId | null>();

export function networkOfTopic(topic: string): NetworkId | null {
  const known = networksByTopic.get(topic);
  if (known !== undefined) return known;
  const id = topic.slice('net/'.length);
  const network = topic.startsWith('net/') && isNetworkId(id) ? id : null;
  if (networksByTopic.size >= maxTopics) networksByTopic.clear();
  networksByTopic.set(topic, network);
  return network;
}

/**
 * Whether the record is of a known kind, in its place, written by one who may, and well-formed. Says nothing about
 * other records: what a record needs may still be on its way.
 * @param writer role of the writer; `certified` is the one in its certificate, which a decision may have taken away
 * @returns the objection, or null
 */
export function objectionTo(
  { record }: Pick<SignedRecord, 'record'>,
  writer: Role | null,
  certified: Role | null = writer,
): string | null {
  const { value } = record;
  if (record.key === '') return typeof value === 'number' ? null : 'opening record without a size';
  const slash = record.key.indexOf('/');
  const [prefix, rest] = slash < 0 ? [record.key, null] : [record.key.slice(0, slash), record.key.slice(slash + 1)];
  const scope = record.topic === clusterTopic ? 'cluster' : 'network';
  const kind = Object.hasOwn(kinds, prefix) ? kinds[prefix]?.find((each) => each.scope === scope) : undefined;
  if (kind === undefined || !kind.key(rest)) return `unknown key in ${scope} topic`;
  const role = kind.managersOnly === 'certified' ? certified : writer;
  if (kind.managersOnly !== false && role !== 'manager') return `${prefix} record from a worker`;
  if (value === null) return null;
  const parsed = kind.value.safeParse(value);
  if (!parsed.success) return `malformed ${prefix} record`;
  const agrees = kind.agree === undefined || kind.agree(rest ?? '', value);
  return agrees ? null : `${prefix} record whose key and value differ`;
}
