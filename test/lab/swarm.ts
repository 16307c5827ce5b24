import type { Docker } from './docker.ts';

/** Docker's own peer of a cluster: `docker swarm init` on the first host, and the others join it as workers. */
export async function formSwarm([first, ...others]: readonly Docker[]): Promise<void> {
  if (first === undefined) return;
  const { address } = first.host;
  await first.exec(['swarm', 'init', '--advertise-addr', address]);
  const token = (await first.exec(['swarm', 'join-token', '-q', 'worker'])).stdout.trim();
  for (const other of others) {
    await other.exec(['swarm', 'join', '--token', token, '--advertise-addr', other.host.address, `${address}:2377`]);
  }
}
