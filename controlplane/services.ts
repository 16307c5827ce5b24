import { ControlPlaneError, notManager } from './errors.ts';
import type { NetworkId } from './ids.ts';
import { parseHostPort } from './mesh/address.ts';
import type { HybridClock } from './tables/clock.ts';
import { clusterTopic } from './tables/record.ts';
import {
  maxPortCount,
  maxServicePorts,
  overlapping,
  type PublishedPorts,
  type PublishProtocol,
  parseServiceKey,
  portOf,
  type Service,
  type ServiceKey,
  type ServicePort,
  type ServiceValue,
  serviceKey,
  tupleOf,
  within,
  without,
} from './tables/services.ts';
import type { Tables } from './tables/tables.ts';
import type { Network, View } from './tables/view.ts';

export interface PublishSpec {
  readonly network: Network;
  readonly name: string;
  /** Added to those that the service has. */
  readonly ports: readonly ServicePort[];
  /** @default as the service has it, or else `keep` */
  readonly source?: ServiceValue['source'] | undefined;
  /** @default as the service has it, or else 0 */
  readonly affinityMs?: number | undefined;
}

export interface ServicesInit {
  readonly tables: Pick<Tables, 'put'>;
  readonly view: View;
  readonly clock: HybridClock;
  readonly now: () => number;
  readonly isManager: () => boolean;
}

/** A port that members themselves have. */
interface OwnPort extends PublishedPorts {
  readonly use: string;
}

/** Publishes services: managers only, each port of the cluster once. */
export class Services {
  readonly #init: ServicesInit;

  constructor(init: ServicesInit) {
    this.#init = init;
  }

  /** @throws ControlPlaneError `not_manager` */
  mustBeAbleToPublish(): void {
    if (this.#init.isManager()) return;
    throw notManager('this node is not a manager, and only a manager can publish services');
  }

  /** What `publish` would make. @throws ControlPlaneError as that does */
  previewPublish(spec: PublishSpec): Service {
    return this.#shown(spec.network, spec.name, this.#publishing(spec));
  }

  /**
   * @throws ControlPlaneError `not_manager`, `network_predefined`, `network_internal`, `invalid_port`, `port_reserved`,
   * `port_published`, `too_many_ports`
   */
  async publish(spec: PublishSpec): Promise<Service> {
    return this.#put(spec.network, spec.name, this.#publishing(spec));
  }

  /** What `unpublish` would leave; null for nothing. @throws ControlPlaneError as that does */
  previewUnpublish(network: Network, name: string, ports: readonly PublishedPorts[] | null): Service | null {
    const value = this.#unpublishing(network, name, ports);
    return value.removed ? null : this.#shown(network, name, value);
  }

  /**
   * @param ports null for all; of an entry of several a part may go
   * @returns what is left; null for nothing
   * @throws ControlPlaneError `not_manager`, `service_not_found`, `port_not_published`, `port_labelled`, `too_many_ports`
   */
  async unpublish(network: Network, name: string, ports: readonly PublishedPorts[] | null): Promise<Service | null> {
    const value = this.#unpublishing(network, name, ports);
    const service = await this.#put(network, name, value);
    return value.removed ? null : service;
  }

  /** The same of what endpoints asked for, and do not any more. @throws ControlPlaneError the same */
  async unpublishLabelled(network: Network, name: string, ports: readonly PublishedPorts[]): Promise<void> {
    await this.#put(network, name, this.#unpublishing(network, name, ports, true));
  }

  async #put(network: Network, name: string, value: ServiceValue): Promise<Service> {
    const key = serviceKey(network.id, name);
    await this.#init.tables.put(clusterTopic, `service/${key}`, value);
    return this.#init.view.services.get(key) ?? this.#shown(network, name, value);
  }

