import type { NodeId } from '../controlplane/ids.ts';
import { leastMtu, type OnValue } from '../controlplane/tables/kinds.ts';
import type { Network } from '../controlplane/tables/view.ts';

// Which MTU a network has: the largest packet that each of its members can send to each other one, in a tunnel. Each says
// of itself what it can, and all take the least of what is said, so that all come to the same from the tables alone. Pure.

/** VXLAN over IPv4: inner Ethernet 14, VXLAN 8, UDP 8, IPv4 20 bytes (RFC 7348); IPv6 takes 20 more. */
export const overheadBytes = { ipv4: 50, ipv6: 70 } as const;
/** Option of a network that sets its MTU; Docker's name for it. */
export const mtuOption = 'com.docker.network.driver.mtu';
/** The same for those who type it. */
export const mtuOptionShort = 'mtu';

const namedMax = 5;

export const overheadOf = (vtep: string): number => (vtep.includes(':') ? overheadBytes.ipv6 : overheadBytes.ipv4);

/** What the host's own device leaves; the MTU of a network on which nobody needs less. */
export const largestMtu = (deviceMtu: number, vtep: string): number => Math.max(deviceMtu - overheadOf(vtep), leastMtu);

/** Set by an option, whatever paths take; null when it is not. */
export function chosenMtu({ options }: Pick<Network, 'options'>): number | null {
  const chosen = Number(options[mtuOption]);
  return isNetworkMtu(chosen) ? chosen : null;
}

/** Of IPv4 the least that every host takes (RFC 791), and the most that its length can say. */
export const isNetworkMtu = (bytes: number): boolean => Number.isInteger(bytes) && bytes >= 576 && bytes <= 65_535;

/** The MTU of a network while its members have said nothing of paths. */
export const mtuUntilMeasured = (network: Pick<Network, 'options'>, deviceMtu: number, vtep: string): number =>
  chosenMtu(network) ?? largestMtu(deviceMtu, vtep);

export interface Here {
  readonly vtep: string;
  /** Bytes, of the underlay device that carries the VTEP. */
  readonly deviceMtu: number;
  /** Bytes of the largest IP packet that the path to a node takes; null while nothing is known. */
  readonly pathMtu: (node: NodeId) => number | null;
}

/** What this node says of itself on a network with these members. */
export function needOf(members: Iterable<NodeId>, { vtep, deviceMtu, pathMtu }: Here): OnValue & { mtu: number } {
  let need: OnValue & { mtu: number } = { mtu: largestMtu(deviceMtu, vtep) };
  for (const member of members) {
    const path = pathMtu(member);
    if (path === null) continue;
    const mtu = largestMtu(path, vtep);
    // Of several the same one each time, or the record would change with nothing to tell.
    if (mtu < need.mtu || (mtu === need.mtu && need.peer !== undefined && member < need.peer))
      need = { mtu, peer: member };
  }
  return need;
}

/** The MTU of a network, and why it is that. */
export interface NetworkMtu {
  readonly mtu: number;
  /** Set by an option. */
  readonly chosen: boolean;
  /** Where the members need less than this host's device leaves: how much, and who says so, of the path to which node. */
  readonly lowered: { readonly mtu: number; readonly by: NodeId; readonly peer: NodeId | null } | null;
}

/**
 * @param own what this node needs now; it may have said less, which counts until its record says more, so that it goes up
 * when the others do
 * @param said by each member that is on the network
 */
export function networkMtu(
  network: Pick<Network, 'options'>,
  self: NodeId,
  own: OnValue & { mtu: number },
  said: ReadonlyMap<NodeId, OnValue>,
  largest: number,
): NetworkMtu {
  let least: { mtu: number; by: NodeId; peer: NodeId | null } = {
    mtu: own.mtu,
    by: self,
    peer: (own.peer as NodeId) ?? null,
  };
  for (const [by, { mtu, peer }] of said) {
    if (mtu === undefined || mtu > least.mtu) continue;
    // Of several reasons a device is the better one: the paths to it follow from that.
    if (mtu < least.mtu || (peer === undefined && least.peer !== null))
      least = { mtu, by, peer: (peer as NodeId | undefined) ?? null };
  }
  const chosen = chosenMtu(network);
  const lowered = least.mtu < largest ? least : null;
  return { mtu: chosen ?? least.mtu, chosen: chosen !== null, lowered };
}

/**
 * What a person should know of it; null when there is nothing. Without the name of the network, since many tend to have
 * the same reason.
 * @param largest that this host's device leaves
 */
export function mtuWarning(
  { mtu, chosen, lowered }: NetworkMtu,
  { largest, vtep, nameOf }: { largest: number; vtep: string; nameOf: (node: NodeId) => string },
): string | null {
  if (lowered === null) {
    return chosen && mtu > largest
      ? `MTU ${mtu} by its option, more than the ${largest} that this host's device leaves: what is larger \
is lost, or sent in fragments`
      : null;
  }
  const takes = `takes ${lowered.mtu + overheadOf(vtep)} bytes${lowered.mtu === leastMtu ? ' or less' : ''}`;
  const why =
    lowered.peer === null
      ? `the underlay device of ${nameOf(lowered.by)} ${takes}`
      : `path from ${nameOf(lowered.by)} to ${nameOf(lowered.peer)} ${takes}`;
  if (!chosen) return `MTU ${mtu} and not ${largest}: ${why}`;
  if (mtu <= lowered.mtu) return null;
  return `MTU ${mtu} by its option, but ${why} and leaves ${lowered.mtu}: what is larger is lost, or sent in \
fragments`;
}

/** The same of several networks, those with one reason in one line. */
export function mtuWarnings(reasons: ReadonlyMap<string, string>): string[] {
  const networks = new Map<string, string[]>();
  for (const [name, why] of reasons) networks.set(why, [...(networks.get(why) ?? []), name]);
  return [...networks].map(([why, names]) => {
    const shown = names.sort().slice(0, namedMax).join(', ');
    const more = names.length > namedMax ? ` and ${names.length - namedMax} more` : '';
    return `network${names.length > 1 ? 's' : ''} ${shown}${more}: ${why}`;
  });
}
