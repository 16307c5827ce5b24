import { arch, platform, release } from 'node:os';
import type { Cluster } from '../../../controlplane/cluster.ts';
import type { NodeId } from '../../../controlplane/ids.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { gatewayBridgeName } from '../../../dataplane/gateway-subnet.ts';
import type { DriftReply, Node, Peer, SelfTestReply, Status, Version } from '../../api/schema.ts';
import { driftItemsMax } from '../../api/schema.ts';
import { version } from '../../version.ts';
import type { Agent } from '../agent.ts';
import { invalid, notFound } from '../api-error.ts';

// The tables, as the local API shows them: Docker's names and shapes.

export const iso = (ms: number): string => new Date(ms).toISOString();

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

export const hostnameOf = (cluster: Cluster, id: NodeId): string => cluster.view.nodes.get(id)?.hostname ?? id;

export function nodeReply(agent: Agent, cluster: Cluster, id: NodeId): Node {
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
    Availability: cluster.view.isDrained(id) ? 'drain' : 'active',
    Spec: { Labels: { ...cluster.view.nodeLabels(id) } },
    Self: self,
    ManagerStatus: managerStatusOf(cluster, id),
    DataPathAddr: node.vtep,
    PathMTU: pathReply(agent, id),
    GossipAddrs: node.gossip,
    EngineVersion: node.version,
    CreatedAt: iso(node.createdMs),
    Endpoints: known ? endpoints : null,
  };
}

function pathReply(agent: Agent, id: NodeId): Node['PathMTU'] {
  const path = agent.mtus.path(id);
  if (path === null) return null;
  const { mtu, way, measuredMs, silent } = path;
  return { Bytes: mtu, By: way, MeasuredAt: measuredMs === 0 ? '' : iso(measuredMs), Answers: !silent };
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
      PathMTU: agent.mtus.path(id)?.mtu ?? null,
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

/** Objects of the kernel in one status; their number is told beside. */
const listedMax = 100;

export function statusReply(agent: Agent): Status {
  const membership = agent.active;
  const cluster = membership?.cluster ?? null;
  const kernel = [...agent.dataPlane.status()];
  const failed = kernel.flatMap(([object, status]) =>
    status.state === 'failed' ? [{ Object: object, Why: status.why, RetryAt: iso(status.retryAt) }] : [],
  );
  const waiting = kernel.flatMap(([object, status]) =>
    status.state === 'pending' ? [{ Object: object, Why: status.why }] : [],
  );
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
      Pending: waiting.length,
      Failed: failed.slice(0, listedMax),
      Waiting: waiting.slice(0, listedMax),
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

export async function selfTestReply(agent: Agent, cluster: Cluster, refs: readonly string[]): Promise<SelfTestReply> {
  const nodes = refs.length === 0 ? null : refs.map((ref) => findNode(cluster, ref));
  const results = await agent.selfTests.run(cluster, nodes);
  const replies = results.map(({ nodeId, hostname, vtep, address, state, fault, message, rttMs, bytes }) => ({
    ...{ ID: nodeId, Hostname: hostname, DataPathAddr: vtep, Address: address, State: state, Fault: fault ?? '' },
    ...{ Message: message, RTTMilliseconds: rttMs, Bytes: bytes },
  })) satisfies SelfTestReply['Results'];
  return { Results: replies, SoftwareChecksums: agent.selfTests.softwareChecksums };
}
