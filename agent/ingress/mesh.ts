import type { NetworkId, NodeId } from '../../controlplane/ids.ts';
import { addressesOf } from '../../controlplane/tables/kinds.ts';
import type { Service } from '../../controlplane/tables/services.ts';
import type { Endpoint, Network } from '../../controlplane/tables/view.ts';
import type { GatePort, PublishedPort, ReturnPath } from '../../dataplane/desired.ts';
import { type Parsed, parseIp, parseMac } from '../../dataplane/values.ts';
import { order } from '../order.ts';
import { type LegTables, MeshLegs } from './legs.ts';
import { type Places, preferred, undoubted } from './prefer.ts';

// What the routing mesh asks of this host, from the tables. Pure.

/** The network that every node is on; null until it is known. */
export const ingressIn = (networks: ReadonlyMap<NetworkId, Network>): Network | null =>
  [...networks.values()].find(({ ingress }) => ingress) ?? null;

/** What the tables say, as far as the mesh is concerned. */
export interface MeshTables extends Pick<LegTables, 'self' | 'isUp'>, Places {
  /** Nodes that are up, as far as is known, and have fallen silent. */
  readonly doubted?: ReadonlySet<NodeId>;
  readonly services: ReadonlyMap<string, Service>;
  readonly networks: ReadonlyMap<NetworkId, Network>;
  readonly endpoints: ReadonlyMap<NetworkId, ReadonlyMap<string, Endpoint>>;
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

/** Of the ingress network, each time it is planned. */
export interface KeptLegs {
  readonly kept: MeshLegs;
  /** Of the legs, since they were kept; null: anything may have changed. */
  readonly touched: Iterable<string> | null;
}

export function meshOf(
  tables: MeshTables,
  { kept, touched }: KeptLegs = { kept: new MeshLegs(), touched: null },
): MeshPlan {
  const ingress = ingressIn(tables.networks);
  if (ingress === null) return noMesh;
  const { self, isUp } = tables;
  kept.update({ self, isUp, legs: tables.endpoints.get(ingress.id) ?? new Map() }, touched);
  const all = inOrder(tables.services).map((service) =>
    ofService(
      service,
      preferred(service.prefer, undoubted(kept.backendsOf(service.key), tables.doubted), tables),
      self,
    ),
  );
  const ports = all.flatMap((of) => of.ports);
  return { ports, published: all.flatMap((of) => of.published), returns: returnsOf(kept) };
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
  if (known?.self === self && (known.legs === legs || sameLegs(known.legs, legs))) return known;
  const ports: GatePort[] = [];
  const published: PublishedPort[] = [];
  const local = legs.filter(({ owner }) => owner === self);
  for (const { protocol, published: first, target, count, mode } of service.ports) {
    // Where no endpoint is the port is free for others.
    if (mode === 'host' && local.length === 0) continue;
    const mine = mode === 'host' || service.source === 'local' ? local : legs;
    const ips = mine.flatMap(addressesOf).flatMap((ip) => valid(parseIp(ip)));
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

const sameLegs = (a: readonly Endpoint[], b: readonly Endpoint[]): boolean =>
  a.length === b.length && a.every((leg, at) => leg === b[at]);

/** To every gate of the cluster, also of a node that is down for now: connections that it made may go on. */
function returnsOf({ own, gates: gateLegs }: MeshLegs): ReadonlyMap<string, ReturnPath> {
  const gates = [...gateLegs]
    .flatMap(({ mac, ip, ip6 }) => {
      const place = { mac: parseMac(mac), ip: parseIp(ip ?? '') };
      if (!place.mac.ok || !place.ip.ok) return [];
      const [six] = valid(parseIp(ip6 ?? ''));
      return [{ mac: place.mac.value, ip: place.ip.value, ...(six === undefined ? {} : { ip6: six }) }];
    })
    .sort((a, b) => order(a.ip, b.ip) || order(a.mac, b.mac));
  const returns = new Map<string, ReturnPath>();
  for (const leg of own) for (const mac of valid(parseMac(leg.mac))) returns.set(leg.id, { mac, gates });
  return returns;
}

/** What makes no sense is left out; plan.ts says so of endpoints. */
const valid = <T>(parsed: Parsed<T>): T[] => (parsed.ok ? [parsed.value] : []);

const inOrder = (services: ReadonlyMap<string, Service>): Service[] =>
  [...services.values()].sort((a, b) => order(a.key, b.key));
