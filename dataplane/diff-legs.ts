import type { BridgeLeg, Desired, DesiredSandbox, OverlayLeg } from './desired.ts';
import type { Draft } from './diff.ts';
import { bridgeName, hostPortName, OVERLAY_NETNS, overlayPortName } from './names.ts';
import {
  bridgeObject,
  endpointObject,
  OVERLAY_NETNS_OBJECT,
  overlayObject,
  RULES_OBJECT,
  sandboxObject,
} from './objects.ts';
import type { ObservedDevice, ObservedSandbox } from './observed.ts';
import type { BridgePortAttributes, Ipv6State } from './rtnetlink/links.ts';
import type { DeviceChange, Where } from './steps.ts';
import { addressOf, type Cidr, type IfName, must, parseCidr, prefixLengthOf, prefixOf } from './values.ts';

/** A leg with everything that its side of the host decides. */
interface Place {
  readonly sandbox: DesiredSandbox;
  readonly leg: OverlayLeg | BridgeLeg;
  readonly object: string;
  readonly needs: readonly string[];
  readonly where: Where;
  /** Host-side device, and the bridge that it is a port of. */
  readonly port: IfName;
  readonly master: IfName;
  readonly flags: Partial<BridgePortAttributes>;
}

// Overlay ports: where a MAC is, the tables say; nothing is learned, so no container can draw another's traffic to itself,
// and unknown unicast reaches no neighbour.
const OVERLAY_FLAGS = { learning: false, flood: false, isolated: false } as const;

/** Both ends of every leg, their addresses, and each sandbox's default route. Yields after each leg. */
export function* diffLegs(draft: Draft, desired: Desired): Generator<void> {
  const overlays = new Set<number>(desired.overlays.map((overlay) => overlay.vni));
  const places = desired.sandboxes.flatMap((sandbox) => placesOf(draft, desired, sandbox, overlays));
  // First all that is in the wrong place, so that legs may trade names.
  for (const place of places) removeMisplaced(draft, place);
  const lit = new Set<string>();
  for (const place of places) {
    yield;
    if (!diffLeg(draft, place)) continue;
    if (lit.has(place.sandbox.netns)) continue;
    lit.add(place.sandbox.netns);
    loopback(draft, place.sandbox);
  }
  // A namespace of ours without any leg has its loopback, too.
  for (const sandbox of desired.sandboxes) if (sandbox.owned && !lit.has(sandbox.netns)) loopback(draft, sandbox);
  const gateways = new Map<string, Cidr>(desired.bridges.map(({ name, address }) => [name, address]));
  for (const { sandbox, leg, object, needs } of places) {
    const gateway = 'bridge' in leg && leg.isDefault ? gateways.get(leg.bridge) : undefined;
    if (gateway !== undefined) defaultRoute(draft, sandbox, leg.ifName, addressOf(gateway), object, needs);
  }
}

function placesOf(draft: Draft, desired: Desired, sandbox: DesiredSandbox, overlays: ReadonlySet<number>): Place[] {
  const places: Place[] = [];
  for (const leg of sandbox.overlayLegs) {
    const object = endpointObject(leg.endpointId);
    if (!overlays.has(leg.vni)) {
      draft.conflict(object, `network ${leg.vni} is not wanted on this host`);
      continue;
    }
    places.push({
      sandbox,
      leg,
      object,
      needs: [OVERLAY_NETNS_OBJECT, overlayObject(leg.vni), sandboxObject(sandbox.id)],
      where: OVERLAY_NETNS,
      port: overlayPortName(leg.endpointId),
      master: bridgeName(leg.vni),
      flags: OVERLAY_FLAGS,
    });
  }
  for (const leg of sandbox.bridgeLegs) {
    const object = endpointObject(leg.endpointId);
    const bridge = desired.bridges.find(({ name }) => name === leg.bridge);
    if (bridge === undefined) {
      draft.conflict(object, `there is no bridge ${leg.bridge} on this host yet`);
      continue;
    }
    places.push({
      sandbox,
      leg,
      object,
      needs: [RULES_OBJECT, bridgeObject(bridge.name), sandboxObject(sandbox.id)],
      where: null,
      port: hostPortName(leg.endpointId),
      master: bridge.name,
      // Where br_netfilter is at work, what asks for its own published port never leaves the bridge.
      flags: { isolated: !bridge.icc, hairpin: bridge.icc && leg.published.length > 0 },
    });
  }
  return places;
}

