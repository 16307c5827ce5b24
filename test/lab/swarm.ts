import type { Host } from './host.ts';
import type { Output } from './process.ts';

/**
 * Docker's own peer of a cluster: `docker swarm init` on the first host, and the others join it as workers.
 * @param run the docker client on a host; throws when it fails
 */
export async function formSwarm(
  [first, ...others]: readonly Host[],
  run: (host: Host, args: readonly string[]) => Promise<Output>,
): Promise<void> {
  if (first === undefined) return;
  await run(first, ['swarm', 'init', '--advertise-addr', first.address]);
  const token = (await run(first, ['swarm', 'join-token', '-q', 'worker'])).stdout.trim();
  for (const host of others) {
    await run(host, ['swarm', 'join', '--token', token, '--advertise-addr', host.address, `${first.address}:2377`]);
  }
}
