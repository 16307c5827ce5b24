import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Outcome } from '../../../dataplane/apply/apply.ts';
import type { Desired } from '../../../dataplane/desired.ts';
import { applyToModel } from '../../../dataplane/diff/after.ts';
import type { Ear, Grip, Kernel } from '../../../dataplane/kernel.ts';
import { OVERLAY_NETNS } from '../../../dataplane/names.ts';
import {
  emptyObserved,
  type Observed,
  type ObservedDevice,
  unknownSandbox,
} from '../../../dataplane/observe/observed.ts';
import { EEXIST, ENOBUFS, ENODEV, ENOENT, SystemError } from '../../../dataplane/rtnetlink/libc.ts';
import type { Step, Where } from '../../../dataplane/steps.ts';

const EPERM = 1;
const EINVAL = 22;
const EOPNOTSUPP = 95;
const ENETDOWN = 100;
const ETIMEDOUT = 110;

/** How one call fails. The first four leave the kernel as it was, but for what each says. */
export const faults = {
  EEXIST: EEXIST,
  /** Of what is to be deleted: somebody was faster, and that is success. */
  ENOENT: ENOENT,
  EPERM: EPERM,
  /** Of entries: the whole batch is written, and its answers are lost. */
  ENOBUFS: ENOBUFS,
  /** The kernel has done it, and nobody is told. */
  'time-out': ETIMEDOUT,
  /** Of entries: those before are written, those behind are not. Of a device: the first of several changes is made. */
  'half a batch': ENOBUFS,
} as const;
export type Fault = keyof typeof faults;

/**
 * A kernel that is a model. It refuses what the real one refuses, so that steps in a wrong order fail; it counts calls,
 * and fails one of them when asked to.
 */
export class ModelKernel implements Kernel {
  readonly state: Observed = emptyObserved();
  calls = 0;
  steps = 0;
  /** Which call fails (the first is 1), and how. */
  fault: { readonly at: number; readonly how: Fault } | null = null;
  /** Called after each step that may have taken something away. */
  onLoss: (step: Step) => void = () => undefined;

  async observe(desired: Desired): Promise<Observed> {
    // As every real listing does: a loop that retries at once must not keep the others from their turn.
    await nextTurn();
    this.#mayFail();
    return this.#listed(desired);
  }

  async observeNewSandboxes(observed: Observed, desired: Desired): Promise<boolean> {
    const fresh = desired.sandboxes.filter(({ netns }) => !observed.sandboxes.has(netns));
    if (fresh.length === 0) return true;
    this.#mayFail();
    const { sandboxes } = this.#listed(desired);
    let isSure = true;
    for (const { netns } of fresh) {
      const sandbox = sandboxes.get(netns);
      if (!sandbox) continue;
      observed.sandboxes.set(netns, sandbox);
      if ([...sandbox.devices.values()].some(({ kind }) => kind === 'veth')) isSure = false;
    }
    return isSure;
  }

  /** As apply.ts: what fails takes its object's later steps along, and those of objects that need it. */
  async apply(steps: readonly Step[]): Promise<Outcome> {
    const outcome: Outcome = { applied: [], failures: new Map() };
    const { failures } = outcome;
    for (let at = 0; at < steps.length; at++) {
      const step = steps[at] as Step;
      if (failures.has(step.object) || step.needs.some((need) => failures.has(need))) continue;
      const how = this.#nextFault();
      if (how !== null && step.kind === 'entry' && (how === 'ENOBUFS' || how === 'half a batch')) {
        at = this.#loseBatch(steps, at, how, outcome);
        continue;
      }
      const errno = refusal(this.state, step) ?? (how === null ? null : this.#faulty(step, how));
      if (errno !== null) failures.set(step.object, new SystemError(`model: ${step.kind}`, errno));
      else {
        if (how === null) this.#take(step);
        outcome.applied.push(step);
      }
    }
    return outcome;
  }

  /** Connections are no part of the model. */
  hold(): Grip {
    return { set: async () => {}, [Symbol.asyncDispose]: async () => {} };
  }

  listen(): Ear {
    return {
      follow: async () => undefined,
      dropReplaced: () => undefined,
      pause: () => undefined,
      clear: () => undefined,
      resume: async () => undefined,
      [Symbol.dispose]: () => undefined,
    };
  }

  #listed(desired: Desired): Observed {
    const listed = structuredClone(this.state);
    listed.sandboxes.clear();
    for (const { netns } of desired.sandboxes) {
      const sandbox = this.state.sandboxes.get(netns);
      listed.sandboxes.set(netns, sandbox ? structuredClone(sandbox) : unknownSandbox('missing'));
    }
    return listed;
  }

