// Asks a nameserver over UDP, so many queries at once: `queries.mjs ADDRESS PORT NAME COUNT WINDOW`. Of a NAME that begins
// with `*.` each query has another one. One line of JSON: how long each took, milliseconds, and all together; and how many
// were not answered within a second or not with an address.
import { createSocket } from 'node:dgram';

const [address, port, name, countText, windowText] = process.argv.slice(2);
const [count, window] = [Number(countText), Number(windowText)];
const salt = process.hrtime.bigint().toString(36);

function query(id, text) {
  const labels = text.split('.').map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label)]));
  const head = Buffer.from([id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  return Buffer.concat([head, ...labels, Buffer.from([0, 0, 1, 0, 1])]);
}

const socket = createSocket({ type: 'udp4', lookup: (host, _options, callback) => callback(null, host, 4) });
const sentMs = new Map();
const tookMs = [];
let [next, lost] = [0, 0];
const fixed = query(0, name);
function send() {
  if (next >= count) return;
  const id = next % 0x10000;
  const bytes = name.startsWith('*.') ? query(id, `www.${salt}${next}.${name.slice(2)}`) : Buffer.from(fixed);
  bytes.writeUInt16BE(id, 0);
  next += 1;
  sentMs.set(id, performance.now());
  socket.send(bytes, Number(port), address);
}
const startMs = performance.now();
socket.on('message', (reply) => {
  const id = reply.readUInt16BE(0);
  const started = sentMs.get(id);
  if (started === undefined) return;
  sentMs.delete(id);
  if (reply.readUInt16BE(6) === 0) lost += 1;
  tookMs.push(performance.now() - started);
  send();
  if (next >= count && sentMs.size === 0) done();
});
const watch = setInterval(() => {
  for (const [id, started] of sentMs) {
    if (performance.now() - started < 1_000) continue;
    sentMs.delete(id);
    lost += 1;
    send();
  }
  if (next >= count && sentMs.size === 0) done();
}, 100);
function done() {
  clearInterval(watch);
  process.stdout.write(JSON.stringify({ allMs: performance.now() - startMs, tookMs, lost }));
  socket.close();
}
for (let at = 0; at < window; at += 1) send();
