import type { NodeId } from './ids.ts';
import type { Liveness } from './liveness/liveness.ts';
import type { Networks } from './networks.ts';
import type { Inheritance } from './ring/inheritance.ts';
import { portText, serviceText } from './service-checks.ts';
import { sharedVteps } from './standing.ts';
import { maxSkewMs } from './tables/clock.ts';
import { addressesOf } from './tables/kinds.ts';
import type { Tables } from './tables/tables.ts';
import type { Network, View } from './tables/view.ts';

interface Estates {
  readonly view: View;
  readonly inheritance: Inheritance;
}

interface Addressing extends Estates {
  readonly self: NodeId;
  readonly networks: Networks;
  readonly liveness: Pick<Liveness, 'isSuspended'>;
}

/** What a person should know of addresses, one line each. */
export function addressWarnings({ self, networks, liveness, ...estates }: Addressing): string[] {
  const { view, inheritance } = estates;
  const lines = [...networks.warnings()];
  for (const { node } of inheritance.waiting()) lines.push(restsFor(estates, node) ?? '');
  for (const { endpoint } of view.ownership.hidden()) {
    const { name, networkId, owner } = endpoint;
    const network = view.networks.get(networkId);
    if (owner !== self || network === undefined) continue;
    lines.push(
      `${addressesOf(endpoint).join(' and ')} of ${name} on ${network.name} does not belong to this node any more, and others ignore it: ` +
        `\`weft network disconnect ${network.name} ${name}\`, then connect it again`,
    );
  }
  for (const [vtep, nodes] of sharedVteps(view)) {
    const nameOf = (id: NodeId): string => `${view.nodes.get(id)?.hostname} (${id})`;
    const down = nodes.filter((id) => liveness.isSuspended(id));
    const advice =
      down.length > 0
        ? `\`weft node rm\` what is gone for good of those that are down, ${down.map(nameOf).join(' and ')}`
        : 'all of them live, so one has a wrong data-path-addr, or lies; its own endpoints are not reached';
    lines.push(`${nodes.map(nameOf).join(' and ')} say they have the same VTEP ${vtep}: ${advice}`);
  }
  return lines.filter((line) => line !== '');
}

/** Two halves of a cluster can give one name at the same time. It means the older network, everywhere. */
export function nameWarnings(view: View): string[] {
  const byName = new Map<string, Network[]>();
  for (const network of view.networks.values()) {
    byName.set(network.name, [...(byName.get(network.name) ?? []), network]);
  }
  return [...byName].flatMap(([name, all]) => {
    const means = view.networkByName(name);
    return all.flatMap((network) => {
      if (network === means || means === null) return [];
      const [older, id] = [means, network].map((each) => each.id.slice(0, 12));
      return (
        `two networks have the name ${name}, made while their makers did not see each other: it means the older one, ${older}; ` +
        `the other is known by its id alone: when nothing is on it any more, \`weft network rm ${id}\``
      );
    });
  });
}

/** Two halves of a cluster can publish one port at the same time. It is the older service's, everywhere. */
export function serviceWarnings(view: View): string[] {
  return [...view.services.values()].flatMap(({ key, network, name, lost, lostVip }) => {
    const on = view.networks.get(network)?.name;
    const ports = lost.map(
      ({ port, to }) =>
        `port ${portText(port)} of service ${serviceText(view, key)} is that of service ${serviceText(view, to)}, which is older; both were published while their ` +
        `publishers did not see each other: \`weft unpublish --network ${on} ${name} ${portText(port)}\`, ` +
        'and publish another one',
    );
    if (lostVip === undefined) return ports;
    const { vip, why } = lostVip;
    return [
      ...ports,
      `service ${serviceText(view, key)} has lost its virtual address ${addressesOf(vip).join(' and ')}: ${why}; its name leads to its endpoints until ` +
        `it has another one: \`weft publish --network ${on} --vip ${name}\``,
    ];
  });
}

// More names than that say that it is this node's own clock.
const maxNames = 5;

/** One line when clocks of others are further from this node's than one may be off, or null. */
export function clockWarning({ self, view, tables }: { self: NodeId; view: View; tables: Tables }): string | null {
  const offsets = view.stampsAhead();
  for (const [node, { offsetMs }] of tables.propagation.clocks()) {
    if (Math.abs(offsetMs) > maxSkewMs) offsets.set(node, offsetMs);
    // It was set right; what it had stamped before that stays in the tables.
    else offsets.delete(node);
  }
  offsets.delete(self);
  if (offsets.size === 0) return null;
  const names = [...offsets].slice(0, maxNames).map(([id, offsetMs]) => {
    const seconds = Math.round(Math.abs(offsetMs) / 1000);
    return `${view.nodes.get(id)?.hostname ?? id} (${id}) is ${seconds} s ${offsetMs > 0 ? 'ahead' : 'behind'}`;
  });
  const more = offsets.size > maxNames ? ` and ${offsets.size - maxNames} more` : '';
  return `clocks differ from this node's: ${names.join(', ')}${more}; set them right, or of two changes the wrong one may count`;
}

/** What the numbers of a removed node wait for; null when it was not removed. */
export function restsFor({ view, inheritance }: Estates, owner: NodeId): string | null {
  if (!view.isRemoved(owner)) return null;
  const names = inheritance.waitsFor(owner).map((id) => view.nodes.get(id)?.hostname ?? id);
  return `what the removed node ${owner} owned rests until ${names.join(', ') || 'a manager'} has agreed to its heir`;
}
