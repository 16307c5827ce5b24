import type { DesiredOverlay } from './desired.ts';
import type { Draft } from './diff.ts';
import { bridgeName, OVERLAY_NETNS, vxlanName } from './names.ts';
import { OVERLAY_NETNS_OBJECT, overlayObject, remoteObject } from './objects.ts';
import type { ObservedDevice, ObservedTunnel } from './observed.ts';
import type { DeviceChange } from './steps.ts';
import type { IfName } from './values.ts';

/** Bridge, VXLAN device and remote entries of each overlay. */
export function diffOverlays(draft: Draft, overlays: readonly DesiredOverlay[]): void {
  for (const overlay of overlays) {
    diffBridge(draft, overlay);
    const tunnel = diffVxlan(draft, overlay);
    diffRemotes(draft, overlay, tunnel);
  }
}

const NETNS_NEED = [OVERLAY_NETNS_OBJECT] as const;
const NOTHING: ObservedTunnel = { fdb: new Map(), neighbours: new Map() };

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

/** Returns the entries that the device will have when it is there. */
function diffVxlan(draft: Draft, overlay: DesiredOverlay): ObservedTunnel {
  const { vni, vtep, port, mtu } = overlay;
  const name = vxlanName(vni);
  const object = overlayObject(vni);
  const there = draft.observed.weft.devices.get(name);
  const bridge = bridgeName(vni);
  const wrong = there ? incompatible(there, overlay) : 'missing';
  const set: { mtu?: number; up?: true; master?: IfName; port?: { learning: boolean } } = {};
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
    set.port = { learning: false };
    why.push('not a port of its bridge');
  } else if (there?.port?.learning !== false) {
    set.port = { learning: false };
    why.push('learning is on');
  }
  configure(draft, object, name, set, why);
  return wrong === null ? (draft.observed.weft.tunnels.get(name) ?? NOTHING) : NOTHING;
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

function diffRemotes(draft: Draft, { vni, remotes }: DesiredOverlay, tunnel: ObservedTunnel): void {
  if (tunnel !== NOTHING && draft.options.appliedRemotes?.get(vni) === remotes) return;
  const device = vxlanName(vni);
  const needs = [OVERLAY_NETNS_OBJECT, overlayObject(vni)];
  const wantedFdb = new Map<string, (typeof remotes)[number]>();
  const wantedIps = new Set<string>();
  for (const remote of remotes) {
    wantedFdb.set(remote.mac, remote);
    wantedIps.add(remote.ip);
    const neighbour = tunnel.neighbours.get(remote.ip);
    if (neighbour?.mac === remote.mac && neighbour.ours) continue;
    const why = neighbour ? `neighbour is ${neighbour.mac}, not ${remote.mac}` : 'missing';
    const write = { op: 'neighbour-put', ip: remote.ip, mac: remote.mac } as const;
    draft.step('entries', remoteObject(vni, remote.ip), why, { kind: 'entry', device, write }, needs);
  }
  for (const { mac, vtep } of wantedFdb.values()) {
    const there = tunnel.fdb.get(mac);
    if (there === vtep) continue;
    const why = there === undefined ? 'missing' : `FDB leads to ${there}, not ${vtep}`;
    const write = { op: 'fdb-put', mac, vtep } as const;
    draft.step('entries', remoteObject(vni, mac), why, { kind: 'entry', device, write }, needs);
  }
  if (!draft.options.prune) return;
  for (const mac of tunnel.fdb.keys()) {
    if (wantedFdb.has(mac)) continue;
    const write = { op: 'fdb-delete', mac } as const;
    draft.step('entries', remoteObject(vni, mac), 'extra', { kind: 'entry', device, write }, needs);
  }
  for (const [ip, neighbour] of tunnel.neighbours) {
    if (!neighbour.ours || wantedIps.has(ip)) continue;
    const write = { op: 'neighbour-delete', ip } as const;
    draft.step('entries', remoteObject(vni, ip), 'extra', { kind: 'entry', device, write }, needs);
  }
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
