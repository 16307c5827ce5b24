import { isLeg } from '../diff/inner.ts';
import { isOurHostBridge, isOurHostDevice, OVERLAY_NETNS, parseOurName } from '../names.ts';
import { DEFAULT_PORT, type Observed, type ObservedDevice, tablesOf } from '../observe/observed.ts';
import type { BridgePortAttributes, VxlanAttributes } from '../rtnetlink/links.ts';
import type { Where } from '../steps.ts';

/** Something that the kernel says of one object: what it is now, or (null, or `gone`) that it is not there any more. */
export type KernelEvent =
  | { readonly kind: 'device'; readonly where: Where; readonly name: string; readonly device: ObservedDevice | null }
  | { readonly kind: 'port'; readonly where: Where; readonly name: string; readonly port: BridgePortAttributes }
  | { readonly kind: 'fdb'; readonly device: string; readonly mac: string; readonly vtep: string | null }
  | { readonly kind: 'static'; readonly device: string; readonly mac: string; readonly gone: boolean }
  | {
      readonly kind: 'neighbour';
      readonly device: string;
      readonly ip: string;
      readonly entry: { readonly mac: string; readonly ours: boolean } | null;
    }
  | {
      readonly kind: 'address';
      readonly where: Where;
      readonly device: string;
      readonly address: string;
      readonly gone: boolean;
    }
  | {
      readonly kind: 'route';
      readonly where: Where;
      readonly ipv6: boolean;
      /** `prefix/length`; null is the default route. */
      readonly destination: string | null;
      readonly metric: number;
      readonly via: string | null;
      readonly device: string | null;
      readonly gone: boolean;
    }
  /** The digest that an nft table of ours carries, `altered`, or null when it was deleted. */
  | { readonly kind: 'table'; readonly where: Where; readonly table: string; readonly digest: string | null }
  | {
      readonly kind: 'element';
      readonly where: Where;
      readonly table: string;
      readonly set: string;
      readonly key: string;
      readonly gone: boolean;
    }
  /** A routing rule of ours, as text (observed.ts). */
  | { readonly kind: 'rule'; readonly where: Where; readonly rule: string; readonly gone: boolean }
  /** The default route of a table of ours; both as text (observed.ts). */
  | {
      readonly kind: 'table-route';
      readonly where: Where;
      readonly table: string;
      readonly to: string;
      readonly gone: boolean;
    }
  | { readonly kind: 'forwarding'; readonly where: Where; readonly ipv6: boolean; readonly on: boolean };

/** Events of one object have one key: a later one makes an earlier one of no interest. */
export function keyOf(event: KernelEvent): string {
  switch (event.kind) {
    case 'device':
    case 'port':
      return `${event.kind} ${event.where} ${event.name}`;
    case 'fdb':
    case 'static':
      return `${event.kind} ${event.device} ${event.mac}`;
    case 'neighbour':
      return `neighbour ${event.device} ${event.ip}`;
    case 'address':
      return `address ${event.where} ${event.device} ${event.address}`;
    case 'route':
      return `route ${event.where} ${event.ipv6} ${event.destination} ${event.metric}`;
    case 'table':
      return `table ${event.where} ${event.table}`;
    case 'element':
      return `element ${event.where} ${event.table} ${event.set} ${event.key}`;
    case 'rule':
      return `rule ${event.where} ${event.rule}`;
    case 'table-route':
      return `table-route ${event.where} ${event.table}`;
    case 'forwarding':
      return `forwarding ${event.where} ${event.ipv6}`;
  }
}

/**
 * What of the event is not as it is known to be, in a few words; null when nothing is that matters. Our own changes are
 * told to us like anybody's, so this is asked of the model in which they have been written down. Pure.
 */
