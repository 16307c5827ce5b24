import { setImmediate as nextTurn } from 'node:timers/promises';
import { OVERLAY_NETNS } from '../names.ts';
import { ENODEV, SystemError } from '../rtnetlink/libc.ts';
import type { EntryWrite } from '../rtnetlink/neighbours.ts';
import { NetlinkSocket } from '../rtnetlink/socket.ts';
import { switchOffloadOff } from '../selftest/offload.ts';
import { eachOf, inSlices } from '../slices.ts';
import { ipLines, type Step, stepWhere, type Where } from '../steps.ts';
import { describe, explain } from './explain.ts';
import { LinkChanger } from './links.ts';
import { CommandError, runIpNetns } from './run.ts';
import {
  quietenOverlayNetns,
  setLegIpv6,
  switchForwarding6Off,
  switchForwarding6On,
  switchForwardingOn,
  switchIpv6On,
  switchLocalnetOn,
} from './sysctl.ts';
import { changeTable } from './tables.ts';

/** Sandboxes are independent of each other; more than this would only queue in the kernel's rtnl lock. */
const SANDBOXES_AT_ONCE = 4;
/** Entries that one turn of the event loop may prepare: about 2 ms. */
const ENTRIES_AT_ONCE = 1024;

/** What of the overlay namespace can be set up while sandboxes are. */
const SET_UP: ReadonlySet<Step['kind']> = new Set(['ipv6-on', 'checksums-in-software', 'table-replace', 'elements']);

/** What came of a list of steps. */
export interface Outcome {
  readonly applied: Step[];
  /** Object key to what went wrong with its first step that failed. Its later steps, and those of its dependents, were not tried. */
  readonly failures: Map<string, Error>;
}

/**
 * Indexes of devices of the overlay namespace by name, as far as they were looked up. To ask for one takes the kernel's rtnl
 * lock, as long as the change that it is for; who holds them forgets them when the kernel is listed.
 */
export type DeviceIndexes = Map<string, number>;

/** Runs the steps, in order where the order matters. Never throws for a step that fails: its object fails, the others go on. */
export async function apply(steps: readonly Step[], runDir: string, indexes: DeviceIndexes): Promise<Outcome> {
  const outcome: Outcome = { applied: [], failures: new Map() };
  // A device that is made anew has another index.
  if (steps.some(({ kind }) => kind !== 'entry')) indexes.clear();
  const groups = await inSlices(groupsOf(steps));
  for (let index = 0; index < groups.length; ) {
    const end = endOfParallel(groups, index);
    const sandboxes = groups[end];
    if (end > index && sandboxes) {
      await Promise.all([
        applyInOrder(groups.slice(index, end), runDir, indexes, outcome),
        applyInOrder([sandboxes], runDir, indexes, outcome),
      ]);
      index = end + 1;
    } else {
      await applyInOrder(groups.slice(index, index + 1), runDir, indexes, outcome);
      index++;
    }
  }
  return outcome;
}

/**
 * Once the devices are there, the inside of the sandboxes and the overlay namespace can be set up side by side. The index
 * of the sandboxes' group when nothing but such set-up stands between `start` and it; otherwise `start`.
 */
function endOfParallel(groups: readonly Group[], start: number): number {
  for (let index = start; index < groups.length; index++) {
    const group = groups[index];
    if (group?.kind === 'sandboxes') return index;
    const isSetUp =
      group?.kind === 'entries' ||
      (group?.kind === 'links' && group.steps.every(({ kind }) => kind === 'device-set')) ||
      (group?.kind === 'single' && SET_UP.has(group.step.kind));
    if (!isSetUp) return start;
  }
  return start;
}

async function applyInOrder(
  groups: readonly Group[],
  runDir: string,
  indexes: DeviceIndexes,
  outcome: Outcome,
): Promise<void> {
  for (const group of groups) {
    switch (group.kind) {
      case 'entries':
        for (let from = 0; from < group.steps.length; from += ENTRIES_AT_ONCE) {
          if (from > 0) await nextTurn();
          await applyEntries(runnable(group.steps.slice(from, from + ENTRIES_AT_ONCE), outcome), indexes, outcome);
        }
        break;
      case 'links':
        await applyLinks(group.where, group.steps, outcome);
        break;
      case 'sandboxes':
        await applySandboxes(group.steps, outcome);
        break;
      case 'single':
        for (const step of runnable([group.step], outcome)) await applySingle(step, runDir, outcome);
    }
  }
}

type Group =
  | { readonly kind: 'entries' | 'sandboxes'; readonly steps: Step[] }
  | { readonly kind: 'links'; readonly where: Where; readonly steps: Step[] }
  | { readonly kind: 'single'; readonly step: Step };

function* groupsOf(steps: readonly Step[]): Generator<void, Group[]> {
  const groups: Group[] = [];
  yield* eachOf(steps, (step) => {
    const last = groups.at(-1);
    const where = stepWhere(step);
    if (step.kind === 'entry') {
      if (last?.kind === 'entries') last.steps.push(step);
      else groups.push({ kind: 'entries', steps: [step] });
    } else if (where !== null && where !== OVERLAY_NETNS) {
      if (last?.kind === 'sandboxes') last.steps.push(step);
      else groups.push({ kind: 'sandboxes', steps: [step] });
    } else if (ipLines(step) === null) {
      groups.push({ kind: 'single', step });
    } else if (last?.kind === 'links' && last.where === where) {
      last.steps.push(step);
    } else {
      groups.push({ kind: 'links', where, steps: [step] });
    }
  });
  return groups;
}

