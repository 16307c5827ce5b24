import { readFileSync } from 'node:fs';
import type { Host } from '../lab/host.ts';

/** Of the kernel's clock that /proc counts in (USER_HZ), on every architecture that Node runs on. */
const TICK_MS = 10;

/** Processor time of a process so far, in milliseconds (proc(5), /proc/PID/stat). */
export function processorMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

/** Resident set in MB (10^6 bytes). */
export function residentMb(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return (Number(match?.[1]) * 1024) / 1e6;
}

/** Bytes that the host's underlay interface has sent so far, headers included (proc(5), /proc/net/dev). */
export function sentBytes(host: Host): number {
  const line = readFileSync(`/proc/${host.holder.pid}/net/dev`, 'utf8').match(/^\s*eth0:(.*)$/m)?.[1];
  return Number(line?.trim().split(/\s+/)[8]);
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
