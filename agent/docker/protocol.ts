import { z } from 'zod';

// What dockerd asks of a libnetwork remote driver and IPAM driver (moby, libnetwork/docs/remote.md, docs/ipam.md and
// drivers/remote/api, ipams/remote/api). Keys that we have no use for are let through.

/** Docker's id of a network, an endpoint or a container. */
export const dockerId = z.string().regex(/^[0-9a-f]{64}$/, 'want 64 hex digits');
export const isDockerId = (text: string): boolean => dockerId.safeParse(text).success;
const text = z.string().max(256);
const options = z.record(z.string().max(256), z.unknown()).nullish();
const onEndpoint = { NetworkID: dockerId, EndpointID: dockerId };

/**
 * Option by which a mirrored network is known, as Docker's overlay has it (moby, libnetwork/netlabel): docker-compose takes a
 * network with any other option than those in the file, also of its addresses, for one that has been changed.
 */
export const vniOption = 'com.docker.network.driver.overlay.vxlanid_list';
const generic = 'com.docker.network.generic';
/** In the options of RequestAddress: what the address is for. */
const addressType = 'RequestAddressType';
const gatewayType = 'com.docker.network.gateway';

const ipamData = z.object({ AddressSpace: text.default(''), Pool: text.default(''), Gateway: text.default('') });

export const CreateNetwork = z.object({
  NetworkID: dockerId,
  Options: options,
  IPv4Data: z.array(ipamData).max(64).nullish(),
  IPv6Data: z.array(ipamData).max(64).nullish(),
});
export const OnNetwork = z.object({ NetworkID: dockerId });
export const OnEndpoint = z.object(onEndpoint);
export const CreateEndpoint = z.object({
  ...onEndpoint,
  Interface: z
    .object({ Address: text.default(''), AddressIPv6: text.default(''), MacAddress: text.default('') })
    .nullish(),
});
export const Join = z.object({ ...onEndpoint, SandboxKey: z.string().max(4096) });
export const RequestPool = z.object({ Pool: text.default(''), V6: z.boolean().default(false) });
export const ReleasePool = z.object({ PoolID: text });
export const RequestAddress = z.object({ PoolID: text, Address: text.default(''), Options: options });
export const ReleaseAddress = z.object({ PoolID: text, Address: text });

/** VNI of the network of the cluster that a network of Docker stands for; null for one that somebody made by hand. */
export function vniIn(given: z.output<typeof options>): string | null {
  return driverOptionsIn(given)[vniOption] ?? null;
}

/** What a user gave as driver options (`-o KEY=VALUE`). */
export function driverOptionsIn(given: z.output<typeof options>): { [key: string]: string } {
  const inner = given?.[generic];
  return isObject(inner) ? Object.fromEntries(Object.entries(inner).map(([key, value]) => [key, String(value)])) : {};
}

export const isForGateway = (given: z.output<typeof options>): boolean => given?.[addressType] === gatewayType;

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** How a pool is called: a subnet of a network, since two networks may have the same. */
export const poolId = (networkId: string, subnet: string): string => `${networkId} ${subnet}`;

export function parsePoolId(text: string): { readonly networkId: string; readonly subnet: string } | null {
  const [networkId = '', subnet = '', ...more] = text.split(' ');
  return networkId === '' || subnet === '' || more.length > 0 ? null : { networkId, subnet };
}
