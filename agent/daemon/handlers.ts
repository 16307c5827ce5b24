import type { z } from 'zod';
import type { Cluster } from '../../controlplane/cluster.ts';
import type { NetworkSpec } from '../../controlplane/networks.ts';
import type { SubnetSpec } from '../../controlplane/subnet-spec.ts';
import type { Network as TableNetwork } from '../../controlplane/tables/view.ts';
import type { RouteName } from '../api/request-lines.ts';
import type { routes } from '../api/routes.ts';
import type { NetworkCreateRequest, NetworkUpdateRequest, WaitReply, WaitRequest } from '../api/schema.ts';
import { mtuOption } from '../plan.ts';
import type { Agent } from './agent.ts';
import { conflict, invalid, notFound, RequestError } from './api-error.ts';
import {
  driftReply,
  endpointReply,
  findNetwork,
  findNode,
  networkReply,
  nodeReply,
  sandboxReplies,
  sandboxReply,
  statusReply,
  versionReply,
} from './replies.ts';
import { caReply, meshKeyReply, rotateCa, rotateMeshKey } from './rotations.ts';
import { ingressSandboxName } from './sandboxes.ts';

/** What a handler gets of a request; everything in it has passed the route's schema. */
export interface Call<N extends RouteName> {
  readonly ref: string;
  readonly body: z.output<(typeof routes)[N]['body']>;
  readonly query: ReadonlyMap<string, string>;
  /** Aborts when the client has gone. */
  readonly signal: AbortSignal;
}

type ReplyOf<N extends RouteName> = z.output<(typeof routes)[N]['reply']>;
export type Handlers = { readonly [N in RouteName]: (call: Call<N>) => Promise<ReplyOf<N>> | ReplyOf<N> };

const waitPollMs = 50;

const reserved = (): RequestError =>
  conflict(
    'sandbox_predefined',
    `${ingressSandboxName} is the node's own leg on the ingress network`,
    'choose another name',
  );

