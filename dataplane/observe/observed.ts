import { OVERLAY_NETNS } from '../names.ts';
import type { TableContent } from '../nft/tables.ts';
import type { BridgePortAttributes, Ipv6State, VxlanAttributes } from '../rtnetlink/links.ts';
import { OUR_PROTOCOL } from '../rtnetlink/neighbours.ts';
import type { PolicyRule, TableRef } from '../rtnetlink/policy.ts';
import type { Where } from '../steps.ts';

// What the kernel has, in the terms of Desired. Names, never ifindexes: an index may have changed by the time it is used.
// The maps are the data plane's own working copy and are updated as steps succeed (see after.ts).

/** Everything of ours, and everything in the way of it, in the host's and our own namespaces. */
export interface Observed {
  /** The bridges of the host that are wanted or ours, and our ports of them. */
  readonly host: ObservedHost;
  /** The overlay namespace. */
  readonly weft: ObservedOverlayNetns;
  /** Only the sandboxes that were asked for, keyed by namespace path. */
  readonly sandboxes: Map<string, ObservedSandbox>;
  /** Namespaces that we made for sandboxes, wanted or not. */
  readonly ownedNetns: Set<string>;
  /** Our nft tables in the host's and our own namespaces by name (tables.ts); the digest of one that is not as we wrote it is `altered`. */
  readonly tables: Map<string, ObservedTable>;
  /** Which transaction of nftables our tables of a namespace are known at. */
  readonly generations: Map<Where, Generation>;
}

export interface Generation {
  /** As NftSocket.generation. */
  readonly text: string;
  /** How often the tables were listed at it. */
  readonly listed: number;
}

export type NetnsState = 'missing' | 'broken' | 'there';

export interface ObservedHost {
  readonly devices: Map<string, ObservedDevice>;
  /** IPv4 addresses of those bridges that have any, and IPv6 addresses of our ends of legs to the host, `ip/length`. */
  readonly addresses: Map<string, Set<string>>;
  /** Bridges that may send and take packets of 127.0.0.0/8 (route_localnet, ip-sysctl.rst). */
  readonly localnet: Set<string>;
  forwarding: { readonly on: boolean; readonly byUs: boolean };
  forwarding6: ObservedForwarding6;
  /** Those ends that have IPv6 on, and heed no router advertisements. */
  readonly quiet6: Set<string>;
  /** Those by which packets may come that are for ::1. */
  readonly loopback6: Set<string>;
}

/** The same of IPv6, and devices by what they make of router advertisements; `default` is of devices to come. */
interface ObservedForwarding6 {
  readonly on: boolean;
  readonly byUs: boolean;
  /** Heed them only while the host does not forward. */
  readonly deaf: readonly string[];
  /** Did so before, and heed them always now. */
  readonly heeding: readonly string[];
}

export interface ObservedTable extends TableContent {
  readonly elements: ReadonlyMap<string, Set<string>>;
}

export interface ObservedOverlayNetns {
  state: NetnsState;
  /** New devices in it send nothing of their own. */
  quiet: boolean;
  readonly devices: Map<string, ObservedDevice>;
  /** VXLAN device name to its entries. */
  readonly tunnels: Map<string, ObservedTunnel>;
  /** Port name to the MACs that are tied to it. */
  readonly statics: Map<string, Set<string>>;
  /** VXLAN device name to FDB entries that are not permanent, as ours are: inner MAC to VTEP. Not in `tunnels`. */
  readonly foreignFdb: Map<string, Map<string, string>>;
}

export interface ObservedTunnel {
  /** It can hold IPv6 neighbours. */
  ipv6: boolean;
  /** It makes checksums itself. */
  softwareChecksums: boolean;
  /** Inner MAC to VTEP; permanent entries only. */
  readonly fdb: Map<string, string>;
  /** Inner IP to inner MAC. */
  readonly neighbours: Map<string, { readonly mac: string; readonly ours: boolean }>;
}

export interface ObservedDevice {
  readonly kind: string;
  readonly mtu: number;
  readonly mac: string;
  readonly up: boolean;
  readonly alias: string;
  readonly master: string | null;
  readonly vxlan: VxlanAttributes | null;
  readonly port: BridgePortAttributes | null;
}

export interface ObservedDefaultRoute {
  readonly via: string | null;
  readonly device: string | null;
}

