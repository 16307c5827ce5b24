import type { DesiredOverlay, RemoteEndpoint } from '../desired.ts';
import { bridgeName, OVERLAY_NETNS, vxlanName } from '../names.ts';
import { GUARD_OBJECT, OVERLAY_NETNS_OBJECT, overlayObject, remoteObject } from '../objects.ts';
import type { ObservedDevice, ObservedTunnel } from '../observe/observed.ts';
import { Counter } from '../slices.ts';
import type { DeviceChange } from '../steps.ts';
import type { IfName } from '../values.ts';
import type { Draft } from './diff.ts';

/** Bridge, VXLAN device and remote entries of each overlay. */
export function* diffOverlays(draft: Draft, overlays: readonly DesiredOverlay[]): Generator<void> {
  for (const overlay of overlays) {
    diffBridge(draft, overlay);
    const tunnel = diffVxlan(draft, overlay);
    yield* diffRemotes(draft, overlay, tunnel);
  }
}

// Where the guard cannot be put up, a VXLAN device does not come up.
const NETNS_NEED = [OVERLAY_NETNS_OBJECT, GUARD_OBJECT] as const;
const NOTHING: ObservedTunnel = { ipv6: false, softwareChecksums: false, fdb: new Map(), neighbours: new Map() };

function diffBridge(draft: Draft, { vni, mtu }: DesiredOverlay): void {
  const name = bridgeName(vni);
  const object = overlayObject(vni);
  const there = draft.observed.weft.devices.get(name);
  const set: { mtu?: number; up?: true } = {};
  const why: string[] = [];
  if (there?.kind !== 'bridge') {
    if (there) removeInTheWay(draft, object, name, `is a ${there.kind || 'plain'} device, not a bridge`);
    draft.replacedBridges.add(name);
    draft.step(
      'host',
      object,
      there ? 'differs in kind' : 'missing',
      { kind: 'bridge-add', where: OVERLAY_NETNS, name, mtu, mac: draft.options.randomMac() },
      NETNS_NEED,
    );
    set.up = true;
    why.push('missing');
  } else {
    compareCommon(there, mtu, set, why);
  }
  configure(draft, object, name, set, why);
}

/** What no port of this host has goes to the tunnel, and so does what it answers itself: ARP and neighbour discovery. */
const TUNNEL_FLAGS = { learning: false, flood: true, broadcast: true, multicast: true } as const;

/** Returns the entries that the device will have when it is there. */
function diffVxlan(draft: Draft, overlay: DesiredOverlay): ObservedTunnel {
  const { vni, vtep, port, mtu } = overlay;
  const name = vxlanName(vni);
  const object = overlayObject(vni);
  const there = draft.observed.weft.devices.get(name);
  const bridge = bridgeName(vni);
  const wrong = there ? incompatible(there, overlay) : 'missing';
  const set: { mtu?: number; up?: true; master?: IfName; port?: typeof TUNNEL_FLAGS } = {};
  const why: string[] = [];
  if (wrong !== null) {
    if (there) removeInTheWay(draft, object, name, wrong);
    const mac = draft.options.randomMac();
    draft.step('host', object, wrong, { kind: 'vxlan-add', name, vni, vtep, port, mtu, mac }, NETNS_NEED);
    set.up = true;
    why.push(wrong);
  } else if (there) compareCommon(there, mtu, set, why);
  const master = wrong === null && !draft.replacedBridges.has(bridge) ? there?.master : null;
  if (master !== bridge) {
    set.master = bridge;
    set.port = TUNNEL_FLAGS;
    why.push('not a port of its bridge');
  } else {
    const flags = Object.entries(TUNNEL_FLAGS) as [keyof typeof TUNNEL_FLAGS, boolean][];
    const other = flags.filter(([flag, on]) => there?.port?.[flag] !== on);
    if (other.length > 0) {
      set.port = TUNNEL_FLAGS;
      why.push(`differs in ${other.map(([flag]) => flag).join(', ')}`);
    }
  }
  configure(draft, object, name, set, why);
  const tunnel = wrong === null ? (draft.observed.weft.tunnels.get(name) ?? NOTHING) : NOTHING;
  if (!tunnel.ipv6) {
    const text = `${name} cannot hold IPv6 neighbours`;
    draft.step('entries', object, text, { kind: 'ipv6-on', device: name }, NETNS_NEED);
  }
  // Never switched back: an operator may have a reason of their own.
  if (overlay.softwareChecksums && !tunnel.softwareChecksums) {
    const text = `${name} leaves checksums to the network card`;
    draft.step('entries', object, text, { kind: 'checksums-in-software', device: name }, NETNS_NEED);
  }
  return tunnel;
}

