import type { Network } from '../../../controlplane/tables/view.ts';
import { parseIp } from '../../../dataplane/values.ts';
import { invalid } from '../api-error.ts';

export type Family = 4 | 6;

/** How a sandbox is to be on a network. */
export interface Attachment {
  readonly aliases: readonly string[];
  /** That address of a family and no other; null for any. */
  readonly wanted: Readonly<Record<Family, string | null>>;
}

/** What a request asks for. @throws RequestError for an address of the other family */
export function attachmentOf(request: {
  readonly Aliases?: readonly string[] | undefined;
  readonly IPAddress?: string | undefined;
  readonly GlobalIPv6Address?: string | undefined;
}): Attachment {
  const { Aliases = [], IPAddress = null, GlobalIPv6Address = null } = request;
  if (IPAddress?.includes(':')) throw invalid(`${IPAddress} is no IPv4 address`, 'give an IPv6 address with --ip6');
  const six = GlobalIPv6Address === null ? null : parseIp(GlobalIPv6Address);
  if (six !== null && (!six.ok || !six.value.includes(':'))) {
    throw invalid(`${GlobalIPv6Address} is no IPv6 address`, 'such as fd00:10::7; give an IPv4 address with --ip');
  }
  // In its one spelling, as the tables hold it.
  return { aliases: Aliases, wanted: { 4: IPAddress, 6: six?.value ?? null } };
}

/** Those of the network's subnets; and those of which an address is asked for, so that it is refused and not forgotten. */
export function familiesOf({ subnets }: Network, wanted: Attachment['wanted']): Family[] {
  return ([4, 6] as const).filter(
    (family) => wanted[family] !== null || subnets.some(({ space }) => space.family === family),
  );
}
