import type { Capacity } from '../../../controlplane/capacity.ts';
import type { Cluster } from '../../../controlplane/cluster.ts';
import { prefixLengthOf } from '../../../controlplane/subnet-spec.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import type { NetworkSubnet } from '../../../controlplane/tables/subnets.ts';
import type { Network as TableNetwork } from '../../../controlplane/tables/view.ts';
import type { Network } from '../../api/schema.ts';
import { addressText } from '../../drivers/addresses.ts';
import { localDriver } from '../../drivers/index.ts';
import type { LocalNetwork } from '../../drivers/local-network.ts';
import { mtuUntilMeasured } from '../../mtu.ts';
import type { Agent } from '../agent.ts';
import type { AnyNetwork } from '../any-network.ts';
import { invalid, notFound, RequestError } from '../api-error.ts';
import { hostnameOf, iso } from './replies.ts';

/** @param ref name, id or start of an id */
export function findNetwork(cluster: Cluster, ref: string): TableNetwork {
  const { networks } = cluster.view;
  const exact = cluster.view.networkByName(ref);
  if (exact !== null) return exact;
  const matches = [...networks.values()].filter(({ id }) => id.startsWith(ref));
  if (matches.length > 1) throw invalid(`network id ${ref} is ambiguous: ${matches.length} begin with it`);
  if (matches[0] === undefined) throw notFound('network', ref);
  return matches[0];
}

/** A worker follows only the networks it is on; for a question about others it catches up with them first. */
export async function mustKnow(cluster: Cluster, networks: readonly TableNetwork[]): Promise<void> {
  if (await cluster.interests.look(networks.map(({ id }) => id))) return;
  const unknown = networks.filter(({ id }) => !cluster.interests.follows(id)).map(({ name }) => name);
  throw new RequestError(
    503,
    'network_out_of_reach',
    `this node is not on ${unknown.join(', ')}, and no node that follows it could be asked`,
    'run the command on a manager, or see `weft status` for the connections of this node',
  );
}

/** Of a network of either scope. */
export function networkReply(agent: Agent, found: AnyNetwork): Network {
  if (found.scope === 'local') return localReply(agent, found.network);
  return clusterReply(agent, agent.membership.cluster, found.network);
}

function localReply(agent: Agent, network: LocalNetwork): Network {
  const { ipam } = network;
  const on = agent.sandboxes.list().flatMap((sandbox) => {
    const leg = sandbox.local.find(({ networkId }) => networkId === network.id);
    return leg === undefined ? [] : [{ sandbox, leg }];
  });
  const address = (ip: string | null): string => addressText(ipam, ip);
  return {
    Name: network.name,
    Id: network.id,
    Created: iso(network.createdMs),
    Scope: 'local',
    Driver: network.driver,
    EnableIPv4: ipam !== null,
    EnableIPv6: false,
    IPAM: {
      Driver: 'default',
      Options: null,
      Config:
        ipam === null
          ? []
          : [
              {
                Subnet: ipam.subnet,
                Gateway: ipam.gateway,
                ...(ipam.ipRange === null ? {} : { IPRange: ipam.ipRange }),
                ...(Object.keys(ipam.aux).length === 0 ? {} : { AuxiliaryAddresses: { ...ipam.aux } }),
              },
            ],
    },
    Internal: network.internal,
    Attachable: false,
    Ingress: false,
    Containers: Object.fromEntries(
      on.map(({ sandbox, leg }) => [
        sandbox.id,
        {
          Name: sandbox.name,
          EndpointID: leg.endpointId,
          MacAddress: leg.mac ?? '',
          IPv4Address: address(leg.ip),
          IPv6Address: '',
        },
      ]),
    ),
    Options: { ...network.options },
    Labels: { ...network.labels },
    Peers: [],
    VNI: null,
    Digest: '',
    MTU: localDriver(network.driver)?.mtuOf(network) ?? null,
    MTUWhy: '',
    Endpoints: on.length,
    Capacity: [],
  };
}

function clusterReply(agent: Agent, cluster: Cluster, network: TableNetwork): Network {
  const endpoints = [...cluster.view.endpointsOf(network.id).values()];
  const local = endpoints.filter(({ owner }) => owner === cluster.self);
  const peers = [...cluster.view.nodesOn(network.id)];
  return {
    Name: network.name,
    Id: network.id,
    Created: iso(network.createdMs),
    Scope: 'cluster',
    Driver: 'overlay',
    EnableIPv4: network.subnet !== undefined,
    EnableIPv6: network.ipv6 !== undefined,
    IPAM: { Driver: 'default', Options: null, Config: network.subnets.map(ipamConfig) },
    Internal: network.internal,
    Attachable: network.attachable,
    Ingress: network.ingress,
    Containers: Object.fromEntries(
      local.map((endpoint) => [
        endpoint.sandbox,
        {
          Name: endpoint.name,
          EndpointID: endpoint.id,
          MacAddress: endpoint.mac,
          ...addressFields(network, endpoint),
        },
      ]),
    ),
    Options: network.options,
    Labels: network.labels,
    Peers: peers.map((id) => ({ Name: hostnameOf(cluster, id), IP: cluster.view.nodes.get(id)?.vtep ?? '' })),
    VNI: network.vni,
    Digest: cluster.interests.follows(network.id) ? cluster.tables.digest(networkTopic(network.id)) : '',
    MTU: agent.mtus.of(network)?.mtu ?? mtuUntilMeasured(network, agent.underlayMtu, cluster.identity.vtep),
    MTUWhy: agent.mtus.why(network),
    Endpoints: cluster.interests.follows(network.id) ? endpoints.length : null,
    Capacity: cluster.networks.capacity(network).map((capacity) => capacityReply(cluster, capacity)),
  };
}

/** Addresses of an endpoint with their prefix lengths, as far as its network is known. */
export function addressFields(
  network: TableNetwork | undefined,
  { ip, ip6 }: { readonly ip?: string | null | undefined; readonly ip6?: string | null | undefined },
) {
  const text = (address: string | null | undefined): string =>
    address == null ? '' : network === undefined ? address : `${address}/${prefixLengthOf(network, address)}`;
  return { IPv4Address: text(ip), IPv6Address: text(ip6) };
}

function ipamConfig({ space, gateway, ipRange, aux }: NetworkSubnet): Network['IPAM']['Config'][number] {
  return {
    Subnet: space.text,
    Gateway: gateway,
    ...(ipRange === null ? {} : { IPRange: ipRange }),
    ...(Object.keys(aux).length === 0 ? {} : { AuxiliaryAddresses: { ...aux } }),
  };
}

function capacityReply(cluster: Cluster, capacity: Capacity): Network['Capacity'][number] {
  return {
    Subnet: capacity.subnet.space.text,
    Total: capacity.total,
    Used: capacity.used,
    Resting: capacity.resting,
    FreeHere: capacity.freeHere,
    FreeElsewhere: capacity.freeElsewhere.map(({ owner, free }) => ({
      NodeID: owner,
      Hostname: hostnameOf(cluster, owner),
      Free: free,
    })),
  };
}
