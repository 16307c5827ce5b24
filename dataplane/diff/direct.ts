import type { Desired, DesiredParent, DesiredSandbox, DirectLeg } from '../desired.ts';
import { isMarked, movedAlias, nameInAlias, OUR_ALIAS, parseOurName } from '../names.ts';
import { endpointObject, leftoverObject, parentObject, sandboxObject } from '../objects.ts';
import type { ObservedDevice, ObservedSandboxDevice } from '../observe/observed.ts';
import { must, parseIfName } from '../values.ts';
import type { Draft } from './diff.ts';
import { defaultRoute, diffInner, sandboxOf } from './inner.ts';

/** Devices of the host that legs hang on. One of that name which somebody else has made is used as it is. */
export function diffParents(draft: Draft, parents: readonly DesiredParent[]): void {
  const { devices } = draft.observed.host;
  for (const parent of parents) {
    const { name } = parent;
    const object = parentObject(name);
    const there = devices.get(name);
    if (parent.kind === 'vlan' && !there && !devices.has(parent.parent)) {
      draft.conflict(object, `its parent ${parent.parent} is not on this host`);
      continue;
    }
    if (!there) {
      const vlan = parent.kind === 'vlan' ? { parent: parent.parent, id: parent.id } : null;
      draft.step('host', object, 'missing', { kind: 'parent-add', name, vlan });
      const set = { alias: OUR_ALIAS, up: true } as const;
      draft.step('host', object, 'missing', { kind: 'device-set', where: null, name, set });
    } else if (isOurParent(name, there)) {
      const marked = there.alias === OUR_ALIAS;
      if (marked && there.up) continue;
      const set = { ...(marked ? {} : { alias: OUR_ALIAS }), ...(there.up ? {} : { up: true as const }) };
      const why = there.up ? 'has not our mark' : 'is down';
      draft.step('host', object, why, { kind: 'device-set', where: null, name, set });
    }
  }
}

/** A device of the host that we made for legs to hang on. */
export const isOurParent = (name: string, { kind, alias }: Pick<ObservedDevice, 'kind' | 'alias'>): boolean =>
  (kind === 'vlan' && alias === OUR_ALIAS) || (kind === 'dummy' && parseOurName(name)?.kind === 'hostParent');

/** Returns false when the leg cannot be made. */
export function diffDirectLeg(draft: Draft, desired: Desired, sandbox: DesiredSandbox, leg: DirectLeg): boolean {
  const object = endpointObject(leg.endpointId);
  const { source } = leg;
  const ofParent =
    source.kind === 'macvlan' && desired.parents.some(({ name }) => name === source.parent)
      ? [parentObject(source.parent)]
      : [];
  const needs = [...ofParent, sandboxObject(sandbox.id)];
  const found = sandboxOf(draft, sandbox)?.devices.get(leg.ifName);
  const there = found?.peer && draft.removedPorts.has(found.peer) ? undefined : found;
  if (there && !isOurs(there, leg)) {
    const what =
      there.peer === null ? `is a ${there.kind || 'plain'} device that is not ours` : `is taken by ${there.peer}`;
    draft.conflict(object, `${leg.ifName} in ${sandbox.netns} ${what}`);
    return false;
  }
  const wrong = there ? differs(there, leg) : null;
  if (there && wrong !== null) {
    const action = { kind: 'device-delete', where: sandbox.netns, name: leg.ifName } as const;
    draft.step('in the way', object, `${leg.ifName} ${wrong}`, action, needs);
    draft.removedInner.add(`${sandbox.netns} ${leg.ifName}`);
  }
  const inner = wrong === null ? there : undefined;
  const { devices } = draft.observed.host;
  if (source.kind === 'macvlan') {
    if (!inner && ofParent.length === 0 && !devices.has(source.parent)) {
      draft.conflict(object, `its parent ${source.parent} is not on this host`);
      return false;
    }
    if (!inner) {
      const { parent, mode } = source;
      const { ifName: name, mac, mtu } = leg;
      const action = { kind: 'macvlan-add', netns: sandbox.netns, name, parent, mode, mac, mtu } as const;
      draft.step('host', object, wrong ?? 'missing', action, needs);
    }
    if (inner?.alias !== OUR_ALIAS) {
      const action = { kind: 'device-set', where: sandbox.netns, name: leg.ifName, set: { alias: OUR_ALIAS } } as const;
      draft.step('sandboxes', object, inner ? `${leg.ifName} has not our mark` : 'missing', action, needs);
    }
  } else if (!inner) {
    if (!devices.has(source.name)) {
      draft.conflict(object, `${source.name}, which its driver was to make, is not on this host`);
      return false;
    }
    const to = { netns: sandbox.netns, name: leg.ifName, alias: movedAlias(source.name) };
    draft.step('host', object, 'missing', { kind: 'device-move', where: null, name: source.name, to }, needs);
  }
  diffInner(draft, { sandbox, leg, object, needs }, inner);
  if (leg.defaultVia !== null) defaultRoute(draft, sandbox, leg.ifName, leg.defaultVia, object, needs);
  return true;
}

function isOurs(there: ObservedSandboxDevice, { source, mac }: DirectLeg): boolean {
  if (there.peer !== null) return false;
  if (source.kind === 'moved') return nameInAlias(there.alias) !== null;
  // The mark comes a moment after the device, which has its MAC from the first.
  return there.kind === 'macvlan' && (there.alias === OUR_ALIAS || there.mac === mac);
}

/** Why a device of ours cannot be kept. */
function differs(there: ObservedSandboxDevice, { source }: DirectLeg): string | null {
  if (source.kind === 'moved') {
    return nameInAlias(there.alias) === source.name ? null : `was ${nameInAlias(there.alias)}, not ${source.name}`;
  }
  const { macvlan } = there;
  if (!macvlan) return null;
  if (macvlan.mode !== source.mode) return `is in mode ${macvlan.mode}, not ${source.mode}`;
  return macvlan.parent === null || macvlan.parent === source.parent
    ? null
    : `hangs on ${macvlan.parent}, not ${source.parent}`;
}

/** Takes out of the sandboxes what nothing wants there any more: back to the host what came from there. */
export function removeUnusedDirectLegs(draft: Draft, desired: Desired): void {
  for (const sandbox of desired.sandboxes) {
    const wanted = new Set<string>(sandbox.directLegs.map(({ ifName }) => ifName));
    for (const [name, device] of sandboxOf(draft, sandbox)?.devices ?? []) {
      if (wanted.has(name) || device.peer !== null || !isMarked(device.alias)) continue;
      const from = nameInAlias(device.alias);
      const object = leftoverObject(`${name} in ${sandbox.netns}`);
      const parsed = must(parseIfName(name));
      draft.removedInner.add(`${sandbox.netns} ${name}`);
      if (from === null) {
        draft.step('unused legs', object, 'extra', { kind: 'device-delete', where: sandbox.netns, name });
      } else {
        const to = { netns: null, name: from, alias: '' };
        draft.step('unused legs', object, 'extra', { kind: 'device-move', where: sandbox.netns, name: parsed, to });
      }
    }
  }
}
