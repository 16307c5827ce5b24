import { arch, platform, release } from 'node:os';
import type { Capacity } from '../../controlplane/capacity.ts';
import type { Cluster } from '../../controlplane/cluster.ts';
import type { NodeId } from '../../controlplane/ids.ts';
import { prefixLengthOf } from '../../controlplane/subnet-spec.ts';
import { networkTopic } from '../../controlplane/tables/kinds.ts';
import { clusterTopic } from '../../controlplane/tables/record.ts';
import type { NetworkSubnet } from '../../controlplane/tables/subnets.ts';
import type { Endpoint as TableEndpoint, Network as TableNetwork } from '../../controlplane/tables/view.ts';
import type { ObjectStatus } from '../../dataplane/status.ts';
import type { DriftReply, Endpoint, Network, Node, Peer, Sandbox, Status, Version } from '../api/schema.ts';
import { driftItemsMax } from '../api/schema.ts';
import { hostnameFor } from '../files/render.ts';
import { gatewayBridgeName, mtuOf } from '../plan.ts';
import type { StoredSandbox } from '../sandbox-state.ts';
import { version } from '../version.ts';
import type { Agent } from './agent.ts';
import { invalid, notFound } from './api-error.ts';

// The tables, as the local API shows them: Docker's names and shapes.

const iso = (ms: number): string => new Date(ms).toISOString();

export function versionReply(): Version {
  return {
    Version: version,
    ApiVersion: '1',
    NodeVersion: process.version,
    Os: platform(),
    Arch: arch(),
    KernelVersion: release(),
  };
}

/** What is not as wanted, by a listing made for it. */
export async function driftReply(agent: Agent, signal: AbortSignal, repaired: number): Promise<DriftReply> {
  const all = await agent.dataPlane.drift(signal);
  const items = all.slice(0, driftItemsMax).map(({ object, what, why, sinceMs }) => ({
    Object: object,
    What: what,
    Why: why,
    Since: iso(sinceMs),
  }));
  return { Mode: agent.dataPlane.driftMode, Items: items, More: all.length - items.length, Repaired: repaired };
}

const hostnameOf = (cluster: Cluster, id: NodeId): string => cluster.view.nodes.get(id)?.hostname ?? id;

export function nodeReply(cluster: Cluster, id: NodeId): Node {
  const node = cluster.view.nodes.get(id);
  if (node === undefined) throw notFound('node', id);
  const self = id === cluster.self;
  const health = cluster.liveness.stateOf(id);
  let endpoints = 0;
  // Of others this node knows only what is on the networks that it follows.
  const known = self || [...cluster.view.networks.keys()].every((network) => cluster.interests.follows(network));
  for (const all of cluster.view.endpoints.values())
    for (const { owner } of all.values()) if (owner === id) endpoints += 1;
  return {
    ID: id,
    Hostname: node.hostname,
    Role: cluster.roleOf(id) ?? 'worker',
    Status: health.status === 'suspended' ? 'down' : self || health.known ? 'ready' : 'unknown',
    StatusMessage: health.status === 'suspended' ? health.why : '',
    Self: self,
    ManagerStatus: managerStatusOf(cluster, id),
    DataPathAddr: node.vtep,
    GossipAddrs: node.gossip,
    EngineVersion: node.version,
    CreatedAt: iso(node.createdMs),
    Endpoints: known ? endpoints : null,
  };
}

function managerStatusOf(cluster: Cluster, id: NodeId): Node['ManagerStatus'] {
  if (cluster.roleOf(id) === 'manager') return cluster.liveness.isSuspended(id) ? 'unreachable' : 'reachable';
  return cluster.roles.wanted(id) === 'manager' ? 'promoted' : '';
}

