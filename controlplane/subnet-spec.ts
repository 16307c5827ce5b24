import { type AddressSpace, addressAt, isNetworkSubnet, offsetIn, parseSpace } from './addresses.ts';
import { ControlPlaneError } from './errors.ts';
import { type NetworkSubnet, windowIn } from './tables/subnets.ts';
import type { Network } from './tables/view.ts';

/** A subnet as it is asked for. */
export interface SubnetSpec {
  /** Prefix; when absent, IPv4 is from the cluster's pool, and IPv6 a unique local prefix (ula.ts). */
  readonly subnet?: string | undefined;
  readonly gateway?: string | undefined;
  /** The part of the subnet that addresses are taken from unless one is asked for. */
  readonly ipRange?: string | undefined;
  /** Addresses that others hold, by name. */
  readonly aux?: { readonly [name: string]: string } | undefined;
}

/** A subnet with its gateway, checked as a whole. @throws ControlPlaneError `invalid_subnet`, `invalid_gateway`, … */
export function checked(spec: SubnetSpec & { readonly subnet: string; readonly family?: 4 | 6 }) {
  const space = checkedSubnet(spec.subnet, spec.family);
  const gateway = spec.gateway ?? addressAt(space, 1);
  const isHost = (ip: string): boolean => {
    const offset = offsetIn(space, ip);
    return offset !== null && offset > 0 && (space.family === 6 || offset < space.size - 1);
  };
  if (!isHost(gateway)) {
    throw new ControlPlaneError(
      'invalid_gateway',
      `gateway ${gateway} is not a host address of ${space.text}`,
      'leave --gateway out, or give an address inside the subnet',
    );
  }
  const { ipRange, aux } = spec;
  const part = ipRange === undefined ? null : parseSpace(ipRange);
  if (ipRange !== undefined && (part === null || windowIn(space, part) === null)) {
    throw new ControlPlaneError(
      'invalid_ip_range',
      `${ipRange} is not a part of ${space.text}`,
      'want a prefix without host bits inside the subnet',
    );
  }
  for (const [name, ip] of Object.entries(aux ?? {})) {
    if (isHost(ip)) continue;
    throw new ControlPlaneError(
      'invalid_aux_address',
      `auxiliary address ${name}=${ip} is not a host address of ${space.text}`,
      'give addresses inside the subnet, neither its first nor its last',
    );
  }
  return { space, subnet: space.text, gateway, ipRange, aux };
}

function checkedSubnet(text: string, family?: 4 | 6): AddressSpace {
  const space = parseSpace(text);
  if (space === null || !isNetworkSubnet(text) || (family !== undefined && space.family !== family)) {
    throw new ControlPlaneError(
      'invalid_subnet',
      `${text} cannot be a network's subnet`,
      family === 6
        ? 'want an IPv6 prefix from /48 to /120 without host bits, such as fd00:10::/64'
        : 'want an IPv4 prefix from /8 to /29 without host bits, such as 10.20.0.0/24',
    );
  }
  return space;
}

/** The subnet of a network that an address is in. @throws ControlPlaneError `invalid_address` */
export function placeOf(
  { name, subnets }: Network,
  ip: string,
  family: 4 | 6,
): { subnet: NetworkSubnet; number: number } {
  const ofFamily = subnets.filter(({ space }) => space.family === family);
  for (const subnet of ofFamily) {
    const number = offsetIn(subnet.space, ip);
    if (number !== null) return { subnet, number };
  }
  const all = subnets.map(({ space }) => space.text).join(', ');
  const hint = ofFamily.length > 0 ? 'choose one inside the subnet' : `the network has no IPv${family} subnet`;
  throw new ControlPlaneError(
    'invalid_address',
    `${ip} is not an IPv${family} address of network ${name} (${all})`,
    hint,
  );
}

/** Prefix length of the subnet that the address is in. */
export function prefixLengthOf({ subnets }: Network, ip: string): number {
  const subnet = subnets.find(({ space }) => offsetIn(space, ip) !== null);
  return subnet?.space.prefixLength ?? (ip.includes(':') ? 128 : 32);
}
