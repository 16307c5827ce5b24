import type { Desired, DesiredSandbox, GatePort } from '../../../dataplane/desired.ts';
import { inside } from './checks.ts';
import type { Host } from './host.ts';
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

/** A backend that says who it is and whom it sees, and repeats what it gets. */
export const startServer = (host: Host, n: number, netns = `weft-web${n}`): Promise<number> =>
  host.start(
    `
    const say = (address) => '${n} ' + address.replace('::ffff:', '') + '\\n';
    const server = require('node:net').createServer((socket) => {
      socket.on('error', () => {});
      socket.write(say(socket.remoteAddress));
      socket.pipe(socket);
    });
    const udp = require('node:dgram').createSocket('udp6');
    udp.on('message', (_, from) => udp.send(say(from.address), from.port, from.address));
    udp.bind(80, '::', () => server.listen({ port: 80, host: '::', backlog: 511 }, () => process.send('ready')));
    `,
    netns,
  );

const CLIENT = `
const [protocol, host, count, atOnce, from] = process.argv.slice(1);
const answers = {};
const add = (answer) => (answers[answer] = (answers[answer] ?? 0) + 1);
const tcp = () => new Promise((resolve) => {
  let text = '';
  const socket = require('node:net').connect({ host, port: 8080, timeout: 3000 });
  const end = (answer) => { add(answer); socket.destroy(); resolve(); };
  socket.on('data', (data) => { text += data; if (text.includes('\\n')) end(text.trim()); });
  socket.on('error', (error) => end(error.code));
  socket.on('timeout', () => end('silence'));
});
const udp = () => new Promise((resolve) => {
  const socket = require('node:dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4');
  const end = (answer) => { clearTimeout(timer); add(answer); socket.close(); resolve(); };
  const timer = setTimeout(() => end('silence'), 3000);
  socket.on('message', (data) => end(String(data).trim()));
  socket.on('error', (error) => end(error.code));
  socket.bind(Number(from), () => socket.connect(8080, host, () => socket.send('who')));
});
let left = Number(count);
const worker = async () => { while (left-- > 0) await (protocol === 'tcp' ? tcp() : udp()); };
Promise.all(Array.from({ length: Number(atOnce) }, worker)).then(() => console.log(JSON.stringify(answers)));
`;

/** Answers, `BACKEND ADDRESS-THAT-IT-SAW` or an error, and how many of each. */
export async function ask(
  host: Host,
  on: On,
  protocol: 'tcp' | 'udp',
  count: number,
  {
    netns = 'client',
    to = CLIENT_HOSTS[on],
    atOnce = 16,
    from = 0,
  }: { netns?: string | null; to?: string; atOnce?: number; from?: number } = {},
): Promise<Record<string, number>> {
  const command = [process.execPath, '-e', CLIENT, protocol, to, String(count), String(atOnce), String(from)];
  const text = await host.run(...(netns === null ? command : inside(netns, ...command)));
  return JSON.parse(text) as Record<string, number>;
}

/** A connection that is in use until it breaks; how often it was, is in the file. */
export const holdConnection = (host: Host, to: string, file: string): Promise<number> =>
  host.start(
    `
    let echoes = 0;
    const socket = require('node:net').connect(8080, '${to}');
    const write = (text) => require('node:fs').writeFileSync('${file}', text);
    socket.on('data', () => {
      if (++echoes === 1) process.send('ready');
      write(String(echoes));
      setTimeout(() => socket.write('again'), 10);
    });
    for (const end of ['error', 'close']) socket.on(end, () => write('broken'));
    `,
    'client',
  );
