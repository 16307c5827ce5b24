// The internet of a lab: on each connection says the address it came from, and closes. Usage: outside.mjs ADDRESS PORT
import { createServer } from 'node:net';

const [address, port] = process.argv.slice(2);
const server = createServer((socket) => {
  socket.on('error', () => {});
  socket.end(`${socket.remoteAddress}\n`);
});
server.listen(Number(port), address, () => process.stdout.write('listening\n'));
