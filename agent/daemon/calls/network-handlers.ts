import type { NetworkSpec } from '../../../controlplane/networks.ts';
import type { NetworkCreateRequest } from '../../api/schema.ts';
import type { Driver, LocalDriver } from '../../drivers/driver.ts';
import { driverFor, drivers } from '../../drivers/index.ts';
import { parseOptions } from '../../drivers/options.ts';
import { overlay } from '../../drivers/overlay.ts';
import { ingressSandboxName } from '../../ingress/legs.ts';
import { mtuOption } from '../../mtu.ts';
import type { Agent } from '../agent.ts';
import { allNetworks, findAnyNetwork, findToRemove, nameHeld } from '../any-network.ts';
import { conflict, invalid } from '../api-error.ts';
import { attachmentOf } from '../sandboxes/attachment.ts';
import type { Handlers } from './call.ts';
import { mustKnow, networkReply } from './network-replies.ts';
import { subnetSpecOf, subnetsOf } from './network-subnets.ts';
import { reserved } from './sandbox-handlers.ts';
import { endpointReply, localEndpointReply } from './sandbox-replies.ts';

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
    networkList: () => allNetworks(agent).map((network) => networkReply(agent, network)),
    networkInspect: async ({ ref }) => {
      const found = findAnyNetwork(agent, ref);
      if (found.scope === 'cluster') await mustKnow(cluster(), [found.network]);
      return networkReply(agent, found);
    },
    networkCreate: async ({ body }) => {
      const asked = creationOf(agent, body);
      const network =
        asked.scope === 'local'
          ? await agent.localNetworks.create(asked.request, asked.driver)
          : await cluster().networks.create(asked.spec);
      return { Id: network.id, Warning: '' };
    },
    networkUpdate: async ({ ref, body }) => {
      const found = findAnyNetwork(agent, ref);
      if (found.scope === 'local') {
        throw invalid(
          `network ${found.network.name} is of this host alone, and has one subnet`,
          'make another network',
        );
      }
      return { Subnet: await cluster().networks.addSubnet(found.network, subnetSpecOf(body.SubnetAdd)) };
    },
    networkRemove: async ({ ref }) => {
      const found = findToRemove(agent, ref);
      if (found.scope === 'cluster') await cluster().networks.remove(found.network);
      else await agent.removeLocalNetwork(found.network);
      return {};
    },
    networkConnect: async ({ ref, body }) => {
      const found = findAnyNetwork(agent, ref);
      const joining = agent.sandboxes.find(body.Sandbox);
      const sandbox = await agent.sandboxes.connect(joining, found, attachmentOf(body), body.Labels);
      if (found.scope === 'local') {
        const leg = sandbox.local.find(({ networkId }) => networkId === found.network.id);
        if (leg === undefined) throw new Error(`sandbox ${sandbox.name} is not on the network it was connected to`);
        return localEndpointReply(agent, found.network, sandbox, leg);
      }
      const leg = sandbox.legs.find(({ networkId }) => networkId === found.network.id);
      const endpoint = [...cluster().view.endpointsOf(found.network.id).values()].find(
        ({ id, owner }) => id === leg?.endpointId && owner === cluster().self,
      );
      if (endpoint === undefined) throw new Error(`the new endpoint of ${sandbox.name} is not in the tables`);
      return endpointReply(cluster(), endpoint);
    },
    networkDisconnect: async ({ ref, body }) => {
      const sandbox = agent.sandboxes.find(body.Sandbox);
      const found = findAnyNetwork(agent, ref);
      if (sandbox.name === ingressSandboxName && found.scope === 'cluster' && found.network.ingress) throw reserved();
      await agent.sandboxes.disconnect(sandbox, found);
      return {};
    },
  };
}

/** What kind of network is asked for. @throws RequestError */
export function creationOf(agent: Agent, body: NetworkCreateRequest): Creation {
  const name = body.Driver ?? overlay.name;
  const driver = driverFor(name);
  if (driver === null) {
    throw invalid(
      `network driver ${name} is not there`,
      `the drivers are ${drivers.map((each) => each.name).join(', ')}`,
    );
  }
  const options = parseOptions(driver, body.Options ?? {});
  if (!options.ok) throw invalid(options.reason);
  const request = { ...body, Options: { ...options.value } };
  if (isLocal(driver)) {
    if (body.EnableIPv6 || body.EnableIPv4 === false) {
      throw invalid(`networks of driver ${name} have IPv4 alone`, 'leave --ipv6 and --ipv4=false out');
    }
    return { scope: 'local', request, driver };
  }
  const held = nameHeld(agent, body.Name);
  if (held === 'one of this host') {
    throw conflict('network_exists', `network with name ${body.Name} already exists: ${held}`, 'choose another name');
  }
  return { scope: 'cluster', spec: specOf(request) };
}

type Creation =
  | { readonly scope: 'local'; readonly request: NetworkCreateRequest; readonly driver: LocalDriver }
  | { readonly scope: 'cluster'; readonly spec: NetworkSpec };

const isLocal = (driver: Driver | LocalDriver): driver is LocalDriver => driver.scope === 'local';

function specOf(body: NetworkCreateRequest): NetworkSpec {
  // RFC 8200: no link of IPv6 has less, and the kernel takes IPv6 off a device that has.
  const mtu = body.Options?.[mtuOption];
  if (body.EnableIPv6 && mtu !== undefined && Number(mtu) < 1280) {
    throw invalid(`${mtuOption}=${mtu}: want 1280 to 65535 bytes for IPv6`);
  }
  return {
    ...subnetsOf(body),
    name: body.Name,
    internal: body.Internal ?? false,
    attachable: body.Attachable ?? false,
    ingress: false,
    options: body.Options ?? {},
    labels: body.Labels ?? {},
  };
}
