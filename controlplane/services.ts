import { ControlPlaneError, notManager } from './errors.ts';
import {
  differs,
  leadsNowhere,
  mustBePublishable,
  mustExist,
  mustFit,
  notPublished,
  ownPorts,
  portText,
} from './service-checks.ts';
import type { HybridClock } from './tables/clock.ts';
import { clusterTopic } from './tables/record.ts';
import {
  overlapping,
  type PublishedPorts,
  portOf,
  type Service,
  type ServiceKey,
  type ServicePort,
  type ServiceValue,
  serviceKey,
  tupleOf,
  type VirtualAddress,
  within,
  without,
} from './tables/services.ts';
import type { Tables } from './tables/tables.ts';
import type { Network, View } from './tables/view.ts';
import type { VirtualAddresses } from './virtual-addresses.ts';

export interface PublishSpec {
  readonly network: Network;
  readonly name: string;
  /** Added to those that the service has. */
  readonly ports: readonly ServicePort[];
  /** @default as the service has it, or else `keep` */
  readonly source?: ServiceValue['source'] | undefined;
  /** @default as the service has it, or else 0 */
  readonly affinityMs?: number | undefined;
  /** null: nobody. @default as the service has it, or else null */
  readonly prefer?: ServiceValue['prefer'] | null | undefined;
  /** null: as long as they last. @default as the service has it, or else null */
  readonly drainMs?: number | null | undefined;
  /** Whether its name leads to a virtual address. @default as the service has it, or else `dnsrr` */
  readonly mode?: 'vip' | 'dnsrr' | undefined;
}

export interface ServicesInit {
  readonly tables: Pick<Tables, 'put'>;
  readonly view: View;
  readonly clock: HybridClock;
  readonly now: () => number;
  readonly isManager: () => boolean;
  readonly addresses: Pick<VirtualAddresses, 'with'>;
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
  previewPublish(spec: PublishSpec): Promise<Service> {
    return this.#withAddress(spec, async (value) => this.#shown(spec.network, spec.name, value));
  }

  /**
   * @throws ControlPlaneError `not_manager`, `network_predefined`, `network_internal`, `invalid_port`, `port_reserved`,
   * `port_published`, `too_many_ports`, `nothing_published`; for a virtual address as `Allocator.allocate`
   */
  publish(spec: PublishSpec): Promise<Service> {
    return this.#withAddress(spec, (value) => this.#put(spec.network, spec.name, value));
  }

  async #withAddress(spec: PublishSpec, then: (value: ServiceValue) => Promise<Service>): Promise<Service> {
    // What is wrong is said before any address is taken for it.
    const asked = this.#publishing(spec);
    if (spec.mode !== 'vip' || asked.vip !== undefined) return then(asked);
    // The address may take its time, and others may change the service meanwhile.
    return this.#init.addresses.with(spec.network, (vip) => then(this.#publishing(spec, vip)));
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

  /** @param vip for a service that is to have a virtual address, and has none */
  #publishing(spec: PublishSpec, vip?: VirtualAddress): ServiceValue {
    this.mustBeAbleToPublish();
    const { view, clock, now } = this.#init;
    const { network, name } = spec;
    mustBePublishable(network, spec.ports);
    const key = serviceKey(network.id, name);
    const record = view.serviceRecord(key);
    const before = record === null || record.removed ? null : record;
    const ports = this.#portsOf(spec, key, before);
    const { mode, prefer = before?.prefer, drainMs = before?.drainMs } = spec;
    // Of what the service has lost it gets another one.
    const address =
      mode === 'vip' ? (view.services.get(key)?.vip ?? vip) : mode === undefined ? before?.vip : undefined;
    if (ports.length === 0 && address === undefined && mode !== 'vip')
      throw leadsNowhere(network, name, before !== null);
    return {
      stamp: [...clock.next(record?.stamp)],
      removed: false,
      ports: ports.map(tupleOf),
      source: spec.source ?? before?.source ?? 'keep',
      affinityMs: spec.affinityMs ?? before?.affinityMs ?? 0,
      createdMs: before?.createdMs ?? now(),
      ...(prefer == null ? {} : { prefer }),
      ...(drainMs == null ? {} : { drainMs }),
      ...(address === undefined ? {} : { vip: address }),
    };
  }

  /** @throws ControlPlaneError */
  #portsOf({ network, name, ports: asked }: PublishSpec, key: ServiceKey, before: ServiceValue | null): ServicePort[] {
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
    return ports;
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
    if (missing !== undefined) throw notPublished(network, name, missing, before);
    const staying = before.filter((port) => (port.label ?? false) !== labelled);
    // All of it is the virtual address, too.
    const { vip, ...portsAlone } = record;
    const rest: ServiceValue = going === null ? portsAlone : record;
    const kept =
      going === null && (staying.length < before.length || vip !== undefined)
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
    if (left.length === 0 && rest.vip === undefined) return { ...record, stamp, removed: true };
    return { ...rest, stamp, ports: left.map(tupleOf) };
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
    const { lost = [], lostVip } = this.#init.view.services.get(key) ?? {};
    const isLost = (port: ServicePort): boolean => lost.some((each) => overlapping(each.port, port));
    const all = value.ports.map(portOf);
    const ports = all.filter((port) => !isLost(port));
    const left = lost.filter(({ port }) => all.some((each) => overlapping(each, port)));
    const service = { ...value, key, network: network.id, name, ports, lost: left };
    if (lostVip === undefined || lostVip.vip !== value.vip) return service;
    const { vip: _vip, ...without } = service;
    return { ...without, lostVip };
  }
}
