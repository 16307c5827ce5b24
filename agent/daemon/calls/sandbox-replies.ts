import type { Cluster } from '../../../controlplane/cluster.ts';
import type { Endpoint as TableEndpoint } from '../../../controlplane/tables/view.ts';
import type { ObjectStatus } from '../../../dataplane/status.ts';
import type { Endpoint, Sandbox } from '../../api/schema.ts';
import { addressText } from '../../drivers/addresses.ts';
import type { LocalNetwork } from '../../drivers/local-network.ts';
import { hostnameFor } from '../../files/render.ts';
import type { StoredLocalLeg, StoredPort, StoredSandbox } from '../../sandbox-state.ts';
import type { Agent } from '../agent.ts';
import { portsOf } from '../sandboxes/announcements.ts';
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
    Ready: endpoint.ready !== false,
    Ports: endpoint.ports ?? [],
    Local: endpoint.owner === cluster.self,
  };
}

/** Of an endpoint on a network of this host, which is in no table. */
export function localEndpointReply(
  agent: Agent,
  network: LocalNetwork,
  sandbox: StoredSandbox,
  leg: StoredLocalLeg,
): Endpoint {
  const { ipam } = network;
  return {
    ID: leg.endpointId,
    Network: network.name,
    NetworkID: network.id,
    Name: sandbox.name,
    SandboxID: sandbox.id,
    Node: agent.config.hostname,
    NodeID: agent.active?.cluster.self ?? '',
    IPv4Address: addressText(ipam, leg.ip),
    IPv6Address: '',
    MacAddress: leg.mac ?? '',
    VTEP: '',
    Aliases: [...leg.aliases],
    Ready: true,
    Ports: portsOf(sandbox),
    Local: true,
  };
}

export function sandboxReply(agent: Agent, sandbox: StoredSandbox): Sandbox {
  const [reply] = sandboxReplies(agent, [sandbox]);
  if (reply === undefined) throw new Error('no reply for a sandbox');
  return reply;
}

/** Status and presence are looked at once for all of them. */
export function sandboxReplies(agent: Agent, sandboxes: readonly StoredSandbox[]): Sandbox[] {
  const status = agent.dataPlane.status();
  const present = new Set(agent.sandboxes.present());
  return sandboxes.map((sandbox) => replyOf(agent, sandbox, status, !present.has(sandbox)));
}

function replyOf(
  agent: Agent,
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
    NetnsPresent: !gone,
    Labels: { ...sandbox.labels },
    Hostname: hostnameFor(sandbox),
    Dns: [...sandbox.resolver.servers],
    DnsSearch: [...sandbox.resolver.search],
    DnsOptions: [...sandbox.resolver.options],
    HostnamePath: agent.files.pathOf(sandbox, 'hostname'),
    HostsPath: agent.files.pathOf(sandbox, 'hosts'),
    ResolvConfPath: agent.files.pathOf(sandbox, 'resolv.conf'),
    Networks: [
      ...sandbox.legs.map((leg) => {
        const network = agent.active?.cluster.view.networks.get(leg.networkId);
        return {
          Network: network?.name ?? '',
          NetworkID: leg.networkId,
          EndpointID: leg.endpointId,
          Interface: leg.ifName,
          ...addressFields(network, leg),
          MacAddress: leg.mac,
          Aliases: [...leg.aliases],
          Status: statusOf(leg.endpointId),
        };
      }),
      ...sandbox.local.map((leg) => {
        const network = agent.localNetworks.byId.get(leg.networkId);
        const ipam = network?.ipam ?? null;
        return {
          Network: network?.name ?? '',
          NetworkID: leg.networkId,
          EndpointID: leg.endpointId,
          Interface: leg.ifName ?? '',
          IPv4Address: addressText(ipam, leg.ip),
          IPv6Address: '',
          MacAddress: leg.mac ?? '',
          Aliases: [...leg.aliases],
          Status: leg.ifName === null ? 'ok' : statusOf(leg.endpointId),
        };
      }),
    ],
    Ports: portsReply(sandbox.published),
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

function portsReply(published: readonly StoredPort[]): Sandbox['Ports'] {
  const ports: Sandbox['Ports'] = {};
  for (const { protocol, hostIp, hostPort, port } of published) {
    const key = `${port}/${protocol}`;
    ports[key] = [...(ports[key] ?? []), { HostIp: hostIp ?? '0.0.0.0', HostPort: String(hostPort) }];
  }
  return ports;
}
