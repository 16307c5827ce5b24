import assert from 'node:assert/strict';
import { Resolver as Client } from 'node:dns/promises';
import { once } from 'node:events';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { BridgeAskers } from '../../../../agent/dns/bridge-askers.ts';
import { type Asker, type Askers, Resolver } from '../../../../agent/dns/resolver.ts';
import { DnsServer } from '../../../../agent/dns/server.ts';
import { lengthOf } from '../../../../agent/dns/upstream.ts';
import type { NetworkId } from '../../../../controlplane/ids.ts';
import { quietLog } from '../../controlplane/helpers.ts';
import { networkOf, queryFor } from './helpers.ts';

const network = 'n'.repeat(25) as NetworkId;
const endpoint = { aliases: [], owner: 'one' };
const many = Array.from({ length: 60 }, (_, at) => ({
  ...endpoint,
  name: `web${at}`,
  aliases: ['web'],
  ip: `10.0.0.${at + 2}`,
}));
const db = { ...endpoint, name: 'db', ip: '10.0.0.100', ip6: 'fd00::64', ports: ['5432/tcp'] };

const onGateway = [{ address: '127.0.0.1', networks: [network] }];
const known = new BridgeAskers('127.0.0.9/8', { onGateway, beside: [], isBehind: false }, () => false);

/** The resolver at a port of loopback, for who has 127.0.0.1. */
async function serve(
  context: TestContext,
  late: (() => void)[] = [],
  askers: Askers = { of: (address) => known.of(address), find: async () => null },
): Promise<number> {
  const names = networkOf('front', [db, ...many], (address) => address.startsWith('10.0.0.'));
  const resolver = new Resolver({
    askers,
    names: (id) => (id === network ? names : null),
    isUp: () => true,
    forwarder: { ask: (_query, _client, reply) => void late.push(() => reply(null)) },
    random: Math.random,
  });
  const server = new DnsServer(resolver, quietLog);
  context.after(() => server.close());
  return await server.listen('127.0.0.1', 0);
}

test('is understood by a resolver of somebody else', async (context) => {
  const client = new Client({ timeout: 1_000, tries: 1 });
  client.setServers([`127.0.0.1:${await serve(context)}`]);
  assert.deepEqual(await client.resolve4('DB', { ttl: true }), [{ address: '10.0.0.100', ttl: 1 }]);
  assert.deepEqual(await client.resolve6('db.front'), ['fd00::64']);
  assert.deepEqual(await client.reverse('10.0.0.100'), ['db.front']);
  await assert.rejects(client.reverse('10.0.0.200'), { code: 'ENOTFOUND' });
  await assert.rejects(client.resolve6('web1'), { code: 'ENODATA' });
  await assert.rejects(client.resolveMx('db'), { code: 'ENODATA' });
  assert.deepEqual(await client.resolveSrv('_5432._tcp.db'), [
    { name: 'db.front', port: 5432, priority: 0, weight: 1 },
  ]);
  await assert.rejects(client.resolveSrv('_5433._tcp.db'), { code: 'ENOTFOUND' });
  // Too many for 512 bytes, so it comes back by TCP.
  assert.equal((await client.resolve4('web')).length, 60);
});