  #publishing({ network, name, ports: asked, source, affinityMs }: PublishSpec): ServiceValue {
    this.mustBeAbleToPublish();
    const { view, clock, now } = this.#init;
    mustBePublishable(network);
    const key = serviceKey(network.id, name);
    const record = view.serviceRecord(key);
    const before = record === null || record.removed ? null : record;
    let ports = before?.ports.map(portOf) ?? [];
    for (const port of asked) {
      mustExist(port);
      this.#mustBeFree(key, port);
      const own = ports.find((each) => overlapping(each, port));
      if (own === undefined) ports.push(port);
      else if (!within(port, own)) throw differs(network, name, port, own);
      // What a command publishes stays until a command takes it back.
      else if (own.label && !port.label) ports = [...ports.flatMap((each) => without(each, [port])), port];
    }
    mustFit(name, ports);
    return {
      stamp: [...clock.next(record?.stamp)],
      removed: false,
      ports: ports.map(tupleOf),
      source: source ?? before?.source ?? 'keep',
      affinityMs: affinityMs ?? before?.affinityMs ?? 0,
      createdMs: before?.createdMs ?? now(),
    };
  }

  #unpublishing(
    network: Network,
    name: string,
    going: readonly PublishedPorts[] | null,
    labelled = false,
  ): ServiceValue {
    this.mustBeAbleToPublish();
    const { view, clock } = this.#init;
    const record = view.serviceRecord(serviceKey(network.id, name));
    if (record === null || record.removed) {
      throw new ControlPlaneError(
        'service_not_found',
        `service ${name} on network ${network.name} has no published port`,
        '`weft service ls` lists those that have',
      );
    }
    const before = record.ports.map(portOf);
    const missing = going?.find((each) => !before.some((port) => overlapping(port, each)));
    if (missing !== undefined) {
      throw new ControlPlaneError(
        'port_not_published',
        `port ${portText(missing)} is none of service ${name} on network ${network.name}, which has ${before.map(portText).join(', ')}`,
        '`weft service ls` lists the published ports',
      );
    }
    const staying = before.filter((port) => (port.label ?? false) !== labelled);
    const kept =
      going === null && staying.length < before.length
        ? undefined
        : staying.find((port) => going === null || going.some((each) => overlapping(each, port)));
    if (kept !== undefined && !labelled) {
      throw new ControlPlaneError(
        'port_labelled',
        `port ${portText(kept)} of service ${name} is published by the label of containers`,
        'it goes a minute after the last one of them: stop them, or make them without the label weft.publish',
      );
    }
    const left = before.flatMap((port) => (staying.includes(port) ? port : going === null ? [] : without(port, going)));
    mustFit(name, left);
    const stamp: ServiceValue['stamp'] = [...clock.next(record.stamp)];
    if (left.length === 0) return { ...record, stamp, removed: true };
    return { ...record, stamp, ports: left.map(tupleOf) };
  }

  /** @throws ControlPlaneError `port_reserved`, `port_published` */
  #mustBeFree(key: ServiceKey, port: ServicePort): void {
    const own = ownPorts(this.#init.view).find((each) => overlapping(each, port));
    if (own !== undefined) {
      throw new ControlPlaneError(
        'port_reserved',
        `port ${portText(own)} is the cluster's own, for ${own.use}`,
        'publish another one',
      );
    }
    for (const other of this.#init.view.services.values()) {
      const held = other.key === key ? undefined : other.ports.find((each) => overlapping(each, port));
      if (held === undefined) continue;
      const network = this.#init.view.networks.get(other.network)?.name ?? other.network;
      throw new ControlPlaneError(
        'port_published',
        `port ${portText(held)} is published already, by service ${other.name} on network ${network}`,
        `publish another one, or take that back first: \`weft unpublish --network ${network} ${other.name} ${portText(held)}\``,
      );
    }
  }

  #shown(network: Network, name: string, value: ServiceValue): Service {
    const key = serviceKey(network.id, name);
    const lost = this.#init.view.services.get(key)?.lost ?? [];
    const isLost = (port: ServicePort): boolean => lost.some((each) => overlapping(each.port, port));
    const all = value.ports.map(portOf);
    const ports = all.filter((port) => !isLost(port));
    const left = lost.filter(({ port }) => all.some((each) => overlapping(each, port)));
    return { ...value, key, network: network.id, name, ports, lost: left };
  }
}

/** `8080/tcp`, `8000-8010/udp`. */
export function portText({ protocol, published, count }: PublishedPorts): string {
  return `${rangeText(published, count)}/${protocol}`;
}

const rangeText = (first: number, count: number): string =>
  count === 1 ? `${first}` : `${first}-${first + count - 1}`;

/** `web on network frontend`. */
export function serviceText(view: View, key: ServiceKey): string {
  const { network, name } = parseServiceKey(key) ?? { network: '', name: key };
  return `${name} on network ${view.networks.get(network as NetworkId)?.name ?? network}`;
}

/** What no service can have, since members themselves need it. */
function ownPorts(view: View): OwnPort[] {
  const found: OwnPort[] = [];
  const add = (protocol: PublishProtocol, published: number | undefined, use: string): void => {
    if (published !== undefined) found.push({ protocol, published, count: 1, use });
  };
  add('udp', view.cluster?.dataPathPort, 'VXLAN');
  for (const { gossip, join } of view.nodes.values()) {
    for (const address of gossip) {
      const port = parseHostPort(address)?.port;
      add('tcp', port, 'gossip');
      add('udp', port, 'gossip');
    }
    if (join !== undefined) add('tcp', parseHostPort(join)?.port, 'joins');
  }
  return found;
}

/** @throws ControlPlaneError `network_predefined`, `network_internal` */
function mustBePublishable({ name, ingress, internal }: Network): void {
  if (ingress) {
    throw new ControlPlaneError(
      'network_predefined',
      `${name} carries what is published, and has no services of its own`,
      'name the network on which the endpoints are: `weft endpoint ls` shows it',
    );
  }
  if (internal) {
    throw new ControlPlaneError(
      'network_internal',
      `network ${name} is internal: nothing outside of it is to reach its endpoints`,
      'publish them on another network that they are on, too',
    );
  }
}

/** @throws ControlPlaneError `invalid_port` */
function mustExist(port: ServicePort): void {
  const { published, target, count } = port;
  const last = Math.max(published, target) + count - 1;
  if (Math.min(published, target, count) >= 1 && last <= 65_535 && count <= maxPortCount) return;
  throw new ControlPlaneError(
    'invalid_port',
    `cannot publish ${portText(port)} as ${rangeText(target, count)}`,
    `ports are 1 to 65535, up to ${maxPortCount} at a time`,
  );
}

function differs({ name: network }: Network, name: string, port: ServicePort, own: ServicePort): ControlPlaneError {
  const why =
    port.mode === own.mode
      ? `leads to ${rangeText(own.target, own.count)} already, and ${portText(port)} would lead elsewhere`
      : `is published in mode ${own.mode} already, and would be in mode ${port.mode}`;
  return new ControlPlaneError(
    'port_published',
    `port ${portText(own)} of service ${name} ${why}`,
    `take that back first: \`weft unpublish --network ${network} ${name} ${portText(own)}\``,
  );
}

/** @throws ControlPlaneError `too_many_ports` */
function mustFit(name: string, ports: readonly ServicePort[]): void {
  if (ports.length <= maxServicePorts) return;
  throw new ControlPlaneError(
    'too_many_ports',
    `service ${name} would have ${ports.length} entries of published ports; the limit is ${maxServicePorts}`,
    'publish ranges instead of single ports, such as 8000-8010:8000-8010',
  );
}