/** Why a VXLAN device cannot be kept: none of these can be changed on a device that is there. */
function incompatible({ kind, vxlan }: ObservedDevice, overlay: DesiredOverlay): string | null {
  if (kind !== 'vxlan' || !vxlan) return `is a ${kind || 'plain'} device, not a VXLAN device`;
  if (vxlan.vni !== overlay.vni) return `has VNI ${vxlan.vni}, not ${overlay.vni}`;
  if (vxlan.local !== overlay.vtep) return `has local address ${vxlan.local ?? 'any'}, not ${overlay.vtep}`;
  if (vxlan.port !== overlay.port) return `has UDP port ${vxlan.port}, not ${overlay.port}`;
  if (vxlan.learning) return 'learns addresses from the network';
  if (!vxlan.proxy) return 'does not answer ARP (proxy is off)';
  return null;
}

function* diffRemotes(draft: Draft, { vni, remotes }: DesiredOverlay, tunnel: ObservedTunnel): Generator<void> {
  const applied = tunnel === NOTHING ? undefined : draft.options.appliedRemotes?.get(vni);
  if (applied === remotes) return;
  if (!applied && (yield* holdsExactly(tunnel, remotes))) return;
  const touched = applied ? yield* addressesThatDiffer(applied, remotes) : null;
  const device = vxlanName(vni);
  const needs = [OVERLAY_NETNS_OBJECT, overlayObject(vni)];
  const wantedFdb = new Map<string, RemoteEndpoint>();
  const wantedIps = new Set<string>();
  const count = new Counter();
  for (const remote of remotes) {
    if (count.isFull()) yield;
    if (!touched || touched.macs.has(remote.mac)) wantedFdb.set(remote.mac, remote);
    if (touched && !touched.ips.has(remote.ip)) continue;
    wantedIps.add(remote.ip);
    const neighbour = tunnel.neighbours.get(remote.ip);
    if (neighbour?.mac === remote.mac && neighbour.ours) continue;
    const why = neighbour ? `neighbour is ${neighbour.mac}, not ${remote.mac}` : 'missing';
    const write = { op: 'neighbour-put', ip: remote.ip, mac: remote.mac } as const;
    draft.add('entries', { object: remoteObject(vni, remote.ip), why, needs, kind: 'entry', device, write });
  }
  for (const { mac, vtep } of wantedFdb.values()) {
    if (count.isFull()) yield;
    const there = tunnel.fdb.get(mac);
    if (there === vtep) continue;
    const why = there === undefined ? 'missing' : `FDB leads to ${there}, not ${vtep}`;
    const write = { op: 'fdb-put', mac, vtep } as const;
    draft.add('entries', { object: remoteObject(vni, mac), why, needs, kind: 'entry', device, write });
  }
  if (!draft.options.prune) return;
  for (const mac of touched?.macs ?? tunnel.fdb.keys()) {
    if (count.isFull()) yield;
    if (wantedFdb.has(mac) || !tunnel.fdb.has(mac)) continue;
    const write = { op: 'fdb-delete', mac } as const;
    draft.add('entries', { object: remoteObject(vni, mac), why: 'extra', needs, kind: 'entry', device, write });
  }
  for (const ip of touched?.ips ?? tunnel.neighbours.keys()) {
    if (count.isFull()) yield;
    if (wantedIps.has(ip) || !tunnel.neighbours.get(ip)?.ours) continue;
    const write = { op: 'neighbour-delete', ip } as const;
    draft.add('entries', { object: remoteObject(vni, ip), why: 'extra', needs, kind: 'entry', device, write });
  }
}

