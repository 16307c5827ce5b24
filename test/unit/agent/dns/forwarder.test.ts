import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Forwarder } from '../../../../agent/dns/forwarder.ts';
import { lengthOf, type Upstream } from '../../../../agent/dns/upstream.ts';
import { makeReply, type Query, rcodes, readQuery, types } from '../../../../agent/dns/wire.ts';
import { quietLog } from '../../controlplane/helpers.ts';
import { queryFor } from './helpers.ts';

const read = (bytes: Buffer): Query => {
  const found = readQuery(bytes);
  assert.ok('query' in found);
  return found.query;
};

const address =
  (last: number, ttl = 30) =>
  (query: Query) =>
    makeReply(query, { rcode: 0, answers: [{ type: types.A, data: Buffer.of(192, 0, 2, last) }], ttl });

/** A server on loopback. @param answer [] for silence */
async function serve(
  context: TestContext,
  answer: (query: Query) => Buffer[] | Buffer,
): Promise<Upstream & { asked: string[] }> {
  const udp = createSocket('udp4');
  const asked: string[] = [];
  udp.on('message', (bytes, from) => {
    const query = read(bytes);
    asked.push(query.question.name);
    for (const reply of [answer(query)].flat()) udp.send(reply, from.port, from.address);
  });
  const listening = once(udp, 'listening');
  udp.bind(0, '127.0.0.1');
  await listening;
  context.after(() => udp.close());
  return { address: '127.0.0.1', port: udp.address().port, asked };
}

function forwarderTo(context: TestContext, upstreams: readonly Upstream[], nowMs = () => performance.now()): Forwarder {
  const forwarder = new Forwarder({ log: quietLog, nowMs });
  forwarder.upstreams = upstreams.map(({ address: host, port }) => ({ address: host, port }));
  context.after(() => forwarder.stop());
  return forwarder;
}

const ask = (forwarder: Forwarder, name: string, client = 'a'): Promise<Buffer | null> =>
  new Promise((resolve) => forwarder.ask(read(queryFor(name)), client, resolve));

/** Its last byte: of the address. */
const last = (reply: Buffer | null): number | undefined => reply?.at(-1);

test('servers are asked in their order: one that refuses, fails or is not there is passed over', async (context) => {
  const refuses = await serve(context, (query) => makeReply(query, { rcode: rcodes.refused }));
  const fails = await serve(context, (query) => makeReply(query, { rcode: rcodes.failed }));
  const answers = await serve(context, address(7));
  const gone = { address: '127.0.0.1', port: 1 };
  const forwarder = forwarderTo(context, [gone, refuses, fails, answers]);
  assert.equal(last(await ask(forwarder, 'www.example')), 7);
  assert.deepEqual([refuses.asked, fails.asked], [['www.example'], ['www.example']]);
  const hopeless = forwarderTo(context, [gone, fails]);
  assert.equal((await ask(hopeless, 'www.example'))?.readUInt16BE(2).toString(16).at(-1), String(rcodes.failed));
  assert.equal(await ask(forwarderTo(context, [gone]), 'www.example'), null);
  assert.equal(await ask(forwarderTo(context, []), 'www.example'), null);
});

test('one that is silent has its time, and comes last for a while', async (context) => {
  const silent = await serve(context, () => []);
  const answers = await serve(context, address(7));
  const forwarder = forwarderTo(context, [silent, answers]);
  const startMs = performance.now();
  assert.equal(last(await ask(forwarder, 'a.example')), 7);
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs > 1_400, `${tookMs} ms`);
  assert.equal(last(await ask(forwarder, 'b.example')), 7);
  assert.deepEqual(silent.asked, ['a.example']);
});

test('what answers another question, or with another id, is not heeded', async (context) => {
  const server = await serve(context, (query) => [
    address(1)({ ...query, id: query.id ^ 1 }),
    address(2)({ ...query, asked: read(queryFor('other.exam')).asked }),
    address(3)(query),
  ]);
  assert.equal(last(await ask(forwarderTo(context, [server]), 'www.example')), 3);
});

test('the same question is put once, and kept; other servers may say something else', async (context) => {
  let nowMs = 1_000;
  const one = await serve(context, address(1));
  const other = await serve(context, address(2));
  const forwarder = forwarderTo(context, [one], () => nowMs);
  const both = await Promise.all([ask(forwarder, 'www.example', 'a'), ask(forwarder, 'WWW.example', 'b')]);
  assert.deepEqual(both.map(last), [1, 1]);
  assert.equal(both[1]?.toString('latin1', 13, 16), 'WWW');
  nowMs += 29_000;
  const kept = await ask(forwarder, 'www.example');
  assert.equal(kept?.readUInt32BE(kept.length - 10), 1);
  nowMs += 1_000;
  assert.equal(last(await ask(forwarder, 'www.example')), 1);
  assert.deepEqual(one.asked, ['www.example', 'www.example']);
  forwarder.upstreams = [{ address: other.address, port: other.port }];
  assert.equal(last(await ask(forwarder, 'www.example')), 2);
});

test('one client has so many questions under way, and keeps nobody else from asking', async (context) => {
  const server = await serve(context, (query) => (query.question.name.startsWith('slow') ? [] : address(1)(query)));
  const forwarder = forwarderTo(context, [server]);
  const slow = Array.from({ length: 64 }, (_, at) => ask(forwarder, `slow${at}.example`));
  assert.equal(await ask(forwarder, 'www.example'), null);
  assert.equal(last(await ask(forwarder, 'www.example', 'b')), 1);
  forwarder.stop();
  assert.ok((await Promise.all(slow)).every((reply) => reply === null));
});

test('what does not fit into UDP is asked for by TCP; where that fails, what came is passed on', async (context) => {
  const cut = (query: Query): Buffer => {
    const reply = makeReply(query, { rcode: 0 });
    reply.writeUInt16BE(reply.readUInt16BE(2) | 0x0200, 2);
    return reply;
  };
  const udp = await serve(context, cut);
  const forwarder = forwarderTo(context, [udp]);
  assert.equal((await ask(forwarder, 'big.example'))?.readUInt16BE(2), 0x8380);
  const tcp = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      const reply = address(9)(read(bytes.subarray(2)));
      // In pieces, as TCP may have it.
      for (const byte of Buffer.concat([lengthOf(reply), reply])) socket.write(Buffer.of(byte));
    });
  });
  tcp.listen(udp.port, '127.0.0.1');
  await once(tcp, 'listening');
  context.after(() => tcp.close());
  assert.equal(last(await ask(forwarder, 'big.example')), 9);
});
