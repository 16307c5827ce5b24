import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { OVERLAY_NETNS } from '../names.ts';
import { inNetns } from '../rtnetlink/libc.ts';
import type { IfName, NetnsPath } from '../values.ts';

// /proc/sys/net shows the namespace of the thread that opens it, so these are synchronous on purpose.

const FORWARDING = '/proc/sys/net/ipv4/ip_forward';

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

/** Settings of a sandbox's leg, in the order in which they are written. */
export const legSettings = (ipv6: 'off' | 'quiet'): readonly (readonly [name: string, value: string])[] =>
  ipv6 === 'off'
    ? [['disable_ipv6', '1']]
    : [
        ['accept_ra', '0'],
        ['disable_ipv6', '0'],
      ];

/** On a device without IPv6, which is what one with an MTU below 1280 is (RFC 8200), there is nothing to switch off. Throws errors of node:fs. */
export function setLegIpv6(netns: NetnsPath, device: IfName, ipv6: 'off' | 'quiet'): void {
  inNetns(netns, () => {
    if (ipv6 === 'off' && !existsSync(ipv6Setting(device, 'disable_ipv6'))) return;
    for (const [name, value] of legSettings(ipv6)) writeFileSync(ipv6Setting(device, name), value);
  });
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

const localnetSetting = (device: string): string => `/proc/sys/net/ipv4/conf/${device}/route_localnet`;

/** True when packets from and to 127.0.0.0/8 may pass the device (Documentation/networking/ip-sysctl.rst, route_localnet). */
export const localnetIsOn = (device: string): boolean => read(localnetSetting(device)) === '1';

export function switchLocalnetOn(device: IfName): void {
  writeFileSync(localnetSetting(device), '1');
}

const sandboxSetting = (device: string, name: string): string => `/proc/sys/net/ipv4/conf/${device}/${name}`;

/** Whether a sandbox passes packets on. */
export const readSandboxForwarding = (netns: NetnsPath): boolean => inNetns(netns, () => read(FORWARDING) === '1');

export function switchSandboxForwarding(netns: NetnsPath, on: boolean): void {
  inNetns(netns, () => writeFileSync(FORWARDING, on ? '1' : '0'));
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