export function contradiction(known: Observed, event: KernelEvent): string | null {
  const { host, weft } = known;
  switch (event.kind) {
    case 'device':
      return ofDevice(known, event.where, event.name, event.device);
    case 'port': {
      const port = devicesIn(known, event.where)?.get(event.name)?.port;
      return port && portDiffers(port, event.port) ? `${event.name} has other flags` : null;
    }
    case 'fdb': {
      const there = weft.tunnels.get(event.device)?.fdb.get(event.mac) ?? null;
      return there === event.vtep || !weft.tunnels.has(event.device) ? null : `FDB ${event.mac} on ${event.device}`;
    }
    case 'static': {
      const there = weft.statics.get(event.device)?.has(event.mac) ?? false;
      const isOurs = parseOurName(event.device)?.kind === 'overlayPort';
      return there === !event.gone || !isOurs ? null : `static FDB ${event.mac} on ${event.device}`;
    }
    case 'neighbour': {
      const there = weft.tunnels.get(event.device)?.neighbours.get(event.ip);
      const same = there?.mac === event.entry?.mac && there?.ours === event.entry?.ours;
      return same || !weft.tunnels.has(event.device) ? null : `neighbour ${event.ip} on ${event.device}`;
    }
    case 'address': {
      const addresses = addressesOf(known, event.where, event.device);
      return addresses === null || addresses.has(event.address) === !event.gone
        ? null
        : `address ${event.address} on ${event.device}`;
    }
    case 'route':
      return ofRoute(known, event);
    case 'table':
      return event.digest === (tablesOf(known, event.where)?.get(event.table)?.digest ?? null)
        ? null
        : `nft table ${event.table}`;
    case 'element': {
      const there = tablesOf(known, event.where)?.get(event.table)?.elements.get(event.set)?.has(event.key) ?? false;
      return there === !event.gone ? null : `${event.key} in set ${event.set} of nft table ${event.table}`;
    }
    case 'rule': {
      const there = event.where === null ? undefined : known.sandboxes.get(event.where);
      return !there || there.rules.has(event.rule) === !event.gone ? null : `routing rule ${event.rule}`;
    }
    case 'table-route': {
      const there = event.where === null ? undefined : known.sandboxes.get(event.where);
      const same = there?.tableRoutes.get(event.table) === event.to;
      return !there || same === !event.gone ? null : `route of table ${event.table}`;
    }
    case 'forwarding': {
      const { where, ipv6 } = event;
      const sandbox = where === null ? undefined : known.sandboxes.get(where);
      const ofHost = ipv6 ? host.forwarding6.on : host.forwarding.on;
      const on = where === null ? ofHost : ipv6 ? sandbox?.forwards6 : sandbox?.forwards;
      // Of most sandboxes it is nobody's business.
      return on === undefined || event.on === on ? null : ipv6 ? 'forwarding of IPv6' : 'ip_forward';
    }
  }
}

const NONE: ReadonlySet<string> = new Set();

function devicesIn({ host, weft, sandboxes }: Observed, where: Where): ReadonlyMap<string, ObservedDevice> | undefined {
  if (where === null) return host.devices;
  return where === OVERLAY_NETNS ? weft.devices : sandboxes.get(where)?.devices;
}

function ofDevice(known: Observed, where: Where, name: string, device: ObservedDevice | null): string | null {
  const there = devicesIn(known, where)?.get(name);
  const inSandbox = where !== null && where !== OVERLAY_NETNS;
  if (inSandbox) {
    const sandbox = known.sandboxes.get(where);
    const leg = sandbox?.devices.get(name);
    if (!leg && device && device.mac === sandbox?.awaits) return `${name} is new`;
    // The rest of what is in there is its owner's.
    if (!leg || (!isLeg(leg) && name !== 'lo')) return null;
    if (name === 'lo') return device && leg.up !== device.up ? 'lo' : null;
  }
  if (device === null) return there ? `${name} has gone` : null;
  if (!there) {
    // In the overlays' namespace all is ours or in our way; of the host's devices those that look like ours.
    const ours = where !== null || isOurHostDevice(name) || isOurHostBridge(name, device);
    return ours && devicesIn(known, where) ? `${name} is new` : null;
  }
  const fields = (['kind', 'mtu', 'mac', 'up', 'alias', 'master'] as const).filter(
    // Devices that we have just made have a MAC that we do not know: nobody addresses them.
    (field) => there[field] !== device[field] && !(field === 'mac' && there.mac === ''),
  );
  if (fields.length > 0) return `${fields.join(', ')} of ${name}`;
  if (there.vxlan && device.vxlan && vxlanDiffers(there.vxlan, device.vxlan)) return `VXLAN attributes of ${name}`;
  return there.port && device.port && portDiffers(there.port, device.port) ? `${name} has other flags` : null;
}

function ofRoute(known: Observed, event: KernelEvent & { kind: 'route' }): string | null {
  const sandbox = event.where === null ? undefined : known.sandboxes.get(event.where);
  if (!sandbox) return null;
  const { destination, via, device, gone } = event;
  if (destination !== null) {
    // Another route to a prefix takes nothing away.
    const there = device !== null && sandbox.devices.get(device)?.onLink.has(destination);
    return gone && via === null && there ? `route to ${destination}` : null;
  }
  const defaultRoute = event.ipv6 ? sandbox.defaultRoute6 : sandbox.defaultRoute;
  const same = defaultRoute !== null && defaultRoute.via === via && defaultRoute.device === device;
  return same === gone ? 'default route' : null;
}

function addressesOf({ host, sandboxes }: Observed, where: Where, device: string): ReadonlySet<string> | null {
  if (where !== null) return sandboxes.get(where)?.devices.get(device)?.addresses ?? null;
  // Of the host's devices only the bridges are asked for their addresses, and our ends of legs to the host.
  const there = host.devices.get(device);
  const isAsked = there?.kind === 'bridge' || (there?.master === null && parseOurName(device)?.kind === 'hostPort');
  return isAsked ? (host.addresses.get(device) ?? NONE) : null;
}

const vxlanDiffers = (left: VxlanAttributes, right: VxlanAttributes): boolean =>
  left.vni !== right.vni ||
  left.local !== right.local ||
  left.port !== right.port ||
  left.learning !== right.learning ||
  left.proxy !== right.proxy;

const portDiffers = (left: BridgePortAttributes, right: BridgePortAttributes): boolean =>
  (Object.keys(DEFAULT_PORT) as (keyof BridgePortAttributes)[]).some((flag) => left[flag] !== right[flag]);
