import type { Host } from './host.ts';
import type { SimNetwork } from './network.ts';
import type { Tricks } from './operations/byzantine.ts';
import type { Oracle } from './oracle.ts';
import type { Prng } from './prng.ts';

/** What a run's operations see and change; they are what agents and people do to a cluster, and what befalls it. */
export interface World {
  readonly network: SimNetwork;
  readonly oracle: Oracle;
  readonly prng: Prng;
  readonly hosts: Host[];
  /** Hosts on which something is under way that must not be disturbed, a restart or a leave. */
  readonly busy: Set<Host>;
  /** Hosts that are members, or were. */
  readonly joined: Set<Host>;
  /** Whether one of the members turns against the others in this run. */
  readonly treason: boolean;
  readonly tricks: Tricks;
  /** Hosts whose disk is gone, and with it what made them members. */
  readonly lost: Set<Host>;
  /** A new host in the place of one that has lost its disk. @returns null when there were enough of them */
  replace(lost: Host): Host | null;
  /** Starts the host's agent, unless it runs or was removed. */
  start(host: Host): Promise<void>;
  /** Follows work on a host to its end: it must end, unless the agent does first, and must not throw. */
  do(what: string, host: Host, work: () => Promise<void>): void;
  /** Whether nothing that `do` follows is under way on the host. */
  isIdle(host: Host): boolean;
}

/** One kind of thing that happens in a run. */
export interface Operation {
  readonly name: string;
  /** How often it is chosen, relative to the other operations. */
  readonly weight: number;
  /** Does it once, or nothing where it does not apply now. What takes time goes through `world.do`. */
  readonly run: (world: World) => void;
}

/** Something that must hold in every run, besides what the oracle knows. */
export interface Invariant {
  readonly name: string;
  /** At every tenth of a second, or only once all nodes must have agreed. */
  readonly when: 'always' | 'agreed';
  /** @returns what is wrong, or null */
  readonly check: (world: World) => string | null;
}

/** Hosts that run a member. */
export const running = ({ hosts, busy, oracle }: World): Host[] =>
  hosts.filter((host) => host.cluster !== null && !busy.has(host) && !oracle.removed.has(host.nodeId));

export const runningManagers = (world: World): Host[] => running(world).filter(({ isManager }) => isManager);

/** Hosts of members whose agent is down and may be started. */
export const down = (world: World): Host[] => stopped(world).filter((host) => !world.lost.has(host));

/** Hosts of members whose agent is down, those included that have lost their disk. */
export const stopped = ({ hosts, busy, oracle, joined }: World): Host[] =>
  hosts.filter(
    (host) => joined.has(host) && host.cluster === null && !busy.has(host) && !oracle.removed.has(host.nodeId),
  );

export const say = (world: World, line: string): void => world.network.trace.say(line);
