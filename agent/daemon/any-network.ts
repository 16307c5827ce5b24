import type { Network } from '../../controlplane/tables/view.ts';
import { hostRoutes } from '../../dataplane/host.ts';
import { bridge, bridgeNameOf } from '../drivers/bridge.ts';
import type { LocalNetwork } from '../drivers/local-network.ts';
import type { Agent } from './agent.ts';
import { conflict, invalid, notFound } from './api-error.ts';
import { iso } from './calls/replies.ts';

/** A network of the cluster, or one of this host alone. */
export type AnyNetwork =
  | { readonly scope: 'cluster'; readonly network: Network }
  | { readonly scope: 'local'; readonly network: LocalNetwork };

/**
 * The network of that name or id, or whose id begins so. Names are unique among the cluster's and among this host's; what
 * another host has made meanwhile may have the name of one of these. Of two of the cluster's, made in two halves of it, the
 * older one has the name.
 * @throws RequestError `network_not_found`, `network_ambiguous`
 */
export function findAnyNetwork(agent: Agent, ref: string): AnyNetwork {
  const all = allNetworks(agent);
  const named = agent.active?.cluster.view.networkByName(ref);
  const exact = all.filter(
    ({ scope, network }) => network.id === ref || (network.name === ref && (scope === 'local' || network === named)),
  );
  if (exact.length > 1) {
    const ids = exact.map(({ scope, network }) => `${network.id.slice(0, 12)} (${scope})`);
    throw conflict(
      'network_ambiguous',
      `${ref} is a network of the cluster and one of this host`,
      `use the id of the one that is meant: ${ids.join(' or ')}`,
    );
  }
  const found = exact.length > 0 ? exact : all.filter(({ network }) => network.id.startsWith(ref));
  if (found.length > 1) throw invalid(`network id ${ref} is ambiguous: ${found.length} begin with it`);
  if (found[0] !== undefined) return found[0];
  // Outside a cluster it may be one of the cluster's that is meant: then that is what there is to say.
  if (agent.active === null && agent.membership === null) throw notFound('network', ref);
  throw notFound('network', ref);
}

/**
 * The same, for removing it: a name that means another one to whoever gave it is not enough.
 * @throws RequestError `network_ambiguous`
 */
export function findToRemove(agent: Agent, ref: string): AnyNetwork {
  const found = findAnyNetwork(agent, ref);
  const others = allNetworks(agent).filter(
    ({ scope, network }) => scope === 'cluster' && network.name === ref && network.id !== found.network.id,
  );
  if (found.scope === 'local' || found.network.name !== ref || others.length === 0) return found;
  const ids = [found, ...others].map(({ network }) => `${network.id.slice(0, 12)} (of ${iso(network.createdMs)})`);
  throw conflict(
    'network_ambiguous',
    `${ids.length} networks of the cluster have the name ${ref}`,
    `use the id of the one that is meant: ${ids.join(' or ')}`,
  );
}

/** Who has that name already, in a few words; null when nobody has. */
export function nameHeld(agent: Agent, name: string): string | null {
  const found = allNetworks(agent).find(({ network }) => network.name === name);
  if (found === undefined) return null;
  return found.scope === 'cluster' ? 'one of the cluster' : 'one of this host';
}

/** IPv4 prefixes that a new network of this host must share no address with. */
export async function prefixesInUse(agent: Agent, network: LocalNetwork): Promise<string[]> {
  const others = allNetworks(agent).flatMap((each) =>
    each.scope === 'cluster' ? each.network.subnets.map(({ space }) => space.text) : (each.network.ipam?.subnet ?? []),
  );
  // That of a bridge which the network is to use is its own.
  const own = network.driver === bridge.name ? bridgeNameOf(network) : null;
  const gateway = agent.gateway.address;
  return [...(await hostRoutes(own ?? undefined)), ...others, ...(gateway === null ? [] : [gateway])];
}

/** Outside a cluster those of this host. */
export const allNetworks = (agent: Agent): AnyNetwork[] => [
  ...[...(agent.active?.cluster.view.networks.values() ?? [])].map(
    (network) => ({ scope: 'cluster', network }) as const,
  ),
  ...agent.localNetworks.list().map((network) => ({ scope: 'local', network }) as const),
];
