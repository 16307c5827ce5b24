import { ControlPlaneError } from './errors.ts';
import type { NetworkId } from './ids.ts';
import { parseHostPort } from './mesh/address.ts';
import {
  maxPortCount,
  maxServicePorts,
  type PublishedPorts,
  type PublishProtocol,
  parseServiceKey,
  type ServiceKey,
  type ServicePort,
} from './tables/services.ts';
import type { Network, View } from './tables/view.ts';

// What a service cannot have, and how it is called to people.

/** A port that members themselves have. */
interface OwnPort extends PublishedPorts {
  readonly use: string;
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
export function ownPorts(view: View): OwnPort[] {
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
export function mustBePublishable({ name, ingress, internal }: Network, ports: readonly ServicePort[]): void {
  if (ingress) {
    throw new ControlPlaneError(
      'network_predefined',
      `${name} carries what is published, and has no services of its own`,
      'name the network on which the endpoints are: `weft endpoint ls` shows it',
    );
  }
  if (internal && ports.length > 0) {
    throw new ControlPlaneError(
      'network_internal',
      `network ${name} is internal: nothing outside of it is to reach its endpoints`,
      'publish them on another network that they are on, too',
    );
  }
}

/** @throws ControlPlaneError `invalid_port` */
export function mustExist(port: ServicePort): void {
  const { published, target, count } = port;
  const last = Math.max(published, target) + count - 1;
  if (Math.min(published, target, count) >= 1 && last <= 65_535 && count <= maxPortCount) return;
  throw new ControlPlaneError(
    'invalid_port',
    `cannot publish ${portText(port)} as ${rangeText(target, count)}`,
    `ports are 1 to 65535, up to ${maxPortCount} at a time`,
  );
}

export function differs(
  { name: network }: Network,
  name: string,
  port: ServicePort,
  own: ServicePort,
): ControlPlaneError {
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

export function leadsNowhere({ name: network }: Network, name: string, isThere: boolean): ControlPlaneError {
  return new ControlPlaneError(
    'nothing_published',
    `service ${name} on network ${network} would have neither a published port nor a virtual address`,
    isThere
      ? `take it back: \`weft unpublish --network ${network} ${name}\``
      : `name a port, \`weft publish ${name} 8080:80\`, or ask for an address: \`weft publish --vip ${name}\``,
  );
}

export function notPublished(
  network: Network,
  name: string,
  port: PublishedPorts,
  published: readonly ServicePort[],
): ControlPlaneError {
  return new ControlPlaneError(
    'port_not_published',
    `port ${portText(port)} is none of service ${name} on network ${network.name}, which has ${published.map(portText).join(', ') || 'none'}`,
    '`weft service ls` lists the published ports',
  );
}

/** @throws ControlPlaneError `too_many_ports` */
export function mustFit(name: string, ports: readonly ServicePort[]): void {
  if (ports.length <= maxServicePorts) return;
  throw new ControlPlaneError(
    'too_many_ports',
    `service ${name} would have ${ports.length} entries of published ports; the limit is ${maxServicePorts}`,
    'publish ranges instead of single ports, such as 8000-8010:8000-8010',
  );
}
