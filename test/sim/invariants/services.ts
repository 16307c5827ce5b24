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

const textOf = ({ services }: View): string =>
  JSON.stringify([...services.values()].map(({ key, ports, lost }) => [key, ports, lost]).sort());

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
