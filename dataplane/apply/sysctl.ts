import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { OVERLAY_NETNS } from '../names.ts';
import { inNetns } from '../rtnetlink/libc.ts';
import type { IfName, NetnsPath } from '../values.ts';

// /proc/sys/net shows the namespace of the thread that opens it, so these are synchronous on purpose.

const FORWARDING = '/proc/sys/net/ipv4/ip_forward';
const FORWARDING6 = '/proc/sys/net/ipv6/conf/all/forwarding';

/**
 * Settings of the overlay namespace (Documentation/networking/ip-sysctl.rst). A new device starts with no IPv6 of its own, and,
 * where IPv6 must be on all the same, no link-local address (addr_gen_mode 1) and no ear for router advertisements, so that
 * nothing is ever sent. Bridged frames are shown to no IP firewall (br_netfilter): there is none in there, and to pass its
 * hooks took 7 % of the kernel's time for a small packet.
 */
export const OVERLAY_SETTINGS: Readonly<Record<string, string>> = {
  'net.ipv6.conf.default.addr_gen_mode': '1',
  'net.ipv6.conf.default.accept_ra': '0',
  'net.ipv6.conf.default.disable_ipv6': '1',
  'net.bridge.bridge-nf-call-arptables': '0',
  'net.bridge.bridge-nf-call-iptables': '0',
  'net.bridge.bridge-nf-call-ip6tables': '0',
};
const settingPath = (name: string): string => `/proc/sys/${name.replaceAll('.', '/')}`;
const ipv6Setting = (device: string, name: string): string => `/proc/sys/net/ipv6/conf/${device}/${name}`;

/** Empty when the kernel has no such setting. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** True when they are so, as far as the kernel has them. */
export function overlayNetnsIsQuiet(): boolean {
  return inNetns(OVERLAY_NETNS, () =>
    Object.entries(OVERLAY_SETTINGS).every(([name, value]) => ['', value].includes(read(settingPath(name)))),
  );
}

export function quietenOverlayNetns(): void {
  inNetns(OVERLAY_NETNS, () => {
    for (const [name, value] of Object.entries(OVERLAY_SETTINGS)) {
      const path = settingPath(name);
      if (!['', value].includes(read(path))) writeFileSync(path, value);
    }
  });
}

/** Which devices of the overlay namespace take IPv6 neighbours; without IPv6 in the kernel there is nothing to switch on. */
export function devicesWithIpv6(devices: Iterable<string>): Set<string> {
  return inNetns(
    OVERLAY_NETNS,
    () => new Set([...devices].filter((device) => read(ipv6Setting(device, 'disable_ipv6')) !== '1')),
  );
}

/** Lets a VXLAN device hold IPv6 neighbours, so that it can answer neighbour solicitations. It gets no address by it. */
export function switchIpv6On(device: IfName): void {
  inNetns(OVERLAY_NETNS, () => {
    const path = ipv6Setting(device, 'disable_ipv6');
    if (read(path) === '1') writeFileSync(path, '0');
  });
}

/** Settings of a sandbox's leg, or of a bridge of the host, in the order in which they are written. */
export const legSettings = (ipv6: 'off' | 'quiet'): readonly (readonly [name: string, value: string])[] =>
  ipv6 === 'off'
    ? [['disable_ipv6', '1']]
    : [
        ['accept_ra', '0'],
        // Our addresses have one owner each, and without an address of the link, which this keeps back for a second, nobody is asked
        // for a neighbour.
        ['accept_dad', '0'],
        ['disable_ipv6', '0'],
      ];

/** On a device without IPv6, which is what one with an MTU below 1280 is (RFC 8200), there is nothing to switch off. Throws errors of node:fs. */
export function setLegIpv6(netns: NetnsPath | null, device: IfName, ipv6: 'off' | 'quiet'): void {
  const set = (): void => {
    if (ipv6 === 'off' && !existsSync(ipv6Setting(device, 'disable_ipv6'))) return;
    for (const [name, value] of legSettings(ipv6)) writeFileSync(ipv6Setting(device, name), value);
  };
  if (netns === null) set();
  else inNetns(netns, set);
}

/**
 * Whether the host forwards, and whether that was us. The marker is under /run and so lasts until reboot, exactly as long
 * as the setting does; without it a restarted agent could not tell our forwarding from the owner's and would drop the guard.
 */
export function readForwarding(runDir: string): { on: boolean; byUs: boolean } {
  return { on: read(FORWARDING) === '1', byUs: read(markerIn(runDir)) !== '' };
}

