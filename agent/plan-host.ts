import { createHash } from 'node:crypto';
import type {
  BridgeLeg,
  Desired,
  DesiredBridge,
  DesiredSandbox,
  HostLeg,
  PublishedPort,
} from '../dataplane/desired.ts';
import { gateAddresses6, gatewayBridgeName } from '../dataplane/gateway-subnet.ts';
import { type Cidr, type Mac, must, parseCidr, parseIfName, parseIp, parseMac } from '../dataplane/values.ts';
import { localDriver } from './drivers/index.ts';
import { type NetworksById, placeOf, wayOut } from './drivers/legs.ts';
import type { Attachments } from './plan.ts';
import type { StoredPort, StoredSandbox } from './sandbox-state.ts';

/** As Docker makes it: containers of different networks share it, and must not reach each other over it. */
const gatewayBridge = (address: Cidr): DesiredBridge => ({
  name: must(parseIfName(gatewayBridgeName)),
  address,
  icc: false,
  masquerade: true,
  internal: false,
});

/** What is wanted of this host alone: docker_gwbridge, and what the drivers of its local networks ask for. Pure. */
export class HostPlan {
  readonly #gateway: Cidr | null;
  readonly #gatePrefix6: Cidr | null;
  readonly #mtu: number;
  readonly #networks: NetworksById;

  constructor({ gateway, gatePrefix6 = null, underlayMtu, localNetworks }: Omit<Attachments, 'sandboxes'>) {
    this.#gatePrefix6 = gatePrefix6 === null ? null : must(parseCidr(gatePrefix6));
    this.#gateway = gateway === null ? null : must(parseCidr(gateway));
    this.#mtu = underlayMtu;
    this.#networks = new Map(localNetworks.map((network) => [network.id, network]));
  }

  get parts(): Pick<Desired, 'bridges' | 'parents'> {
    const parts = [...this.#networks.values()].map((network) => localDriver(network.driver)?.plan(network) ?? {});
    const own = this.#gateway === null ? [] : [gatewayBridge(this.#gateway)];
    // Two networks may hang on one VLAN.
    const parents = new Map(parts.flatMap((part) => part.parents ?? []).map((parent) => [parent.name, parent]));
    return { bridges: [...own, ...parts.flatMap(({ bridges }) => bridges ?? [])], parents: [...parents.values()] };
  }

  legsOf(sandbox: StoredSandbox): Pick<DesiredSandbox, 'bridgeLegs' | 'directLegs'> {
    const out = wayOut(sandbox, this.#networks);
    const published = sandbox.published.map(toPublished);
    const complete = (leg: Omit<BridgeLeg, 'isDefault' | 'published'>): BridgeLeg => {
      const isDefault = leg.endpointId === out;
      return { ...leg, isDefault, published: isDefault ? published : [] };
    };
    const parts = sandbox.local.flatMap((leg) => {
      const place = placeOf(leg, this.#networks);
      return place === null ? [] : [place.driver.planLeg(place.network, leg)];
    });
    const bridgeLegs = [...this.#gatewayLegOf(sandbox), ...parts.flatMap(({ bridgeLeg }) => bridgeLeg ?? [])];
    const directLegs = parts
      .flatMap(({ directLeg }) => directLeg ?? [])
      .map((leg) => (leg.endpointId === out ? leg : { ...leg, defaultVia: null }));
    return { bridgeLegs: bridgeLegs.map(complete), directLegs };
  }

  /** By which the host leads these ports to its gate over IPv6. */
  hostLegOf({ id }: StoredSandbox, published: readonly PublishedPort[]): Pick<DesiredSandbox, 'hostLeg'> {
    if (this.#gatePrefix6 === null) return {};
    const { host, gate } = gateAddresses6(this.#gatePrefix6);
    // In no table and on no network: whatever is always the same will do.
    const endpointId = createHash('sha256').update(`host leg ${id}`).digest('hex');
    const hostLeg: HostLeg = {
      ...{ endpointId, ifName: must(parseIfName('host0')), mac: macFrom(endpointId), mtu: this.#mtu },
      ...{ addresses: [gate], hostAddress: host, published },
    };
    return { hostLeg };
  }

  #gatewayLegOf({ gateway }: StoredSandbox): Omit<BridgeLeg, 'isDefault' | 'published'>[] {
    if (gateway === null || this.#gateway === null) return [];
    const prefixLength = this.#gateway.slice(this.#gateway.indexOf('/') + 1);
    const leg = {
      endpointId: gateway.endpointId,
      ifName: must(parseIfName(gateway.ifName)),
      mac: must(parseMac(gateway.mac)),
      mtu: this.#mtu,
      addresses: [must(parseCidr(`${gateway.ip}/${prefixLength}`))],
    };
    return [{ ...leg, bridge: must(parseIfName(gatewayBridgeName)) }];
  }
}

/** Locally administered. */
const macFrom = (hex: string): Mac =>
  must(parseMac(['02', ...[12, 14, 16, 18, 20].map((at) => hex.slice(at, at + 2))].join(':')));

const toPublished = ({ hostIp, ...port }: StoredPort): PublishedPort => ({
  ...port,
  hostIp: hostIp === null ? null : must(parseIp(hostIp)),
});