function runnable(steps: readonly Step[], { failures }: Outcome): Step[] {
  if (failures.size === 0) return [...steps];
  return steps.filter((step) => !failures.has(step.object) && !step.needs.some((need) => failures.has(need)));
}

async function applySandboxes(steps: readonly Step[], outcome: Outcome): Promise<void> {
  const byNetns = new Map<Where, Step[]>();
  for (const step of steps) {
    const where = stepWhere(step);
    const known = byNetns.get(where);
    if (known) known.push(step);
    else byNetns.set(where, [step]);
  }
  const queue = [...byNetns];
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) await applyLinks(next[0], next[1], outcome);
  };
  await Promise.all(Array.from({ length: Math.min(SANDBOXES_AT_ONCE, queue.length) }, worker));
}

async function applyLinks(where: Where, steps: readonly Step[], outcome: Outcome): Promise<void> {
  let changer: LinkChanger;
  try {
    changer = new LinkChanger(where);
  } catch (error) {
    // What is to be taken out of a namespace has gone with it.
    const gone = (error as NodeJS.ErrnoException).code === 'ENOENT';
    for (const step of runnable(steps, outcome)) {
      if (gone && step.kind.endsWith('-delete')) outcome.applied.push(step);
      else outcome.failures.set(step.object, await explain(step, error));
    }
    return;
  }
  using open = changer;
  for (const step of steps) {
    if (runnable([step], outcome).length === 0) continue;
    try {
      await open.run(step);
      outcome.applied.push(step);
    } catch (error) {
      outcome.failures.set(step.object, await explain(step, error));
    }
  }
}

async function applySingle(step: Step, runDir: string, outcome: Outcome): Promise<void> {
  try {
    switch (step.kind) {
      case 'netns-add':
        await runIpNetns('add', lastPart(step.netns));
        break;
      case 'netns-delete':
        await runIpNetns('del', lastPart(step.netns));
        break;
      case 'quieten':
        quietenOverlayNetns();
        break;
      case 'ipv6-on':
        switchIpv6On(step.device);
        break;
      case 'checksums-in-software':
        switchOffloadOff(step.device);
        break;
      case 'forwarding-on':
        switchForwardingOn(runDir);
        break;
      case 'forwarding6-on':
        switchForwarding6On(runDir);
        break;
      case 'forwarding6-off':
        switchForwarding6Off(runDir);
        break;
      case 'leg-ipv6':
        setLegIpv6(step.where, step.name, step.ipv6);
        break;
      case 'localnet-on':
        switchLocalnetOn(step.device);
        break;
      case 'table-replace':
      case 'table-delete':
      case 'elements':
        await changeTable(step);
        break;
      default:
        throw new Error(`no way to run a step of kind ${step.kind}`);
    }
    outcome.applied.push(step);
  } catch (error) {
    if (step.kind === 'netns-delete' && error instanceof CommandError && error.stderr.includes('No such file')) {
      outcome.applied.push(step);
      return;
    }
    const words = error instanceof CommandError ? error.stderr : messageOf(error);
    outcome.failures.set(step.object, new Error(`${describe(step)}: ${words}`, { cause: error }));
  }
}

const lastPart = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

async function applyEntries(steps: readonly Step[], indexes: DeviceIndexes, outcome: Outcome): Promise<void> {
  if (steps.length === 0) return;
  const fail = (step: Step, error: Error): void => {
    outcome.failures.set(step.object, new Error(`${describe(step)}: ${error.message}`, { cause: error }));
  };
  try {
    using socket = NetlinkSocket.open(OVERLAY_NETNS);
    const missing = new Map<string, SystemError>();
    const indexOf = (name: string): number | SystemError => {
      const known = indexes.get(name) ?? missing.get(name);
      if (known !== undefined) return known;
      const found = lookUp(socket, name);
      if (typeof found === 'number') indexes.set(name, found);
      else missing.set(name, found);
      return found;
    };
    const writes: EntryWrite[] = [];
    const owners: Step[] = [];
    for (const step of steps) {
      if (step.kind !== 'entry') continue;
      const ifindex = indexOf(step.device);
      if (typeof ifindex === 'number') {
        writes.push({ ...step.write, ifindex });
        owners.push(step);
      } else if (step.write.op.endsWith('-delete')) outcome.applied.push(step);
      else fail(step, ifindex);
    }
    const failed = new Map((await socket.write(writes)).map((failure) => [failure.index, failure.error]));
    for (const [index, step] of owners.entries()) {
      const error = failed.get(index);
      if (error) fail(step, error);
      else outcome.applied.push(step);
    }
  } catch (error) {
    for (const step of steps) fail(step, error instanceof Error ? error : new Error(String(error)));
  }
}

function lookUp(socket: NetlinkSocket, name: string): number | SystemError {
  try {
    return socket.link(name).ifindex;
  } catch (error) {
    if (error instanceof SystemError && error.errno === ENODEV) return error;
    throw error;
  }
}