const sandboxOf = (draft: Draft, sandbox: DesiredSandbox): ObservedSandbox | undefined =>
  draft.observed.sandboxes.get(sandbox.netns);

function outerOf(draft: Draft, { where, port }: Place): ObservedDevice | undefined {
  const { host, weft } = draft.observed;
  return (where === null ? host : weft).devices.get(port);
}

function removeMisplaced(draft: Draft, place: Place): void {
  const { sandbox, leg, port, where, object } = place;
  const outer = outerOf(draft, place);
  if (!outer) return;
  const inner = sandboxOf(draft, sandbox)?.devices.get(leg.ifName);
  if (outer.kind === 'veth' && inner?.peer === port) return;
  const why = `${port} does not lead to ${leg.ifName} in ${sandbox.netns}`;
  draft.step('in the way', object, why, { kind: 'device-delete', where, name: port });
  draft.removedPorts.add(port);
}

/** Returns false when the leg cannot be made. */
function diffLeg(draft: Draft, place: Place): boolean {
  const { sandbox, leg, object, needs, where, port } = place;
  let inner = sandboxOf(draft, sandbox)?.devices.get(leg.ifName);
  if (inner && (inner.peer === null || draft.removedPorts.has(inner.peer))) {
    if (inner.peer === null) {
      draft.conflict(object, `${leg.ifName} in ${sandbox.netns} is a ${inner.kind || 'plain'} device that is not ours`);
      return false;
    }
    inner = undefined;
  } else if (inner && inner.peer !== port) {
    draft.conflict(object, `${leg.ifName} in ${sandbox.netns} is taken by ${inner.peer}, a leg of another endpoint`);
    return false;
  }
  const fresh = inner === undefined;
  if (fresh) {
    draft.step(
      'host',
      object,
      'missing',
      {
        kind: 'veth-add',
        where,
        name: port,
        mtu: leg.mtu,
        peerNetns: sandbox.netns,
        peerName: leg.ifName,
        peerMac: leg.mac,
      },
      needs,
    );
  }
  diffOuter(draft, place, fresh ? undefined : outerOf(draft, place));

  const set: { mtu?: number; mac?: OverlayLeg['mac']; up?: true } = {};
  const why: string[] = [];
  if (inner && inner.mac !== leg.mac) {
    set.mac = leg.mac;
    why.push(`differs in MAC (${inner.mac}, not ${leg.mac})`);
  }
  if (inner && inner.mtu !== leg.mtu) {
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
  for (const destination of [...kept, ...('onLink' in leg ? leg.onLink : [])]) {
    if (inner?.up && inner.onLink.has(destination)) continue;
    const action = { kind: 'link-route', where: sandbox.netns, name, destination } as const;
    draft.step('sandboxes', object, `route to ${destination} is missing`, action, needs);
  }
  return true;
}

/**
 * IPv6 is off on a leg without such an address, as Docker has it: else sandboxes of one host would reach each other by
 * link-local addresses, which those of other hosts cannot. Where it is on, router advertisements are not heeded: any
 * container of the network could send one, and addresses and routes are ours to give.
 */
function legIpv6(draft: Draft, { sandbox, leg, object, needs }: Place, there: Ipv6State | undefined): void {
  const ipv6 = hasIpv6(leg) ? 'quiet' : 'off';
  if (there === ipv6) return;
  const what = there === undefined ? 'setting is missing' : there === 'off' ? 'is off' : 'is on';
  const why = ipv6 === 'quiet' && there === 'on' ? 'router advertisements are heeded' : `IPv6 ${what}`;
  const action = { kind: 'leg-ipv6', where: sandbox.netns, name: leg.ifName, ipv6 } as const;
  draft.step('sandboxes', object, `${leg.ifName}: ${why}`, action, needs);
}

const hasIpv6 = ({ addresses }: Pick<OverlayLeg, 'addresses'>): boolean =>
  addresses.some((address) => address.includes(':'));

/** The prefix that the kernel routes to the leg by itself, where it does. */
function ownPrefix(address: Cidr): Cidr[] {
  return prefixLengthOf(address) === (address.includes(':') ? 128 : 32) ? [] : [prefixOf(address)];
}

function diffOuter(draft: Draft, place: Place, there: ObservedDevice | undefined): void {
  const { leg, object, needs, where, port, master, flags } = place;
  const set: { -readonly [K in keyof DeviceChange]: DeviceChange[K] } = {};
  const why: string[] = [];
  if (there && there.mtu !== leg.mtu) {
    set.mtu = leg.mtu;
    why.push(`differs in MTU (${there.mtu}, not ${leg.mtu})`);
  }
  const enslaved = there?.master === master && !draft.replacedBridges.has(master);
  if (!enslaved) {
    set.master = master;
    set.port = flags;
    why.push(there ? `is not a port of ${master}` : 'missing');
  } else {
    const wrong = Object.entries(flags).filter(
      ([flag, on]) => there?.port?.[flag as keyof BridgePortAttributes] !== on,
    );
    if (wrong.length > 0) {
      set.port = flags;
      why.push(`differs in ${wrong.map(([flag]) => flag).join(', ')}`);
    }
  }
  if (!there?.up) {
    set.up = true;
    if (there) why.push('is down');
  }
  if (why.length > 0) {
    const phase = where === null ? 'host' : 'overlays';
    draft.step(phase, object, `${port}: ${why.join(', ')}`, { kind: 'device-set', where, name: port, set }, needs);
  }
  if (where === null) return;
  const macs = enslaved ? (draft.observed.weft.statics.get(port) ?? new Set<string>()) : new Set<string>();
  if (!macs.has(leg.mac)) {
    const write = { op: 'static-put', mac: leg.mac } as const;
    draft.step('entries', object, `static FDB ${leg.mac} is missing`, { kind: 'entry', device: port, write }, needs);
  }
  if (!draft.options.prune) return;
  for (const mac of macs) {
    if (mac === leg.mac) continue;
    const write = { op: 'static-delete', mac } as const;
    draft.step('entries', object, `static FDB ${mac} is extra`, { kind: 'entry', device: port, write }, needs);
  }
}

function loopback(draft: Draft, sandbox: DesiredSandbox): void {
  const there = sandboxOf(draft, sandbox)?.devices.get('lo');
  const name = 'lo' as IfName;
  const object = sandboxObject(sandbox.id);
  // What a sandbox sends to an address of its own comes in by lo. Docker switches IPv6 off there in containers without it.
  if (there?.ipv6 === 'off' && [...sandbox.overlayLegs, ...sandbox.bridgeLegs].some(hasIpv6)) {
    const action = { kind: 'leg-ipv6', where: sandbox.netns, name, ipv6: 'quiet' } as const;
    draft.step('sandboxes', object, 'IPv6 is off on lo', action);
  }
  if (there?.up) return;
  draft.step('sandboxes', object, 'lo is down', { kind: 'device-set', where: sandbox.netns, name, set: { up: true } });
}

function defaultRoute(
  draft: Draft,
  sandbox: DesiredSandbox,
  name: IfName,
  via: ReturnType<typeof addressOf>,
  object: string,
  needs: readonly string[],
): void {
  const observed = sandboxOf(draft, sandbox);
  const route = observed?.defaultRoute ?? null;
  const through = route?.device ? observed?.devices.get(route.device) : undefined;
  if (route && route.via === via && route.device === name && !draft.removedPorts.has(through?.peer ?? '')) return;
  if (route && !through?.peer) {
    const holder = `${route.via ? `via ${route.via} ` : ''}dev ${route.device ?? 'unknown'}`;
    draft.conflict(object, `the default route in ${sandbox.netns} (${holder}) is not ours`);
    return;
  }
  const why = route ? `default route via ${route.via ?? 'nothing'} dev ${route.device}` : 'default route is missing';
  draft.step('sandboxes', object, why, { kind: 'default-route', where: sandbox.netns, via, name }, needs);
}
