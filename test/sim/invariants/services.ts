import { addressesOf } from '../../../controlplane/tables/kinds.ts';
import type { View } from '../../../controlplane/tables/view.ts';
import { type Invariant, running } from '../world.ts';

/** Whose a port is no node may see differently in the end, and no node ever twice. */
export const portsAgreed: Invariant = {
  name: 'all nodes know the same services, and each port has one',
  when: 'agreed',
  check: (world) => {
    const shown = running(world).flatMap(({ name, cluster }) =>
      cluster === null ? [] : [{ name, text: textOf(cluster.view), wrong: wrongIn(cluster.view) }],
    );
    const [first] = shown;
    for (const { name, text, wrong } of shown) {
      if (wrong !== null) return `${name}: ${wrong}`;
      if (text !== first?.text) return `${name} has services ${text}, and ${first?.name} ${first?.text}`;
    }
    return null;
  },
};

/** What a service has lost to an endpoint is known to those alone who follow its network. */
const textOf = ({ services }: View): string =>
  JSON.stringify(
    [...services.values()].map(({ key, ports, lost, vip, lostVip }) => [key, ports, lost, vip ?? lostVip?.vip]).sort(),
  );

/** Nobody shows an address that is somebody else's, too, whatever the others know. */
export const virtualOnce: Invariant = {
  name: 'an address is that of one endpoint, or of one service',
  when: 'always',
  check: (world) => {
    for (const { name, cluster } of running(world)) {
      const { services, networks } = cluster?.view ?? {};
      const held = new Map<string, string>();
      for (const { key, network, vip } of services?.values() ?? []) {
        for (const ip of vip === undefined ? [] : addressesOf(vip)) {
          if (held.has(`${network} ${ip}`)) return `${name}: ${ip} is of ${held.get(`${network} ${ip}`)} and of ${key}`;
          held.set(`${network} ${ip}`, key);
        }
      }
      if (held.size === 0) continue;
      for (const id of networks?.keys() ?? []) {
        for (const endpoint of cluster?.view.endpointsOf(id).values() ?? []) {
          for (const ip of addressesOf(endpoint)) {
            const service = held.get(`${id} ${ip}`);
            if (service !== undefined) return `${name}: ${ip} is of endpoint ${endpoint.id} and of service ${service}`;
          }
        }
      }
    }
    return null;
  },
};

function wrongIn({ services, networks }: View): string | null {
  const held = new Map<number, string>();
  for (const { key, network, ports } of services.values()) {
    if (!networks.has(network)) return `service ${key} is on no network`;
    for (const { published, count } of ports) {
      for (let port = published; port < published + count; port += 1) {
        if (held.has(port)) return `port ${port} is of ${held.get(port)} and of ${key}`;
        held.set(port, key);
      }
    }
  }
  return null;
}
