import type { Addressing } from '../../controlplane/identity/state.ts';
import { formatHostPort, parseHostPort } from '../../controlplane/mesh/address.ts';
import { defaultAddress } from '../../dataplane/host.ts';
import { addressOf, deviceWith } from '../../dataplane/interfaces.ts';
import { parseIfName, parseIp } from '../../dataplane/values.ts';
import type { InitRequest } from '../api/schema.ts';
import { invalid } from './api-error.ts';

/** What the operator says, with a command or in the configuration. */
export type Given = Pick<InitRequest, 'AdvertiseAddr' | 'DataPathAddr'>;

/** Where others reach this node: as given, or else by the source address of the default route. */
export async function ownAddressing(given: Given, gossipPort: number): Promise<Addressing> {
  if (given.AdvertiseAddr !== undefined) return addressingAt(given, '', gossipPort);
  const path = await defaultAddress();
  if (path === null) {
    throw invalid(
      'this host has no default route, of IPv4 or IPv6, to tell its address by',
      'give the address other nodes reach it at with --advertise-addr',
    );
  }
  return addressingFrom(given, path.address, gossipPort);
}

/** The same, with `local` for what is not given, and the interface that it is on. */
export async function addressingFrom(given: Given, local: string, gossipPort: number): Promise<Addressing> {
  const addressing = addressingAt(given, local, gossipPort);
  if (given.AdvertiseAddr !== undefined) return addressing;
  return { ...addressing, device: (await deviceWith(local))?.device ?? null };
}

/**
 * Where others reach this node after a restart: as the configuration says, or else where they did, or else at the address
 * that the interface has now which had that one. An interface without an address may still get the old one back.
 */
export async function addressingNow(stored: Addressing, given: Given, gossipPort: number): Promise<Addressing> {
  if (given.AdvertiseAddr !== undefined) return addressingAt(given, '', gossipPort);
  const found = await followed(stored, gossipPort);
  return given.DataPathAddr === undefined ? found : { ...found, vtep: given.DataPathAddr };
}

async function followed(stored: Addressing, gossipPort: number): Promise<Addressing> {
  const device = parseIfName(stored.device ?? '');
  const was = parseHostPort(stored.advertise)?.host;
  if (!device.ok || was === undefined) return stored;
  const host = (await deviceWith(was)) === null ? ((await addressOf(device.value, was.includes(':'))) ?? was) : was;
  const advertise = formatHostPort({ host, port: gossipPort });
  return { ...stored, advertise, vtep: stored.vtep === was ? host : stored.vtep };
}

/** The same, with `local` for what is not given. @throws RequestError for an address that is none */
export function addressingAt({ AdvertiseAddr, DataPathAddr }: Given, local: string, gossipPort: number): Addressing {
  const text = AdvertiseAddr ?? local;
  const advertise = parseHostPort(text, gossipPort);
  const ip = advertise === null ? null : parseIp(advertise.host);
  if (advertise === null || ip === null || !ip.ok) throw invalid(`advertise address ${text} is not IP or IP:PORT`);
  const vtep = DataPathAddr === undefined ? ip : parseIp(DataPathAddr);
  if (!vtep.ok) throw invalid(`data path address: ${vtep.reason}`);
  return {
    advertise: formatHostPort({ host: ip.value, port: advertise.port }),
    vtep: vtep.value,
    device: null,
  };
}
