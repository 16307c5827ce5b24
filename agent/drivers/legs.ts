import type { StoredLocalLeg, StoredSandbox } from '../sandbox-state.ts';
import type { LocalDriver } from './driver.ts';
import { localDriver } from './index.ts';
import type { LocalNetwork } from './local-network.ts';

export type NetworksById = ReadonlyMap<string, LocalNetwork>;

/** A leg with its network and driver; null where either is not known. */
export function placeOf(
  leg: StoredLocalLeg,
  networks: NetworksById,
): { readonly network: LocalNetwork; readonly driver: LocalDriver } | null {
  const network = networks.get(leg.networkId);
  const driver = network === undefined ? undefined : localDriver(network.driver);
  return network === undefined || driver === undefined ? null : { network, driver };
}

/** The first of the sandbox's legs on networks of this host that its default route may lead through. */
export function localWayOut(sandbox: Pick<StoredSandbox, 'local'>, networks: NetworksById): StoredLocalLeg | null {
  return (
    sandbox.local.find((leg) => {
      const place = placeOf(leg, networks);
      return place?.driver.leadsOut(place.network, leg) ?? false;
    }) ?? null
  );
}

/**
 * Endpoint that carries the sandbox's default route, and its published ports; null for none. The port on docker_gwbridge
 * where there is one: it is only made while nothing else leads out, and stays when something comes that does, so that no
 * connection breaks.
 */
export const wayOut = (sandbox: Pick<StoredSandbox, 'gateway' | 'local'>, networks: NetworksById): string | null =>
  sandbox.gateway?.endpointId ?? localWayOut(sandbox, networks)?.endpointId ?? null;

/** What the sandbox shares with the host, or does without, by the one network that it is on; null for neither. */
export function exclusiveOf(sandbox: Pick<StoredSandbox, 'local'>, networks: NetworksById): 'host' | 'none' | null {
  for (const leg of sandbox.local) {
    const exclusive = placeOf(leg, networks)?.driver.exclusive ?? null;
    if (exclusive !== null) return exclusive;
  }
  return null;
}
