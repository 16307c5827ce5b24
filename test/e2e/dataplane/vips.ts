import type { Desired, DesiredSandbox, Vip } from '../../../dataplane/desired.ts';
import { must, parseIp } from '../../../dataplane/values.ts';
import { inside } from './checks.ts';
import type { Host } from './host.ts';
import { backend, guard, overlay, remote, remote6, sandbox, wanted, withIpv6 } from './wanted.ts';

// Two hosts with endpoints on one network, and a virtual address in each family that stands for some of them.

export const VIPS = { 4: '10.0.0.200', 6: 'fd00::200' } as const;
/** Of a service without an endpoint. */
export const NOBODY = { 4: '10.0.0.201', 6: 'fd00::201' } as const;
export type On = 'a' | 'b';

const ip6Of = (n: number) => must(parseIp(`fd00::${n.toString(16)}`));

/** One in each family. */
export const vipsOf = (backends: readonly number[]): Vip[] => [
  { ip: must(parseIp(VIPS[4])), backends: backends.map((n) => backend(n).ip) },
  { ip: must(parseIp(VIPS[6])), backends: backends.map(ip6Of) },
  ...[NOBODY[4], NOBODY[6]].map((ip) => ({ ip: must(parseIp(ip)), backends: [] })),
];

/** The client has number 9, and backends those that are said. */
export const CLIENT = 9;

export function vipState(
  on: On,
  here: Readonly<Record<On, readonly number[]>>,
  vips: readonly Vip[] | null,
  change: (box: DesiredSandbox) => DesiredSandbox = (box) => box,
): Desired {
  const other = on === 'a' ? 'b' : 'a';
  const remotes = here[other].flatMap((n) => [remote(4097, n, other), remote6(4097, n, other)]);
  return wanted({
    overlays: [overlay(4097, on, remotes)],
    sandboxes: here[on].map((n) => {
      const box = change(withIpv6(sandbox(`box${n}`, n, [4097])));
      return vips === null ? box : { ...box, vips };
    }),
    guard: guard(on, [4097]),
  });
}

/** An endpoint that says who it is and whom it sees, in each family, and repeats what it gets. */
export const startServer = (host: Host, n: number, netns = `weft-box${n}`): Promise<number> =>
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

const ASK = `
const [protocol, host, count, atOnce, from] = process.argv.slice(1);
const answers = {};
const add = (answer) => (answers[answer] = (answers[answer] ?? 0) + 1);
const tcp = () => new Promise((resolve) => {
  let text = '';
  const socket = require('node:net').connect({ host, port: 80, timeout: 3000 });
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
  socket.bind(Number(from), () => socket.connect(80, host, () => socket.send('who', (error) => error && end(error.code))));
});
let left = Number(count);
const worker = async () => { while (left-- > 0) await (protocol === 'tcp' ? tcp() : udp()); };
Promise.all(Array.from({ length: Number(atOnce) }, worker)).then(() => console.log(JSON.stringify(answers)));
`;

/** Answers, `ENDPOINT ADDRESS-THAT-IT-SAW` or an error, and how many of each. */
export async function ask(
  host: Host,
  protocol: 'tcp' | 'udp',
  to: string,
  count: number,
  { netns = `weft-box${CLIENT}`, atOnce = 8, from = 0 }: { netns?: string; atOnce?: number; from?: number } = {},
): Promise<Record<string, number>> {
  const command = [process.execPath, '-e', ASK, protocol, to, String(count), String(atOnce), String(from)];
  return JSON.parse(await host.run(...inside(netns, ...command))) as Record<string, number>;
}

/** A connection of the client that is in use until it breaks; how often it was, is in the file. */
export const holdConnection = (host: Host, to: string, file: string): Promise<number> =>
  host.start(
    `
    let echoes = 0;
    const socket = require('node:net').connect(80, '${to}');
    const write = (text) => require('node:fs').writeFileSync('${file}', text);
    socket.on('data', () => {
      if (++echoes === 1) process.send('ready');
      write(String(echoes));
      setTimeout(() => socket.write('again'), 10);
    });
    for (const end of ['error', 'close']) socket.on(end, () => write('broken'));
    `,
    `weft-box${CLIENT}`,
  );