/** One handler for each route of the local API. */
export function makeHandlers(agent: Agent): Handlers {
  const cluster = () => agent.membership.cluster;
  const takingJoins = () => {
    const { tokens, limited, joinAddress } = agent.membership.reception;
    if (tokens === null || limited === null || joinAddress === null) {
      throw new RequestError(
        403,
        'not_manager',
        'this node is not a manager and has no join tokens',
        'run the command on a manager',
      );
    }
    return { tokens, limited, joinAddress };
  };
  const joinToken = async (ref: string, rotate: boolean) => {
    if (ref !== 'worker' && ref !== 'manager') throw notFound('join token', ref);
    const { tokens, joinAddress } = takingJoins();
    if (rotate) await tokens.rotate(ref);
    const Token = tokens.token(ref);
    if (Token === null)
      throw new RequestError(
        503,
        'no_token',
        'the join tokens have not reached this manager yet',
        'try again in a moment',
      );
    return { Role: ref, Token, JoinAddr: joinAddress } as const;
  };

  return {
    version: () => versionReply(),
    status: () => statusReply(agent),
    init: async ({ body }) => {
      const membership = await agent.init(body);
      const { tokens, joinAddress } = membership.reception;
      return {
        NodeID: membership.cluster.self,
        ClusterID: membership.cluster.identity.clusterId,
        JoinAddr: joinAddress ?? '',
        JoinTokens: { Worker: tokens?.token('worker') ?? '', Manager: tokens?.token('manager') ?? '' },
      };
    },
    join: async ({ body }) => {
      const { self, identity } = (await agent.join(body)).cluster;
      return { NodeID: self, ClusterID: identity.clusterId, Role: identity.role };
    },
    leave: async ({ body }) => {
      await agent.leave(body.Force);
      return {};
    },
    joinToken: ({ ref }) => joinToken(ref, false),
    rotateJoinToken: ({ ref }) => joinToken(ref, true),

    ca: () => caReply(cluster()),
    rotateCa: ({ body }) => rotateCa(cluster(), body),
    meshKey: () => meshKeyReply(cluster()),
    rotateMeshKey: ({ body }) => rotateMeshKey(cluster(), body),

    tokenCreate: async ({ body }) => {
      const { limited, joinAddress } = takingJoins();
      const expiresMs = body.ExpiresSeconds === undefined ? null : Date.now() + body.ExpiresSeconds * 1000;
      const { token } = await limited.create(body.Role, expiresMs, body.MaxUses ?? null);
      return { Role: body.Role, Token: token, JoinAddr: joinAddress };
    },
    tokenList: () =>
      takingJoins()
        .limited.list()
        .map((token) => ({
          ID: token.id,
          Role: token.role,
          CreatedAt: new Date(token.createdMs).toISOString(),
          ExpiresAt: token.expiresMs === null ? '' : new Date(token.expiresMs).toISOString(),
          Uses: token.uses,
          MaxUses: token.maxUses ?? 0,
          State: token.state,
        })),
    tokenRemove: async ({ ref }) => {
      if (!(await takingJoins().limited.revoke(ref))) throw notFound('token', ref);
      return {};
    },

    nodeList: () => [...cluster().view.nodes.keys()].map((id) => nodeReply(cluster(), id)),
    nodeInspect: ({ ref }) => nodeReply(cluster(), findNode(cluster(), ref)),
    nodeUpdate: async ({ ref, body }) => ({
      Changed: await cluster().roleChange.set(findNode(cluster(), ref), body.Role),
    }),
    nodeRemove: async ({ ref, query }) => {
      await cluster().removeNode(findNode(cluster(), ref), query.get('force') === 'true');
      return {};
    },

    networkList: () => [...cluster().view.networks.values()].map((network) => networkReply(agent, cluster(), network)),
    networkInspect: async ({ ref }) => {
      const network = findNetwork(cluster(), ref);
      await mustKnow(cluster(), [network]);
      return networkReply(agent, cluster(), network);
    },
    networkCreate: async ({ body }) => {
      const network = await cluster().networks.create(specOf(body));
      return { Id: network.id, Warning: '' };
    },
    networkUpdate: async ({ ref, body }) => {
      const network = findNetwork(cluster(), ref);
      return { Subnet: await cluster().networks.addSubnet(network, subnetSpecOf(body.SubnetAdd)) };
    },
    networkRemove: async ({ ref }) => {
      await cluster().networks.remove(findNetwork(cluster(), ref));
      return {};
    },
    networkConnect: async ({ ref, body }) => {
      const network = findNetwork(cluster(), ref);
      const attachment = { aliases: body.Aliases ?? [], wantedIp: body.IPAddress ?? null };
      const sandbox = await agent.sandboxes.connect(agent.sandboxes.find(body.Sandbox), network, attachment);
      const leg = sandbox.legs.find(({ networkId }) => networkId === network.id);
      const endpoint = [...cluster().view.endpointsOf(network.id).values()].find(
        ({ id, owner }) => id === leg?.endpointId && owner === cluster().self,
      );
      if (endpoint === undefined) throw new Error(`the new endpoint of ${sandbox.name} is not in the tables`);
      return endpointReply(cluster(), endpoint);
    },
    networkDisconnect: async ({ ref, body }) => {
      const sandbox = agent.sandboxes.find(body.Sandbox);
      const network = findNetwork(cluster(), ref);
      if (sandbox.name === ingressSandboxName && network.ingress) throw reserved();
      await agent.sandboxes.disconnect(sandbox, network.id);
      return {};
    },

    sandboxList: () => sandboxReplies(agent, cluster(), agent.sandboxes.list()),
    sandboxInspect: ({ ref }) => sandboxReply(agent, cluster(), agent.sandboxes.find(ref)),
    sandboxCreate: async ({ body }) => {
      if (body.Name === ingressSandboxName) throw reserved();
      const networks = body.Networks.map((ref) => findNetwork(cluster(), ref));
      return sandboxReply(agent, cluster(), await agent.sandboxes.create(body, networks));
    },
    sandboxRemove: async ({ ref }) => {
      await agent.sandboxes.remove(agent.sandboxes.find(ref));
      return {};
    },

    endpointList: async ({ query }) => {
      const wanted = query.get('network');
      const node = query.get('node');
      const network = wanted === undefined ? null : findNetwork(cluster(), wanted).id;
      const owner = node === undefined ? null : findNode(cluster(), node);
      const { networks } = cluster().view;
      // Its own endpoints a node always knows.
      if (owner !== cluster().self)
        await mustKnow(
          cluster(),
          [...networks.values()].filter(({ id }) => network === null || id === network),
        );
      return [...cluster().view.endpoints.values()]
        .flatMap((all) => [...all.values()])
        .filter(
          (endpoint) =>
            (network === null || endpoint.networkId === network) && (owner === null || endpoint.owner === owner),
        )
        .map((endpoint) => endpointReply(cluster(), endpoint));
    },
    drift: ({ signal }) => driftReply(agent, signal, 0),
    driftFix: async ({ signal }) => driftReply(agent, signal, await agent.dataPlane.repair(signal)),
    wait: ({ body, signal }) => wait(agent, body, signal),
  };
}

