import type { BridgeLeg, Desired, DesiredBridge, DesiredSandbox, Handed, HostLeg, OverlayLeg } from '../desired.ts';
import { bridgeName, HOST_NETNS, hostPortName, OVERLAY_NETNS, overlayPortName } from '../names.ts';
import {
  bridgeObject,
  endpointObject,
  OVERLAY_NETNS_OBJECT,
  overlayObject,
  RULES_OBJECT,
  sandboxObject,
} from '../objects.ts';
import type { ObservedDevice } from '../observe/observed.ts';
import type { BridgePortAttributes } from '../rtnetlink/links.ts';
import type { DeviceChange, Where } from '../steps.ts';
import { addressOf, type IfName, must, parseCidr, parseIfName } from '../values.ts';
import type { Draft } from './diff.ts';
import { diffDirectLeg } from './direct.ts';
import { defaultRoute, diffInner, loopback, sandboxOf } from './inner.ts';

/** A leg with everything that its side of the host decides. */
interface Place {
  readonly sandbox: DesiredSandbox;
  readonly leg: OverlayLeg | BridgeLeg | HostLeg;
  readonly object: string;
  readonly needs: readonly string[];
  readonly where: Where;
  /** Host-side device, and the bridge that it is a port of; null: of none. */
  readonly port: IfName;
  readonly master: IfName | null;
  readonly flags: Partial<BridgePortAttributes>;
}

// Overlay ports: where a MAC is, the tables say; nothing is learned, so no container can draw another's traffic to itself,
// and unknown unicast reaches no neighbour. ARP and neighbour discovery do.
const OVERLAY_FLAGS = { learning: false, flood: false, isolated: false, broadcast: true, multicast: true } as const;

/** Both ends of every leg, their addresses, and each sandbox's default route. Yields after each leg. */
export function* diffLegs(draft: Draft, desired: Desired): Generator<void> {
  const overlays = new Set<number>(desired.overlays.map((overlay) => overlay.vni));
  const bridges = new Map<string, DesiredBridge>(desired.bridges.map((bridge) => [bridge.name, bridge]));
  const places = desired.sandboxes.flatMap((sandbox) => placesOf(draft, bridges, sandbox, overlays));
  // First all that is in the wrong place, so that legs may trade names.
  for (const place of places) removeMisplaced(draft, place);
  const lit = new Set<string>();
  for (const place of places) {
    yield;
    const handed = handedOf(place);
    if (handed) diffHanded(draft, place, handed);
    if (handed || !diffLeg(draft, place)) continue;
    if (lit.has(place.sandbox.netns)) continue;
    lit.add(place.sandbox.netns);
    loopback(draft, place.sandbox);
  }
  for (const sandbox of desired.sandboxes) {
    for (const leg of sandbox.directLegs) {
      if (!diffDirectLeg(draft, desired, sandbox, leg) || lit.has(sandbox.netns)) continue;
      lit.add(sandbox.netns);
      loopback(draft, sandbox);
    }
  }
  // A namespace of ours without any leg has its loopback, too.
  for (const sandbox of desired.sandboxes) if (sandbox.owned && !lit.has(sandbox.netns)) loopback(draft, sandbox);
  for (const { sandbox, leg, object, needs } of places) {
    const gateway =
      'hostAddress' in leg
        ? leg.hostAddress
        : 'bridge' in leg && leg.isDefault
          ? bridges.get(leg.bridge)?.address
          : undefined;
    if (gateway !== undefined) defaultRoute(draft, sandbox, leg.ifName, addressOf(gateway), object, needs);
  }
}

function placesOf(
  draft: Draft,
  bridges: ReadonlyMap<string, DesiredBridge>,
  sandbox: DesiredSandbox,
  overlays: ReadonlySet<number>,
): Place[] {
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
    const bridge = bridges.get(leg.bridge);
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
  if (sandbox.hostLeg) {
    const leg = sandbox.hostLeg;
    places.push({
      ...{ sandbox, leg, object: endpointObject(leg.endpointId), needs: [RULES_OBJECT, sandboxObject(sandbox.id)] },
      ...{ where: null, port: hostPortName(leg.endpointId), master: null, flags: {} },
    });
  }
  return places;
}

const handedOf = ({ leg }: Place): Handed | undefined => ('vni' in leg ? leg.handed : undefined);

function outerOf(draft: Draft, { where, port }: Place): ObservedDevice | undefined {
  const { host, weft } = draft.observed;
  return (where === null ? host : weft).devices.get(port);
}

