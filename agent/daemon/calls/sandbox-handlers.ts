import { ingressSandboxName } from '../../ingress/legs.ts';
import type { Agent } from '../agent.ts';
import { findAnyNetwork } from '../any-network.ts';
import { conflict, type RequestError } from '../api-error.ts';
import type { Handlers } from './call.ts';
import { mustKnow } from './network-replies.ts';
import { findNode } from './replies.ts';
import { endpointReply, localEndpointReply, sandboxReplies, sandboxReply } from './sandbox-replies.ts';

type SandboxHandlers = Pick<
  Handlers,
  'sandboxList' | 'sandboxInspect' | 'sandboxCreate' | 'sandboxRemove' | 'endpointList'
>;

export const reserved = (): RequestError =>
  conflict(
    'sandbox_predefined',
    `${ingressSandboxName} is the node's own leg on the ingress network`,
    'choose another name',
  );

export function sandboxHandlers(agent: Agent): SandboxHandlers {
  const cluster = () => agent.membership.cluster;
  return {
    sandboxList: () => sandboxReplies(agent, agent.sandboxes.list()),
    sandboxInspect: ({ ref }) => sandboxReply(agent, agent.sandboxes.find(ref)),
    sandboxCreate: async ({ body }) => {
      if (body.Name === ingressSandboxName) throw reserved();
      // Outside a cluster there are networks of this host to be on, and no other.
      if (body.Networks.length === 0) cluster();
      const networks = body.Networks.map((ref) => findAnyNetwork(agent, ref));
      return sandboxReply(agent, await agent.sandboxes.create(body, networks));
    },
    sandboxRemove: async ({ ref }) => {
      await agent.sandboxes.remove(agent.sandboxes.find(ref));
      return {};
    },

    endpointList: async ({ query }) => {
      const wanted = query.get('network');
      const node = query.get('node');
      const found = wanted === undefined ? null : findAnyNetwork(agent, wanted);
      if (found?.scope === 'local') {
        const { network } = found;
        return agent.sandboxes
          .list()
          .flatMap((sandbox) => sandbox.local.map((leg) => ({ sandbox, leg })))
          .filter(({ leg }) => leg.networkId === network.id)
          .map(({ sandbox, leg }) => localEndpointReply(agent, network, sandbox, leg));
      }
      const network = found?.network.id ?? null;
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
  };
}
