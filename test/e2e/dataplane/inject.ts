import { createSocket } from 'node:dgram';
import { once } from 'node:events';

// Sends forged VXLAN frames from a host of the test: each holds an IPv4 packet with a UDP datagram for one container.
//   inject.ts FROM TO PORT VNI MAC IP COUNT     FROM '-': whatever address the host would take

const [from = '-', to = '', port = '', vni = '', mac = '', ip = '', count = ''] = process.argv.slice(2);

function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

const inner = Buffer.alloc(14 + 20 + 8 + 18);
inner.set(mac.split(':').map((byte) => Number.parseInt(byte, 16)));
inner.set([0x02, 0x66, 0x66, 0x66, 0x66, 0x66], 6);
inner.writeUInt16BE(0x0800, 12);
const header = inner.subarray(14, 34);
header.set([0x45, 0, 0, inner.length - 14, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 66, ...ip.split('.').map(Number)]);
header.writeUInt16BE(checksum(header), 10);
inner.writeUInt16BE(4242, 34);
inner.writeUInt16BE(9, 36);
inner.writeUInt16BE(26, 38);
const frame = Buffer.concat([Buffer.of(8, 0, 0, 0, 0, 0, 0, 0), inner]);
frame.writeUIntBE(Number(vni), 4, 3);

const socket = createSocket(to.includes(':') ? 'udp6' : 'udp4');
socket.bind({ port: 0, ...(from === '-' ? {} : { address: from }) });
await once(socket, 'listening');
for (let sent = 0; sent < Number(count); sent++) {
  // One after the other, so that none is lost in the sender's own buffer. What a guard at the exit drops is EPERM.
  await new Promise<void>((resolve) => socket.send(frame, Number(port), to, () => resolve()));
}
socket.close();
