import { sourcePorts } from '../../lab/source-ports.ts';
import { inside } from './checks.ts';
import type { Host } from './host.ts';

// Who answers in a namespace, and who asks.

/** Answers on port 80 of TCP and UDP: says who it is and whom it sees, in each family, and repeats what it gets. */
export const startServer = (host: Host, n: number, netns: string): Promise<number> =>
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
const [protocol, host, port, count, atOnce, from, step] = process.argv.slice(1);
let source = Number(from);
const answers = {};
const add = (answer) => (answers[answer] = (answers[answer] ?? 0) + 1);
const tcp = () => new Promise((resolve) => {
  let text = '';
  const socket = require('node:net').connect({ host, port: Number(port), timeout: 3000 });
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
  socket.bind(source, () => socket.connect(Number(port), host, () => socket.send('who', (error) => error && end(error.code))));
  source += Number(step);
});
let left = Number(count);
const worker = async () => { while (left-- > 0) await (protocol === 'tcp' ? tcp() : udp()); };
Promise.all(Array.from({ length: Number(atOnce) }, worker)).then(() => console.log(JSON.stringify(answers)));
`;

export interface Asking {
  readonly protocol: 'tcp' | 'udp';
  readonly to: string;
  readonly port: number;
  readonly count: number;
  /** null: the host's own. */
  readonly netns: string | null;
  readonly atOnce: number;
  /** The one port to send all datagrams from. @default one of its own for each */
  readonly from?: number;
}

/** Answers, `WHO ADDRESS-THAT-IT-SAW` or an error, and how many of each. */
export async function answersTo(host: Host, asking: Asking): Promise<Record<string, number>> {
  const { protocol, to, port, count, netns, atOnce, from } = asking;
  const source = from === undefined ? [sourcePorts(protocol === 'udp' ? count : 0), 1] : [from, 0];
  const numbers = [port, count, atOnce, ...source].map(String);
  const command = [process.execPath, '-e', CLIENT, protocol, to, ...numbers];
  const text = await host.run(...(netns === null ? command : inside(netns, ...command)));
  return JSON.parse(text) as Record<string, number>;
}

/** A connection that is in use until it breaks; how often it was, is in the file. */
export const hold = (host: Host, netns: string, to: string, port: number, file: string): Promise<number> =>
  host.start(
    `
    let echoes = 0;
    const socket = require('node:net').connect(${port}, '${to}');
    const write = (text) => require('node:fs').writeFileSync('${file}', text);
    socket.on('data', () => {
      if (++echoes === 1) process.send('ready');
      write(String(echoes));
      setTimeout(() => socket.write('again'), 10);
    });
    for (const end of ['error', 'close']) socket.on(end, () => write('broken'));
    `,
    netns,
  );
