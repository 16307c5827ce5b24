import type { Cluster } from '../../../controlplane/cluster.ts';
import type { NetworkId } from '../../../controlplane/ids.ts';
import { serviceText } from '../../../controlplane/service-checks.ts';
import { prefixLengthOf } from '../../../controlplane/subnet-spec.ts';
import { addressesOf } from '../../../controlplane/tables/kinds.ts';
import type { ServicePort, Service as TableService } from '../../../controlplane/tables/services.ts';
import type { Endpoint } from '../../../controlplane/tables/view.ts';
import type { Counted } from '../../../dataplane/gate-counts.ts';
import type { Service } from '../../api/schema.ts';
import { namesOf } from '../../dns/decide.ts';
import { ingressIn } from '../../ingress/mesh.ts';
import { order } from '../../order.ts';
import { addressFields } from './network-replies.ts';
import { hostnameOf, iso } from './replies.ts';

type EndpointReply = NonNullable<Service['Endpoints']>[number];

/** Connections at the gate of this node, by published port and address of a backend. */
export type GateCounts = ReadonlyMap<string, Counted>;

export function serviceReply(cluster: Cluster, service: TableService, counts: GateCounts): Service {
  const [reply] = serviceReplies(cluster, [service], counts);
  if (reply === undefined) throw new Error('a service without a reply');
  return reply;
}

/** In the order of their networks and names. */
export function serviceReplies(cluster: Cluster, services: readonly TableService[], counts: GateCounts): Service[] {
  const backends = backendsBy(cluster);
  const counted = countsBy(counts);
  const named = new Map([...new Set(services.map(({ network }) => network))].map((id) => [id, namedOn(cluster, id)]));
  const endpointsOf = ({ key, network, name, ports }: TableService): EndpointReply[] => {
    const its = named.get(network)?.get(name.toLowerCase()) ?? [];
    return its
      .map((endpoint) => {
        const leg = backends.get(key)?.get(carrierOf(endpoint));
        const all = leg === undefined ? [] : addressesOf(leg).flatMap((ip) => counted.get(ip) ?? []);
        const own = all.filter(({ protocol, port }) => ports.some((each) => isWithin(each, protocol, port)));
        return endpointReply(cluster, endpoint, leg !== undefined, own);
      })
      .sort((a, b) => order(a.Node, b.Node) || order(a.Name, b.Name) || order(a.ID, b.ID));
  };
  return services
    .map(
      (service): Service => ({
        Name: service.name,
        Network: cluster.view.networks.get(service.network)?.name ?? '',
        NetworkID: service.network,
        CreatedAt: iso(service.createdMs),
        Ports: portReplies(cluster, service),
        Source: service.source,
        AffinityMs: service.affinityMs,
        Prefer: service.prefer ?? 'none',
        DrainMs: service.drainMs ?? 0,
        ...addressReplies(cluster, service),
        Endpoints: cluster.interests.follows(service.network) ? endpointsOf(service) : null,
      }),
    )
    .sort((a, b) => order(a.Network, b.Network) || order(a.Name, b.Name));
}

function addressReplies(
  { view }: Cluster,
  { network, vip, lostVip }: TableService,
): Pick<Service, 'EndpointSpec' | 'VirtualIPs' | 'LostVIP'> {
  const on = view.networks.get(network);
  const all =
    on === undefined || vip === undefined ? [] : addressesOf(vip).map((ip) => `${ip}/${prefixLengthOf(on, ip)}`);
  return {
    EndpointSpec: { Mode: vip === undefined && lostVip === undefined ? 'dnsrr' : 'vip' },
    VirtualIPs: all.map((Addr) => ({ NetworkID: network, Addr })),
    LostVIP: lostVip?.why ?? '',
  };
}

function portReplies({ view }: Cluster, { ports, lost }: TableService): Service['Ports'] {
  const all = [
    ...ports.map((port) => ({ port, LostTo: '' })),
    ...lost.map(({ port, to }) => ({ port, LostTo: serviceText(view, to) })),
  ];
  return all.map(({ port, LostTo }) => ({
    Protocol: port.protocol,
    TargetPort: port.target,
    PublishedPort: port.published,
    Count: port.count,
    PublishMode: port.mode,
    ByLabel: port.label ?? false,
    LostTo,
  }));
}

function endpointReply(
  cluster: Cluster,
  endpoint: Endpoint,
  isBackend: boolean,
  counts: readonly Counted[],
): EndpointReply {
  const { owner } = endpoint;
  const isDown = owner !== cluster.self && cluster.liveness.isSuspended(owner);
  return {
    ID: endpoint.id,
    Name: endpoint.name,
    Node: hostnameOf(cluster, owner),
    NodeID: owner,
    NodeStatus: isDown ? 'down' : 'ready',
    NodeAvailability: cluster.view.isDrained(owner) ? 'drain' : 'active',
    ...addressFields(cluster.view.networks.get(endpoint.networkId), endpoint),
    Ready: endpoint.ready !== false,
    Backend: isBackend,
    Local: owner === cluster.self,
    Connections: {
      Active: counts.reduce((sum, { active }) => sum + active, 0),
      Total: counts.reduce((sum, { total }) => sum + total, 0),
    },
  };
}

interface CountedPort extends Counted {
  readonly protocol: string;
  readonly port: number;
}

/** By address of the backend. */
function countsBy(counts: GateCounts): ReadonlyMap<string, readonly CountedPort[]> {
  const found = new Map<string, CountedPort[]>();
  for (const [key, counted] of counts) {
    const [protocol = '', port, ip = ''] = key.split(' ');
    found.set(ip, [...(found.get(ip) ?? []), { protocol, port: Number(port), ...counted }]);
  }
  return found;
}

const isWithin = ({ protocol, published, count }: ServicePort, of: string, port: number): boolean =>
  protocol === of && port >= published && port < published + count;

/** Who has a leg on ingress that serves a service, by service. */
function backendsBy({ view }: Cluster): ReadonlyMap<string, ReadonlyMap<string, Endpoint>> {
  const found = new Map<string, Map<string, Endpoint>>();
  const ingress = ingressIn(view.networks);
  if (ingress === null) return found;
  for (const leg of view.endpointsOf(ingress.id).values())
    for (const key of leg.serves ?? [])
      found.set(key, (found.get(key) ?? new Map<string, Endpoint>()).set(carrierOf(leg), leg));
  return found;
}

/** Endpoints of a network by name, in lower case. */
function namedOn({ view }: Cluster, network: NetworkId): ReadonlyMap<string, readonly Endpoint[]> {
  const found = new Map<string, Endpoint[]>();
  for (const endpoint of view.endpointsOf(network).values()) {
    for (const name of namesOf(endpoint)) {
      const its = found.get(name);
      if (its === undefined) found.set(name, [endpoint]);
      else its.push(endpoint);
    }
  }
  return found;
}

/** Endpoints of one sandbox, or container, have its name, and names are unique on a host. */
const carrierOf = ({ owner, name }: Pick<Endpoint, 'owner' | 'name'>): string => `${owner} ${name}`;
