import { isOwnedNetns, OVERLAY_NETNS } from '../names.ts';
import { OUR_TABLES, tableName } from '../nft/tables.ts';
import {
  DEFAULT_PORT,
  type Observed,
  type ObservedDevice,
  type ObservedSandbox,
  type ObservedSandboxDevice,
  routeText,
  tablesOf,
  tableText,
  unknownSandbox,
} from '../observe/observed.ts';
import type { Ipv6State } from '../rtnetlink/links.ts';
import type { DeviceChange, EntryAction, Step, Where } from '../steps.ts';
import { isIpv6, must, parseCidr, prefixOf } from '../values.ts';
import { setChanges } from './tables.ts';

const RANDOM_MAC = '';

/**
 * What the kernel has once the step has succeeded, written into `observed` itself. Lets an unchanged kernel be diffed
 * without listing it again, and is the model of the kernel that the property tests run on.
 */
export function applyToModel(observed: Observed, step: Step): void {
  const { host, weft, sandboxes } = observed;
  switch (step.kind) {
    case 'netns-add':
      if (step.netns === OVERLAY_NETNS) weft.state = 'there';
      else {
        sandboxes.set(step.netns, emptySandbox());
        if (isOwnedNetns(step.netns)) observed.ownedNetns.add(step.netns);
      }
      return;
    case 'netns-delete':
      if (step.netns === OVERLAY_NETNS) {
        weft.state = 'missing';
        weft.quiet = false;
        for (const table of OUR_TABLES) if (table.where === step.netns) observed.tables.delete(tableName(table));
      } else {
        observed.ownedNetns.delete(step.netns);
        const sandbox = sandboxes.get(step.netns);
        for (const device of sandbox?.devices.values() ?? []) if (device.peer) removePort(observed, device.peer);
        sandboxes.delete(step.netns);
      }
      return;
    case 'quieten':
      weft.quiet = true;
      return;
    case 'checksums-in-software': {
      const tunnel = weft.tunnels.get(step.device);
      if (tunnel) tunnel.softwareChecksums = true;
      return;
    }
    case 'ipv6-on': {
      const tunnel = weft.tunnels.get(step.device);
      if (tunnel) tunnel.ipv6 = true;
      return;
    }
    case 'forwarding-on':
      host.forwarding = { on: true, byUs: true };
      return;
    case 'forwarding6-on':
      host.forwarding6 = { on: true, byUs: true, deaf: [], heeding: [...host.forwarding6.heeding, ...step.deaf] };
      return;
    case 'forwarding6-off':
      host.forwarding6 = { on: false, byUs: false, deaf: host.forwarding6.heeding, heeding: [] };
      return;
    case 'loopback6':
      host.loopback6.add(step.name);
      return;
    case 'localnet-on':
      host.localnet.add(step.device);
      return;
    case 'table-replace': {
      const elements = Object.keys(step.table.sets).map((set) => [set, new Set(step.elements.get(set))] as const);
      tablesOf(observed, step.table.where)?.set(tableName(step.table), {
        digest: step.digest,
        elements: new Map(elements),
      });
      return;
    }
    case 'table-delete':
      tablesOf(observed, step.table.where)?.delete(tableName(step.table));
      return;
    case 'elements': {
      const table = tablesOf(observed, step.table.where)?.get(tableName(step.table));
      for (const { op, set, elements } of step.changes) {
        const held = table?.elements.get(set);
        if (held) setChanges(held);
        for (const text of elements)
          if (op === 'add') held?.add(text);
          else held?.delete(text);
      }
      return;
    }
    case 'bridge-add':
      devicesOf(observed, step.where).set(step.name, { ...newDevice('bridge', step.mtu ?? 1500), mac: step.mac });
      return;
    case 'macvlan-add': {
      const { name, parent, mode, mac, netns } = step;
      const mtu = step.mtu ?? host.devices.get(parent)?.mtu ?? 1500;
      const device = { ...newInner('macvlan', mtu), mac: mac ?? RANDOM_MAC, macvlan: { mode, parent } };
      sandboxes.get(netns)?.devices.set(name, device);
      return;
    }
    case 'parent-add':
      host.devices.set(step.name, newDevice(step.vlan ? 'vlan' : 'dummy', 1500));
      return;
    case 'device-move':
      moveDevice(observed, step);
      return;
    case 'vxlan-add': {
      const vxlan = { vni: step.vni, local: step.vtep, port: step.port, learning: false, proxy: true };
      weft.devices.set(step.name, { ...newDevice('vxlan', step.mtu), mac: step.mac, vxlan });
      weft.tunnels.set(step.name, { ipv6: false, softwareChecksums: false, fdb: new Map(), neighbours: new Map() });
      return;
    }
    case 'veth-add': {
      devicesOf(observed, step.where).set(step.name, newDevice('veth', step.mtu));
      const inner = { ...newInner('veth', step.mtu), mac: step.peerMac, peer: step.name };
      sandboxes.get(step.peerNetns)?.devices.set(step.peerName, inner);
      return;
    }
    case 'device-delete':
      removePort(observed, step.name);
      removeDevice(observed, step.where, step.name);
      return;
    case 'device-set':
      setDevice(observed, step.where, step.name, step.set);
      return;
    case 'address-add':
    case 'address-delete':
      changeAddress(observed, step);
      return;
    case 'default-route': {
      const sandbox = sandboxes.get(step.where);
      const route = { via: step.via, device: step.name };
      if (sandbox && isIpv6(step.via)) sandbox.defaultRoute6 = route;
      else if (sandbox) sandbox.defaultRoute = route;
      return;
    }
    case 'forward-inside':
    case 'heed-marks':
    case 'rule-add':
    case 'rule-delete':
    case 'table-route':
    case 'table-route-delete': {
      const sandbox = sandboxes.get(step.where);
      if (sandbox) changeIngress(sandbox, step);
      return;
    }
    case 'leg-ipv6': {
      if (step.where === null) {
        host.quiet6.add(step.name);
        return;
      }
      const devices = sandboxes.get(step.where)?.devices;
      const device = devices?.get(step.name);
      if (devices && device) devices.set(step.name, withIpv6(device, step.ipv6));
      return;
    }
    case 'link-route': {
      const device = sandboxes.get(step.where)?.devices.get(step.name);
      if (device) {
        const onLink = new Set([...device.onLink, step.destination]);
        sandboxes.get(step.where)?.devices.set(step.name, { ...device, onLink });
      }
      return;
    }
    case 'entry':
      writeEntry(observed, step.device, step.write);
  }
}