  #nextFault(): Fault | null {
    this.calls++;
    return this.fault?.at === this.calls ? this.fault.how : null;
  }

  #mayFail(): void {
    const how = this.#nextFault();
    if (how !== null) throw new SystemError('model: list', faults[how]);
  }

  #take(step: Step): void {
    this.steps++;
    applyToModel(this.state, step);
    if (/-delete$|-replace$|^device-set$|^entry$|^elements$/.test(step.kind)) this.onLoss(step);
  }

  /** One step that fails; null when it counts as success all the same. */
  #faulty(step: Step, how: Fault): number | null {
    const deletes =
      step.kind.endsWith('-delete') ||
      (step.kind === 'entry' && step.write.op.endsWith('-delete')) ||
      (step.kind === 'elements' && step.changes.every(({ op }) => op === 'delete'));
    if (how === 'ENOENT' && deletes) {
      this.#take(step);
      return null;
    }
    if (how === 'time-out') this.#take(step);
    if (how === 'half a batch' && step.kind === 'device-set') {
      const [first] = Object.entries(step.set);
      if (first) this.#take({ ...step, set: Object.fromEntries([first]) });
    }
    return faults[how];
  }

  /** Returns the place of the last entry of the batch. */
  #loseBatch(steps: readonly Step[], at: number, how: Fault, { applied, failures }: Outcome): number {
    const isEntry = (index: number): boolean => steps[index]?.kind === 'entry';
    let [first, last] = [at, at];
    while (isEntry(first - 1)) first--;
    while (isEntry(last + 1)) last++;
    for (let index = first; index <= last; index++) {
      const step = steps[index] as Step;
      if (index >= at && how === 'ENOBUFS' && refusal(this.state, step) === null) this.#take(step);
      if (index < at && applied.includes(step)) applied.splice(applied.indexOf(step), 1);
      failures.set(step.object, new SystemError('model: write entries', ENOBUFS));
    }
    return last;
  }
}

/** What the kernel says to a step that makes no sense as things are; null when it does. */
export function refusal(state: Observed, step: Step): number | null {
  const devices = (where: Where): ReadonlyMap<string, ObservedDevice> | undefined => {
    if (where === null) return state.host.devices;
    if (where === OVERLAY_NETNS) return state.weft.state === 'there' ? state.weft.devices : undefined;
    return state.sandboxes.get(where)?.devices;
  };
  const fresh = (where: Where, name: string): number | null => {
    const there = devices(where);
    return there === undefined ? ENOENT : there.has(name) ? EEXIST : null;
  };
  switch (step.kind) {
    case 'netns-add':
      if (step.netns === OVERLAY_NETNS) return state.weft.state === 'there' ? EEXIST : null;
      return state.sandboxes.has(step.netns) ? EEXIST : null;
    case 'bridge-add':
      return fresh(step.where, step.name);
    case 'parent-add':
      return fresh(null, step.name);
    case 'macvlan-add':
      return devices(null)?.has(step.parent) ? fresh(step.netns, step.name) : ENODEV;
    case 'vxlan-add': {
      const same = [...state.weft.devices.values()].some(
        ({ vxlan }) => vxlan?.vni === step.vni && vxlan.port === step.port,
      );
      return same ? EEXIST : fresh(OVERLAY_NETNS, step.name);
    }
    case 'veth-add':
      return fresh(step.where, step.name) ?? fresh(step.peerNetns, step.peerName);
    case 'device-set': {
      const device = devices(step.where)?.get(step.name);
      if (!device) return ENODEV;
      if (step.set.master !== undefined && !devices(step.where)?.has(step.set.master)) return ENODEV;
      return step.set.port && !step.set.master && !device.master ? EOPNOTSUPP : null;
    }
    case 'address-add':
      return devices(step.where)?.has(step.name) ? null : ENODEV;
    case 'default-route':
    case 'link-route': {
      const device = devices(step.where)?.get(step.name);
      return device ? (device.up ? null : ENETDOWN) : ENODEV;
    }
    case 'ipv6-on':
      return state.weft.tunnels.has(step.device) ? null : ENOENT;
    case 'entry':
      return entryRefusal(state, step);
    default:
      return null;
  }
}

function entryRefusal({ weft }: Observed, { device, write }: Step & { kind: 'entry' }): number | null {
  if (write.op.endsWith('-delete')) return null;
  const there = weft.devices.get(device);
  if (!there) return ENODEV;
  if (write.op === 'static-put') return there.master === null ? EOPNOTSUPP : null;
  const tunnel = weft.tunnels.get(device);
  if (!tunnel) return EOPNOTSUPP;
  return write.op === 'neighbour-put' && write.ip.includes(':') && !tunnel.ipv6 ? EINVAL : null;
}
