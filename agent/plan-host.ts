import type { BridgeLeg, Desired, DesiredBridge, DesiredSandbox, PublishedPort } from '../dataplane/desired.ts';
import { gatewayBridgeName } from '../dataplane/gateway-subnet.ts';
import { type Cidr, must, parseCidr, parseIfName, parseIp, parseMac } from '../dataplane/values.ts';
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
  readonly #mtu: number;
  readonly #networks: NetworksById;

  constructor({ gateway, underlayMtu, localNetworks }: Omit<Attachments, 'sandboxes'>) {
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

const toPublished = ({ hostIp, ...port }: StoredPort): PublishedPort => ({
  ...port,
  hostIp: hostIp === null ? null : must(parseIp(hostIp)),
});