type IngressStep = Step & {
  readonly kind: 'forward-inside' | 'heed-marks' | 'rule-add' | 'rule-delete' | 'table-route' | 'table-route-delete';
};

function changeIngress(sandbox: ObservedSandbox, step: IngressStep): void {
  switch (step.kind) {
    case 'forward-inside':
      if (step.ipv6) sandbox.forwards6 = step.on;
      else sandbox.forwards = step.on;
      return;
    case 'heed-marks':
      sandbox.heedsMarks.add(step.name);
      return;
    case 'rule-add':
      sandbox.rules.add(step.rule);
      return;
    case 'rule-delete':
      sandbox.rules.delete(step.rule);
      return;
    case 'table-route':
      sandbox.tableRoutes.set(tableText(step), routeText(step.via, step.name));
      return;
    case 'table-route-delete':
      sandbox.tableRoutes.delete(tableText(step));
  }
}

/** What goes with a device of a sandbox. */
function forgetDevice(sandbox: ObservedSandbox, name: string): void {
  sandbox.devices.delete(name);
  sandbox.heedsMarks.delete(name);
  if (sandbox.defaultRoute?.device === name) sandbox.defaultRoute = null;
  if (sandbox.defaultRoute6?.device === name) sandbox.defaultRoute6 = null;
  for (const [table, to] of sandbox.tableRoutes) if (to.endsWith(` ${name}`)) sandbox.tableRoutes.delete(table);
}

/** A device on which IPv6 is switched off loses its addresses and routes. */
function withIpv6(device: ObservedSandboxDevice, ipv6: Ipv6State): ObservedSandboxDevice {
  if (ipv6 !== 'off') return { ...device, ipv6 };
  const ofIpv4 = (prefixes: ReadonlySet<string>): Set<string> =>
    new Set([...prefixes].filter((each) => !each.includes(':')));
  return { ...device, ipv6, addresses: ofIpv4(device.addresses), onLink: ofIpv4(device.onLink) };
}

export function emptySandbox(): ObservedSandbox {
  const nothing = { addresses: new Set<string>(), onLink: new Set<string>(), peer: null };
  const lo = { ...newDevice('', 65536), ...nothing, ipv6: 'on' as const };
  return { ...unknownSandbox('there'), devices: new Map([['lo', lo]]) };
}

function newDevice(kind: string, mtu: number): ObservedDevice {
  return { kind, mtu, mac: RANDOM_MAC, up: false, alias: '', master: null, vxlan: null, port: null };
}

function newInner(kind: string, mtu: number): ObservedSandboxDevice {
  const nothing = { addresses: new Set<string>(), onLink: new Set<string>(), peer: null };
  return { ...newDevice(kind, mtu), ...nothing, ipv6: 'on' };
}

/** A device that changes its namespace goes down, and its addresses and routes stay behind. */
function moveDevice(observed: Observed, { where, name, to }: Step & { kind: 'device-move' }): void {
  const { host, sandboxes } = observed;
  const from = where === null ? host.devices : sandboxes.get(where)?.devices;
  const device = from?.get(name);
  if (!device) return;
  from?.delete(name);
  const sandbox = where === null ? undefined : sandboxes.get(where);
  if (sandbox) forgetDevice(sandbox, name);
  const { kind, mtu, mac } = device;
  if (to.netns === null) host.devices.set(to.name, { ...newDevice(kind, mtu), mac, alias: to.alias });
  else sandboxes.get(to.netns)?.devices.set(to.name, { ...newInner(kind, mtu), mac, alias: to.alias });
}

