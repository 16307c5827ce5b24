// A service that says who it is and whom it sees, over TCP and UDP, and who asks it.
//   who.mjs serve NAME PORT                 each line it gets is answered with `NAME ADDRESS`
//   who.mjs tally tcp ADDRESS PORT COUNT MS  as many connections, one answer each, waited for so long; prints the answers with how
//                                           often, as JSON
//   who.mjs tally udp ADDRESS PORT COUNT MS FROM  the same with datagrams, each from a port of its own, the first from that
//   who.mjs hold tcp|udp ADDRESS PORT       one connection that asks again and again; prints the answers, a line each
//   who.mjs begin ADDRESS PORT              a new connection every 20 ms; prints `BEGAN ANSWER` of each, milliseconds since 1970
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';

const [verb, ...args] = process.argv.slice(2);
const plain = (address) => address.replace(/^::ffff:/, '');
const AT_ONCE = 20;
const BEGIN_MS = 1_000;
const EVERY_MS = 20;

async function serve(name, port) {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    const lines = createInterface({ input: socket });
    // It tells what its input told already.
    lines.on('error', () => {});
    lines.on('line', () => socket.write(`${name} ${plain(socket.remoteAddress ?? '')}\n`));
  });
  server.listen(Number(port), '::');
  await once(server, 'listening');
  const datagrams = createSocket('udp6');
  datagrams.on('message', (_, { address, port: to }) => datagrams.send(`${name} ${plain(address)}`, to, address));
  datagrams.bind(Number(port));
  await once(datagrams, 'listening');
  process.stdout.write('listening\n');
}

function overTcp(address, port, patienceMs) {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), address, () => socket.write('who\n'));
    socket.setTimeout(patienceMs, () => socket.destroy(new Error('no answer')));
    socket.on('error', reject);
    socket.once('data', (data) => {
      socket.destroy();
      resolve(String(data).trim());
    });
  });
}

function overUdp(address, port, patienceMs, from) {
  return new Promise((resolve, reject) => {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    const late = setTimeout(() => {
      socket.close();
      reject(new Error('no answer'));
    }, patienceMs);
    socket.on('message', (data) => {
      clearTimeout(late);
      socket.close();
      resolve(String(data));
    });
    socket.on('error', reject);
    socket.bind(from, () => socket.send('who', Number(port), address));
  });
}

async function tally(protocol, address, port, count, patienceMs, from) {
  const one = protocol === 'udp' ? overUdp : overTcp;
  const answers = {};
  let left = Number(count);
  const worker = async () => {
    while (left > 0) {
      left -= 1;
      const asked = one(address, port, Number(patienceMs), Number(from) + left);
      const answer = await asked.catch((error) => error.code ?? error.message);
      answers[answer] = (answers[answer] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  process.stdout.write(`${JSON.stringify(answers)}\n`);
}

async function hold(protocol, address, port) {
  if (protocol === 'udp') {
    const datagrams = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    datagrams.on('message', (data) => process.stdout.write(`${data}\n`));
    // Who answers no more, or is refused, is asked again.
    datagrams.on('error', () => {});
    datagrams.bind(() => setInterval(() => datagrams.send('who', Number(port), address, () => {}), 50));
    return;
  }
  const socket = connect(Number(port), address);
  await once(socket, 'connect');
  createInterface({ input: socket }).on('line', (line) => {
    process.stdout.write(`${line}\n`);
    setTimeout(() => socket.write('who\n'), 50);
  });
  socket.on('close', () => process.exit(1));
  socket.write('who\n');
}

async function begin(address, port) {
  setInterval(async () => {
    const beganMs = Date.now();
    const answer = await overTcp(address, port, BEGIN_MS).catch((error) => error.code ?? error.message);
    process.stdout.write(`${beganMs} ${answer}\n`);
  }, EVERY_MS);
}

await { serve, tally, hold, begin }[verb](...args);