test('queries of one connection are answered as they can be, and what is none ends it', async (context) => {
  const late: (() => void)[] = [];
  const port = await serve(context, late);
  const socket = connect(port, '127.0.0.1');
  context.after(() => socket.destroy());
  const replies: Buffer[] = [];
  let bytes = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    bytes = Buffer.concat([bytes, chunk]);
    while (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) {
      replies.push(bytes.subarray(2, 2 + bytes.readUInt16BE(0)));
      bytes = bytes.subarray(2 + bytes.readUInt16BE(0));
      socket.emit('reply');
    }
  });
  const framed = (query: Buffer): Buffer => Buffer.concat([lengthOf(query), query]);
  const queries = Array.from({ length: 40 }, (_, id) =>
    framed(queryFor(id % 2 ? 'db' : `www${id}.example`, 1, { id })),
  );
  const all = Buffer.concat(queries);
  // Cut where it hurts.
  socket.write(all.subarray(0, 1));
  socket.write(all.subarray(1, 31));
  socket.write(all.subarray(31));
  while (replies.length < 40) {
    // Forwarded ones are answered when those of ours have been, so that no more than so many are under way.
    const waiting = late.splice(0);
    assert.ok(waiting.length <= 16);
    if (waiting.length === 0) await once(socket, 'reply');
    for (const answer of waiting) answer();
  }
  assert.deepEqual(
    replies.map((reply) => reply.readUInt16BE(0)).sort((a, b) => a - b),
    Array.from({ length: 40 }, (_, id) => id),
  );
  const closed = once(socket, 'close');
  socket.write(framed(queryFor('db', 1, { flags: 0x8000 })));
  await closed;
  const other = connect(port, '127.0.0.1');
  const ended = once(other, 'close');
  other.write(Buffer.from([0xff, 0xff, 0]));
  await ended;
});

test('nobody holds more connections than his share', async (context) => {
  const port = await serve(context);
  const sockets = Array.from({ length: 16 }, () => connect(port, '127.0.0.1'));
  context.after(() => sockets.forEach((socket) => void socket.destroy()));
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  const more = connect(port, '127.0.0.1');
  more.on('error', () => {});
  await once(more, 'close');
  assert.ok(sockets.every((socket) => !socket.destroyed));
});

test('who is not known yet is answered once he is, by what he is then; others do not wait for that', async (context) => {
  let found: (asker: Asker | 'unknown') => void = () => {};
  const asked: string[] = [];
  const find = (address: string) => {
    asked.push(address);
    return new Promise<Asker | 'unknown'>((resolve) => {
      found = resolve;
    });
  };
  let unknown = true;
  const of = (address: string) => (unknown ? ('unknown' as const) : known.of(address));
  const port = await serve(context, [], { of, find });
  const client = new Client({ timeout: 5_000, tries: 1 });
  client.setServers([`127.0.0.1:${port}`]);
  const later = client.resolve4('DB');
  while (asked.length === 0) await new Promise(setImmediate);
  unknown = false;
  assert.deepEqual(await client.resolve4('db'), ['10.0.0.100']);
  found({ networks: [network] });
  assert.deepEqual(await later, ['10.0.0.100']);
  assert.deepEqual(asked, ['127.0.0.1']);
  // Not found out in time: whoever asks is to ask again, and not to believe that there is no such name.
  unknown = true;
  const never = client.resolve4('db');
  while (asked.length === 1) await new Promise(setImmediate);
  found('unknown');
  await assert.rejects(never, { code: 'ESERVFAIL' });
});

test('answers askers on bridges of the host and nobody else', () => {
  const docker0 = (address: string): boolean => address.startsWith('172.17.');
  const onGateway = [{ address: '172.18.0.2', networks: [network] }];
  const beside = [
    { address: '172.17.0.3', networks: [network] },
    // Of somewhere else, where anybody may have it.
    { address: '192.0.2.3', networks: [network] },
  ];
  const askers = new BridgeAskers('172.18.0.1/16', { onGateway, beside, isBehind: false }, docker0);
  assert.deepEqual(askers.of('172.18.0.2'), onGateway[0]);
  assert.deepEqual(askers.of('172.17.0.3'), beside[0]);
  assert.deepEqual(askers.of('172.17.0.2'), { networks: [] });
  assert.equal(askers.of('172.18.9.9'), 'unknown');
  for (const address of ['172.18.0.1', '172.19.0.2', '192.0.2.3', '10.0.0.5', 'fe80::1', '']) {
    assert.equal(askers.of(address), null);
  }
  // While it is not known of somebody where he asks from, he may be there.
  const behind = new BridgeAskers('172.18.0.1/16', { onGateway, beside, isBehind: true }, docker0);
  assert.deepEqual(behind.of('172.17.0.2'), 'unknown');
  assert.deepEqual(behind.of('172.17.0.3'), beside[0]);
  assert.equal(behind.of('192.0.2.3'), null);
});
