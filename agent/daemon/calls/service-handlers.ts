import type { PublishSpec } from '../../../controlplane/services.ts';
import { isName } from '../../../controlplane/tables/kinds.ts';
import {
  isOf,
  type PublishedPorts,
  type Service,
  type ServiceKey,
  serviceKey,
} from '../../../controlplane/tables/services.ts';
import type { Network } from '../../../controlplane/tables/view.ts';
import type { ServicePublishRequest, ServiceUnpublishRequest } from '../../api/schema.ts';
import type { Agent } from '../agent.ts';
import { findAnyNetwork } from '../any-network.ts';
import { conflict, invalid, notFound } from '../api-error.ts';
import type { Handlers } from './call.ts';
import { mustKnow } from './network-replies.ts';
import { serviceReplies, serviceReply } from './service-replies.ts';

type ServiceHandlers = Pick<Handlers, 'servicePublish' | 'serviceUnpublish' | 'serviceList' | 'serviceInspect'>;

export function serviceHandlers(agent: Agent): ServiceHandlers {
  const cluster = () => agent.membership.cluster;
  return {
    servicePublish: async ({ ref, body }) =>
      serviceReply(
        cluster(),
        await cluster().services.publish(specOf(agent, ref, body)),
        await agent.mesh.connections(),
      ),
    serviceUnpublish: async ({ ref, body }) => {
      const { network, ports } = goingOf(agent, ref, body);
      await cluster().services.unpublish(network, ref, ports);
      return {};
    },
    serviceList: async ({ query }) => {
      const wanted = query.get('network');
      const network = wanted === undefined ? null : clusterNetwork(agent, wanted).id;
      const services = [...cluster().view.services.values()];
      return serviceReplies(
        cluster(),
        services.filter((service) => network === null || service.network === network),
        await agent.mesh.connections(),
      );
    },
    serviceInspect: async ({ ref, query }) => {
      const network = networkOfService(agent, ref, query.get('network'));
      await mustKnow(cluster(), [network]);
      const service = cluster().view.services.get(serviceKey(network.id, ref));
      if (service === undefined) throw notFound('service', ref);
      return serviceReply(cluster(), service, await agent.mesh.connections());
    },
  };
}

interface Preview {
  readonly key: ServiceKey;
  /** null for nothing. */
  readonly service: Service | null;
}

/** What the call would leave. Throws as that does. */
export async function previewPublish(agent: Agent, name: string, body: ServicePublishRequest): Promise<Preview> {
  const service = await agent.membership.cluster.services.previewPublish(specOf(agent, name, body));
  return { key: service.key, service };
}

/** The same. */
export function previewUnpublish(agent: Agent, name: string, body: ServiceUnpublishRequest): Preview {
  const { network, ports } = goingOf(agent, name, body);
  const service = agent.membership.cluster.services.previewUnpublish(network, name, ports);
  return { key: serviceKey(network.id, name), service };
}

function specOf(agent: Agent, name: string, body: ServicePublishRequest): PublishSpec {
  const { cluster } = agent.membership;
  if (!isName(name)) throw invalid(`service ${name}: want 1 to 63 letters, digits, _ . or -`);
  cluster.services.mustBeAbleToPublish();
  const network = body.Network === undefined ? likelyNetwork(agent, name) : clusterNetwork(agent, body.Network);
  const ports = body.Ports.map(({ Protocol, PublishedPort, TargetPort, Count, PublishMode }) => ({
    ...{ protocol: Protocol, published: PublishedPort, target: TargetPort, count: Count, mode: PublishMode },
  }));
  return {
    ...{ network, name, ports, source: body.Source, affinityMs: body.AffinityMs, mode: body.EndpointSpec?.Mode },
    prefer: body.Prefer === 'none' ? null : body.Prefer,
    drainMs: body.DrainMs === 0 ? null : body.DrainMs,
  };
}

function goingOf(
  agent: Agent,
  name: string,
  { Network, Ports }: ServiceUnpublishRequest,
): { network: Network; ports: PublishedPorts[] | null } {
  agent.membership.cluster.services.mustBeAbleToPublish();
  const network = networkOfService(agent, name, Network);
  const ports = Ports?.map(({ Protocol, PublishedPort, Count }) => ({
    ...{ protocol: Protocol, published: PublishedPort, count: Count },
  }));
  return { network, ports: ports ?? null };
}

/** @throws RequestError where it is one of this host alone, or there is none */
function clusterNetwork(agent: Agent, ref: string): Network {
  const found = findAnyNetwork(agent, ref);
  if (found.scope === 'cluster') return found.network;
  throw invalid(
    `network ${found.network.name} is of this host alone, and no other node can answer for it`,
    'a port of this host is published with the sandbox: `weft sandbox create -p`',
  );
}

/** On which network a service of that name is, where nobody says it: where there are endpoints, or it is published already. */
function likelyNetwork(agent: Agent, name: string): Network {
  const { view } = agent.membership.cluster;
  const all = [...view.networks.values()].filter(({ ingress }) => !ingress);
  const its = all.filter(
    ({ id: network }) =>
      view.services.has(serviceKey(network, name)) ||
      [...view.endpointsOf(network).values()].some((endpoint) => isOf({ network, name }, endpoint)),
  );
  const [only, ...more] = its.length > 0 ? its : all;
  if (only !== undefined && more.length === 0) return only;
  const names = [only, ...more].flatMap((network) => network?.name ?? []).sort();
  if (its.length === 0)
    throw conflict(
      'network_ambiguous',
      `nothing is called ${name} on any network yet`,
      'say with --network which one it is to be on: `weft network ls` lists them',
    );
  throw conflict(
    'network_ambiguous',
    `something is called ${name} on each of the networks ${names.join(', ')}`,
    'say with --network which one is meant',
  );
}

/** @throws RequestError `service_not_found`, `network_ambiguous` */
function networkOfService(agent: Agent, name: string, ref: string | undefined): Network {
  if (ref !== undefined) return clusterNetwork(agent, ref);
  const { view } = agent.membership.cluster;
  const networks = [...view.services.values()].flatMap((service) =>
    service.name === name ? (view.networks.get(service.network) ?? []) : [],
  );
  const [only, ...more] = networks;
  if (only === undefined) throw notFound('service', name);
  if (more.length === 0) return only;
  throw conflict(
    'network_ambiguous',
    `there are services ${name} on the networks ${networks
      .map((each) => each.name)
      .sort()
      .join(', ')}`,
    'say with --network which one is meant',
  );
}
