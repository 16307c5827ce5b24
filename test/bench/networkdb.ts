import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Docker } from '../lab/docker.ts';
import type { Host } from '../lab/host.ts';
import type { Inside } from '../lab/inside.ts';
import { Lab } from '../lab/lab.ts';
import { eventually } from '../lab/process.ts';
import { formSwarm } from '../lab/swarm.ts';
import { needsDocker } from './peers.ts';

const DIAGNOSTIC_PORT = 2000;
const SCRIPT = fileURLToPath(new URL('tools/networkdb.mjs', import.meta.url));
const LIMIT_MS = 60_000;

/**
 * How long an entry of NetworkDB, Docker Swarm's table of endpoints, takes from being written on one node to being
 * readable on the last of the others, in milliseconds. Entries are written and read by the diagnostic server of dockerd:
 * what Swarm does before (a container, its namespace) and after (the kernel) is left out, to its favour.
 */
export async function networkDbEntries(hosts: number, samples: number, say: (text: string) => void): Promise<number[]> {
  await needsDocker(say);
  await using lab = await Lab.create({ hosts });
  const dockers = await Promise.all(lab.hosts.map(startWithDiagnostics));
  await formSwarm(dockers);
  // It listens only from the first time on that its settings are read anew.
  for (const { pid } of dockers) process.kill(pid, 'SIGHUP');
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

/** Without a bridge and a firewall of Docker's own: neither is looked at. */
function startWithDiagnostics(host: Host): Promise<Docker> {
  const etc = join(host.holder.directory, 'etc');
  mkdirSync(etc, { recursive: true });
  writeFileSync(join(etc, 'dockerd.json'), JSON.stringify({ 'network-diagnostic-port': DIAGNOSTIC_PORT }));
  const args = [
    '--config-file',
    '/etc/weft/dockerd.json',
    '--bridge',
    'none',
    '--iptables=false',
    '--log-level',
    'fatal',
  ];
  return Docker.start(host, { args, timeoutMs: LIMIT_MS });
}
