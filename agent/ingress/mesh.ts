import type { NetworkId, NodeId } from '../../controlplane/ids.ts';
import type { Service } from '../../controlplane/tables/services.ts';
import type { Endpoint, Network } from '../../controlplane/tables/view.ts';
import type { GatePort, PublishedPort, ReturnPath } from '../../dataplane/desired.ts';
import { type Parsed, parseIp, parseMac } from '../../dataplane/values.ts';

// What the routing mesh asks of this host, from the tables. Pure.

/** The node's own sandbox on the ingress network, where connections to published ports are spread. */
export const ingressSandboxName = 'ingress-sbox';

/** The network that every node is on; null until it is known. */
export const ingressIn = (networks: ReadonlyMap<NetworkId, Network>): Network | null =>
  [...networks.values()].find(({ ingress }) => ingress) ?? null;

/** What the tables say, as far as the mesh is concerned. */
export interface MeshTables {
  readonly self: NodeId;
  readonly services: ReadonlyMap<string, Service>;
  readonly networks: ReadonlyMap<NetworkId, Network>;
  readonly endpoints: ReadonlyMap<NetworkId, ReadonlyMap<string, Endpoint>>;
  /** Whether a node is there, and not drained: no new connection is led to another. */
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
  const ingress = ingressIn(tables.networks);
  if (ingress === null) return noMesh;
  const { backends, gates, own } = sorted(tables.endpoints.get(ingress.id)?.values() ?? [], tables);
  const all = inOrder(tables.services).map((service) =>
    ofService(service, backends.get(service.key) ?? [], tables.self),
  );
  const ports = all.flatMap((of) => of.ports);
  return { ports, published: all.flatMap((of) => of.published), returns: returnsOf(own, gates) };
}

interface OfService extends Pick<MeshPlan, 'ports' | 'published'> {
  readonly legs: readonly Endpoint[];
  readonly self: NodeId;
}

// Of 1,000 services all but the one that changed are the same, and so is what the data plane has made of their ports.
const made = new WeakMap<Service, OfService>();

/** @param legs that take its connections */
function ofService(service: Service, legs: readonly Endpoint[], self: NodeId): OfService {
  const known = made.get(service);
  const same = known?.self === self && known.legs.length === legs.length;
  if (same && known.legs.every((leg, at) => leg === legs[at])) return known;
  const ports: GatePort[] = [];
  const published: PublishedPort[] = [];
  const local = legs.filter(({ owner }) => owner === self);
  for (const { protocol, published: first, target, count, mode } of service.ports) {
    // Where no endpoint is the port is free for others.
    if (mode === 'host' && local.length === 0) continue;
    const mine = mode === 'host' || service.source === 'local' ? local : legs;
    const ips = mine.flatMap(({ ip }) => valid(parseIp(ip ?? '')));
    for (let at = 0; at < count; at += 1) {
      const port = first + at;
      const backends = ips.map((ip) => ({ ip, port: target + at }));
      const source = service.source === 'snat' ? 'snat' : 'keep';
      ports.push({ protocol, port, backends, affinityMs: service.affinityMs, source });
      published.push({ protocol, hostIp: null, hostPort: port, port });
    }
  }
  const now = { ports, published, legs, self };
  made.set(service, now);
  return now;
}

/** Legs on the ingress network by what they are to the mesh. */
interface Legs {
  /** That take connections, by service; in an order that is the same on all nodes. */
  readonly backends: ReadonlyMap<string, Endpoint[]>;
  readonly gates: readonly Endpoint[];
  /** Of this host, that serve something. */
  readonly own: readonly Endpoint[];
}

/** In one go: there may be 10,000. */
function sorted(legs: Iterable<Endpoint>, { isUp, self }: MeshTables): Legs {
  const backends = new Map<string, Endpoint[]>();
  const gates: Endpoint[] = [];
  const own: Endpoint[] = [];
  for (const leg of legs) {
    const { name, owner, serves } = leg;
    if (name === ingressSandboxName) gates.push(leg);
    if (serves === undefined || serves.length === 0) continue;
    if (owner === self) own.push(leg);
    if (leg.ready === false || !isUp(owner)) continue;
    for (const key of serves) {
      const those = backends.get(key);
      if (those === undefined) backends.set(key, [leg]);
      else those.push(leg);
    }
  }
  for (const those of backends.values()) those.sort((a, b) => (a.id < b.id ? -1 : Number(a.id > b.id)));
  return { backends, gates, own };
}

/** To every gate of the cluster, also of a node that is down for now: connections that it made may go on. */
function returnsOf(own: readonly Endpoint[], gateLegs: readonly Endpoint[]): ReadonlyMap<string, ReturnPath> {
  const gates = gateLegs
    .flatMap(({ mac, ip }) => {
      const place = { mac: parseMac(mac), ip: parseIp(ip ?? '') };
      return place.mac.ok && place.ip.ok ? [{ mac: place.mac.value, ip: place.ip.value }] : [];
    })
    .sort((a, b) => (a.ip < b.ip ? -1 : Number(a.ip > b.ip)));
  const returns = new Map<string, ReturnPath>();
  for (const leg of own) for (const mac of valid(parseMac(leg.mac))) returns.set(leg.id, { mac, gates });
  return returns;
}

/** What makes no sense is left out; plan.ts says so of endpoints. */
const valid = <T>(parsed: Parsed<T>): T[] => (parsed.ok ? [parsed.value] : []);

const inOrder = (services: ReadonlyMap<string, Service>): Service[] =>
  [...services.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
