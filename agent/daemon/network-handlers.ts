import type { NetworkSpec } from '../../controlplane/networks.ts';
import type { NetworkCreateRequest } from '../api/schema.ts';
import { mtuOption, mtuOptionShort } from '../mtu.ts';
import type { Agent } from './agent.ts';
import { invalid } from './api-error.ts';
import { attachmentOf } from './attachment.ts';
import type { Handlers } from './call.ts';
import { findNetwork, mustKnow, networkReply } from './network-replies.ts';
import { subnetSpecOf, subnetsOf } from './network-subnets.ts';
import { reserved } from './sandbox-handlers.ts';
import { endpointReply } from './sandbox-replies.ts';
import { ingressSandboxName } from './sandboxes.ts';

type NetworkHandlers = Pick<
  Handlers,
  | 'networkList'
  | 'networkInspect'
  | 'networkCreate'
  | 'networkUpdate'
  | 'networkRemove'
  | 'networkConnect'
  | 'networkDisconnect'
>;

export function networkHandlers(agent: Agent): NetworkHandlers {
  const cluster = () => agent.membership.cluster;
  return {
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
      const sandbox = await agent.sandboxes.connect(agent.sandboxes.find(body.Sandbox), network, attachmentOf(body));
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
  };
}

/** Options that are understood; Docker's names. Any other is refused, so that none is silently without effect. */
const knownOptions: readonly string[] = [mtuOption, mtuOptionShort];

function specOf(body: NetworkCreateRequest): NetworkSpec {
  const driver = body.Driver ?? 'overlay';
  if (driver !== 'overlay' && driver !== 'weft') {
    throw invalid(`network driver ${driver} is not supported`, 'leave --driver out, or use overlay');
  }
  const options: { [key: string]: string } = {};
  for (const [key, value] of Object.entries(body.Options ?? {})) {
    if (!knownOptions.includes(key))
      throw invalid(`network option ${key} is not known`, `the options are ${knownOptions.join(', ')}`);
    const mtu = Number(value);
    // RFC 8200: no link of IPv6 has less, and the kernel takes IPv6 off a device that has.
    const least = body.EnableIPv6 ? 1280 : 576;
    if (!Number.isInteger(mtu) || mtu < least || mtu > 65_535) {
      throw invalid(`${key}=${value}: want ${least} to 65535 bytes${body.EnableIPv6 ? ' for IPv6' : ''}`);
    }
    if (options[mtuOption] !== undefined) throw invalid(`the MTU is given twice, as ${knownOptions.join(' and ')}`);
    options[mtuOption] = String(mtu);
  }
  return {
    ...subnetsOf(body),
    name: body.Name,
    internal: body.Internal ?? false,
    attachable: body.Attachable ?? false,
    ingress: false,
    options,
    labels: body.Labels ?? {},
  };
}
