import { apply } from './apply/apply.ts';
import { readForwarding, restoreForwarding } from './apply/sysctl.ts';
import type { Desired } from './desired.ts';
import { diff } from './diff/diff.ts';
import type { Log } from './log.ts';
import { randomMac } from './mac.ts';
import { namedNamespaces } from './named-netns.ts';
import { OVERLAY_NETNS } from './names.ts';
import { leftoverObject } from './objects.ts';
import { observe, observeTraces } from './observe/observe.ts';
import type { Observed } from './observe/observed.ts';
import { commands, type Step } from './steps.ts';

export const NOTHING: Desired = { overlays: [], sandboxes: [], bridges: [], parents: [], guard: null, agentPorts: [] };

/** Steps that remove all that is ours, by name alone, but what is to be kept. Pure. */
export function cleanUpSteps(observed: Observed, keep: Desired = NOTHING): Step[] {
  const steps = [...diff(keep, observed, { prune: true, randomMac }).steps];
  if (observed.weft.state !== 'missing' && keep.overlays.length === 0) {
    const object = leftoverObject(OVERLAY_NETNS);
    steps.push({ object, needs: [], why: 'extra', kind: 'netns-delete', netns: OVERLAY_NETNS });
  }
  return steps;
}

/** Besides all that is listed otherwise, what we have in the namespaces of others' containers. */
async function observeAll(keep: Desired, runDir: string): Promise<Observed> {
  const observed = await observe(keep, runDir);
  await observeTraces(observed, await namedNamespaces());
  return observed;
}

/** What `cleanUp` would do, as commands that a person with a root shell could run. */
export async function cleanUpCommands(runDir: string, keep: Desired = NOTHING): Promise<string[]> {
  const restores = keep.bridges.length === 0 && readForwarding(runDir).byUs;
  return commandsOf(cleanUpSteps(await observeAll(keep, runDir), keep), restores);
}

const commandsOf = (steps: readonly Step[], restoresForwarding: boolean): string[] => [
  ...steps.flatMap(commands),
  ...(restoresForwarding ? ['sysctl -w net.ipv4.ip_forward=0'] : []),
];

export interface CleanUpOptions {
  readonly log: Log;
  readonly runDir: string;
  /** What is still wanted of it. @default nothing */
  readonly keep?: Desired;
}

/**
 * Removes all that is ours from this host's kernel, with no state loaded and no data plane running. Safe to repeat.
 * Resolves to what it did, as such commands. Throws AggregateError of what could not be removed, after trying everything.
 */
export async function cleanUp({ log, runDir, keep = NOTHING }: CleanUpOptions): Promise<string[]> {
  const steps = cleanUpSteps(await observeAll(keep, runDir), keep);
  const { applied, failures } = await apply(steps, runDir, new Map());
  const forwardingRestored = keep.bridges.length === 0 && restoreForwarding(runDir);
  log.info({ removed: applied.length, forwardingRestored }, `removed ${applied.length} objects of ours`);
  if (failures.size > 0) {
    const errors = [...failures.values()];
    throw new AggregateError(errors, `clean up: ${errors.map((error) => error.message).join('; ')}`);
  }
  return commandsOf(applied, forwardingRestored);
}