export interface ObservedSandbox {
  state: NetnsState;
  readonly devices: Map<string, ObservedSandboxDevice>;
  /** Of IPv4. */
  defaultRoute: ObservedDefaultRoute | null;
  /** Of IPv6. */
  defaultRoute6: ObservedDefaultRoute | null;
  /** Our nft tables in it by name, as those above. Without one of them the rest is not looked at, unless it is wanted. */
  readonly tables: Map<string, ObservedTable>;
  /** It passes packets on (net.ipv4.ip_forward). */
  forwards: boolean;
  /** The same of IPv6 (net.ipv6.conf.all.forwarding). */
  forwards6: boolean;
  /** Devices whose reverse path filter heeds marks (src_valid_mark, ip-sysctl.rst). */
  readonly heedsMarks: Set<string>;
  /** Our routing rules, as text. */
  readonly rules: Set<string>;
  /** A routing table of ours, as text, to where its default route goes, also as text. */
  readonly tableRoutes: Map<string, string>;
  /** MAC of a device that is to be found in it, once somebody has taken it in. */
  awaits: string | null;
}

const IPV6 = '-6 ';

/** `MARK/MASK TABLE PRIORITY`, of IPv6 with `-6` before it. */
export const ruleText = ({ ipv6, mark, mask, table, priority }: Omit<PolicyRule, 'protocol'>): string =>
  `${ipv6 ? IPV6 : ''}${mark}/${mask} ${table} ${priority}`;

/** Reads such text back. */
export function ruleOf(text: string): PolicyRule {
  const ipv6 = text.startsWith(IPV6);
  const [mark = 0, mask = 0, table = 0, priority = 0] = text
    .slice(ipv6 ? IPV6.length : 0)
    .split(/[/ ]/)
    .map(Number);
  return { ipv6, mark, mask, table, priority, protocol: OUR_PROTOCOL };
}

/** A routing table, of IPv6 with `-6` before its number. */
export const tableText = ({ ipv6, table }: TableRef): string => `${ipv6 ? IPV6 : ''}${table}`;

/** Reads such text back. */
export function tableOfText(text: string): TableRef {
  const ipv6 = text.startsWith(IPV6);
  return { ipv6, table: Number(text.slice(ipv6 ? IPV6.length : 0)) };
}

/** Where a default route of a table of ours goes: `GATEWAY DEVICE`, or `link DEVICE`. */
export const routeText = (via: string | null, device: string): string => `${via ?? 'link'} ${device}`;

/** Nothing is known of it but its state. */
export function unknownSandbox(state: NetnsState): ObservedSandbox {
  return {
    ...{ state, devices: new Map(), defaultRoute: null, defaultRoute6: null, tables: new Map(), awaits: null },
    ...{ forwards: false, forwards6: false, heedsMarks: new Set(), rules: new Set(), tableRoutes: new Map() },
  };
}

/** Something of ours is in the namespace besides its legs. */
export const hasTraces = ({ tables, rules, tableRoutes }: ObservedSandbox): boolean =>
  tables.size + rules.size + tableRoutes.size > 0;

/** Our tables in a namespace; undefined when nothing is known of that. */
export function tablesOf({ tables, sandboxes }: Observed, where: Where): Map<string, ObservedTable> | undefined {
  return where === null || where === OVERLAY_NETNS ? tables : sandboxes.get(where)?.tables;
}

export interface ObservedSandboxDevice extends ObservedDevice {
  /** Global addresses, `ip/length`. */
  readonly addresses: ReadonlySet<string>;
  /** Destinations of routes through it that need no gateway, `prefix/length`; not the link-local prefix. */
  readonly onLink: ReadonlySet<string>;
  readonly ipv6: Ipv6State;
  /** Name of the other end, when that is one of our ports. */
  readonly peer: string | null;
  /** Of a macvlan device: its mode, and the device of the host that it hangs on, where it does on one. */
  readonly macvlan?: { readonly mode: string; readonly parent: string | null } | undefined;
}

/** What a bridge does with a port until told otherwise. */
export const DEFAULT_PORT: BridgePortAttributes = {
  learning: true,
  flood: true,
  isolated: false,
  neighSuppress: false,
  hairpin: false,
  broadcast: true,
  multicast: true,
};

export function emptyObserved(): Observed {
  return {
    host: {
      devices: new Map(),
      addresses: new Map(),
      localnet: new Set(),
      forwarding: { on: false, byUs: false },
      forwarding6: { on: false, byUs: false, deaf: [], heeding: [] },
      quiet6: new Set(),
      loopback6: new Set(),
    },
    weft: {
      state: 'missing',
      quiet: false,
      devices: new Map(),
      tunnels: new Map(),
      statics: new Map(),
      foreignFdb: new Map(),
    },
    sandboxes: new Map(),
    ownedNetns: new Set(),
    tables: new Map(),
    generations: new Map(),
  };
}
