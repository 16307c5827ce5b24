import {
  contains,
  formatSubnet,
  ipv4ToNumber,
  isNetworkSubnet,
  numberToIpv4,
  parseSubnet,
  type Subnet,
  SubnetPool,
} from './addresses.ts';
import { ControlPlaneError } from './errors.ts';
import { type NetworkId, type NodeId, newNetworkId } from './ids.ts';
import type { Allocator, RingSpace } from './ring/allocator.ts';
import type { HybridClock } from './tables/clock.ts';
import type { NetworkValue } from './tables/kinds.ts';
import { clusterTopic } from './tables/record.ts';
import type { Tables } from './tables/tables.ts';
import type { Network, RingId, View } from './tables/view.ts';

/** First VNI that is handed out, as Docker's overlay driver. */
export const firstVni = 4096;
const vniCount = 2 ** 24 - firstVni;
/** The network that every cluster has, as in Swarm. */
export const ingressName = 'ingress';

export interface NetworkSpec {
  readonly name: string;
  /** IPv4 prefix; from the cluster's pool when absent. */
  readonly subnet?: string;
  readonly gateway?: string;
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly ingress: boolean;
  readonly options: { readonly [key: string]: string };
  readonly labels: { readonly [key: string]: string };
}

export interface NetworksInit {
  readonly tables: Tables;
  readonly view: View;
  readonly clock: HybridClock;
  readonly allocator: Allocator;
  readonly now: () => number;
  readonly isManager: () => boolean;
  /** Prefixes that this host routes elsewhere; no automatic subnet overlaps one. */
  readonly avoid: () => readonly string[];
  /** Addresses of endpoints that this host keeps, also before they are announced (again). @default none */
  readonly held?: ((network: NetworkId) => readonly string[]) | undefined;
}

/** Makes and removes networks: managers only, names unique, subnet and VNI from rings like every other number. */
export class Networks {
  readonly #init: NetworksInit;
  /** Names that are being created here right now. */
  readonly #creating = new Set<string>();

  constructor(init: NetworksInit) {
    this.#init = init;
  }

  /** @throws ControlPlaneError `not_manager`, `network_exists`, `invalid_subnet`, `invalid_gateway`, `exhausted` */
  async create(spec: NetworkSpec): Promise<Network> {
    this.#needManager('create a network');
    const { view } = this.#init;
    if (view.networkByName(spec.name) !== null || this.#creating.has(spec.name)) {
      throw new ControlPlaneError(
        'network_exists',
        `network with name ${spec.name} already exists`,
        'choose another name',
      );
    }
    this.#creating.add(spec.name);
    try {
      return await this.#create(spec);
    } finally {
      this.#creating.delete(spec.name);
    }
  }

  async #create(spec: NetworkSpec): Promise<Network> {
    const { tables, allocator, clock } = this.#init;
    const chosen = spec.subnet === undefined ? null : checkedSubnet(spec.subnet);
    if (chosen !== null && spec.gateway !== undefined) checkedGateway(chosen, spec.gateway);
    const vniIndex = await allocator.allocate('vni');
    let subnetIndex: number | null = null;
    let made = false;
    try {
      if (chosen === null) subnetIndex = await allocator.allocate('subnet');
      const subnet = chosen ?? poolOf(this.#init.view).at(subnetIndex ?? 0);
      const gateway = spec.gateway ?? numberToIpv4(subnet.base + 1);
      checkedGateway(subnet, gateway);
      const id = newNetworkId();
      const value: NetworkValue = {
        stamp: [...clock.next()],
        removed: false,
        name: spec.name,
        vni: firstVni + vniIndex,
        subnet: formatSubnet(subnet),
        gateway,
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: spec.ingress,
        options: { ...spec.options },
        labels: { ...spec.labels },
        createdMs: this.#init.now(),
        root: tables.self,
      };
      await tables.put(clusterTopic, `network/${id}`, value);
      made = true;
      return { ...value, id };
    } finally {
      allocator.release('vni', vniIndex, made);
      if (subnetIndex !== null) allocator.release('subnet', subnetIndex, made);
    }
  }

