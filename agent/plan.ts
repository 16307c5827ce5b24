import { offsetIn } from '../controlplane/addresses.ts';
import type { NetworkId, NodeId } from '../controlplane/ids.ts';
import { parseHostPort } from '../controlplane/mesh/address.ts';
import { prefixLengthOf } from '../controlplane/subnet-spec.ts';
import { addressesOf, type NodeValue } from '../controlplane/tables/kinds.ts';
import type { Endpoint, Network } from '../controlplane/tables/view.ts';
import type {
  Desired,
  DesiredGuard,
  DesiredOverlay,
  DesiredSandbox,
  OverlayLeg,
  RemoteEndpoint,
} from '../dataplane/desired.ts';
import {
  type Cidr,
  type Ip,
  must,
  type Parsed,
  parseCidr,
  parseIfName,
  parseIp,
  parseMac,
  parseNetnsPath,
  parseVni,
} from '../dataplane/values.ts';
import type { LocalNetwork } from './drivers/local-network.ts';
import { chosenMtu, largestMtu } from './mtu.ts';
import { HostPlan } from './plan-host.ts';
import type { StoredLeg, StoredSandbox } from './sandbox-state.ts';

/** Two, in most clusters. */
const agentPortsMax = 32;

/** What the tables say, as far as the kernel is concerned. */
export interface TablesForPlan {
  readonly self: NodeId;
  readonly vtep: string;
  readonly port: number;
  readonly nodes: ReadonlyMap<NodeId, NodeValue>;
  readonly networks: ReadonlyMap<NetworkId, Network>;
  readonly endpoints: ReadonlyMap<NetworkId, ReadonlyMap<string, Endpoint>>;
}

/** What is attached on this host. */
export interface Attachments {
  readonly sandboxes: readonly StoredSandbox[];
  /** Address of docker_gwbridge with prefix length; null before init or join. */
  readonly gateway: string | null;
  /** Networks of this host alone. */
  readonly localNetworks: readonly LocalNetwork[];
  /** Bytes, of the underlay device that carries the VTEP. */
  readonly underlayMtu: number;
  /** Checksums are made in software (the self-test found that the network card spoils them). */
  readonly softwareChecksums?: boolean;
  /** What the members of each network have agreed on; for those that are not in it, what the underlay device leaves. */
  readonly mtus?: ReadonlyMap<NetworkId, number>;
}

export interface Plan {
  readonly desired: Desired;
  /** Records that were left out because they make no sense, one line each. */
  readonly objections: readonly string[];
}

/**
 * The whole kernel state that the tables and the attachments ask for. Pure. What comes from other nodes passes the data
 * plane's parsers here; a record that does not is left out and named, never half used.
 */
export function plan(tables: TablesForPlan | null, attachments: Attachments): Plan {
  const { underlayMtu, mtus } = attachments;
  const objections = tables === null ? [] : strangersIn(tables);
  const host = new HostPlan(attachments);
  // Of those that share the host's namespace nothing is to be made.
  const sandboxes = attachments.sandboxes.filter((sandbox) => !host.isShared(sandbox));
  const mtuOf = (network: Network): number =>
    mtus?.get(network.id) ?? chosenMtu(network) ?? largestMtu(underlayMtu, tables?.vtep ?? '');
  const needed = new Set(sandboxes.flatMap(({ legs }) => legs.map(({ networkId }) => networkId)));
  const overlays =
    tables === null
      ? []
      : [...needed].flatMap((id) => {
          const network = tables.networks.get(id);
          return network === undefined ? [] : [overlayOf(tables, network, attachments, mtuOf(network), objections)];
        });
  const desiredSandboxes = sandboxes.map((sandbox): DesiredSandbox => {
    const overlayLegs = sandbox.legs.flatMap((leg) => {
      const network = tables?.networks.get(leg.networkId);
      return network === undefined ? [] : [overlayLegOf(leg, network, mtuOf(network))];
    });
    const netns = must(parseNetnsPath(sandbox.netns));
    return { id: sandbox.id, netns, owned: !sandbox.adopted, overlayLegs, ...host.legsOf(sandbox) };
  });
  const guard = tables === null ? null : guardOf(tables);
  const agentPorts = tables === null ? [] : agentPortsOf(tables);
  return { desired: { overlays, sandboxes: desiredSandboxes, ...host.parts, guard, agentPorts }, objections };
}

const isOtherFamily = (node: Pick<NodeValue, 'vtep'>, { vtep }: Pick<TablesForPlan, 'vtep'>): boolean =>
  node.vtep.includes(':') !== vtep.includes(':');

/** Nodes whose VTEP this host's VXLAN devices cannot send to: a join is refused, but an address may change later. */
function strangersIn({ vtep, nodes }: TablesForPlan): string[] {
  const family = (ip: string): string => (ip.includes(':') ? 'IPv6' : 'IPv4');
  const strangers = [...nodes.values()].filter((node) => isOtherFamily(node, { vtep }));
  return strangers.map(
    (node) =>
      `node ${node.hostname} has the VTEP ${node.vtep} (${family(node.vtep)}), and this one has ${vtep} (${family(vtep)}): \
nothing goes between their endpoints; set data-path-addr in the configuration of the agent that is the odd one, and restart it`,
  );
}

/** Members are known by their records: what one sends before its record is here, is dropped as its endpoints are unknown. */
function guardOf({ self, vtep, port, nodes, networks }: TablesForPlan): DesiredGuard {
  const vteps = new Set<Ip>();
  for (const [id, node] of nodes) {
    const parsed = id === self || isOtherFamily(node, { vtep }) ? null : parseIp(node.vtep);
    if (parsed?.ok && parsed.value !== vtep) vteps.add(parsed.value);
  }
  const vnis = [...networks.values()].map((network) => must(parseVni(network.vni)));
  return { port, vteps: [...vteps], vnis };
}