function removeMisplaced(draft: Draft, place: Place): void {
  const { sandbox, leg, port, master, where, object } = place;
  const outer = outerOf(draft, place);
  if (!outer || handedOf(place)) return;
  const inner = sandboxOf(draft, sandbox)?.devices.get(leg.ifName);
  const isFree = master !== null || outer.master === null;
  if (outer.kind === 'veth' && inner?.peer === port && isFree) return;
  const why = `${port} does not lead to ${leg.ifName} in ${sandbox.netns}`;
  draft.step('in the way', object, why, { kind: 'device-delete', where, name: port });
  draft.removedPorts.add(port);
}

/** Returns false when the leg cannot be made. */
function diffLeg(draft: Draft, place: Place): boolean {
  const { sandbox, leg, object, needs, where, port } = place;
  let inner = sandboxOf(draft, sandbox)?.devices.get(leg.ifName);
  if (inner && (inner.peer === null || draft.removedPorts.has(inner.peer))) {
    if (inner.peer === null && !draft.removedInner.has(`${sandbox.netns} ${leg.ifName}`)) {
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

  diffInner(draft, place, inner);
  return true;
}

/** Our end of a leg that is handed over, and the MTU of the other one: a smaller one on one end alone loses bulk traffic. */
function diffHanded(draft: Draft, place: Place, { waitsAs, taken }: Handed): void {
  const { sandbox, leg, object, needs, where, port } = place;
  const outer = outerOf(draft, place);
  if (outer === undefined && taken) {
    draft.conflict(object, `${port} does not exist any more: its sandbox has to be started anew`);
    return;
  }
  if (outer === undefined) {
    const peer = { peerNetns: HOST_NETNS, peerName: waitsAs, peerMac: leg.mac };
    draft.step('host', object, 'missing', { kind: 'veth-add', where, name: port, mtu: leg.mtu, ...peer }, needs);
  }
  diffOuter(draft, place, outer);
  for (const [name, { peer, mtu }] of sandboxOf(draft, sandbox)?.devices ?? []) {
    if (peer !== port || mtu === leg.mtu) continue;
    const why = `${name}: differs in MTU (${mtu}, not ${leg.mtu})`;
    const set = { mtu: leg.mtu };
    draft.step('sandboxes', object, why, {
      kind: 'device-set',
      where: sandbox.netns,
      name: must(parseIfName(name)),
      set,
    });
  }
}

function diffOuter(draft: Draft, place: Place, there: ObservedDevice | undefined): void {
  const { leg, object, needs, where, port, master, flags } = place;
  const set: { -readonly [K in keyof DeviceChange]: DeviceChange[K] } = {};
  const why: string[] = [];
  if (there && there.mtu !== leg.mtu) {
    set.mtu = leg.mtu;
    why.push(`differs in MTU (${there.mtu}, not ${leg.mtu})`);
  }
  const enslaved = there?.master === master && !draft.replacedBridges.has(master ?? '');
  if (master !== null && !enslaved) {
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
    why.push(there ? 'is down' : 'missing');
  }
  // Before it is up: a device that begins without duplicate address detection is of use at once.
  if ('hostAddress' in leg) quietHostEnd(draft, place, there);
  if (why.length > 0) {
    const phase = where === null ? 'host' : 'overlays';
    draft.step(phase, object, `${port}: ${why.join(', ')}`, { kind: 'device-set', where, name: port, set }, needs);
  }
  if ('hostAddress' in leg) diffHostEnd(draft, place, leg, there);
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

/** A sandbox could send router advertisements by it. */
function quietHostEnd(draft: Draft, { object, needs, port: name }: Place, there: ObservedDevice | undefined): void {
  if (there && draft.observed.host.quiet6.has(name)) return;
  const action = { kind: 'leg-ipv6', where: null, name, ipv6: 'quiet' } as const;
  draft.step('host', object, `${name}: IPv6 is off, or router advertisements are heeded`, action, needs);
}

/** The host's own end of a leg. Behind the step that has it up: a device that is down takes no route. */
function diffHostEnd(
  draft: Draft,
  { object, needs, port: name }: Place,
  { hostAddress: address, published }: HostLeg,
  there: ObservedDevice | undefined,
): void {
  const { host } = draft.observed;
  const up = there?.up === true;
  const addresses = there ? (host.addresses.get(name) ?? new Set<string>()) : new Set<string>();
  // Whatever of IPv6 a device has goes when it goes down.
  if (!up || !addresses.has(address)) {
    const action = { kind: 'address-add', where: null, name, address } as const;
    draft.step('host', object, `${name}: address ${address} is missing`, action, needs);
  }
  for (const other of draft.options.prune ? addresses : []) {
    if (other === address) continue;
    const action = { kind: 'address-delete', where: null, name, address: must(parseCidr(other)) } as const;
    draft.step('host', object, `${name}: address ${other} is extra`, action, needs);
  }
  if (published.length > 0 && !(up && host.loopback6.has(name))) {
    const action = { kind: 'loopback6', name } as const;
    draft.step('host', object, `${name}: the route to ::1 is missing`, action, needs);
  }
}
