import { offsetIn } from '../controlplane/addresses.ts';
import type { NetworkId } from '../controlplane/ids.ts';
import { parseHostPort } from '../controlplane/mesh/address.ts';
import { prefixLengthOf } from '../controlplane/subnet-spec.ts';
import { addressesOf } from '../controlplane/tables/kinds.ts';
import type { Network } from '../controlplane/tables/view.ts';
import type { Desired, DesiredGuard, DesiredOverlay, DesiredSandbox, OverlayLeg, Vip } from '../dataplane/desired.ts';
import {
  type Cidr,
  type Ip,
  must,
  parseCidr,
  parseIfName,
  parseIp,
  parseMac,
  parseNetnsPath,
  parseVni,
} from '../dataplane/values.ts';
import type { LocalNetwork } from './drivers/local-network.ts';
import { ingressSandboxName } from './ingress/legs.ts';
import { type MeshPlan, type MeshTables, meshOf, noMesh } from './ingress/mesh.ts';
import { joinedVips, noVips, vipsOn } from './ingress/vips.ts';
import { mtuUntilMeasured } from './mtu.ts';
import { HostPlan } from './plan-host.ts';
import { type EndpointTables, isOtherFamily, type Remotes, remotesOf } from './remotes.ts';
import { hostNetns, type StoredLeg, type StoredSandbox } from './sandbox-state.ts';

/** Two, in most clusters. */
const agentPortsMax = 32;

/** What the tables say, as far as the kernel is concerned. */
export interface TablesForPlan extends EndpointTables, MeshTables {
  readonly port: number;
  readonly networks: ReadonlyMap<NetworkId, Network>;
}

/** What is attached on this host. */
export interface Attachments {
  readonly sandboxes: readonly StoredSandbox[];
  /** Endpoints that somebody else takes into namespaces of theirs. @default none */
  readonly handed?: readonly HandedEndpoint[];
  /** Address of docker_gwbridge with prefix length; null before init or join. */
  readonly gateway: string | null;
  /** /64 of the cluster for the way from a host to its own gate, on no network. @default none: no host leads IPv6 to it */
  readonly gatePrefix6?: string | null;
  /** Networks of this host alone. */
  readonly localNetworks: readonly LocalNetwork[];
  /** Bytes, of the underlay device that carries the VTEP. */
  readonly underlayMtu: number;
  /** Checksums are made in software (the self-test found that the network card spoils them). */
  readonly softwareChecksums?: boolean;
  /** Published ports that something else has on this host, `tcp 8080`. @default none */
  readonly heldPorts?: ReadonlySet<string>;
  /** What the members of each network have agreed on; for those that are not in it, what the underlay device leaves. */
  readonly mtus?: ReadonlyMap<NetworkId, number>;
}

/** An endpoint whose interface waits on the host for who made the namespace. */
export interface HandedEndpoint {
  /** Its `ifName` is where it waits. */
  readonly leg: StoredLeg;
  readonly netns: string;
  /** Who takes it was told that it is there. */
  readonly taken: boolean;
}

export interface Plan {
  readonly desired: Desired;
  /** Records that were left out because they make no sense, one line each. */
  readonly objections: readonly string[];
}

/** What of a plan follows from all records of a kind, and may have been kept since the last one. */
export interface PlanParts {
  /** @param own addresses and MACs of this host's endpoints on the network */
  remotesOn(network: Network, own: ReadonlySet<string>): Remotes;
  guard(): DesiredGuard;
  mesh(): MeshPlan;
  vipsOn(network: NetworkId): readonly Vip[];
}

/** All of it from nothing. Pure. */
export const wholeParts = (tables: TablesForPlan): PlanParts => ({
  remotesOn: (network, own) => remotesOf(tables, network, own),
  guard: () => guardOf(tables),
  mesh: () => meshOf(tables),
  vipsOn: (network) => vipsOn(tables, network),
});

/**
 * The whole kernel state that the tables and the attachments ask for. Pure. What comes from other nodes passes the data
 * plane's parsers here; a record that does not is left out and named, never half used.
 */
