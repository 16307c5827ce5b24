// Answers everyone on a TCP and a UDP port with who it is and whom it sees: `answer.mjs NAME PORT`.
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';

const [name, port] = process.argv.slice(2);
const text = (address) => `${name} ${address.replace(/^::ffff:/, '')}`;
const udp = createSocket('udp4');
udp.on('message', (_message, { address, port: from }) => udp.send(text(address), from, address));
udp.bind(Number(port), '0.0.0.0', () => {
  createServer((socket) => socket.on('error', () => {}).end(text(socket.remoteAddress ?? '')))
    .listen(Number(port), '0.0.0.0')
    .on('listening', () => console.log('listening'));
});
