import type { NetworkSpec } from '../../../controlplane/networks.ts';
import type { SubnetSpec } from '../../../controlplane/subnet-spec.ts';
import { parseCidr, parseIp } from '../../../dataplane/values.ts';
import type { NetworkCreateRequest, NetworkUpdateRequest } from '../../api/schema.ts';
import { invalid } from '../api-error.ts';

type Subnets = SubnetSpec & Pick<NetworkSpec, 'ipv4' | 'ipv6'>;

/** The part of each family of a network that is to be made. @throws RequestError when they do not go together */
export function subnetsOf({ EnableIPv4 = true, EnableIPv6 = false, IPAM }: NetworkCreateRequest): Subnets {
  const configs = IPAM?.Config ?? [];
  const [four, six] = [false, true].map((of) => configs.filter(({ Subnet }) => Subnet.includes(':') === of));
  if (!EnableIPv4 && !EnableIPv6) {
    throw invalid('a network needs IPv4 or IPv6', 'give --ipv6, or leave --ipv4=false out');
  }
  if ((four?.length ?? 0) > 1 || (six?.length ?? 0) > 1) {
    const hint = 'give one, and add others with `weft network update --subnet-add`';
    throw invalid('a network begins with one subnet of each family', hint);
  }
  const surplus = (EnableIPv4 ? undefined : four?.[0]) ?? (EnableIPv6 ? undefined : six?.[0]);
  if (surplus !== undefined) {
    const hint = EnableIPv6 ? 'leave --ipv4=false out, or give an IPv6 subnet' : 'give --ipv6 too';
    throw invalid(`the network is to have no addresses of the family of ${surplus.Subnet}`, hint);
  }
  return {
    ...subnetSpecOf(four?.[0] ?? {}),
    ipv4: EnableIPv4,
    ...(EnableIPv6 ? { ipv6: subnetSpecOf(six?.[0] ?? {}) } : {}),
  };
}

export function subnetSpecOf(config: NetworkUpdateRequest['SubnetAdd']): SubnetSpec {
  const { Subnet, Gateway, IPRange, AuxiliaryAddresses } = config;
  const aux = Object.entries(AuxiliaryAddresses ?? {}).map(([name, ip]) => [name, inOneSpelling(ip)]);
  return {
    subnet: inOneSpelling(Subnet),
    gateway: inOneSpelling(Gateway),
    ipRange: inOneSpelling(IPRange),
    aux: AuxiliaryAddresses && Object.fromEntries(aux),
  };
}

/** IPv6 as the tables hold it; what is no address is for others to refuse. */
function inOneSpelling(text: string | undefined): string | undefined {
  if (!text?.includes(':')) return text;
  const parsed = text.includes('/') ? parseCidr(text) : parseIp(text);
  return parsed.ok ? parsed.value : text;
}