export function plan(
  tables: TablesForPlan | null,
  attachments: Attachments,
  parts: PlanParts | null = tables && wholeParts(tables),
): Plan {
  const { underlayMtu, mtus, softwareChecksums = false, handed = [], heldPorts } = attachments;
  const mesh = parts?.mesh() ?? noMesh;
  const objections = tables === null ? [] : strangersIn(tables);
  const host = new HostPlan(attachments);
  // Of those that share the host's namespace nothing is to be made.
  const sandboxes = attachments.sandboxes.filter(({ netns }) => netns !== hostNetns);
  const mtuOf = (network: Network): number =>
    mtus?.get(network.id) ?? mtuUntilMeasured(network, underlayMtu, tables?.vtep ?? '');
  const vipsByNetwork = new Map<NetworkId, readonly Vip[]>();
  const vipsAt = (network: NetworkId): readonly Vip[] => {
    const known = vipsByNetwork.get(network) ?? parts?.vipsOn(network) ?? noVips;
    vipsByNetwork.set(network, known);
    return known;
  };
  const ledTo: LedTo = (legs) => {
    const vips = joinedVips(legs.map(({ networkId }) => vipsAt(networkId)));
    return vips.length === 0 ? {} : { vips };
  };
  const overlays: DesiredOverlay[] = [];
  for (const [id, own] of tables === null
    ? []
    : ownAddresses([...sandboxes.flatMap(({ legs }) => legs), ...handed.map(({ leg }) => leg)])) {
    const network = tables?.networks.get(id);
    if (!tables || !parts || !network) continue;
    const { remotes, objections: ofNetwork } = parts.remotesOn(network, own);
    objections.push(...ofNetwork);
    const device = { vni: must(parseVni(network.vni)), vtep: must(parseIp(tables.vtep)), port: tables.port };
    overlays.push({ ...device, mtu: mtuOf(network), softwareChecksums, remotes });
  }
  const desiredSandboxes = sandboxes.map((sandbox): DesiredSandbox => {
    const overlayLegs = sandbox.legs.flatMap((leg) => {
      const network = tables?.networks.get(leg.networkId);
      return network === undefined ? [] : [overlayLegOf(leg, network, mtuOf(network))];
    });
    const netns = must(parseNetnsPath(sandbox.netns));
    const bare = { id: sandbox.id, netns, owned: !sandbox.adopted, overlayLegs };
    const gateLeg = sandbox.name === ingressSandboxName ? sandbox.legs[0] : undefined;
    if (gateLeg === undefined) {
      return { ...bare, ...host.legsOf(sandbox), ...returnsFor(sandbox.legs, mesh), ...ledTo(sandbox.legs) };
    }
    const led = mesh.published.filter(({ protocol, hostPort }) => !heldPorts?.has(`${protocol} ${hostPort}`));
    const gate = { legIfName: must(parseIfName(gateLeg.ifName)), ports: mesh.ports };
    const legs = host.legsOf({ ...sandbox, published: [...sandbox.published, ...led] });
    const hostLeg = gateLeg.ip6 === null ? {} : host.hostLegOf(sandbox, led);
    return { ...bare, ...legs, ...hostLeg, ...(mesh.ports.length === 0 ? {} : { gate }) };
  });
  const mine = [...desiredSandboxes, ...handedSandboxes(handed, tables, mtuOf, mesh, ledTo)];
  const guard = parts?.guard() ?? null;
  const agentPorts = tables === null ? [] : agentPortsOf(tables);
  return { desired: { overlays, sandboxes: mine, ...host.parts, guard, agentPorts }, objections };
}

/** Addresses and MACs that this host has on each network that it is on. */
function ownAddresses(legs: readonly StoredLeg[]): Map<NetworkId, Set<string>> {
  const own = new Map<NetworkId, Set<string>>();
  for (const leg of legs) {
    const known = own.get(leg.networkId) ?? new Set<string>();
    for (const address of [...addressesOf(leg), leg.mac]) known.add(address);
    own.set(leg.networkId, known);
  }
  return own;
}

/** The virtual addresses that one with these legs may ask for. */
type LedTo = (legs: readonly Pick<StoredLeg, 'networkId'>[]) => Pick<DesiredSandbox, 'vips'>;

/** One for each namespace, with what is handed over to who makes it. */
function handedSandboxes(
  handed: readonly HandedEndpoint[],
  tables: TablesForPlan | null,
  mtuOf: (network: Network) => number,
  mesh: MeshPlan,
  ledTo: LedTo,
): DesiredSandbox[] {
  const byNetns = new Map<string, { overlayLegs: OverlayLeg[]; legs: StoredLeg[] }>();
  for (const { leg, netns, taken } of handed) {
    const network = tables?.networks.get(leg.networkId);
    if (network === undefined) continue;
    const over = {
      ...overlayLegOf(leg, network, mtuOf(network)),
      handed: { waitsAs: must(parseIfName(leg.ifName)), taken },
    };
    const known = byNetns.get(netns) ?? { overlayLegs: [], legs: [] };
    known.overlayLegs.push(over);
    known.legs.push(leg);
    byNetns.set(netns, known);
  }
  return [...byNetns].map(([netns, { overlayLegs, legs }]) => ({
    // As Docker calls them: the last part of the path.
    id: netns.slice(netns.lastIndexOf('/') + 1),
    ...{ netns: must(parseNetnsPath(netns)), owned: false, awaited: true, overlayLegs, bridgeLegs: [], directLegs: [] },
    ...returnsFor(overlayLegs, mesh),
    ...ledTo(legs),
  }));
}

/** The way back of whoever has a leg that takes connections of the mesh. */
function returnsFor(
  legs: readonly { readonly endpointId: string }[],
  { returns }: MeshPlan,
): Pick<DesiredSandbox, 'returns'> {
  for (const { endpointId } of legs) {
    const found = returns.get(endpointId);
    if (found !== undefined) return { returns: found };
  }
  return {};
}

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
export function guardOf({ self, vtep, port, nodes, networks }: TablesForPlan): DesiredGuard {
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
