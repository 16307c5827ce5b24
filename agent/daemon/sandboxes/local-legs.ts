import type { Log } from '../../../controlplane/environment.ts';
import { randomMac } from '../../../dataplane/mac.ts';
import { bridge, hostBindingOption } from '../../drivers/bridge.ts';
import { localDriver } from '../../drivers/index.ts';
import { exclusiveOf, localWayOut, placeOf, wayOut } from '../../drivers/legs.ts';
import type { LocalNetwork } from '../../drivers/local-network.ts';
import { type StoredLocalLeg, type StoredSandbox, unusedEndpointId } from '../../sandbox-state.ts';
import type { AnyNetwork } from '../any-network.ts';
import { conflict, invalid } from '../api-error.ts';
import type { LocalNetworks } from '../local-networks.ts';
import { type Attachment, ifNameFor } from './attachment.ts';
import { inodeOf, interfacesOf } from './netns.ts';

/** Endpoints on networks of this host alone: their addresses, and what drivers do for them beside the kernel. */
export class LocalLegs {
  readonly #networks: Pick<LocalNetworks, 'byId' | 'allocate' | 'release'>;
  readonly #log: Log;

  constructor(networks: Pick<LocalNetworks, 'byId' | 'allocate' | 'release'>, log: Log) {
    this.#networks = networks;
    this.#log = log;
  }

  /**
   * The sandbox with an endpoint on the network. Its address is reserved until `release`, and its driver knows of it until
   * `detach`. @param taken names of interfaces that its namespace has already @param all sandboxes, for their addresses
   */
  async attach(
    sandbox: StoredSandbox,
    network: LocalNetwork,
    taken: readonly string[],
    { aliases, wanted, ifName, mac }: Attachment,
    all: readonly StoredSandbox[],
  ): Promise<StoredSandbox> {
    const used = all.flatMap(({ local }) =>
      local.flatMap(({ networkId, ip }) => (networkId === network.id && ip !== null ? [ip] : [])),
    );
    if (wanted[6] !== null) throw invalid(`network ${network.name} has no IPv6`, 'leave --ip6 out');
    const driver = localDriver(network.driver);
    const makesNone = driver?.attach === undefined && !driver?.addressed;
    if (makesNone && (ifName ?? mac) !== null) {
      throw invalid(`network ${network.name} gives a sandbox no interface`, 'name another network');
    }
    if (driver?.attach !== undefined && mac !== null) {
      throw invalid(`driver ${driver.name} chooses MAC addresses by itself`, 'ask for none');
    }
    const own = [...all, sandbox].flatMap(({ local }) => local).filter(({ networkId }) => networkId === network.id);
    if (mac !== null && own.some((each) => each.mac === mac)) {
      throw conflict('mac_taken', `${mac} is in use on network ${network.name}`, 'ask for another MAC address');
    }
    const ip = this.#networks.allocate(network, wanted[4], used);
    const bare = {
      networkId: network.id,
      endpointId: unusedEndpointId([...all, sandbox]),
      ip,
      aliases,
      createdMs: Date.now(),
    };
    const nothing = { ifName: null, mac: null, device: null };
    let leg: StoredLocalLeg = { ...bare, ...nothing };
    try {
      if (driver?.attach !== undefined) {
        const made = await driver.attach(network, leg, sandbox.netns, sandbox.published);
        if (made !== null) {
          const { device, prefix } = made;
          leg = { ...bare, ifName: ifNameFor(sandbox, taken, ifName, prefix), mac: device.mac, device };
        }
      } else if (ip !== null) {
        leg = { ...bare, ifName: ifNameFor(sandbox, taken, ifName), mac: mac ?? randomMac(), device: null };
      }
    } catch (error) {
      this.#networks.release(network.id, ip);
      throw error;
    }
    return { ...sandbox, local: [...sandbox.local, leg] };
  }

  /** Addresses are the sandbox's now, or nobody's. */
  release({ local }: StoredSandbox): void {
    for (const { networkId, ip } of local) this.#networks.release(networkId, ip);
  }

