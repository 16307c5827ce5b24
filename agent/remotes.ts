import type { NetworkId, NodeId } from '../controlplane/ids.ts';
import { addressesOf, type NodeValue } from '../controlplane/tables/kinds.ts';
import type { Endpoint, Network } from '../controlplane/tables/view.ts';
import type { RemoteEndpoint } from '../dataplane/desired.ts';
import { type Parsed, parseIp, parseMac } from '../dataplane/values.ts';
import { order } from './order.ts';

/** What the tables say of endpoints, and of the nodes that they are on. */
export interface EndpointTables {
  readonly self: NodeId;
  readonly vtep: string;
  readonly nodes: ReadonlyMap<NodeId, NodeValue>;
  /** By network, then by owner and id: `OWNER ID`. */
  readonly endpoints: ReadonlyMap<NetworkId, ReadonlyMap<string, Endpoint>>;
}

/** Endpoints of other hosts on one network, as this host's kernel is to know them. */
export interface Remotes {
  readonly remotes: readonly RemoteEndpoint[];
  /** Records that were left out because they make no sense, one line each. */
  readonly objections: readonly string[];
}

export const isOtherFamily = (node: Pick<NodeValue, 'vtep'>, { vtep }: Pick<EndpointTables, 'vtep'>): boolean =>
  node.vtep.includes(':') !== vtep.includes(':');

/** What an endpoint's record comes to by itself: addresses for the kernel, an objection, or (null) nothing yet. */
export function reading(endpoint: Endpoint, tables: EndpointTables): Parsed<RemoteEndpoint[]> | null {
  if (endpoint.owner === tables.self) return null;
  const node = tables.nodes.get(endpoint.owner);
  // The endpoint's node record may still be on its way; its arrival plans again.
  if (node === undefined || isOtherFamily(node, tables)) return null;
  if (node.vtep === tables.vtep) return { ok: false, reason: `${node.vtep} is this host's VTEP` };
  const last = readLast.get(endpoint);
  if (last?.node === node) return last.remotes;
  const remotes = parseRemotes(endpoint, node);
  readLast.set(endpoint, { node, remotes });
  return remotes;
}

// The view keeps endpoints that do not change as they are, and so do plans: what did not change is known by being the same.
const readLast = new WeakMap<Endpoint, { readonly node: NodeValue; readonly remotes: Parsed<RemoteEndpoint[]> }>();

/** One for each address of the endpoint, with one MAC. */
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

/** All nodes must agree on who keeps an address that two claim: the older claim, then the smaller owner and id. */
export const byAge = (a: Endpoint, b: Endpoint): number =>
  a.createdMs - b.createdMs || order(a.owner, b.owner) || order(a.id, b.id);

export const objection = (endpoint: Endpoint, tables: EndpointTables, why: string): string =>
  `endpoint ${endpoint.id.slice(0, 12)} of ${tables.nodes.get(endpoint.owner)?.hostname ?? ''}: ${why}`;

/** Of an address that somebody has already. */
export const heldBy = ({ ip, mac }: RemoteEndpoint, network: Pick<Network, 'name'>, holder: string): string =>
  `${ip} (${mac}) on ${network.name} is held by ${holder}`;

/** Who holds an address as far as this host has it itself. */
export const thisHost = 'this host';

/**
 * All of them, from nothing. Pure; what `RemoteList` comes to step by step is the same.
 * @param own addresses and MACs of this host's endpoints on the network: nobody else gets those
 */
export function remotesOf(tables: EndpointTables, network: Network, own: ReadonlySet<string>): Remotes {
  const taken = new Map([...own].map((address) => [address, thisHost]));
  const remotes: RemoteEndpoint[] = [];
  const objections: string[] = [];
  for (const endpoint of [...(tables.endpoints.get(network.id)?.values() ?? [])].sort(byAge)) {
    const read = reading(endpoint, tables);
    if (read === null) continue;
    if (!read.ok) {
      objections.push(objection(endpoint, tables, read.reason));
      continue;
    }
    const held = read.value.find(({ ip, mac }) => taken.has(ip) || taken.has(mac));
    if (held !== undefined) {
      const holder = taken.get(held.ip) ?? taken.get(held.mac) ?? '';
      objections.push(objection(endpoint, tables, heldBy(held, network, holder)));
      continue;
    }
    const hostname = tables.nodes.get(endpoint.owner)?.hostname ?? '';
    for (const remote of read.value) {
      taken.set(remote.ip, hostname).set(remote.mac, hostname);
      remotes.push(remote);
    }
  }
  return { remotes, objections };
}