/** @param ref id, start of an id, hostname, or `self` */
export function findNode(cluster: Cluster, ref: string): NodeId {
  if (ref === 'self') return cluster.self;
  const ids = [...cluster.view.nodes.keys()];
  if ((ids as string[]).includes(ref)) return ref as NodeId;
  const matches = ids.filter((id) => hostnameOf(cluster, id) === ref);
  const prefixed = matches.length > 0 ? matches : ids.filter((id) => id.startsWith(ref));
  if (prefixed.length > 1)
    throw invalid(`node ${ref} is ambiguous: ${prefixed.length} match`, 'use a longer part of the id');
  if (prefixed[0] === undefined) throw notFound('node', ref);
  return prefixed[0];
}

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

export function networkReply(agent: Agent, cluster: Cluster, network: TableNetwork): Network {
  const endpoints = [...cluster.view.endpointsOf(network.id).values()];
  const local = endpoints.filter(({ owner }) => owner === cluster.self);
  const peers = [...cluster.view.nodesOn(network.id)];
  return {
    Name: network.name,
    Id: network.id,
    Created: iso(network.createdMs),
    Scope: 'cluster',
    Driver: 'overlay',
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
          IPv4Address: `${endpoint.ip}/${prefixLengthOf(network, endpoint.ip)}`,
          IPv6Address: '',
        },
      ]),
    ),
    Options: network.options,
    Labels: network.labels,
    Peers: peers.map((id) => ({ Name: hostnameOf(cluster, id), IP: cluster.view.nodes.get(id)?.vtep ?? '' })),
    VNI: network.vni,
    Digest: cluster.interests.follows(network.id) ? cluster.tables.digest(networkTopic(network.id)) : '',
    MTU: mtuOf(network, agent.underlayMtu, cluster.identity.vtep),
    Endpoints: cluster.interests.follows(network.id) ? endpoints.length : null,
    Capacity: cluster.networks.capacity(network).map((capacity) => capacityReply(cluster, capacity)),
  };
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
    IPv4Address: network === undefined ? endpoint.ip : `${endpoint.ip}/${prefixLengthOf(network, endpoint.ip)}`,
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
        IPv4Address: network === undefined ? leg.ip : `${leg.ip}/${prefixLengthOf(network, leg.ip)}`,
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

function peersReply(agent: Agent, cluster: Cluster): Peer[] {
  const connections = cluster.transport.connections();
  const dials = cluster.transport.dialer.states();
  const ids = new Set([...cluster.view.nodes.keys(), ...connections.keys(), ...dials.keys()]);
  ids.delete(cluster.self);
  return [...ids].map((id) => {
    const connection = connections.get(id);
    const dial = dials.get(id);
    const health = cluster.liveness.stateOf(id);
    const failure = cluster.transport.dialer.lastFailure(id);
    const base = {
      ID: id,
      Hostname: hostnameOf(cluster, id),
      Status: health.status,
      StatusSince: iso(health.sinceMs),
      StatusMessage: health.why,
      RTTMilliseconds: health.rttMs === null ? null : Math.round(health.rttMs * 1000) / 1000,
      LastError: failure?.error ?? '',
      LastErrorAt: failure === null ? '' : iso(failure.atMs),
    };
    if (connection !== undefined) {
      const { direction, address, sinceMs } = connection;
      return {
        ...base,
        State: 'connected',
        Since: iso(sinceMs),
        Direction: direction,
        Address: address,
        NextRetry: '',
      };
    }
    return {
      ...base,
      State: dial === undefined ? 'none' : dial.dialing ? 'connecting' : 'waiting',
      Since: iso(dial?.sinceMs ?? agent.startedMs),
      Direction: '-',
      Address: cluster.view.nodes.get(id)?.gossip[0] ?? '',
      NextRetry: dial?.nextRetryMs == null ? '' : iso(dial.nextRetryMs),
    };
  });
}

