import type { Network } from '../../../controlplane/tables/view.ts';
import { parseIfName, parseIp, parseMac } from '../../../dataplane/values.ts';
import { nextIfName, type StoredSandbox } from '../../sandbox-state.ts';
import { conflict, invalid } from '../api-error.ts';

export type Family = 4 | 6;

/** How a sandbox is to be on a network. */
export interface Attachment {
  readonly aliases: readonly string[];
  /** That address of a family and no other; null for any. */
  readonly wanted: Readonly<Record<Family, string | null>>;
  /** That name of its interface, and that MAC address, and no other; null for any. */
  readonly ifName: string | null;
  readonly mac: string | null;
}

/** What a request asks for. @throws RequestError for an address of the other family, or what is none */
export function attachmentOf(request: {
  readonly Aliases?: readonly string[] | undefined;
  readonly IPAddress?: string | undefined;
  readonly GlobalIPv6Address?: string | undefined;
  readonly Interface?: string | undefined;
  readonly MacAddress?: string | undefined;
}): Attachment {
  const { Aliases = [], IPAddress = null, GlobalIPv6Address = null, Interface, MacAddress } = request;
  if (IPAddress?.includes(':')) throw invalid(`${IPAddress} is no IPv4 address`, 'give an IPv6 address with --ip6');
  const six = GlobalIPv6Address === null ? null : parseIp(GlobalIPv6Address);
  if (six !== null && (!six.ok || !six.value.includes(':'))) {
    throw invalid(`${GlobalIPv6Address} is no IPv6 address`, 'such as fd00:10::7; give an IPv4 address with --ip');
  }
  const ifName = Interface === undefined ? null : parseIfName(Interface);
  if (ifName?.ok === false) throw invalid(ifName.reason);
  const mac = MacAddress === undefined ? null : parseMac(MacAddress);
  if (mac?.ok === false) throw invalid(mac.reason);
  return {
    aliases: Aliases,
    // In its one spelling, as the tables hold it.
    wanted: { 4: IPAddress, 6: six?.value ?? null },
    ifName: ifName?.value ?? null,
    mac: mac?.value ?? null,
  };
}

const labelsMax = 64;

/** @throws RequestError for more labels than a request may have */
export function withLabels(sandbox: StoredSandbox, more: StoredSandbox['labels']): StoredSandbox {
  const labels = Object.fromEntries([...Object.entries(sandbox.labels), ...Object.entries(more)]);
  if (Object.keys(labels).length > labelsMax)
    throw invalid(`sandbox ${sandbox.name} would have over ${labelsMax} labels`);
  return { ...sandbox, labels };
}

/**
 * Name of the next interface of a sandbox.
 * @param taken names that its namespace has already
 * @throws RequestError `interface_taken`
 */
export function ifNameFor(
  sandbox: Pick<StoredSandbox, 'name' | 'legs' | 'gateway' | 'local'>,
  taken: readonly string[],
  wanted: string | null,
  prefix?: string,
): string {
  if (wanted === null) return nextIfName(sandbox, taken, prefix);
  const { name, legs, local, gateway } = sandbox;
  if ([...taken, ...[...legs, ...local].map(({ ifName }) => ifName), gateway?.ifName].includes(wanted)) {
    throw conflict('interface_taken', `sandbox ${name} has an interface ${wanted} already`, 'ask for another name');
  }
  return wanted;
}

/** Those of the network's subnets; and those of which an address is asked for, so that it is refused and not forgotten. */
export function familiesOf({ subnets }: Network, wanted: Attachment['wanted']): Family[] {
  return ([4, 6] as const).filter(
    (family) => wanted[family] !== null || subnets.some(({ space }) => space.family === family),
  );
}
