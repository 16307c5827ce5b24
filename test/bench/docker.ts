import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Host } from '../lab/host.ts';
import type { Inside } from '../lab/inside.ts';
import { eventually, type Output } from '../lab/process.ts';
import { needs } from './peers.ts';

// Docker as a peer to measure against. Debian's, whatever else is on PATH.
const DOCKERD = '/usr/sbin/dockerd';
const DOCKER = '/usr/bin/docker';
const LIMIT_MS = 60_000;

export const needsDocker = (say: (text: string) => void): Promise<void> => needs(DOCKERD, 'docker.io', say);

/** Without a bridge and a firewall of Docker's own, for who looks at neither. */
export const BARE = ['--bridge', 'none', '--iptables=false'] as const;

/**
 * A dockerd of the host's own: its mounts, `/run` and processes are the lab host's, and end with it.
 * @param config settings for its file
 */
export async function startDocker(
  host: Host,
  flags: readonly string[],
  config: Readonly<Record<string, unknown>> = {},
): Promise<Inside> {
  const etc = join(host.holder.directory, 'etc');
  mkdirSync(etc, { recursive: true });
  writeFileSync(join(etc, 'dockerd.json'), JSON.stringify(config));
  // Files of images and containers are not what is measured.
  const daemon = await host.spawn(DOCKERD, [
    ...['--config-file', '/etc/weft/dockerd.json', '--data-root', '/var/lib/weft/docker'],
    ...['--exec-root', '/run/docker', '--pidfile', '/run/docker.pid', '--host', 'unix:///run/docker.sock'],
    ...['--storage-driver', 'vfs', '--log-level', 'fatal', ...flags],
  ]);
  const answers = async (): Promise<true | undefined> =>
    (await docker(host, ['version'], false)).exitCode === 0 || undefined;
  await eventually(`dockerd on ${host.name}`, answers, { timeoutMs: LIMIT_MS, everyMs: 200 });
  return daemon;
}

export function docker(host: Host, args: readonly string[], check = true): Promise<Output> {
  return host.exec(DOCKER, ['--host', 'unix:///run/docker.sock', ...args], { check, timeoutMs: LIMIT_MS });
}
