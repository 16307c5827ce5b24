import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Host } from '../lab/host.ts';
import type { Inside } from '../lab/inside.ts';
import { Lab } from '../lab/lab.ts';
import { eventually, type Output } from '../lab/process.ts';
import { needs } from './peers.ts';

const DIAGNOSTIC_PORT = 2000;
const SCRIPT = fileURLToPath(new URL('tools/networkdb.mjs', import.meta.url));
// Debian's, whatever else is on PATH.
const DOCKERD = '/usr/sbin/dockerd';
const DOCKER = '/usr/bin/docker';
const LIMIT_MS = 60_000;

/**
 * How long an entry of NetworkDB, Docker Swarm's table of endpoints, takes from being written on one node to being
 * readable on the last of the others, in milliseconds. Entries are written and read by the diagnostic server of dockerd:
 * what Swarm does before (a container, its namespace) and after (the kernel) is left out, to its favour.
 */
export async function networkDbEntries(hosts: number, samples: number, say: (text: string) => void): Promise<number[]> {
  await needs(DOCKERD, 'docker.io', say);
  await using lab = await Lab.create({ hosts });
  const daemons = await Promise.all(lab.hosts.map(startDaemon));
  await formSwarm(lab);
  // It listens only from the first time on that its settings are read anew.
  for (const daemon of daemons) daemon.signal('SIGHUP');
  const nodes = await Promise.all(
    lab.hosts.map(async (host) => {
      await eventually(`the diagnostic server on ${host.name}`, async () => {
        const { stdout } = await host.exec('ss', ['-ltnH', 'sport', '=', `:${DIAGNOSTIC_PORT}`]);
        return stdout !== '' || undefined;
      });
      return await host.spawn(process.execPath, [SCRIPT, String(DIAGNOSTIC_PORT), 'bench', String(hosts)]);
    }),
  );
  await Promise.all(nodes.map((node) => node.says(/^ready$/m, LIMIT_MS)));
  const values: number[] = [];
  for (let entry = 0; entry < samples; entry++) {
    const writer = nodes[entry % nodes.length];
    writer?.signal('SIGUSR2');
    const pattern = new RegExp(`^${entry} ([\\d.]+)$`, 'm');
    const times = new Map(
      await Promise.all(
        nodes.map(async (node): Promise<[Inside, number]> => [node, Number((await node.says(pattern, LIMIT_MS))[1])]),
      ),
    );
    const writtenMs = writer === undefined ? Number.NaN : (times.get(writer) ?? Number.NaN);
    values.push(Math.max(...nodes.filter((node) => node !== writer).map((node) => (times.get(node) ?? 0) - writtenMs)));
  }
  return values;
}

/** A dockerd of the host's own: its mounts, `/run` and processes are the lab host's, and end with it. */
async function startDaemon(host: Host): Promise<Inside> {
  const etc = join(host.holder.directory, 'etc');
  mkdirSync(etc, { recursive: true });
  writeFileSync(join(etc, 'dockerd.json'), JSON.stringify({ 'network-diagnostic-port': DIAGNOSTIC_PORT }));
  // Files of images and containers are not what is measured, nor is a bridge of Docker's own.
  const daemon = await host.spawn(DOCKERD, [
    ...['--config-file', '/etc/weft/dockerd.json', '--data-root', '/var/lib/weft/docker'],
    ...['--exec-root', '/run/docker', '--pidfile', '/run/docker.pid', '--host', 'unix:///run/docker.sock'],
    ...['--storage-driver', 'vfs', '--bridge', 'none', '--iptables=false', '--log-level', 'fatal'],
  ]);
  const answers = async (): Promise<true | undefined> =>
    (await docker(host, ['version'], false)).exitCode === 0 || undefined;
  await eventually(`dockerd on ${host.name}`, answers, { timeoutMs: LIMIT_MS, everyMs: 200 });
  return daemon;
}

async function formSwarm(lab: Lab): Promise<void> {
  const [first, ...others] = lab.hosts;
  if (first === undefined) return;
  await docker(first, ['swarm', 'init', '--advertise-addr', first.address]);
  const token = (await docker(first, ['swarm', 'join-token', '-q', 'worker'])).stdout.trim();
  for (const host of others) {
    await docker(host, ['swarm', 'join', '--token', token, '--advertise-addr', host.address, `${first.address}:2377`]);
  }
}

function docker(host: Host, args: readonly string[], check = true): Promise<Output> {
  return host.exec(DOCKER, ['--host', 'unix:///run/docker.sock', ...args], { check, timeoutMs: LIMIT_MS });
}
