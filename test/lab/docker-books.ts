import assert from 'node:assert/strict';
import type { Docker } from './docker.ts';
import type { Lab } from './lab.ts';
import { eventually } from './process.ts';
import { settled } from './suite.ts';

/** A container's endpoint: its name and address. */
type Row = string;

/**
 * Waits until what runs in all Dockers on networks of the cluster, what the tables say and what is taken of each network's
 * addresses are one and the same, seen from each host, and kernels follow: nothing leaked, nothing stale.
 */
export async function booksAgree(lab: Lab, dockers: readonly Docker[]): Promise<void> {
  await eventually('Docker, tables and addresses to agree', async () => {
    for (const { Name: network, Driver: driver, Ingress: ingress } of await lab.host(1).api.call('networkList')) {
      if (driver !== 'overlay' || ingress) continue;
      const wanted = (await Promise.all(dockers.map((docker) => containersOn(docker, network)))).flat().sort();
      for (const host of lab.hosts) {
        const where = `${network} on ${host.name}`;
        const endpoints = await host.api.call('endpointList', { query: { network } });
        assert.deepEqual(endpoints.map(({ Name, IPv4Address }): Row => `${Name} ${IPv4Address}`).sort(), wanted, where);
        const { Capacity: subnets } = await host.api.call('networkInspect', { ref: network });
        for (const { Subnet, Total, Used, Resting, FreeHere, FreeElsewhere } of subnets) {
          const free = FreeElsewhere.reduce((sum, { Free }) => sum + Free, FreeHere + Resting);
          assert.deepEqual([Used, Total - free], [wanted.length, wanted.length], `${Subnet} of ${where}`);
        }
      }
    }
    return true;
  });
  await settled(lab);
}

async function containersOn(docker: Docker, network: string): Promise<Row[]> {
  const [found] = JSON.parse((await docker.exec(['network', 'inspect', network])).stdout) as {
    Containers: Record<string, { Name: string; IPv4Address: string }>;
  }[];
  return Object.values(found?.Containers ?? {}).map(({ Name, IPv4Address }) => `${Name} ${IPv4Address}`);
}