/** A worker follows only the networks it is on; for a question about others it catches up with them first. */
async function mustKnow(cluster: Cluster, networks: readonly TableNetwork[]): Promise<void> {
  if (await cluster.interests.look(networks.map(({ id }) => id))) return;
  const unknown = networks.filter(({ id }) => !cluster.interests.follows(id)).map(({ name }) => name);
  throw new RequestError(
    503,
    'network_out_of_reach',
    `this node is not on ${unknown.join(', ')}, and no node that follows it could be asked`,
    'run the command on a manager, or see `weft status` for the connections of this node',
  );
}

/** Asks all nodes again and again until none lags, or the time is up. */
async function wait(agent: Agent, { Network, TimeoutSeconds }: WaitRequest, signal: AbortSignal): Promise<WaitReply> {
  const { cluster } = agent.membership;
  const network = Network === undefined ? null : findNetwork(cluster, Network).id;
  const started = performance.now();
  for (;;) {
    const lags = await cluster.convergence.ask(network);
    const Converged = lags.every(({ lag }) => lag === '');
    const ElapsedMs = Math.round(performance.now() - started);
    if (Converged || ElapsedMs >= TimeoutSeconds * 1000 || signal.aborted) {
      const nodes = lags.map(({ nodeId, lag, suspended }) => ({
        ID: nodeId,
        Suspended: suspended,
        Hostname: cluster.view.nodes.get(nodeId)?.hostname ?? '',
        Lag: lag,
      }));
      return { Converged, ElapsedMs, Nodes: nodes };
    }
    await new Promise((resolve) => setTimeout(resolve, waitPollMs));
  }
}

/** Options that are understood; Docker's names. Any other is refused, so that none is silently without effect. */
const knownOptions: readonly string[] = [mtuOption];

function specOf(body: NetworkCreateRequest): NetworkSpec {
  const driver = body.Driver ?? 'overlay';
  if (driver !== 'overlay' && driver !== 'weft') {
    throw invalid(`network driver ${driver} is not supported`, 'leave --driver out, or use overlay');
  }
  if (body.EnableIPv6) throw invalid('IPv6 inside networks is not supported yet', 'create the network without --ipv6');
  const options = body.Options ?? {};
  for (const [key, value] of Object.entries(options)) {
    if (!knownOptions.includes(key))
      throw invalid(`network option ${key} is not known`, `the options are ${knownOptions.join(', ')}`);
    const mtu = Number(value);
    if (!Number.isInteger(mtu) || mtu < 576 || mtu > 65_535) throw invalid(`${key}=${value}: want 576 to 65535 bytes`);
  }
  return {
    ...subnetSpecOf(body.IPAM?.Config[0] ?? {}),
    name: body.Name,
    internal: body.Internal ?? false,
    attachable: body.Attachable ?? false,
    ingress: false,
    options,
    labels: body.Labels ?? {},
  };
}

function subnetSpecOf(config: NetworkUpdateRequest['SubnetAdd']): SubnetSpec {
  const { Subnet: subnet, Gateway: gateway, IPRange: ipRange, AuxiliaryAddresses: aux } = config;
  for (const text of [subnet, ipRange]) {
    if (text?.includes(':')) throw invalid('IPv6 inside networks is not supported yet', 'give an IPv4 subnet');
  }
  return { subnet, gateway, ipRange, aux };
}
