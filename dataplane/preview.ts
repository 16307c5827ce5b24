import type { Desired } from './desired.ts';
import { type Difference, diffInParts } from './diff/diff.ts';
import { randomMac } from './mac.ts';
import type { Observed } from './observe/observed.ts';
import { inSlices } from './slices.ts';
import { commands, type Step } from './steps.ts';
import type { Wanted } from './wanted.ts';

export interface Preview {
  readonly commands: readonly string[];
  readonly conflicts: readonly string[];
}

/** The steps from the kernel to what would be wanted, without those that what is wanted now asks for already. */
export async function previewOf(observed: Observed, now: Wanted | null, desired: Desired): Promise<Preview> {
  const stepsTo = (wanted: Desired): Promise<Difference> =>
    inSlices(diffInParts(wanted, observed, { prune: true, randomMac }));
  const pending = now ? await stepsTo(now.desired) : null;
  const known = new Set(pending?.steps.map(keyOf));
  const { steps, conflicts } = await stepsTo(desired);
  const inTheWay = new Set(pending?.conflicts.map(({ object, why }) => `${object}: ${why}`));
  return {
    commands: steps.filter((step) => !known.has(keyOf(step))).flatMap(commands),
    conflicts: conflicts.map(({ object, why }) => `${object}: ${why}`).filter((line) => !inTheWay.has(line)),
  };
}

/** Steps that do the same; MACs of devices that nobody addresses are made up each time. */
const keyOf = ({ why: _why, ...step }: Step): string =>
  JSON.stringify({ ...step, ...(step.kind === 'bridge-add' || step.kind === 'vxlan-add' ? { mac: '' } : {}) });
