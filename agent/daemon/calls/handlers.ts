import type { WaitReply, WaitRequest } from '../../api/schema.ts';
import type { Agent } from '../agent.ts';
import { notFound, RequestError } from '../api-error.ts';
import { reload } from '../reload.ts';
import type { Handlers } from './call.ts';
import { dryRun } from './dry-run.ts';
import { networkHandlers } from './network-handlers.ts';
import { findNetwork } from './network-replies.ts';
import { driftReply, findNode, nodeReply, selfTestReply, statusReply, versionReply } from './replies.ts';
import { caReply, meshKeyReply, rotateCa, rotateMeshKey } from './rotations.ts';
import { sandboxHandlers } from './sandbox-handlers.ts';
import { serviceHandlers } from './service-handlers.ts';

const waitPollMs = 50;

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
      return { Left: await agent.leave(body.Force) };
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

    nodeList: () => [...cluster().view.nodes.keys()].map((id) => nodeReply(agent, cluster(), id)),
    nodeInspect: ({ ref }) => nodeReply(agent, cluster(), findNode(cluster(), ref)),
    nodeUpdate: async ({ ref, body }) => {
      const id = findNode(cluster(), ref);
      const { availabilities, nodeLabels, roleChange } = cluster();
      const { Role, Availability, LabelsAdd: add = {}, LabelsRemove: remove = [] } = body;
      // First what only a manager can: this node may be about to stop being one.
      const drained = Availability !== undefined && (await availabilities.set(id, Availability));
      const labelled = Object.keys(add).length + remove.length > 0 && (await nodeLabels.update(id, { add, remove }));
      const turned = Role !== undefined && (await roleChange.set(id, Role));
      return { Changed: drained || labelled || turned };
    },
    nodeRemove: async ({ ref, query }) => {
      await cluster().removeNode(findNode(cluster(), ref), query.get('force') === 'true');
      return {};
    },

    ...networkHandlers(agent),
    ...sandboxHandlers(agent),
    ...serviceHandlers(agent),
    drift: ({ signal }) => driftReply(agent, signal, 0),
    driftFix: async ({ signal }) => driftReply(agent, signal, await agent.dataPlane.repair(signal)),
    dryRun: ({ body, signal }) => dryRun(agent, body, signal),
    reload: ({ body, signal }) => reload(agent, body.DryRun, signal),
    selfTest: ({ body }) => selfTestReply(agent, cluster(), body.Nodes),
    wait: ({ body, signal }) => wait(agent, body, signal),
  };
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