/** Whether the tunnel has these entries and no others: what a look finds almost always, told without copies of the lists. */
function* holdsExactly(
  { fdb, neighbours }: ObservedTunnel,
  remotes: readonly RemoteEndpoint[],
): Generator<void, boolean> {
  const { macs, ips } = yield* distinctIn(remotes);
  if (fdb.size !== macs || neighbours.size !== ips) return false;
  const count = new Counter();
  for (const { ip, mac, vtep } of remotes) {
    if (count.isFull()) yield;
    if (fdb.get(mac) !== vtep) return false;
    const neighbour = neighbours.get(ip);
    if (neighbour?.mac !== mac || !neighbour.ours) return false;
  }
  return true;
}

const distinct = new WeakMap<readonly RemoteEndpoint[], { macs: number; ips: number }>();

/** How many addresses there are; an endpoint of both families has one MAC. Counted once for each list. */
function* distinctIn(remotes: readonly RemoteEndpoint[]): Generator<void, { macs: number; ips: number }> {
  const known = distinct.get(remotes);
  if (known) return known;
  const macs = new Set<string>();
  const ips = new Set<string>();
  const count = new Counter();
  for (const { mac, ip } of remotes) {
    if (count.isFull()) yield;
    macs.add(mac);
    ips.add(ip);
  }
  const counted = { macs: macs.size, ips: ips.size };
  distinct.set(remotes, counted);
  return counted;
}

/**
 * Every MAC and IP of the stretch in which two lists differ, from the first difference to the last. A plan keeps the
 * order of what does not change, so the stretch is short, and a set of 10,000 remotes that grows by one is not compared
 * with the kernel's tables entry by entry.
 */
function* addressesThatDiffer(
  before: readonly RemoteEndpoint[],
  after: readonly RemoteEndpoint[],
): Generator<void, { readonly macs: Set<string>; readonly ips: Set<string> }> {
  const count = new Counter();
  let start = 0;
  let endBefore = before.length;
  let endAfter = after.length;
  while (start < endBefore && start < endAfter && isSame(before[start], after[start])) {
    if (count.isFull()) yield;
    start++;
  }
  while (endBefore > start && endAfter > start && isSame(before[endBefore - 1], after[endAfter - 1])) {
    if (count.isFull()) yield;
    endBefore--;
    endAfter--;
  }
  const macs = new Set<string>();
  const ips = new Set<string>();
  for (const stretch of [before.slice(start, endBefore), after.slice(start, endAfter)]) {
    for (const { mac, ip } of stretch) {
      if (count.isFull()) yield;
      macs.add(mac);
      ips.add(ip);
    }
  }
  return { macs, ips };
}

function isSame(left: RemoteEndpoint | undefined, right: RemoteEndpoint | undefined): boolean {
  return left === right || (left?.mac === right?.mac && left?.ip === right?.ip && left?.vtep === right?.vtep);
}

function removeInTheWay(draft: Draft, object: string, name: IfName, why: string): void {
  draft.step('in the way', object, `${name} ${why}`, { kind: 'device-delete', where: OVERLAY_NETNS, name });
}

function compareCommon(there: ObservedDevice, mtu: number, set: { mtu?: number; up?: true }, why: string[]): void {
  if (there.mtu !== mtu) {
    set.mtu = mtu;
    why.push(`differs in MTU (${there.mtu}, not ${mtu})`);
  }
  if (!there.up) {
    set.up = true;
    why.push('is down');
  }
}

function configure(draft: Draft, object: string, name: IfName, set: DeviceChange, why: readonly string[]): void {
  if (why.length === 0) return;
  draft.step(
    'overlays',
    object,
    `${name}: ${why.join(', ')}`,
    { kind: 'device-set', where: OVERLAY_NETNS, name, set },
    NETNS_NEED,
  );
}
