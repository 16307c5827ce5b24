import type { DesiredSandbox } from '../desired.ts';
import { isMarked } from '../names.ts';
import { sandboxObject } from '../objects.ts';
import type { ObservedSandbox, ObservedSandboxDevice } from '../observe/observed.ts';
import type { Ipv6State } from '../rtnetlink/links.ts';
import {
  type Cidr,
  type IfName,
  type Ip,
  isIpv6,
  type Mac,
  must,
  parseCidr,
  prefixLengthOf,
  prefixOf,
} from '../values.ts';
import type { Draft } from './diff.ts';

/** A leg as the sandbox sees it, whatever is behind it. */
export interface InnerPlace {
  readonly sandbox: DesiredSandbox;
  readonly leg: {
    readonly ifName: IfName;
    /** null: whatever it has. */
    readonly mac: Mac | null;
    readonly mtu: number | null;
    readonly addresses: readonly Cidr[];
    readonly onLink?: readonly Cidr[];
  };
  readonly object: string;
  readonly needs: readonly string[];
}

export const sandboxOf = (draft: Draft, sandbox: DesiredSandbox): ObservedSandbox | undefined =>
  draft.observed.sandboxes.get(sandbox.netns);

/** A device of the sandbox that is one of our legs: with its other end in a place of ours, or with our mark. */
export const isLeg = ({ peer, alias }: ObservedSandboxDevice): boolean => peer !== null || isMarked(alias);

/** What a leg has in the sandbox: its settings, addresses and routes. @param inner what is there, and will be after the steps so far */
export function diffInner(draft: Draft, place: InnerPlace, inner: ObservedSandboxDevice | undefined): void {
  const { sandbox, leg, object, needs } = place;
  const set: { mtu?: number; mac?: Mac; up?: true } = {};
  const why: string[] = [];
  if (inner && leg.mac !== null && inner.mac !== leg.mac) {
    set.mac = leg.mac;
    why.push(`differs in MAC (${inner.mac}, not ${leg.mac})`);
  }
  if (inner && leg.mtu !== null && inner.mtu !== leg.mtu) {
    set.mtu = leg.mtu;
    why.push(`differs in MTU (${inner.mtu}, not ${leg.mtu})`);
  }
  if (!inner?.up) {
    set.up = true;
    why.push(inner ? 'is down' : 'missing');
  }
  const name = leg.ifName;
  const addresses = inner?.addresses ?? new Set<string>();
  legIpv6(draft, place, inner?.ipv6);
  for (const address of leg.addresses) {
    if (addresses.has(address)) continue;
    const action = { kind: 'address-add', where: sandbox.netns, name, address } as const;
    draft.step('sandboxes', object, `address ${address} is missing`, action, needs);
  }
  if (draft.options.prune) {
    for (const other of addresses) {
      if (leg.addresses.some((address) => address === other)) continue;
      const action = { kind: 'address-delete', where: sandbox.netns, name, address: must(parseCidr(other)) } as const;
      draft.step('sandboxes', object, `address ${other} is extra`, action, needs);
    }
  }
  if (why.length > 0) {
    const text = `${name}: ${why.join(', ')}`;
    draft.step('sandboxes', object, text, { kind: 'device-set', where: sandbox.netns, name, set }, needs);
  }
  // Behind the step that sets it up: a device that is down takes no route.
  // The kernel itself adds the first of them, when the device comes up or gets its address.
  const kept = inner?.up ? leg.addresses.flatMap((address) => (addresses.has(address) ? ownPrefix(address) : [])) : [];
  for (const destination of [...kept, ...(leg.onLink ?? [])]) {
    if (inner?.up && inner.onLink.has(destination)) continue;
    const action = { kind: 'link-route', where: sandbox.netns, name, destination } as const;
    draft.step('sandboxes', object, `route to ${destination} is missing`, action, needs);
  }
}

/**
 * IPv6 is off on a leg without such an address, as Docker has it: else sandboxes of one host would reach each other by
 * link-local addresses, which those of other hosts cannot. Where it is on, router advertisements are not heeded: any
 * container of the network could send one, and addresses and routes are ours to give.
 */
function legIpv6(draft: Draft, { sandbox, leg, object, needs }: InnerPlace, there: Ipv6State | undefined): void {
  const ipv6 = hasIpv6(leg) ? 'quiet' : 'off';
  if (there === ipv6) return;
  const what = there === undefined ? 'setting is missing' : there === 'off' ? 'is off' : 'is on';
  const why = ipv6 === 'quiet' && there === 'on' ? 'router advertisements are heeded' : `IPv6 ${what}`;
  const action = { kind: 'leg-ipv6', where: sandbox.netns, name: leg.ifName, ipv6 } as const;
  draft.step('sandboxes', object, `${leg.ifName}: ${why}`, action, needs);
}

const hasIpv6 = ({ addresses }: { readonly addresses: readonly Cidr[] }): boolean =>
  addresses.some((address) => address.includes(':'));

/** The prefix that the kernel routes to the leg by itself, where it does. */
function ownPrefix(address: Cidr): Cidr[] {
  return prefixLengthOf(address) === (address.includes(':') ? 128 : 32) ? [] : [prefixOf(address)];
}

/** A sandbox's loopback is up. */
export function loopback(draft: Draft, sandbox: DesiredSandbox): void {
  const there = sandboxOf(draft, sandbox)?.devices.get('lo');
  const name = 'lo' as IfName;
  const object = sandboxObject(sandbox.id);
  // What a sandbox sends to an address of its own comes in by lo. Docker switches IPv6 off there in containers without it.
  if (there?.ipv6 === 'off' && [...sandbox.overlayLegs, ...sandbox.bridgeLegs, ...sandbox.directLegs].some(hasIpv6)) {
    const action = { kind: 'leg-ipv6', where: sandbox.netns, name, ipv6: 'quiet' } as const;
    draft.step('sandboxes', object, 'IPv6 is off on lo', action);
  }
  if (there?.up) return;
  draft.step('sandboxes', object, 'lo is down', { kind: 'device-set', where: sandbox.netns, name, set: { up: true } });
}

/** The sandbox's default route goes that way; one that is not ours is left, and named. */
export function defaultRoute(
  draft: Draft,
  sandbox: DesiredSandbox,
  name: IfName,
  via: Ip,
  object: string,
  needs: readonly string[],
): void {
  const observed = sandboxOf(draft, sandbox);
  const route = (isIpv6(via) ? observed?.defaultRoute6 : observed?.defaultRoute) ?? null;
  const through = route?.device ? observed?.devices.get(route.device) : undefined;
  const goes =
    draft.removedPorts.has(through?.peer ?? '') || draft.removedInner.has(`${sandbox.netns} ${route?.device}`);
  if (route && route.via === via && route.device === name && !goes) return;
  if (route && !(through && isLeg(through))) {
    const holder = `${route.via ? `via ${route.via} ` : ''}dev ${route.device ?? 'unknown'}`;
    draft.conflict(object, `the default route in ${sandbox.netns} (${holder}) is not ours`);
    return;
  }
  const why = route ? `default route via ${route.via ?? 'nothing'} dev ${route.device}` : 'default route is missing';
  draft.step('sandboxes', object, why, { kind: 'default-route', where: sandbox.netns, via, name }, needs);
}