function devicesOf(observed: Observed, where: Where): Map<string, ObservedDevice> {
  return where === null ? observed.host.devices : observed.weft.devices;
}

function removeDevice(observed: Observed, where: Where, name: string): void {
  if (where !== null && where !== OVERLAY_NETNS) {
    const sandbox = observed.sandboxes.get(where);
    if (sandbox) forgetDevice(sandbox, name);
    return;
  }
  const devices = devicesOf(observed, where);
  if (where === null) {
    forgetHostDevice(observed, name);
  }
  devices.delete(name);
  for (const [portName, port] of devices) {
    if (port.master !== name) continue;
    devices.set(portName, { ...port, master: null, port: null });
    observed.weft.statics.delete(portName);
  }
  if (where === null) return;
  observed.weft.tunnels.delete(name);
  observed.weft.statics.delete(name);
}

/** What goes with a device of the host. */
function forgetHostDevice({ host }: Observed, name: string): void {
  host.devices.delete(name);
  for (const those of [host.addresses, host.localnet, host.quiet6, host.loopback6]) those.delete(name);
}

/** Both ends of a veth go together, and with the inner end its routes. */
function removePort(observed: Observed, name: string): void {
  for (const sandbox of observed.sandboxes.values()) {
    for (const [innerName, inner] of sandbox.devices) {
      if (inner.peer !== name) continue;
      forgetDevice(sandbox, innerName);
      forgetHostDevice(observed, name);
      observed.weft.devices.delete(name);
      observed.weft.statics.delete(name);
    }
  }
}

function setDevice(observed: Observed, where: Where, name: string, set: DeviceChange): void {
  if (where === null || where === OVERLAY_NETNS) {
    const devices = devicesOf(observed, where);
    const device = devices.get(name);
    if (device) devices.set(name, changed(device, set));
    if (set.master !== undefined && where !== null) observed.weft.statics.delete(name);
    return;
  }
  const devices = observed.sandboxes.get(where)?.devices;
  const device = devices?.get(name);
  if (!devices || !device) return;
  const onLink = set.up && !device.up ? withPrefixes(device.onLink, device.addresses) : device.onLink;
  devices.set(name, { ...device, ...changed(device, set), onLink } satisfies ObservedSandboxDevice);
}

/** A device that is up has the kernel's own routes to the prefixes of its addresses. */
function withPrefixes(onLink: ReadonlySet<string>, addresses: Iterable<string>): ReadonlySet<string> {
  return new Set([...onLink, ...[...addresses].map((address) => prefixOf(must(parseCidr(address))))]);
}

function changed(device: ObservedDevice, set: DeviceChange): ObservedDevice {
  const port = set.master !== undefined && set.master !== device.master ? DEFAULT_PORT : device.port;
  return {
    ...device,
    mtu: set.mtu ?? device.mtu,
    mac: set.mac ?? device.mac,
    alias: set.alias ?? device.alias,
    master: set.master ?? device.master,
    up: set.up ?? device.up,
    port: port && set.port ? { ...port, ...set.port } : port,
  };
}

function changeAddress(observed: Observed, step: Step & { kind: 'address-add' | 'address-delete' }): void {
  if (step.where === null) {
    const { addresses } = observed.host;
    const ofDevice = addresses.get(step.name) ?? new Set();
    if (step.kind === 'address-add') addresses.set(step.name, ofDevice.add(step.address));
    else ofDevice.delete(step.address);
    return;
  }
  const devices = observed.sandboxes.get(step.where)?.devices;
  const device = devices?.get(step.name);
  if (!devices || !device) return;
  const addresses = new Set(device.addresses);
  let { onLink } = device;
  if (step.kind === 'address-add') {
    addresses.add(step.address);
    if (device.up) onLink = withPrefixes(onLink, [step.address]);
  } else {
    addresses.delete(step.address);
    const others = withPrefixes(new Set(), addresses);
    const prefix = prefixOf(step.address);
    onLink = new Set([...onLink].filter((each) => each !== prefix || others.has(each)));
  }
  devices.set(step.name, { ...device, addresses, onLink });
}

function writeEntry({ weft }: Observed, device: string, write: EntryAction): void {
  const tunnel = weft.tunnels.get(device);
  switch (write.op) {
    case 'fdb-put':
      tunnel?.fdb.set(write.mac, write.vtep);
      return;
    case 'fdb-delete':
      tunnel?.fdb.delete(write.mac);
      return;
    case 'neighbour-put':
      tunnel?.neighbours.set(write.ip, { mac: write.mac, ours: true });
      return;
    case 'neighbour-delete':
      tunnel?.neighbours.delete(write.ip);
      return;
    case 'static-put': {
      const macs = weft.statics.get(device) ?? new Set();
      weft.statics.set(device, macs.add(write.mac));
      return;
    }
    case 'static-delete':
      weft.statics.get(device)?.delete(write.mac);
  }
}
