// A nameserver of the outside: `nameserver.mjs ADDRESS [PORT]`. Says `listening PORT`, then each question: `udp 1 www.example`.
// `www.NAME` has the address 192.0.2.LAST, of its own last number; `big.NAME` has 100 addresses, too many for UDP; all
// else is not there, which may be kept for a minute.
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';

const [address = '127.0.0.1', wantedPort = '53'] = process.argv.slice(2);
const last = Number(address.split('.').at(-1));

function nameOf(query) {
  const labels = [];
  let at = 12;
  for (; query[at]; at += 1 + query[at]) labels.push(query.toString('latin1', at + 1, at + 1 + query[at]));
  return { name: labels.join('.').toLowerCase(), end: at + 5 };
}

function answer(query, over) {
  const { name, end } = nameOf(query);
  const type = query.readUInt16BE(end - 4);
  process.stdout.write(`${over} ${type} ${name}\n`);
  const [first] = name.split('.');
  const there = first === 'www' || first === 'big';
  const count = type !== 1 || !there ? 0 : first === 'big' ? 100 : 1;
  const cut = over === 'udp' && count > 20;
  const records = cut
    ? []
    : Array.from({ length: count }, (_, at) => record(1, 30, [192, 0, 2, count === 1 ? last : at]));
  // Of the root: its TTL and its last field say for how long there is nothing.
  const soa = count > 0 ? [] : [record(6, 60, [0, 0, ...[1, 60, 60, 60, 60].flatMap((each) => [0, 0, 0, each])])];
  const header = Buffer.from(query.subarray(0, 12));
  header.writeUInt16BE(0x8000 | (query.readUInt16BE(2) & 0x0100) | 0x0480 | (cut ? 0x0200 : 0) | (there ? 0 : 3), 2);
  for (const [at, count] of [1, records.length, soa.length, 0].entries()) header.writeUInt16BE(count, 4 + 2 * at);
  return Buffer.concat([header, query.subarray(12, end), ...records, ...soa]);
}

function record(type, ttl, data) {
  const head = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, ttl, 0, data.length]);
  return Buffer.concat([head, Buffer.from(data)]);
}

const tcp = createServer((socket) => {
  socket.on('error', () => {});
  socket.on('data', (bytes) => {
    const reply = answer(bytes.subarray(2), 'tcp');
    const length = Buffer.alloc(2);
    length.writeUInt16BE(reply.length);
    socket.write(Buffer.concat([length, reply]));
  });
});
tcp.listen(Number(wantedPort), address, () => {
  const { port } = tcp.address();
  const udp = createSocket('udp4');
  udp.on('message', (query, from) => udp.send(answer(query, 'udp'), from.port, from.address));
  udp.bind(port, address, () => process.stdout.write(`listening ${port}\n`));
});