  /** @throws ControlPlaneError `not_manager`, `network_in_use`, `network_predefined` */
  async remove(network: Network): Promise<void> {
    this.#needManager('remove a network');
    if (network.ingress) {
      throw new ControlPlaneError('network_predefined', `${network.name} is the ingress network and cannot be removed`);
    }
    const endpoints = this.#init.view.endpointsOf(network.id);
    if (endpoints.size > 0) {
      const nodes = new Set(
        [...endpoints.values()].map(({ owner }) => this.#init.view.nodes.get(owner)?.hostname ?? owner),
      );
      throw new ControlPlaneError(
        'network_in_use',
        `network ${network.name} has active endpoints: ${endpoints.size} on ${[...nodes].sort().join(', ')}`,
        `disconnect them first: \`weft endpoint ls --network ${network.name}\` lists them`,
      );
    }
    const { id, ...value } = network;
    await this.#init.tables.put(clusterTopic, `network/${id}`, {
      ...value,
      removed: true,
      stamp: [...this.#init.clock.next(network.stamp)],
    });
    const [index] = [...poolOf(this.#init.view).overlapping(mustSubnet(network.subnet))];
    if (index !== undefined) this.#init.allocator.rest('subnet', index);
    this.#init.allocator.rest('vni', network.vni - firstVni);
  }

  /** What the allocator has to know of a ring. */
  spaceOf(ring: RingId): RingSpace | null {
    const { view } = this.#init;
    const { cluster } = view;
    if (cluster === null) return null;
    const root = cluster.root as NodeId;
    if (ring === 'vni') {
      const taken = new Set([...view.networks.values()].map(({ vni }) => vni - firstVni));
      return { size: vniCount, root, taken, name: 'the VNI space' };
    }
    if (ring === 'subnet') {
      const pool = poolOf(view);
      const used = [...view.networks.values()].map(({ subnet }) => subnet);
      const prefixes = [...used, ...this.#init.avoid()].flatMap((text) => parseSubnet(text) ?? []);
      // The default route overlaps everything and is no reason to avoid anything.
      const taken = new Set(
        prefixes.flatMap((prefix) => (prefix.prefixLength === 0 ? [] : [...pool.overlapping(prefix)])),
      );
      return { size: pool.size, root, taken, name: `the address pool ${cluster.pools.join(', ')}` };
    }
    const network = view.networks.get(ring);
    if (network === undefined) return null;
    const subnet = mustSubnet(network.subnet);
    const taken = new Set([0, subnet.size - 1, ipv4ToNumber(network.gateway) - subnet.base]);
    for (const { ip } of view.endpointsOf(ring).values()) taken.add(ipv4ToNumber(ip) - subnet.base);
    for (const ip of this.#init.held?.(ring) ?? []) taken.add(ipv4ToNumber(ip) - subnet.base);
    return {
      size: subnet.size,
      root: network.root as NodeId,
      taken,
      name: `network ${network.name} (${network.subnet})`,
    };
  }

  #needManager(what: string): void {
    if (this.#init.isManager()) return;
    throw new ControlPlaneError(
      'not_manager',
      `this node is not a manager, and only a manager can ${what}`,
      'run the command on a manager: `weft node ls` shows which nodes are',
    );
  }
}

/** Offset of an address in its network; the address at an offset. */
export const offsetOf = (network: Network, ip: string): number => ipv4ToNumber(ip) - mustSubnet(network.subnet).base;
export const addressAt = (network: Network, offset: number): string =>
  numberToIpv4(mustSubnet(network.subnet).base + offset);
export const prefixLengthOf = (network: Network): number => mustSubnet(network.subnet).prefixLength;

function poolOf(view: View): SubnetPool {
  return new SubnetPool(view.cluster?.pools ?? [], view.cluster?.subnetBits ?? 24);
}

function checkedSubnet(text: string): Subnet {
  const subnet = parseSubnet(text);
  if (subnet === null || !isNetworkSubnet(text)) {
    throw new ControlPlaneError(
      'invalid_subnet',
      `${text} cannot be a network's subnet`,
      'want an IPv4 prefix from /8 to /29 without host bits, such as 10.20.0.0/24',
    );
  }
  return subnet;
}

function checkedGateway(subnet: Subnet, text: string): void {
  const address = parseSubnet(`${text}/32`);
  const offset = address === null ? -1 : address.base - subnet.base;
  if (address !== null && contains(subnet, address.base) && offset > 0 && offset < subnet.size - 1) return;
  throw new ControlPlaneError(
    'invalid_gateway',
    `gateway ${text} is not a host address of ${formatSubnet(subnet)}`,
    'leave --gateway out, or give an address inside the subnet',
  );
}

/** Subnets in the tables were checked when the record came in. */
function mustSubnet(text: string): Subnet {
  const subnet = parseSubnet(text);
  if (subnet === null) throw new Error(`not a subnet: ${text}`);
  return subnet;
}
