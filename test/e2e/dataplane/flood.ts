import { createSocket } from 'node:dgram';

// Sends one datagram to each of COUNT addresses from 10.0.200.0 on: as many questions of ARP to all.

const socket = createSocket('udp4');
const count = Number(process.argv[2]);
for (let sent = 0; sent < count; sent++) {
  await new Promise<void>((resolve) => socket.send('', 9, `10.0.${200 + (sent >> 8)}.${sent & 0xff}`, () => resolve()));
}
socket.close();
