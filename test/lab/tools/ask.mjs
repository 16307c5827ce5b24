// Prints what `answer.mjs` says at an address, or nothing after a second: `ask.mjs tcp|udp ADDRESS PORT`.
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';

const [protocol, address, port] = process.argv.slice(2);
setTimeout(() => process.exit(1), 1_000);
if (protocol === 'udp') {
  const socket = createSocket('udp4');
  socket.on('message', (message) => {
    process.stdout.write(String(message));
    process.exit(0);
  });
  socket.on('error', () => process.exit(1));
  socket.send('who', Number(port), address);
} else {
  connect(Number(port), address)
    .on('data', (data) => process.stdout.write(data))
    .on('close', (failed) => process.exit(failed ? 1 : 0))
    .on('error', () => process.exit(1));
}
