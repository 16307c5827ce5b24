import { fileURLToPath } from 'node:url';
import type { Inside } from '../lab/inside.ts';
import { Lab } from '../lab/lab.ts';
import { eventually } from '../lab/process.ts';
import { formSwarm } from '../lab/swarm.ts';
import { BARE, docker, needsDocker, startDocker } from './docker.ts';

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
  const daemons = await Promise.all(
    lab.hosts.map((host) => startDocker(host, BARE, { 'network-diagnostic-port': DIAGNOSTIC_PORT })),
  );
  await formSwarm(lab.hosts, docker);
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
