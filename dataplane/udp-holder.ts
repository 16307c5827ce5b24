import { readdir, readFile, readlink } from 'node:fs/promises';

/** Only to word an error: a host with more processes gets a less precise one. */
const PROCESSES_MAX = 10_000;

/**
 * `socat (pid 4242)`: who has a UDP socket bound to the port in this process's namespace; null when nobody is seen to.
 * Sockets of the kernel itself, those of VXLAN devices among them, are of no process. Source: proc(5), /proc/net/udp.
 */
export async function udpHolder(port: number): Promise<string | null> {
  const tables = await Promise.all(
    ['udp', 'udp6'].map((name) => readFile(`/proc/self/net/${name}`, 'utf8').catch(() => '')),
  );
  const inodes = new Set(tables.flatMap((table) => inodesOn(table, port)));
  if (inodes.size === 0) return null;
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).slice(0, PROCESSES_MAX);
  for (const pid of pids) {
    // Processes end while we look, and some may not be looked into.
    const fds = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const fd of fds) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
      if (inode === undefined || !inodes.has(inode)) continue;
      const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => 'a process');
      return `${name.trim()} (pid ${pid})`;
    }
  }
  return null;
}

/** Inodes of the sockets with that local port; 0 is the kernel's own. */
export function inodesOn(table: string, port: number): string[] {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0');
  return table.split('\n').flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const [, local = ''] = fields;
    const inode = fields[9];
    return local.endsWith(`:${wanted}`) && inode !== undefined && inode !== '0' ? [inode] : [];
  });
}
