import type { NetworkId, NodeId } from '../../controlplane/ids.ts';
import type { Endpoint, Network } from '../../controlplane/tables/view.ts';
import type { DockerEndpoint } from './state.ts';

/** What of the tables matters here. */
export interface Tables {
  readonly self: NodeId;
  readonly view: {
    readonly networks: ReadonlyMap<NetworkId, Pick<Network, 'name' | 'internal'>>;
    endpointsOf(network: NetworkId): ReadonlyMap<string, Pick<Endpoint, 'owner'>>;
  };
}

const maxNamed = 5;

/**
 * Containers that are on internal networks alone have no address on docker_gwbridge, and nothing of the host is in their reach:
 * Docker's own resolver asks in their namespace (20.10; 27 and later), or nobody (25.0.5 to 26). So they find by name what Docker
 * knows, which is what is on their own host.
 * @returns a line for each network on which somebody here is so, and somebody is on another host
 */
export function internalWarnings(endpoints: readonly DockerEndpoint[], { self, view }: Tables): string[] {
  const leadsOut = new Set<string>();
  const joined = endpoints.filter(({ netns }) => netns !== null);
  // What is joined to one namespace is of one container.
  for (const { leg, netns } of joined) {
    if (view.networks.get(leg.networkId)?.internal === false) leadsOut.add(netns ?? '');
  }
  const names = new Map<NetworkId, string[]>();
  for (const { leg, netns, name } of joined) {
    if (leadsOut.has(netns ?? '') || view.networks.get(leg.networkId) === undefined) continue;
    names.set(leg.networkId, [...(names.get(leg.networkId) ?? []), name]);
  }
  return [...names].flatMap(([id, containers]) => {
    if (![...view.endpointsOf(id).values()].some(({ owner }) => owner !== self)) return [];
    const shown = containers.slice(0, maxNamed).join(', ') + (containers.length > maxNamed ? ', …' : '');
    const network = view.networks.get(id)?.name ?? '';
    return [
      `containers of other hosts on internal network ${network} have no names for ${shown}: Docker asks no resolver from there; ` +
        'use addresses, or connect them to a network that leads out, too',
    ];
  });
}