/** Those that most nodes have, lest one that names many leaves no room for them; by value, so that the same are the same. */
function agentPortsOf({ nodes }: TablesForPlan): number[] {
  const users = new Map<number, number>();
  for (const { gossip, join } of nodes.values()) {
    for (const address of join === undefined ? gossip : [...gossip, join]) {
      const port = parseHostPort(address)?.port;
      if (port !== undefined) users.set(port, (users.get(port) ?? 0) + 1);
    }
  }
  const mostUsed = [...users].sort(([a, usersOfA], [b, usersOfB]) => usersOfB - usersOfA || a - b);
  return mostUsed
    .slice(0, agentPortsMax)
    .map(([port]) => port)
    .sort((a, b) => a - b);
}

function overlayOf(
  tables: TablesForPlan,
  network: Network,
  { sandboxes, softwareChecksums = false }: Attachments,
  mtu: number,
  objections: string[],
): DesiredOverlay {
  const taken = new Map<string, string>();
  for (const { legs } of sandboxes) {
    for (const leg of legs) {
      if (leg.networkId !== network.id) continue;
      for (const address of [...addressesOf(leg), leg.mac]) taken.set(address, 'this host');
    }
  }
  const remotes: RemoteEndpoint[] = [];
  for (const endpoint of olderFirst(tables.endpoints.get(network.id)?.values() ?? [])) {
    if (endpoint.owner === tables.self) continue;
    const node = tables.nodes.get(endpoint.owner);
    // The endpoint's node record may still be on its way; its arrival plans again.
    if (node === undefined) continue;
    if (isOtherFamily(node, tables)) continue;
    if (node.vtep === tables.vtep) {
      objections.push(`endpoint ${endpoint.id.slice(0, 12)} of ${node.hostname}: ${node.vtep} is this host's VTEP`);
      continue;
    }
    const parsed = remotesOf(endpoint, node);
    if (!parsed.ok) {
      objections.push(`endpoint ${endpoint.id.slice(0, 12)} of ${node.hostname}: ${parsed.reason}`);
      continue;
    }
    const { value: both } = parsed;
    const held = both.find(({ ip, mac }) => taken.has(ip) || taken.has(mac));
    if (held !== undefined) {
      const { ip, mac } = held;
      const holder = taken.get(ip) ?? taken.get(mac);
      objections.push(
        `endpoint ${endpoint.id.slice(0, 12)} of ${node.hostname}: ${ip} (${mac}) on ${network.name} is held by ${holder}`,
      );
      continue;
    }
    for (const remote of both) {
      taken.set(remote.ip, node.hostname).set(remote.mac, node.hostname);
      remotes.push(remote);
    }
  }
  return {
    vni: must(parseVni(network.vni)),
    vtep: must(parseIp(tables.vtep)),
    port: tables.port,
    mtu,
    softwareChecksums,
    remotes,
  };
}

/** All nodes must agree on who keeps an address that two claim: the older claim, then the smaller owner and id. */
function olderFirst(endpoints: Iterable<Endpoint>): Endpoint[] {
  return [...endpoints].sort((a, b) => a.createdMs - b.createdMs || order(a.owner, b.owner) || order(a.id, b.id));
}

const order = (a: string, b: string): number => (a < b ? -1 : Number(a > b));

// A plan looks at all endpoints for each one that changes; the view keeps those that do not as they are.
const parsedLast = new WeakMap<Endpoint, { readonly node: NodeValue; readonly remotes: Parsed<RemoteEndpoint[]> }>();

/** One for each address of the endpoint, with one MAC. */
function remotesOf(endpoint: Endpoint, node: NodeValue): Parsed<RemoteEndpoint[]> {
  const last = parsedLast.get(endpoint);
  if (last?.node === node) return last.remotes;
  const remotes = parseRemotes(endpoint, node);
  parsedLast.set(endpoint, { node, remotes });
  return remotes;
}

function parseRemotes(endpoint: Endpoint, node: NodeValue): Parsed<RemoteEndpoint[]> {
  const mac = parseMac(endpoint.mac);
  if (!mac.ok) return mac;
  const vtep = parseIp(node.vtep);
  if (!vtep.ok) return vtep;
  const remotes: RemoteEndpoint[] = [];
  for (const address of addressesOf(endpoint)) {
    const ip = parseIp(address);
    if (!ip.ok) return ip;
    remotes.push({ ip: ip.value, mac: mac.value, vtep: vtep.value });
  }
  return { ok: true, value: remotes };
}

function overlayLegOf(leg: StoredLeg, network: Network, mtu: number): OverlayLeg {
  const own = addressesOf(leg);
  return {
    endpointId: leg.endpointId,
    ifName: must(parseIfName(leg.ifName)),
    mac: must(parseMac(leg.mac)),
    mtu,
    vni: must(parseVni(network.vni)),
    addresses: own.map((ip) => must(parseCidr(`${ip}/${prefixLengthOf(network, ip)}`))),
    onLink: otherSubnets(network, own),
  };
}

/** Of the families that the leg has an address of. */
function otherSubnets({ subnets }: Network, own: readonly string[]): Cidr[] {
  const others = subnets.filter(({ space }) => {
    const ofFamily = own.filter((ip) => ip.includes(':') === (space.family === 6));
    return ofFamily.length > 0 && ofFamily.every((ip) => offsetIn(space, ip) === null);
  });
  return others.map(({ space }) => must(parseCidr(space.text)));
}
