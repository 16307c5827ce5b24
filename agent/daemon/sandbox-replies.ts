import type { Cluster } from '../../controlplane/cluster.ts';
import type { Endpoint as TableEndpoint } from '../../controlplane/tables/view.ts';
import type { ObjectStatus } from '../../dataplane/status.ts';
import type { Endpoint, Sandbox } from '../api/schema.ts';
import { hostnameFor } from '../files/render.ts';
import type { StoredSandbox } from '../sandbox-state.ts';
import type { Agent } from './agent.ts';
import { addressFields } from './network-replies.ts';
import { hostnameOf, iso } from './replies.ts';

export function endpointReply(cluster: Cluster, endpoint: TableEndpoint): Endpoint {
  const network = cluster.view.networks.get(endpoint.networkId);
  return {
    ID: endpoint.id,
    Network: network?.name ?? '',
    NetworkID: endpoint.networkId,
    Name: endpoint.name,
    SandboxID: endpoint.sandbox,
    Node: hostnameOf(cluster, endpoint.owner),
    NodeID: endpoint.owner,
    ...addressFields(network, endpoint),
    MacAddress: endpoint.mac,
    VTEP: cluster.view.nodes.get(endpoint.owner)?.vtep ?? '',
    Aliases: endpoint.aliases,
    Local: endpoint.owner === cluster.self,
  };
}

export function sandboxReply(agent: Agent, cluster: Cluster, sandbox: StoredSandbox): Sandbox {
  const [reply] = sandboxReplies(agent, cluster, [sandbox]);
  if (reply === undefined) throw new Error('no reply for a sandbox');
  return reply;
}

/** Status and presence are looked at once for all of them. */
export function sandboxReplies(agent: Agent, cluster: Cluster, sandboxes: readonly StoredSandbox[]): Sandbox[] {
  const status = agent.dataPlane.status();
  const present = new Set(agent.sandboxes.present());
  return sandboxes.map((sandbox) => replyOf(agent, cluster, sandbox, status, !present.has(sandbox)));
}

function replyOf(
  agent: Agent,
  cluster: Cluster,
  sandbox: StoredSandbox,
  status: ReadonlyMap<string, ObjectStatus>,
  gone: boolean,
): Sandbox {
  const statusOf = (endpointId: string): string => {
    if (gone) return 'its network namespace is gone';
    const found = status.get(`endpoint/${endpointId}`);
    if (found === undefined) return 'not planned yet';
    return found.state === 'ok' ? 'ok' : found.why;
  };
  const bits = agent.gateway.address?.split('/')[1] ?? '';
  return {
    ID: sandbox.id,
    Name: sandbox.name,
    Created: iso(sandbox.createdMs),
    NetnsPath: sandbox.netns,
    Adopted: sandbox.adopted,
    Labels: { ...sandbox.labels },
    Hostname: hostnameFor(sandbox),
    Dns: [...sandbox.resolver.servers],
    DnsSearch: [...sandbox.resolver.search],
    DnsOptions: [...sandbox.resolver.options],
    HostnamePath: agent.files.pathOf(sandbox, 'hostname'),
    HostsPath: agent.files.pathOf(sandbox, 'hosts'),
    ResolvConfPath: agent.files.pathOf(sandbox, 'resolv.conf'),
    Networks: sandbox.legs.map((leg) => {
      const network = cluster.view.networks.get(leg.networkId);
      return {
        Network: network?.name ?? '',
        NetworkID: leg.networkId,
        EndpointID: leg.endpointId,
        Interface: leg.ifName,
        ...addressFields(network, leg),
        MacAddress: leg.mac,
        Status: statusOf(leg.endpointId),
      };
    }),
    Gateway:
      sandbox.gateway === null
        ? null
        : {
            Interface: sandbox.gateway.ifName,
            IPv4Address: `${sandbox.gateway.ip}/${bits}`,
            Gateway: agent.gateway.address?.split('/')[0] ?? '',
          },
  };
}
