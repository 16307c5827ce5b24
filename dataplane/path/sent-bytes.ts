import { readFileSync } from 'node:fs';

/** Bytes that a device of the host has sent, by /proc/net/dev (proc_pid_net(5)); null without the device. */
export function sentBytes(device: string): number | null {
  for (const line of readFileSync('/proc/net/dev', 'utf8').split('\n')) {
    const [name = '', counters = ''] = line.split(':');
    // Eight counters of what came, then those of what was sent, bytes first.
    if (name.trim() === device) return Number(counters.trim().split(/\s+/)[8] ?? 0);
  }
  return null;
}
