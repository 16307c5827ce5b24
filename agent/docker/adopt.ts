import { contains, parseSubnet } from '../../controlplane/addresses.ts';
import { NetworkCreateRequest } from '../api/schema.ts';
import { overlay } from '../drivers/overlay.ts';
import { driverName } from './mirror-plan.ts';
import type { DockerNetwork } from './shapes.ts';

// A network that somebody made in Docker, `docker network create -d weft NAME`, as one for the cluster. Pure.

/** What Docker chooses from where nobody names a subnet, and how large (moby, libnetwork/ipamutils, localScopeDefaultNetworks). */
const dockersChoice = [
  { within: '172.16.0.0/12', prefixLength: 16 },
  { within: '192.168.0.0/16', prefixLength: 20 },
] as const;

/**
 * A subnet that nobody asked for is chosen anew: Docker's choice is free on that host alone.
 * @throws ZodError for what the cluster's networks cannot be
 */
export function requestFor({ name, internal, ipv6, options, labels, ipam }: DockerNetwork): NetworkCreateRequest {
  const pools = ipam.pools.filter(({ subnet }) => ipam.driver === driverName || !isDockersChoice(subnet));
  return NetworkCreateRequest.parse({
    ...{ Name: name, Driver: overlay.name, Internal: internal, Attachable: true, EnableIPv6: ipv6 },
    Options: Object.fromEntries(options),
    Labels: Object.fromEntries(labels),
    IPAM: {
      Config: pools.map(({ subnet, gateway, ipRange, auxiliary }) => ({
        Subnet: subnet,
        ...(gateway === '' ? {} : { Gateway: gateway.replace(/\/.*/, '') }),
        ...(ipRange === '' ? {} : { IPRange: ipRange }),
        ...(auxiliary.size === 0 ? {} : { AuxiliaryAddresses: Object.fromEntries(auxiliary) }),
      })),
    },
  });
}

export function isDockersChoice(subnet: string): boolean {
  const parsed = parseSubnet(subnet);
  return dockersChoice.some(({ within, prefixLength }) => {
    const pool = parseSubnet(within);
    return parsed?.prefixLength === prefixLength && pool !== null && contains(pool, parsed.base);
  });
}