  /** Tells drivers that endpoints are no more. What one fails to do is its own, and keeps nothing of ours. */
  async detach(legs: readonly StoredLocalLeg[]): Promise<void> {
    for (const leg of legs) {
      const place = placeOf(leg, this.#networks.byId);
      try {
        await place?.driver.detach?.(place.network, leg);
      } catch (error) {
        this.#log.warn({ err: error, endpoint: leg.endpointId }, 'a network driver did not let go of an endpoint');
      }
    }
  }

  /** Ports lead through whichever endpoint carries the default route; a driver that publishes by itself is told of it. */
  async publish(before: StoredSandbox, after: StoredSandbox): Promise<void> {
    const { byId } = this.#networks;
    const out = wayOut(after, byId);
    if (after.published.length === 0 || out === wayOut(before, byId)) return;
    const leg = after.local.find(({ endpointId }) => endpointId === out);
    const place = leg === undefined ? null : placeOf(leg, byId);
    if (leg !== undefined) await place?.driver.publish?.(place.network, leg, after.published);
  }

  wantGateway({ local }: StoredSandbox): boolean {
    return local.some((leg) => {
      const place = placeOf(leg, this.#networks.byId);
      return place?.driver.wantsGateway?.(place.network, leg) ?? false;
    });
  }

  /** @throws RequestError where ports are to be published and nothing of the sandbox could lead to them */
  mustLeadOut(sandbox: StoredSandbox): void {
    if (sandbox.published.length === 0 || sandbox.gateway !== null) return;
    const leg = localWayOut(sandbox, this.#networks.byId);
    const place = leg === null ? null : placeOf(leg, this.#networks.byId);
    if (place?.driver.publishes) return;
    const what = `no port of sandbox ${sandbox.name} can be published`;
    if (place === null) throw invalid(`${what}: none of its networks leads out`, 'give it one that is not internal');
    const { network, driver } = place;
    throw invalid(
      `${what}: network ${network.name} carries its default route, and its driver (${driver.name}) publishes none`,
      'leave --publish out, or use a bridge network',
    );
  }

  /** As Docker does: what is on network host or none is on no other, and stays there. @throws RequestError */
  refuseExclusive(sandbox: StoredSandbox, { network }: AnyNetwork): void {
    const exclusive = exclusiveOf(sandbox, this.#networks.byId) ?? exclusiveIn(network);
    if (exclusive === null) return;
    const what = `sandbox ${sandbox.name} cannot be connected to network ${network.name} or taken off it`;
    const why =
      exclusive === 'host'
        ? "one that shares the host's namespace does from its start, and is on no other network"
        : 'one on network none is on no other';
    throw conflict('network_exclusive', `${what}: ${why}`, 'make another sandbox');
  }
}

/** A network of this host would be without it: the cluster has no say in that. */
export const isKeptLocally = ({ local }: StoredSandbox): boolean => local.length > 0;

/** Names of the interfaces that somebody else may have made in its namespace; none of one that is gone. */
export const takenIn = async (sandbox: StoredSandbox): Promise<string[]> =>
  sandbox.adopted && inodeOf(sandbox.netns) === sandbox.inode ? await interfacesOf(sandbox) : [];

const exclusiveIn = (network: AnyNetwork['network']): 'host' | 'none' | null =>
  'driver' in network ? (localDriver(network.driver)?.exclusive ?? null) : null;

/** @throws RequestError for host or none among others */
export function exclusiveAmong(networks: readonly AnyNetwork[]): 'host' | 'none' | null {
  const [first = null] = networks.flatMap(({ network }) => exclusiveIn(network) ?? []);
  if (first === null || networks.length === 1) return first;
  throw invalid(`network ${first} can only be the one network of a sandbox, and ${networks.length} are named`);
}

/** Where ports are published that name no address: as the one bridge network that says so has it. */
export function hostBindingOf(networks: readonly AnyNetwork[]): string | null {
  const [found = null] = networks.flatMap(({ scope, network }) =>
    scope === 'local' && network.driver === bridge.name ? (network.options[hostBindingOption] ?? []) : [],
  );
  return found === '0.0.0.0' ? null : found;
}
