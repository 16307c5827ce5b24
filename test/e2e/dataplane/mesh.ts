import type { Desired, DesiredSandbox, GatePort } from '../../../dataplane/desired.ts';
import { type Asking, answersTo, hold, startServer as serve } from './asking.ts';
import { allOk } from './checks.ts';
import { connect, type Host } from './host.ts';
import {
  backend,
  backend6,
  GATEWAY,
  gateOf,
  guard,
  overlay,
  remote,
  remote6,
  returning,
  returning6,
  sandbox,
  wanted,
  withHostLeg,
  withIpv6,
} from './wanted.ts';

// Two hosts with a gate each and backends on both. Each has a client behind it, and docker_gwbridge with the same subnet.

export const GATES = { a: 200, b: 201 } as const;
export const CLIENTS = { a: '192.0.2.2', b: '198.51.100.2' } as const;
export const CLIENT_HOSTS = { a: '192.0.2.1', b: '198.51.100.1' } as const;
export const CLIENTS6 = { a: '2001:db8:a::2', b: '2001:db8:b::2' } as const;
export const CLIENT_HOSTS6 = { a: '2001:db8:a::1', b: '2001:db8:b::1' } as const;
export type On = keyof typeof GATES;

export interface Mesh {
  /** The network has IPv6, too. @default false */
  readonly ipv6?: boolean;
  /** Endpoint numbers of backends, by host. */
  readonly here: Readonly<Record<On, readonly number[]>>;
  readonly ports: readonly GatePort[];
}

/** Where a connection of a client to its host at this port leads. */
export function gatePort(
  protocol: GatePort['protocol'],
  backends: readonly number[],
  more: Partial<GatePort> = {},
): GatePort {
  return { protocol, port: 8080, backends: backends.map(backend), affinityMs: 0, source: 'keep', ...more };
}

/** The same in both families. */
export const gatePort6: typeof gatePort = (protocol, backends, more = {}) => {
  const port = gatePort(protocol, backends, more);
  return { ...port, backends: [...port.backends, ...backends.map(backend6)] };
};

export function meshState(on: On, { ipv6 = false, here, ports }: Mesh): Desired {
  const other = on === 'a' ? 'b' : 'a';
  const box = (name: string, n: number): DesiredSandbox => {
    const bare = sandbox(name, n, [4097], true);
    return ipv6 ? withIpv6(bare) : bare;
  };
  const remotes = [...here[other], GATES[other]].flatMap((n) => [
    remote(4097, n, other),
    ...(ipv6 ? [remote6(4097, n, other)] : []),
  ]);
  const back = ipv6 ? returning6 : returning;
  const plain = gateOf(box('gate', GATES[on]), ports);
  const published = ports.map(({ protocol, port }) => ({ protocol, hostIp: null, hostPort: port, port }));
  const gate = ipv6 ? withHostLeg(plain, GATES[on], published) : plain;
  const bridgeLegs = gate.bridgeLegs.map((leg) => ({ ...leg, published }));
  return wanted({
    overlays: [overlay(4097, on, remotes)],
    sandboxes: [{ ...gate, bridgeLegs }, ...here[on].map((n) => back(box(`web${n}`, n), Object.values(GATES)))],
    bridges: [GATEWAY],
    guard: guard(on, [4097]),
  });
}

/** A client in a namespace of its own, behind the host. */
export async function addClient(host: Host, on: On): Promise<void> {
  await host.run('ip', 'netns', 'add', 'client');
  await host.run('ip', 'link', 'add', 'c0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', 'client');
  await host.run('ip', 'address', 'add', `${CLIENT_HOSTS[on]}/24`, 'dev', 'c0');
  await host.run('ip', 'link', 'set', 'c0', 'up');
  await host.run('ip', '-n', 'client', 'address', 'add', `${CLIENTS[on]}/24`, 'dev', 'eth0');
  await host.run('ip', '-n', 'client', 'link', 'set', 'eth0', 'up');
  await host.run('ip', '-n', 'client', 'route', 'add', 'default', 'via', CLIENT_HOSTS[on]);
  await host.run('ip', 'address', 'add', `${CLIENT_HOSTS6[on]}/64`, 'dev', 'c0', 'nodad');
  await host.run('ip', '-n', 'client', 'address', 'add', `${CLIENTS6[on]}/64`, 'dev', 'eth0', 'nodad');
  await host.run('ip', '-n', 'client', 'route', 'add', 'default', 'via', CLIENT_HOSTS6[on]);
}

/** A backend. */
export const startServer = (host: Host, n: number, netns = `weft-web${n}`): Promise<number> => serve(host, n, netns);

/** Answers, `BACKEND ADDRESS-THAT-IT-SAW` or an error, and how many of each. */
export const ask = (
  host: Host,
  on: On,
  protocol: 'tcp' | 'udp',
  count: number,
  more: Partial<Pick<Asking, 'netns' | 'to' | 'atOnce' | 'from'>> = {},
): Promise<Record<string, number>> =>
  answersTo(host, { protocol, count, port: 8080, netns: 'client', to: CLIENT_HOSTS[on], atOnce: 16, ...more });

/** A connection of the client that is in use until it breaks; how often it was, is in the file. */
export const holdConnection = (host: Host, to: string, file: string): Promise<number> =>
  hold(host, 'client', to, 8080, file);

/** Two hosts with all of it, clients and backends that answer. @returns changes it on both, until it is there */
export async function startMesh(a: Host, b: Host, mesh: Mesh): Promise<(next: Mesh) => Promise<void>> {
  await connect(a, b);
  const set = async (next: Mesh): Promise<void> => {
    await Promise.all([a.set(meshState('a', next)), b.set(meshState('b', next))]);
    await Promise.all([allOk(a), allOk(b)]);
  };
  await set(mesh);
  await Promise.all([addClient(a, 'a'), addClient(b, 'b')]);
  for (const [host, on] of [
    [a, 'a'],
    [b, 'b'],
  ] as const)
    await Promise.all(mesh.here[on].map((n) => startServer(host, n)));
  return set;
}