export function switchForwardingOn(runDir: string): void {
  mkdirSync(runDir, { recursive: true });
  // The marker first: a crash between the two then leaves a guard too many, never a router.
  writeFileSync(markerIn(runDir), 'switched on by weft\n');
  writeFileSync(FORWARDING, '1');
}

const CONF6 = '/proc/sys/net/ipv6/conf';
const marker6In = (runDir: string): string => join(runDir, 'ipv6-forward');
const heeding = (runDir: string): string[] => read(marker6In(runDir)).split('\n').slice(1);

/** The same of IPv6; and which devices would heed router advertisements no more, had we not seen to it. */
export function readForwarding6(runDir: string): { on: boolean; byUs: boolean; heeding: string[] } {
  const byUs = read(marker6In(runDir)) !== '';
  return { on: read(FORWARDING6) === '1', byUs, heeding: byUs ? heeding(runDir) : [] };
}

/** True when a device that is made now would heed router advertisements while the host does not forward. */
export const newDevicesHeedRouters = (): boolean => read(ipv6Setting('default', 'accept_ra')) === '1';

/**
 * Has the host forward IPv6. What heeds router advertisements goes on with it: a host that begins to forward would else lose the
 * routes that it has from them (net/ipv6/route.c, rt6_purge_dflt_routers), so that is set before.
 */
export function switchForwarding6On(runDir: string): void {
  const names = readdirSync(CONF6).filter((name) => name !== 'all' && name !== 'lo');
  const heed = names.filter((name) => read(ipv6Setting(name, 'accept_ra')) === '1');
  mkdirSync(runDir, { recursive: true });
  const all = new Set([...heeding(runDir), ...heed]);
  writeFileSync(marker6In(runDir), ['switched on by weft; accept_ra was 1 of:', ...all].join('\n'));
  for (const name of heed) put(ipv6Setting(name, 'accept_ra'), '2');
  if (read(FORWARDING6) !== '1') writeFileSync(FORWARDING6, '1');
}

/** Undoes switchForwarding6On; does nothing when that was not us. */
export function switchForwarding6Off(runDir: string): void {
  if (read(marker6In(runDir)) === '') return;
  writeFileSync(FORWARDING6, '0');
  for (const name of heeding(runDir))
    if (read(ipv6Setting(name, 'accept_ra')) === '2') put(ipv6Setting(name, 'accept_ra'), '1');
  rmSync(marker6In(runDir), { force: true });
}

/** A device may go at any moment. */
function put(path: string, value: string): void {
  try {
    writeFileSync(path, value);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

const localnetSetting = (device: string): string => `/proc/sys/net/ipv4/conf/${device}/route_localnet`;

/** True when packets from and to 127.0.0.0/8 may pass the device (Documentation/networking/ip-sysctl.rst, route_localnet). */
export const localnetIsOn = (device: string): boolean => read(localnetSetting(device)) === '1';

export function switchLocalnetOn(device: IfName): void {
  writeFileSync(localnetSetting(device), '1');
}

const sandboxSetting = (device: string, name: string): string => `/proc/sys/net/ipv4/conf/${device}/${name}`;

/** Whether a sandbox passes packets on. */
export const readSandboxForwarding = (netns: NetnsPath): { readonly ipv4: boolean; readonly ipv6: boolean } =>
  inNetns(netns, () => ({ ipv4: read(FORWARDING) === '1', ipv6: read(FORWARDING6) === '1' }));

export function switchSandboxForwarding(netns: NetnsPath, ipv6: boolean, on: boolean): void {
  inNetns(netns, () => writeFileSync(ipv6 ? FORWARDING6 : FORWARDING, on ? '1' : '0'));
}

/** Which of the devices have their reverse path filter go by marks, too (ip-sysctl.rst, src_valid_mark). */
export function heedsMarks(netns: NetnsPath, devices: Iterable<string>): string[] {
  return inNetns(netns, () => [...devices].filter((name) => read(sandboxSetting(name, 'src_valid_mark')) === '1'));
}

export function haveMarksHeeded(netns: NetnsPath, device: IfName): void {
  inNetns(netns, () => writeFileSync(sandboxSetting(device, 'src_valid_mark'), '1'));
}

/** Undoes switchForwardingOn; does nothing when that was not us. */
export function restoreForwarding(runDir: string): boolean {
  if (read(markerIn(runDir)) === '') return false;
  writeFileSync(FORWARDING, '0');
  rmSync(markerIn(runDir), { force: true });
  return true;
}

const markerIn = (runDir: string): string => join(runDir, 'ip-forward');
