import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { OVERLAY_NETNS } from './names.ts';
import { inNetns } from './rtnetlink/libc.ts';

// /proc/sys/net shows the namespace of the thread that opens it, so these are synchronous on purpose.

const FORWARDING = '/proc/sys/net/ipv4/ip_forward';
const IPV6_OFF = ['all', 'default'].map((which) => `/proc/sys/net/ipv6/conf/${which}/disable_ipv6`);

/** Empty when the kernel has no IPv6. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** True when no device in the overlay namespace speaks IPv6 for itself: no router solicitation, no MLD, no address. */
export function overlayIpv6IsOff(): boolean {
  return inNetns(OVERLAY_NETNS, () => IPV6_OFF.every((path) => read(path) !== '0'));
}

export function switchOverlayIpv6Off(): void {
  inNetns(OVERLAY_NETNS, () => {
    for (const path of IPV6_OFF) if (read(path) === '0') writeFileSync(path, '1');
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

/** Undoes switchForwardingOn; does nothing when that was not us. */
export function restoreForwarding(runDir: string): boolean {
  if (read(markerIn(runDir)) === '') return false;
  writeFileSync(FORWARDING, '0');
  rmSync(markerIn(runDir), { force: true });
  return true;
}

const markerIn = (runDir: string): string => join(runDir, 'ip-forward');
