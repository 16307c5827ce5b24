import { cleanUpCommands } from '../../../dataplane/cleanup.ts';
import type { DryRunReply, DryRunRequest, NodeUpdateRequest } from '../../api/schema.ts';
import { localDriver } from '../../drivers/index.ts';
import { zoneLabel } from '../../ingress/prefer.ts';
import type { Agent } from '../agent.ts';
import { type AnyNetwork, findAnyNetwork, findToRemove } from '../any-network.ts';
import { invalid } from '../api-error.ts';
import type { PlanChange } from '../planner.ts';
import { attachmentOf } from '../sandboxes/attachment.ts';
import { isKeptLocally } from '../sandboxes/local-legs.ts';
import { creationOf } from './network-handlers.ts';
import { findNode } from './replies.ts';
import { previewPublish, previewUnpublish } from './service-handlers.ts';

/** What a call would change on this host. Refuses what the call would refuse, with the same words. @throws RequestError */
export async function dryRun(agent: Agent, request: DryRunRequest, signal: AbortSignal): Promise<DryRunReply> {
  switch (request.Verb) {
    case 'networkCreate': {
      const asked = creationOf(agent, request.Request);
      const made: AnyNetwork =
        asked.scope === 'local'
          ? { scope: 'local', network: await agent.localNetworks.create(asked.request, asked.driver, false) }
          : { scope: 'cluster', network: await agent.membership.cluster.networks.preview(asked.spec) };
      return preview(agent, withNetwork(made), signal);
    }
    case 'networkRemove': {
      const found = findToRemove(agent, request.Network);
      if (found.scope === 'cluster') agent.membership.cluster.networks.mustBeRemovable(found.network);
      else agent.localNetworks.mustBeRemovable(found.network, agent.sandboxesOn(found.network).length);
      return preview(agent, withoutNetwork(found), signal);
    }
    case 'networkConnect': {
      const found = findAnyNetwork(agent, request.Network);
      mustBeForetold(found);
      const sandbox = agent.sandboxes.find(request.Request.Sandbox);
      const next = await agent.sandboxes.preview(sandbox, found, attachmentOf(request.Request));
      return preview(
        agent,
        ({ tables, attachments }) => {
          const sandboxes = attachments.sandboxes.map((each) => (each.id === next.id ? next : each));
          return { tables, attachments: { ...attachments, sandboxes } };
        },
        signal,
      );
    }
    case 'servicePublish':
    case 'serviceUnpublish': {
      const { cluster } = agent.membership;
      const { key, service } =
        request.Verb === 'servicePublish'
          ? await previewPublish(agent, request.Service, request.Request)
          : previewUnpublish(agent, request.Service, request.Request);
      const services = new Map(cluster.view.services);
      services.delete(key);
      if (service !== null) services.set(key, service);
      return preview(
        agent,
        ({ tables, attachments }) => ({ tables: tables && { ...tables, services }, attachments }),
        signal,
      );
    }
    case 'nodeUpdate':
      return preview(agent, withNode(agent, request.Node, request.Request), signal);
    case 'leave': {
      agent.mustBeLeavable(request.Request.Force);
      const after = agent.previewOf(({ attachments }) => ({ tables: null, attachments: afterLeaving(attachments) }));
      const kept = agent.sandboxes.list().filter(isKeptLocally);
      const ofFiles = agent.files.directoriesBesides(kept).map((directory) => `rm -r ${directory}`);
      return { Commands: [...(await cleanUpCommands(agent.config.runDir, after)), ...ofFiles], Conflicts: [] };
    }
  }
}

/** @throws RequestError where somebody else's plugin decides what is done */
function mustBeForetold(found: AnyNetwork): void {
  if (found.scope === 'cluster' || localDriver(found.network.driver)?.attach === undefined) return;
  throw invalid(`what the plugin of network ${found.network.name} would do cannot be told without doing it`);
}

async function preview(agent: Agent, change: PlanChange, signal: AbortSignal): Promise<DryRunReply> {
  const { commands, conflicts } = await agent.dataPlane.preview(agent.previewOf(change), signal);
  return { Commands: [...commands], Conflicts: [...conflicts] };
}

/** New connections go elsewhere, or come back. @throws RequestError, ControlPlaneError as the call */
function withNode(agent: Agent, ref: string, asked: NodeUpdateRequest): PlanChange {
  const { cluster } = agent.membership;
  const node = findNode(cluster, ref);
  if (asked.Role !== undefined) throw invalid('what a change of role would do cannot be told without doing it');
  const { Availability, LabelsAdd: add = {}, LabelsRemove: remove = [] } = asked;
  if (Availability !== undefined) cluster.availabilities.mustBeAbleToSet(Availability);
  const labels = cluster.nodeLabels.preview(node, { add, remove });
  const isDown = node !== cluster.self && cluster.liveness.isSuspended(node);
  return ({ tables, attachments }) => ({
    tables: tables && {
      ...tables,
      isUp: (other) =>
        other !== node || Availability === undefined ? tables.isUp(other) : Availability === 'active' && !isDown,
      zoneOf: (other) => (other === node ? (labels[zoneLabel] ?? null) : tables.zoneOf(other)),
    },
    attachments,
  });
}

const withNetwork =
  (made: AnyNetwork): PlanChange =>
  ({ tables, attachments }) =>
    made.scope === 'local'
      ? { tables, attachments: { ...attachments, localNetworks: [...attachments.localNetworks, made.network] } }
      : {
          tables: tables && { ...tables, networks: new Map([...tables.networks, [made.network.id, made.network]]) },
          attachments,
        };

const withoutNetwork =
  ({ scope, network: { id } }: AnyNetwork): PlanChange =>
  ({ tables, attachments }) =>
    scope === 'local'
      ? {
          tables,
          attachments: { ...attachments, localNetworks: attachments.localNetworks.filter((each) => each.id !== id) },
        }
      : {
          tables: tables && { ...tables, networks: new Map([...tables.networks].filter(([each]) => each !== id)) },
          attachments,
        };

/** As `Sandboxes.leaveCluster` leaves it, and the gateway forgotten. */
const afterLeaving = (attachments: Parameters<PlanChange>[0]['attachments']): typeof attachments => ({
  ...attachments,
  gateway: null,
  sandboxes: attachments.sandboxes.filter(isKeptLocally).map((each) => ({ ...each, legs: [], gateway: null })),
});
