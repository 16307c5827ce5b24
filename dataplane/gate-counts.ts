import { elementText } from './nft/elements.ts';
import { meshTable } from './nft/tables.ts';
import { Conntrack } from './rtnetlink/conntrack.ts';
import { NftSocket } from './rtnetlink/nft-tables.ts';
import type { NetnsPath } from './values.ts';

/** Connections that came in at a gate. */
export interface Counted {
  /** That there are now. */
  readonly active: number;
  /** Since the gate's table was made anew, or 30 days without one. */
  readonly total: number;
}

/** By published port and address of the backend, `tcp 8080 10.0.0.4`. Throws SystemError, or ENOENT of node:fs without a gate. */
export async function countsOfGate(netns: NetnsPath): Promise<ReadonlyMap<string, Counted>> {
  const totals = new Map<string, number>();
  using nft = new NftSocket(netns);
  for (const [set, kind] of [
    ['totals', 'total4'],
    ['totals6', 'total6'],
  ] as const) {
    // No such set: there is no table yet, or none of that family.
    await nft.elements(meshTable(netns), set, (element) => {
      const key = elementText(kind, element);
      if (key !== null) totals.set(key, element.packets ?? 0);
    });
  }
  const active = new Map<string, number>();
  using conntrack = new Conntrack(netns);
  await conntrack.visit(({ protocol, toPort, backend }) => {
    const key = `${protocol} ${toPort} ${backend}`;
    active.set(key, (active.get(key) ?? 0) + 1);
  });
  const keys = new Set([...totals.keys(), ...active.keys()]);
  return new Map([...keys].map((key) => [key, { active: active.get(key) ?? 0, total: totals.get(key) ?? 0 }]));
}
