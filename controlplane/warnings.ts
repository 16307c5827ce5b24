import type { NodeId } from './ids.ts';
import type { Networks } from './networks.ts';
import type { Inheritance } from './ring/inheritance.ts';
import { sharedVteps } from './standing.ts';
import type { View } from './tables/view.ts';

interface Estates {
  readonly view: View;
  readonly inheritance: Inheritance;
}

/** What a person should know of addresses, one line each. */
export function addressWarnings({
  self,
  networks,
  ...estates
}: Estates & { self: NodeId; networks: Networks }): string[] {
  const { view, inheritance } = estates;
  const lines = [...networks.warnings()];
  for (const { node } of inheritance.waiting()) lines.push(restsFor(estates, node) ?? '');
  for (const { endpoint } of view.ownership.hidden()) {
    const { name, ip, networkId, owner } = endpoint;
    const network = view.networks.get(networkId);
    if (owner !== self || network === undefined) continue;
    lines.push(
      `${ip} of ${name} on ${network.name} does not belong to this node any more, and others ignore it: ` +
        `\`weft network disconnect ${network.name} ${name}\`, then connect it again`,
    );
  }
  for (const nodes of sharedVteps(view)) {
    const names = nodes.map((id) => `${view.nodes.get(id)?.hostname} (${id})`).join(' and ');
    lines.push(`${names} say they have the same VTEP: \`weft node rm\` the one that is gone`);
  }
  return lines.filter((line) => line !== '');
}

/** What the numbers of a removed node wait for; null when it was not removed. */
export function restsFor({ view, inheritance }: Estates, owner: NodeId): string | null {
  if (!view.isRemoved(owner)) return null;
  const names = inheritance.waitsFor(owner).map((id) => view.nodes.get(id)?.hostname ?? id);
  return `what the removed node ${owner} owned rests until ${names.join(', ') || 'a manager'} has agreed to its heir`;
}
