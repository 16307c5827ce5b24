import type { Addressing } from '../../controlplane/identity/state.ts';
import { formatHostPort, parseHostPort } from '../../controlplane/mesh/address.ts';
import { defaultAddress } from '../../dataplane/host.ts';
import { parseIp } from '../../dataplane/values.ts';
import type { InitRequest } from '../api/schema.ts';
import { invalid } from './api-error.ts';

type Given = Pick<InitRequest, 'AdvertiseAddr' | 'DataPathAddr'>;

/** Where others reach this node: as given, or else by the source address of the default route. */
export async function ownAddressing(given: Given, gossipPort: number): Promise<Addressing> {
  if (given.AdvertiseAddr !== undefined) return addressingAt(given, '', gossipPort);
  const path = await defaultAddress();
  if (path === null) {
    throw invalid(
      'this host has no default route to tell its address by',
      'give the address other nodes reach it at with --advertise-addr',
    );
  }
  return addressingAt(given, path.address, gossipPort);
}

/** The same, with `local` for what is not given. @throws RequestError for an address that is none */
export function addressingAt({ AdvertiseAddr, DataPathAddr }: Given, local: string, gossipPort: number): Addressing {
  const text = AdvertiseAddr ?? local;
  const advertise = parseHostPort(text, gossipPort);
  const ip = advertise === null ? null : parseIp(advertise.host);
  if (advertise === null || ip === null || !ip.ok) throw invalid(`advertise address ${text} is not IP or IP:PORT`);
  const vtep = DataPathAddr === undefined ? ip : parseIp(DataPathAddr);
  if (!vtep.ok) throw invalid(`data path address: ${vtep.reason}`);
  return { advertise: formatHostPort({ host: ip.value, port: advertise.port }), vtep: vtep.value };
}
