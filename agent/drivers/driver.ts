import type { BridgeLeg, DesiredBridge, DesiredParent, DirectLeg } from '../../dataplane/desired.ts';
import { parseIfName } from '../../dataplane/values.ts';
import { isNetworkMtu } from '../mtu.ts';
import type { StoredDevice, StoredLocalLeg, StoredPort } from '../sandbox-state.ts';
import type { LocalNetwork } from './local-network.ts';

/** What a driver asks of the wanted kernel state for one of its networks, as far as anything is on it. */
export interface NetworkPart {
  readonly bridges?: readonly DesiredBridge[];
  readonly parents?: readonly DesiredParent[];
}

/** The same for one endpoint. Without any, it has no interface. */
export interface LegPart {
  readonly bridgeLeg?: Omit<BridgeLeg, 'isDefault' | 'published'>;
  /** Its default route counts only where it is the sandbox's way out. */
  readonly directLeg?: DirectLeg;
}

/** What every driver of networks says of itself. */
export interface Driver {
  readonly name: string;
  readonly scope: 'cluster' | 'local';
  /** Its options by name: why a value cannot be, or null. One that is not here is refused. */
  readonly options: { readonly [key: string]: (value: string) => string | null };
  /** The same for options that only somebody else knows. */
  readonly anyOption?: (value: string) => string | null;
  /** Options that Docker's driver has and this one has not, by name: why. */
  readonly lacks?: { readonly [key: string]: string };
}

/**
 * A driver of networks of this host alone. Whatever of the kernel is its business it asks for by `plan` and `planLeg`, which
 * are pure; what it has to do elsewhere, by the rest.
 */
export interface LocalDriver extends Driver {
  readonly scope: 'local';
  /** There is one network of it, on every host, made by nobody. */
  readonly predefined: boolean;
  /** Its endpoints have addresses, from a subnet of their own. */
  readonly addressed: boolean;
  /** The host routes that subnet to it, so that nothing else may have a route to any of it. */
  readonly routed: boolean;
  /** What a sandbox on it shares or does without: then it can be on no other network, and stays on this one. */
  readonly exclusive: 'host' | 'none' | null;
  /** Why a network cannot be, with those that there are already; null when it can. */
  refusal?(network: LocalNetwork, others: readonly LocalNetwork[]): Promise<string | null>;
  /** A sandbox's default route may lead through it. */
  leadsOut(network: LocalNetwork, leg: StoredLocalLeg): boolean;
  /** Without a way out of its own, it gets one by docker_gwbridge, as an overlay does. @default never */
  wantsGateway?(network: LocalNetwork, leg: StoredLocalLeg): boolean;
  /** Ports of the host can lead to an endpoint on it. */
  readonly publishes: boolean;
  /** Bytes; null where it makes no interfaces. */
  mtuOf(network: LocalNetwork): number | null;
  /** What somebody else has to do for a network or an endpoint, in this order. @throws RequestError */
  create?(network: LocalNetwork): Promise<void>;
  attach?(
    network: LocalNetwork,
    leg: StoredLocalLeg,
    netns: string,
    published: readonly StoredPort[],
  ): Promise<{ readonly device: StoredDevice; readonly prefix: string } | null>;
  /** The endpoint is the sandbox's way out, and these ports are to lead to it. */
  publish?(network: LocalNetwork, leg: StoredLocalLeg, published: readonly StoredPort[]): Promise<void>;
  detach?(network: LocalNetwork, leg: StoredLocalLeg): Promise<void>;
  remove?(network: LocalNetwork): Promise<void>;
  plan(network: LocalNetwork): NetworkPart;
  planLeg(network: LocalNetwork, leg: StoredLocalLeg): LegPart;
}

export const wantMtu = (value: string): string | null =>
  /^\d{1,5}$/.test(value) && isNetworkMtu(Number(value)) ? null : 'want 576 to 65535 bytes';

export const wantIfName = (value: string): string | null => {
  const parsed = parseIfName(value);
  return parsed.ok ? null : parsed.reason;
};

/** What a driver is that makes nothing, and has one network on every host. */
export const withoutInterfaces = {
  scope: 'local',
  predefined: true,
  addressed: false,
  routed: false,
  publishes: false,
  options: {},
  leadsOut: () => false,
  mtuOf: () => null,
  plan: () => ({}),
  planLeg: () => ({}),
} as const;

/** Go's strconv.ParseBool, in the spellings that Docker's users use. */
export const wantBool = (value: string): string | null =>
  value === 'true' || value === 'false' ? null : 'want true or false';
