import { apply } from './apply.ts';
import type { Desired } from './desired.ts';
import { diff } from './diff.ts';
import type { Log } from './log.ts';
import { randomMac } from './mac.ts';
import { OVERLAY_NETNS } from './names.ts';
import { leftoverObject } from './objects.ts';
import { observe } from './observe.ts';
import type { Observed } from './observed.ts';
import { commands, type Step } from './steps.ts';
import { readForwarding, restoreForwarding } from './sysctl.ts';

const NOTHING: Desired = { overlays: [], sandboxes: [], bridges: [], guard: null };

/** Steps that remove all that is ours, by name alone. Pure. */
export function cleanUpSteps(observed: Observed): Step[] {
  const steps = [...diff(NOTHING, observed, { prune: true, randomMac }).steps];
  if (observed.weft.state !== 'missing') {
    const object = leftoverObject(OVERLAY_NETNS);
    steps.push({ object, needs: [], why: 'extra', kind: 'netns-delete', netns: OVERLAY_NETNS });
  }
  return steps;
}

/** What `cleanUp` would do, as commands that a person with a root shell could run. */
export async function cleanUpCommands(runDir: string): Promise<string[]> {
  return commandsOf(cleanUpSteps(await observe(NOTHING, runDir)), readForwarding(runDir).byUs);
}

const commandsOf = (steps: readonly Step[], restoresForwarding: boolean): string[] => [
  ...steps.flatMap(commands),
  ...(restoresForwarding ? ['sysctl -w net.ipv4.ip_forward=0'] : []),
];

/**
 * Removes all that is ours from this host's kernel, with no state loaded and no data plane running. Safe to repeat.
 * Resolves to what it did, as such commands. Throws AggregateError of what could not be removed, after trying everything.
 */
export async function cleanUp({ log, runDir }: { readonly log: Log; readonly runDir: string }): Promise<string[]> {
  const steps = cleanUpSteps(await observe(NOTHING, runDir));
  const { applied, failures } = await apply(steps, runDir, new Map());
  const forwardingRestored = restoreForwarding(runDir);
  log.info({ removed: applied.length, forwardingRestored }, `removed ${applied.length} objects of ours`);
  if (failures.size > 0) {
    const errors = [...failures.values()];
    throw new AggregateError(errors, `clean up: ${errors.map((error) => error.message).join('; ')}`);
  }
  return commandsOf(applied, forwardingRestored);
}
