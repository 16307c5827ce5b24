import { z } from 'zod';
import { type EndpointId, isEndpointId, isNetworkId, type NetworkId, newEndpointId } from '../controlplane/ids.ts';
import { PROTOCOLS, type Protocol } from '../dataplane/desired.ts';
import { type Parsed, parseCidr, parseIfName, parseIp, parseMac, parseNetnsPath } from '../dataplane/values.ts';
import { isLocalNetworkId } from './drivers/local-network.ts';
import {
  emptyResolver,
  parseHostname,
  parseOptions,
  parseSearch,
  parseServers,
  type Resolver,
} from './files/resolv-conf.ts';

/** Namespace of the sandboxes that share the host's; no other can have it. */
export const hostNetns = '/proc/1/ns/net';

/** A sandbox's endpoint on an overlay, as this host keeps it. */
export interface StoredLeg {
  readonly networkId: NetworkId;
  readonly endpointId: EndpointId;
  readonly ifName: string;
  readonly mac: string;
  /** Of each family that the network has; at least one. */
  readonly ip: string | null;
  readonly ip6: string | null;
  readonly aliases: readonly string[];
  readonly createdMs: number;
}

/** A sandbox's port on docker_gwbridge: local to the host, in no table. */
export interface StoredGatewayLeg {
  readonly endpointId: EndpointId;
  readonly ifName: string;
  readonly mac: string;
  readonly ip: string;
}

/** A sandbox's endpoint on a network of this host alone. */
export interface StoredLocalLeg {
  /** 64 hex digits. */
  readonly networkId: string;
  readonly endpointId: EndpointId;
  /** null, and so are the next two, where its network makes no interface. */
  readonly ifName: string | null;
  readonly mac: string | null;
  readonly ip: string | null;
  readonly aliases: readonly string[];
  readonly createdMs: number;
  /** The interface, where somebody else made it; null where we do. */
  readonly device: StoredDevice | null;
}

/** A device of the host that a plugin made for an endpoint, and what it said of it. */
export interface StoredDevice {
  /** Its name on the host, where it goes back. */
  readonly source: string;
  readonly mac: string | null;
  readonly gateway: string | null;
  /** Prefixes that are reached through it without a gateway. */
  readonly onLink: readonly string[];
  /** It sees to the way out by itself, also without a gateway. */
  readonly ownWay: boolean;
}

/** A sandbox of this host: what the store keeps, so that a restart knows what its kernel is for. */
export interface StoredSandbox {
  /** 64 hex digits. */
  readonly id: string;
  readonly name: string;
  readonly createdMs: number;
  readonly netns: string;
  readonly adopted: boolean;
  /** Inode of an adopted namespace: a path that leads elsewhere later (a pid used again) is not the sandbox. */
  readonly inode: number | null;
  readonly labels: { readonly [key: string]: string };
  /** null: its name. */
  readonly hostname: string | null;
  /** What was asked for when it was made; a list that is empty follows the agent's configuration or the host. */
  readonly resolver: Resolver;
  readonly legs: readonly StoredLeg[];
  readonly gateway: StoredGatewayLeg | null;
  readonly local: readonly StoredLocalLeg[];
  /** Ports of the host that lead to it, through whichever leg carries its default route. */
  readonly published: readonly StoredPort[];
}

/** A port of the host that leads to one of the sandbox. */
export interface StoredPort {
  readonly protocol: Protocol;
  /** null: every IPv4 address of the host. */
  readonly hostIp: string | null;
  readonly hostPort: number;
  readonly port: number;
}

/** Text that the parser takes. */
export const textOf = <T>(parse: (text: string) => Parsed<T>) => z.string().refine((text) => parse(text).ok);
const listOf = (parse: (texts: string[]) => Parsed<string[]>) => z.array(z.string()).refine((texts) => parse(texts).ok);
const networkId = z.custom<NetworkId>((id) => typeof id === 'string' && isNetworkId(id));
const endpointId = z.custom<EndpointId>((id) => typeof id === 'string' && isEndpointId(id));
const leg = { ifName: textOf(parseIfName), mac: textOf(parseMac), endpointId };
const ip = textOf(parseIp);
const port = z.int().min(1).max(65_535);
const device = z.object({
  ...{ source: leg.ifName, mac: leg.mac.nullable(), gateway: ip.nullable() },
  ...{ onLink: z.array(textOf(parseCidr)), ownWay: z.boolean() },
});
export const storedLeg = z
  // Rows of before there was IPv6 have no ip6.
  .object({ ...leg, ip: ip.nullable(), ip6: ip.nullable().default(null), networkId })
  .extend({ aliases: z.array(z.string()), createdMs: z.number() })
  .refine((each) => each.ip !== null || each.ip6 !== null);
const Stored = z.object({
  ...{ id: z.string(), name: z.string(), createdMs: z.number(), netns: textOf(parseNetnsPath) },
  ...{ adopted: z.boolean(), inode: z.number().nullable(), labels: z.record(z.string(), z.string()) },
  // Rows of before there were files have neither.
  hostname: textOf(parseHostname).nullable().default(null),
  resolver: z
    .object({ servers: listOf(parseServers), search: listOf(parseSearch), options: listOf(parseOptions) })
    .default(emptyResolver),
  legs: z.array(storedLeg),
  gateway: z.object({ ...leg, ip }).nullable(),
  // Rows of before there were networks of one host have neither.
  local: z
    .array(
      z.object({
        ...{ networkId: z.string().refine(isLocalNetworkId), endpointId, ifName: leg.ifName.nullable() },
        ...{ mac: leg.mac.nullable(), ip: ip.nullable(), aliases: z.array(z.string()), createdMs: z.number() },
        // Rows of before there were plugins have none.
        device: device.nullable().default(null),
      }),
    )
    .default([]),
  published: z
    .array(z.object({ protocol: z.enum(PROTOCOLS), hostIp: ip.nullable(), hostPort: port, port }))
    .default([]),
});

/** Reads a row of the store. @returns null for what is no sandbox */
export function parseSandbox(value: unknown): StoredSandbox | null {
  const parsed = Stored.safeParse(value);
  return parsed.success ? parsed.data : null;
}

/**
 * An id for a new endpoint. Names of host-side interfaces derive from its first twelve digits, so no other endpoint of this
 * host begins with the same.
 */
export function unusedEndpointId(all: readonly StoredSandbox[]): EndpointId {
  const used = new Set<string>();
  for (const { legs, local, gateway } of all) {
    for (const leg of [...legs, ...local, ...(gateway === null ? [] : [gateway])]) used.add(headOf(leg.endpointId));
  }
  for (;;) {
    const id = newEndpointId();
    if (!used.has(headOf(id))) return id;
  }
}

const headOf = (id: EndpointId): string => id.slice(0, 12);

/** The next interface name inside the sandbox: eth0, eth1, … in the order of attachment, as Docker names them. */
export function nextIfName(
  sandbox: Pick<StoredSandbox, 'legs' | 'gateway' | 'local'>,
  taken: readonly string[],
  prefix = 'eth',
): string {
  const used = new Set<string | null>([...taken, ...[...sandbox.legs, ...sandbox.local].map(({ ifName }) => ifName)]);
  if (sandbox.gateway !== null) used.add(sandbox.gateway.ifName);
  for (let number = 0; ; number += 1) if (!used.has(`${prefix}${number}`)) return `${prefix}${number}`;
}