export function statusReply(agent: Agent): Status {
  const membership = agent.active;
  const cluster = membership?.cluster ?? null;
  const kernel = [...agent.dataPlane.status()];
  const failed = kernel.flatMap(([object, status]) =>
    status.state === 'failed' ? [{ Object: object, Why: status.why }] : [],
  );
  const pending = kernel.filter(([, { state }]) => state === 'pending').length;
  const endpoints = [...(cluster?.view.endpoints.values() ?? [])].flatMap((all) => [...all.values()]);
  const local = endpoints.filter(({ owner }) => owner === cluster?.self).length;
  const nodes = [...(cluster?.view.nodes.keys() ?? [])];
  return {
    Version: version,
    State: agent.state,
    Hostname: agent.config.hostname,
    StartedAt: iso(agent.startedMs),
    NodeID: cluster?.self ?? '',
    ClusterID: cluster?.identity.clusterId ?? '',
    Role: cluster?.roleOf(cluster.self) ?? '',
    Certificate: cluster === null ? null : certificateReply(cluster),
    JoinAddr: membership?.reception.joinAddress ?? '',
    GossipAddrs: cluster === null ? [] : [cluster.identity.advertise],
    DataPathAddr: cluster?.identity.vtep ?? '',
    DataPathPort: cluster?.view.cluster?.dataPathPort ?? 0,
    Nodes: nodes.length,
    Managers: nodes.filter((id) => cluster?.roleOf(id) === 'manager').length,
    Networks: cluster?.view.networks.size ?? 0,
    Sandboxes: agent.sandboxes.list().length,
    Endpoints: { Local: local, Remote: endpoints.length - local },
    Digest: cluster?.tables.digest(clusterTopic) ?? '',
    Peers: cluster === null ? [] : peersReply(agent, cluster),
    Kernel: {
      State: failed.length > 0 ? 'failed' : agent.pending() !== '' ? 'pending' : 'ok',
      Pending: pending,
      Failed: failed,
      Repairs: agent.dataPlane.stats.repairs,
    },
    GatewayBridge: agent.gateway.address === null ? null : { Name: gatewayBridgeName, Subnet: agent.gateway.address },
    Warnings: [...agent.warnings(), ...(cluster === null ? [] : clusterWarnings(cluster))],
    Propagation: propagation(cluster),
    Offenders: cluster === null ? [] : offenders(cluster),
  };
}

function certificateReply(cluster: Cluster): NonNullable<Status['Certificate']> {
  const { endsMs, dueMs, failures, lastError } = cluster.keys.renewal.state;
  return { NotAfter: iso(endsMs), RenewAt: iso(dueMs), Failures: failures, LastError: lastError };
}

function propagation(cluster: Cluster | null): Status['Propagation'] {
  if (cluster === null) return { Buckets: [], Count: 0, SumMs: 0, MaxMs: 0, Unmeasured: 0, Clocks: [] };
  const measured = cluster.tables.propagation;
  const { buckets, count, sumMs, maxMs } = measured.histogram();
  return {
    Buckets: buckets.map(({ endMs, count: upTo }) => ({ LeMs: endMs, Count: upTo })),
    Count: count,
    SumMs: sumMs,
    MaxMs: maxMs,
    Unmeasured: measured.unmeasured,
    Clocks: [...measured.clocks()].map(([id, { offsetMs, rttMs }]) => ({
      ID: id,
      Hostname: hostnameOf(cluster, id),
      OffsetMs: offsetMs,
      RttMs: rttMs,
    })),
  };
}

function offenders(cluster: Cluster): Status['Offenders'] {
  return cluster.offences.list().map(({ nodeId, what, count, lastMs }) => ({
    ID: nodeId,
    Hostname: hostnameOf(cluster, nodeId),
    What: what,
    Count: count,
    Last: iso(lastMs),
  }));
}

function clusterWarnings(cluster: Cluster): string[] {
  const warnings = cluster.warnings();
  const { endsMs, late, lastError } = cluster.keys.renewal.state;
  if (late) {
    warnings.push(`this node's certificate ${endsMs > Date.now() ? 'ends' : 'ended'} at ${iso(endsMs)} and cannot be \
renewed: ${lastError}; a manager must be reachable, or leave and join again`);
  }
  if (!cluster.keys.roots.state.done) warnings.push('the CA is being changed: `weft ca` shows how far it is');
  return warnings;
}
