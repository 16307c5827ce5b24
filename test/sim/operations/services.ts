import type { NetworkId } from '../../../controlplane/ids.ts';
import { addressesOf } from '../../../controlplane/tables/kinds.ts';
import type { Host } from '../host.ts';
import { tolerating } from '../refusals.ts';
import { type Operation, runningManagers, say, type World } from '../world.ts';
import { liveNetworks } from './networks.ts';

const names = ['web', 'api', 'shop'];

function publish(world: World, host: Host, id: NetworkId, name: string): Promise<void> {
  const network = host.cluster?.view.networks.get(id);
  if (network === undefined || network.ingress) return Promise.resolve();
  const { prng } = world;
  // Few of them, so that ranges meet.
  const [published, count] = [prng.between(8000, 8008), prng.between(1, 3)];
  const mode = prng.chance(0.4) ? 'vip' : prng.chance(0.2) ? 'dnsrr' : undefined;
  const port = { protocol: 'tcp', published, target: 80, count, mode: 'ingress' } as const;
  const ports = mode !== undefined && prng.chance(0.5) ? [] : [port];
  return tolerating(world, `${host.name} publishes ${published}`, async () => {
    const { cluster } = host;
    const { key, vip } = (await cluster?.services.publish({ network, name, ports, mode })) ?? {};
    const what = `${ports.length === 0 ? 'no port' : `${published} +${count}`}${mode === undefined ? '' : `, ${mode}`}`;
    say(world, `${host.name} published ${what} for ${name} on ${network.name}`);
    // Of one whose agent has ended meanwhile it is not known what it has taken.
    if (vip === undefined || key === undefined || host.cluster !== cluster) return;
    for (const ip of addressesOf(vip)) world.oracle.virtual(id, ip, key, host);
  });
}

function unpublish(world: World, host: Host): Promise<void> {
  const service = world.prng.pick([...(host.cluster?.view.services.values() ?? [])]);
  const network = service && host.cluster?.view.networks.get(service.network);
  if (service === undefined || network === undefined) return Promise.resolve();
  const ports = world.prng.chance(0.5) ? null : service.ports.slice(0, 1);
  return tolerating(world, `${host.name} takes back ports of ${service.name}`, async () => {
    await host.cluster?.services.unpublish(network, service.name, ports?.length === 0 ? null : ports);
    say(world, `${host.name} took back ${ports === null ? 'all' : 'one port'} of ${service.name} on ${network.name}`);
  });
}

export const serviceOperations: readonly Operation[] = [
  {
    name: 'publish',
    weight: 3,
    run: (world) => {
      const manager = world.prng.pick(runningManagers(world));
      const id = world.prng.pick(liveNetworks(world));
      const name = world.prng.pick(names);
      if (manager !== undefined && id !== undefined && name !== undefined)
        world.do('publish', manager, () => publish(world, manager, id, name));
    },
  },
  {
    name: 'unpublish',
    weight: 2,
    run: (world) => {
      const manager = world.prng.pick(runningManagers(world));
      if (manager !== undefined) world.do('unpublish', manager, () => unpublish(world, manager));
    },
  },
];
