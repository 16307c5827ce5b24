import type { Desired } from './desired.ts';

/** Devices of the host that a wanted state has to do with, besides those that have our names. */
export function namesOnHost({ bridges, parents, sandboxes }: Desired): Set<string> {
  const names = new Set<string>([...bridges, ...parents].map(({ name }) => name));
  for (const parent of parents) if (parent.kind === 'vlan') names.add(parent.parent);
  for (const { directLegs } of sandboxes) {
    for (const { source } of directLegs) names.add(source.kind === 'macvlan' ? source.parent : source.name);
  }
  return names;
}
