import type { Disk } from '../disk.ts';
import type { Host } from '../host.ts';
import { down, type Operation, running, say, type World } from '../world.ts';
import { canSpare, join } from './membership.ts';

const yearMs = 365 * 86_400_000;
const maxLagMs = 2_000;

/** Copies of disks that somebody keeps, as people do before an upgrade. */
const copies = new WeakMap<Host, Disk>();

/** Hosts whose clock has jumped: what they count by it may have come out wrong. */
export const jumped = new WeakSet<Host>();

/** The host comes back without its disk, as a new node; a manager will remove the old one at some time. */
function loseDisk(world: World, host: Host): void {
  const successor = world.replace(host);
  if (successor === null) return;
  host.crash(true);
  world.lost.add(host);
  world.oracle.lost(host.nodeId);
  world.do('join', successor, () => join(world, successor));
}

/** The host comes back with what its disk held some time ago. */
function restoreCopy(world: World, host: Host, copy: Disk): void {
  say(world, `${host.name} has an old copy of its disk again`);
  copies.delete(host);
  host.disk = copy;
  world.oracle.turnedBack(host.nodeId);
  world.do('restart', host, () => world.start(host));
}

/**
 * A manager's clock goes back only: one that is a year ahead makes itself a certificate that nobody takes before that
 * year is over (a known limit, ARCHITECTURE.md).
 */
function jump(world: World, host: Host): void {
  const years = !host.isManager && world.prng.chance(0.5) ? 1 : -1;
  say(world, `the clock of ${host.name} jumps by ${years} year`);
  host.skewMs += years * yearMs;
  jumped.add(host);
}

/** What befalls single hosts, besides their agents. */
export const hostOperations: readonly Operation[] = [
  {
    name: 'lose a disk',
    weight: 0.5,
    run: (world) => {
      const host = world.prng.pick(running(world));
      if (host !== undefined && canSpare(world, host) && world.isIdle(host)) loseDisk(world, host);
    },
  },
  {
    name: 'copy a disk',
    weight: 1,
    run: (world) => {
      const host = world.prng.pick(running(world));
      if (host !== undefined) copies.set(host, host.disk.copy());
    },
  },
  {
    name: 'restore a copy',
    weight: 0.5,
    run: (world) => {
      const host = world.prng.pick(down(world).filter((each) => copies.has(each)));
      const copy = host === undefined ? undefined : copies.get(host);
      if (host !== undefined && copy !== undefined) restoreCopy(world, host, copy);
    },
  },
  {
    name: 'clock jumps',
    weight: 0.7,
    run: (world) => {
      const host = world.prng.pick(world.hosts);
      if (host !== undefined && Math.abs(host.skewMs) < yearMs / 2) jump(world, host);
    },
  },
  {
    name: 'clock is set right',
    weight: 1.5,
    run: (world) => {
      for (const host of world.hosts) host.setClock();
    },
  },
  {
    name: 'slow host',
    weight: 1,
    run: ({ prng, hosts, network }) => {
      const host = prng.pick(hosts);
      if (host !== undefined) network.lagMs.set(host.nodeId, prng.between(50, maxLagMs));
    },
  },
  { name: 'hosts are quick again', weight: 1.5, run: ({ network }) => network.lagMs.clear() },
];
