import type { Host } from '../host.ts';
import { someFaults } from '../network.ts';
import { down, type Operation, running, say, type World } from '../world.ts';

function crash(world: World, host: Host): void {
  const silent = world.prng.chance(0.5);
  say(world, `${host.name} crashes${silent ? ' with its host' : ''}`);
  host.crash(silent);
}

async function stop(world: World, host: Host): Promise<void> {
  say(world, `${host.name} stops`);
  world.busy.add(host);
  await host.stop();
  world.busy.delete(host);
}

export function partition({ prng, hosts, network }: World): void {
  const shuffled = prng.shuffled(hosts.map(({ nodeId }) => nodeId));
  const at = prng.between(1, shuffled.length - 1);
  const [some, others] = [shuffled.slice(0, at), shuffled.slice(at)];
  const both = prng.chance(0.6);
  network.trace.say(`partition: ${some.length} | ${others.length}${both ? '' : ', one way'}`);
  network.block(some, others);
  if (both) network.block(others, some);
}

/** What befalls hosts and links, and gets better again. */
export const faultOperations: readonly Operation[] = [
  {
    name: 'restart',
    weight: 12,
    run: (world) => {
      const host = world.prng.pick(down(world));
      if (host !== undefined) world.do('restart', host, () => world.start(host));
    },
  },
  {
    name: 'crash',
    weight: 5,
    run: (world) => {
      const host = world.prng.pick(running(world));
      if (host !== undefined) crash(world, host);
    },
  },
  {
    name: 'stop',
    weight: 3,
    run: (world) => {
      const host = world.prng.pick(running(world));
      if (host !== undefined) world.do('stop', host, () => stop(world, host));
    },
  },
  { name: 'partition', weight: 4, run: partition },
  { name: 'heal', weight: 6, run: ({ network }) => network.heal() },
  {
    name: 'cut a connection',
    weight: 3,
    run: ({ prng, network }) => {
      const pair = prng.pick(network.pairs);
      if (pair !== undefined) network.cut(...pair);
    },
  },
  {
    name: 'change the weather',
    weight: 2,
    run: ({ prng, network }) => {
      network.faults = someFaults(prng);
    },
  },
];
