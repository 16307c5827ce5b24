import type { NetworkId, NodeId } from '../../controlplane/ids.ts';
import { prefixLengthOf } from '../../controlplane/subnet-spec.ts';
import type { Service } from '../../controlplane/tables/services.ts';
import type { Endpoint, Network } from '../../controlplane/tables/view.ts';
import type { GatePort, PublishedPort, ReturnPath } from '../../dataplane/desired.ts';
import { type Parsed, parseCidr, parseIp, parseMac } from '../../dataplane/values.ts';

// What the routing mesh asks of this host, from the tables. Pure.

/** The node's own sandbox on the ingress network, where connections to published ports are spread. */
export const ingressSandboxName = 'ingress-sbox';

/** What the tables say, as far as the mesh is concerned. */
export interface MeshTables {
  readonly self: NodeId;
  readonly services: ReadonlyMap<string, Service>;
  readonly networks: ReadonlyMap<NetworkId, Network>;
  readonly endpoints: ReadonlyMap<NetworkId, ReadonlyMap<string, Endpoint>>;
  /** Whether a node is there: no new connection is sent to another. */
  readonly isUp: (node: NodeId) => boolean;
}

export interface MeshPlan {
  /** Of the gate. */
  readonly ports: readonly GatePort[];
  /** Where the host leads to the gate. */
  readonly published: readonly PublishedPort[];
  /** The way back from backends of this host, by endpoint. */
  readonly returns: ReadonlyMap<string, ReturnPath>;
}

export const noMesh: MeshPlan = { ports: [], published: [], returns: new Map() };

export function meshOf(tables: MeshTables): MeshPlan {
  const ingress = [...tables.networks.values()].find((network) => network.ingress);
  if (ingress === undefined) return noMesh;
  const legs = [...(tables.endpoints.get(ingress.id)?.values() ?? [])];
  const backends = backendsBy(legs, tables);
  const ports: GatePort[] = [];
  const published: PublishedPort[] = [];
  for (const service of inOrder(tables.services)) {
    const all = backends.get(service.key) ?? [];
    const local = all.filter(({ owner }) => owner === tables.self);
    for (const { protocol, published: first, target, count, mode } of service.ports) {
      // Where no endpoint is the port is free for others.
      if (mode === 'host' && local.length === 0) continue;
      const mine = mode === 'host' || service.source === 'local' ? local : all;
      for (let at = 0; at < count; at += 1) {
        const port = first + at;
        const to = mine.flatMap(({ ip }) => valid(parseIp(ip ?? '')).map((each) => ({ ip: each, port: target + at })));
        const source = service.source === 'snat' ? 'snat' : 'keep';
        ports.push({ protocol, port, backends: to, affinityMs: service.affinityMs, source });
        published.push({ protocol, hostIp: null, hostPort: port, port });
      }
    }
  }
  return { ports, published, returns: returnsOf(legs, ingress, tables.self) };
}

/** Legs on ingress that take connections, by service; in an order that is the same on all nodes. */
function backendsBy(legs: readonly Endpoint[], { isUp }: MeshTables): ReadonlyMap<string, Endpoint[]> {
  const found = new Map<string, Endpoint[]>();
  const ordered = [...legs].sort((a, b) => (a.id < b.id ? -1 : Number(a.id > b.id)));
  for (const leg of ordered) {
    if (leg.ready === false || !isUp(leg.owner)) continue;
    for (const key of leg.serves ?? []) found.set(key, [...(found.get(key) ?? []), leg]);
  }
  return found;
}

/** To every gate of the cluster, also of a node that is down for now: connections that it made may go on. */
function returnsOf(legs: readonly Endpoint[], ingress: Network, self: NodeId): ReadonlyMap<string, ReturnPath> {
  const gates = legs
    .filter(({ name }) => name === ingressSandboxName)
    .flatMap(({ mac, ip }) => {
      const place = { mac: parseMac(mac), ip: parseIp(ip ?? '') };
      return place.mac.ok && place.ip.ok ? [{ mac: place.mac.value, ip: place.ip.value }] : [];
    })
    .sort((a, b) => (a.ip < b.ip ? -1 : Number(a.ip > b.ip)));
  const returns = new Map<string, ReturnPath>();
  for (const { id, owner, mac, ip = '', serves = [] } of legs) {
    if (owner !== self || serves.length === 0) continue;
    const [subnet] = valid(parseCidr(`${ip}/${prefixLengthOf(ingress, ip)}`));
    const [of] = valid(parseMac(mac));
    if (subnet !== undefined && of !== undefined) returns.set(id, { mac: of, subnet, gates });
  }
  return returns;
}

/** What makes no sense is left out; plan.ts says so of endpoints. */
const valid = <T>(parsed: Parsed<T>): T[] => (parsed.ok ? [parsed.value] : []);

const inOrder = (services: ReadonlyMap<string, Service>): Service[] =>
  [...services.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
