import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { after, test } from 'node:test';
import { issueCertificate, newAuthority } from '../../../controlplane/identity/authority.ts';
import { meshKeyDigest } from '../../../controlplane/identity/credentials.ts';
import { type NodeKey, newNodeKey } from '../../../controlplane/identity/keys.ts';
import { Trust } from '../../../controlplane/identity/trust.ts';
import type { NodeId } from '../../../controlplane/ids.ts';
import { libp2pTransport } from '../../../controlplane/mesh/libp2p.ts';
import type { Transport, Verdict } from '../../../controlplane/mesh/transport.ts';
import { Members } from '../../../controlplane/tables/members.ts';
import { VirtualTime } from '../../sim/time.ts';
import { memoryStore, quietLog, virtualEnvironment } from './helpers.ts';

const topic = 'cluster';
const clusterId = 'c'.repeat(25);
const nowMs = new VirtualTime().now();
const authority = await newAuthority(clusterId, nowMs);
const foreign = await newAuthority(clusterId, nowMs);
const networkKey = randomBytes(32);

const stops: (() => Promise<void>)[] = [];
after(async () => {
  await Promise.all(stops.map((stop) => stop()));
});

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

interface Node {
  readonly nodeId: NodeId;
  readonly address: string;
  readonly transport: Transport;
  readonly members: Members;
  readonly heard: string[];
  readonly asked: string[];
  readonly connects: NodeId[];
  readonly refusals: string[];
  next(event: 'gossip' | 'pinged' | 'connected' | 'disconnected' | 'refused'): Promise<void>;
}

async function start(
  options: {
    psk?: Uint8Array[];
    by?: typeof authority;
    admitAll?: boolean;
    key?: NodeKey;
    monotonicMs?: () => number;
  } = {},
): Promise<Node> {
  const key = options.key ?? newNodeKey();
  const port = await freePort();
  const certificate = await issueCertificate(options.by ?? authority, clusterId, { ...key, role: 'worker' }, nowMs);
  const members = new Members(
    () => Trust.of([{ root: authority.certificate, cross: null }]),
    memoryStore(),
    virtualEnvironment(new VirtualTime()),
  );
  const waiting: { event: string; resolve: () => void }[] = [];
  const tell = (event: string): void => {
    for (const each of waiting.splice(0)) {
      if (each.event === event) each.resolve();
      else waiting.push(each);
    }
  };
  const [heard, asked, connects]: [string[], string[], NodeId[]] = [[], [], []];
  const refusals: string[] = [];
  const transport = libp2pTransport({
    key,
    meshKeys: () =>
      (options.psk ?? [networkKey]).map((each) => ({ id: meshKeyDigest(each).subarray(0, 8), key: each })),
    links: () => [],
    learn: async () => {},
    listen: { host: '127.0.0.1', port },
    certificate: () => certificate,
    admit: (shown, peerId) => {
      if (options.admitAll === true) return null;
      const admitted = members.admit(shown);
      if (!admitted.ok) return admitted.reason;
      return admitted.member.nodeId === peerId ? null : 'the certificate is that of another node';
    },
    explain: () => Buffer.from('because'),
    refused: (explanation) => {
      refusals.push(Buffer.from(explanation).toString());
      tell('refused');
    },
    monotonicMs: options.monotonicMs ?? (() => performance.now()),
    log: quietLog,
  });
  await transport.start({
    gossip: (_, bytes): Verdict => {
      heard.push(Buffer.from(bytes).toString());
      tell('gossip');
      return 'accept';
    },
    request: async (method, body) => {
      asked.push(method);
      if (method === 'fail') throw new Error('cannot');
      return Buffer.concat([Buffer.from('echo '), body]);
    },
    pinged: () => tell('pinged'),
    connected: (peer) => {
      connects.push(peer);
      tell('connected');
    },
    disconnected: () => tell('disconnected'),
  });
  stops.push(() => transport.stop());
  transport.subscribe(topic);
  const next = (event: string) => new Promise<void>((resolve) => waiting.push({ event, resolve }));
  return {
    nodeId: key.nodeId,
    address: `127.0.0.1:${port}`,
    transport,
    members,
    heard,
    asked,
    connects,
    refusals,
    next,
  };
}

const dial = (from: Node, to: Node) => from.transport.dial(to.nodeId, [to.address], AbortSignal.timeout(5_000));

/** Publishes until the other end has heard it: the mesh of gossipsub takes a moment to form. */
async function hears(to: Node, from: Node, text: string): Promise<void> {
  for (let attempt = 0; !to.heard.includes(text); attempt += 1) {
    assert.ok(attempt < 100, 'gossip did not arrive');
    const heard = to.next('gossip');
    from.transport.publish(topic, Buffer.from(attempt === 0 ? text : `${text} ${attempt}`));
    await Promise.race([heard, new Promise((resolve) => setTimeout(resolve, 100))]);
    if (to.heard.some((each) => each.startsWith(text))) return;
  }
}

test('members connect, gossip to each other and answer requests', async () => {
  const [a, b] = [await start(), await start()];
  const connected = b.next('connected');
  await dial(a, b);
  await connected;
  assert.deepEqual([a.connects, b.connects], [[b.nodeId], [a.nodeId]]);
  assert.equal(a.transport.connections().get(b.nodeId)?.direction, 'outbound');
  assert.equal(a.transport.connections().get(b.nodeId)?.address, b.address);
  assert.equal(b.transport.connections().get(a.nodeId)?.direction, 'inbound');
  await hears(b, a, 'from a');
  await hears(a, b, 'from b');
  const signal = AbortSignal.timeout(5_000);
  assert.equal(Buffer.from(await a.transport.request(b.nodeId, 'pull', Buffer.from('x'), signal)).toString(), 'echo x');
  await assert.rejects(b.transport.request(a.nodeId, 'fail', Buffer.alloc(0), signal), /fail: cannot/);
  const large = randomBytes(900_000);
  assert.equal((await a.transport.request(b.nodeId, 'pull', large, signal)).length, 900_005);
  const lost = b.next('disconnected');
  await a.transport.disconnect(b.nodeId);
  await lost;
  await assert.rejects(a.transport.request(b.nodeId, 'pull', Buffer.alloc(0), signal), /is not connected/);
});

test('pings go round on one stream, late answers do no harm, and a lost connection ends them', async () => {
  const [a, b] = [await start(), await start()];
  await assert.rejects(a.transport.ping(b.nodeId, AbortSignal.timeout(5_000)), /is not connected/);
  const connected = b.next('connected');
  await dial(a, b);
  await connected;
  const pinged = b.next('pinged');
  await a.transport.ping(b.nodeId, AbortSignal.timeout(5_000));
  await pinged;
  const late = new AbortController();
  const onItsWay = b.next('pinged');
  const asked = a.transport.ping(b.nodeId, late.signal);
  await onItsWay;
  late.abort();
  await assert.rejects(asked, /in time/);
  for (let round = 0; round < 100; round += 1) await a.transport.ping(b.nodeId, AbortSignal.timeout(5_000));
  await b.transport.ping(a.nodeId, AbortSignal.timeout(5_000));
  const lost = b.next('disconnected');
  await a.transport.disconnect(b.nodeId);
  await lost;
  await assert.rejects(b.transport.ping(a.nodeId, AbortSignal.timeout(5_000)));
  const again = b.next('connected');
  await dial(a, b);
  await again;
  await a.transport.ping(b.nodeId, AbortSignal.timeout(5_000));
});

test('a knock tells an agent that listens from a port where none does', async () => {
  const [a, b] = [await start(), await start()];
  const signal = AbortSignal.timeout(5_000);
  assert.equal(await a.transport.knock([b.address], signal), 'accepted');
  const closed = `127.0.0.1:${await freePort()}`;
  assert.equal(await a.transport.knock([closed], signal), 'refused');
  assert.equal(await a.transport.knock([closed, b.address], signal), 'accepted');
  assert.equal(await a.transport.knock(['nonsense'], signal), 'silent');
  assert.equal(await a.transport.knock([b.address], AbortSignal.abort()), 'silent');
});

/** Nothing of the stranger's reaches the member above the handshake, whoever dials. */
async function assertKeptOut(member: Node, stranger: Node): Promise<void> {
  const before = [member.connects.length, member.heard.length, member.asked.length];
  for (const [from, to] of [
    [stranger, member],
    [member, stranger],
  ] as const) {
    // A stranger that admits everybody may take itself for connected until the member has closed.
    const dialled = await dial(from, to).then(
      () => true,
      () => false,
    );
    assert.ok(!(dialled && from === member), 'the member takes the stranger for connected');
    stranger.transport.publish(topic, Buffer.from('let me in'));
    const signal = AbortSignal.timeout(2_000);
    await assert.rejects(stranger.transport.request(member.nodeId, 'pull', Buffer.alloc(0), signal));
  }
  assert.equal(member.transport.connections().has(stranger.nodeId), false);
  assert.deepEqual([member.connects.length, member.heard.length, member.asked.length], before);
}

test('a stranger without the private-network key is kept out', async () => {
  await assertKeptOut(await start(), await start({ psk: [randomBytes(32)], admitAll: true }));
});

test('a stranger who opens connections and says nothing does not keep members out', async () => {
  const [a, b] = [await start(), await start()];
  const [host = '', port] = b.address.split(':');
  const open = Array.from({ length: 256 }, () => connect({ host, port: Number(port), localAddress: '127.0.0.2' }));
  for (const socket of open) socket.on('error', () => {}).resume();
  await Promise.all(open.map((socket) => once(socket, 'connect')));
  await dial(a, b);
  for (const socket of open) socket.destroy();
});

test('while the mesh key changes, whoever has one key in common connects, whichever it is', async () => {
  const next = randomBytes(32);
  const [before, both, after] = [
    await start(),
    await start({ psk: [next, networkKey] }),
    await start({ psk: [next, randomBytes(32)] }),
  ];
  for (const [from, to] of [
    [before, both],
    [both, after],
  ] as const) {
    const connected = to.next('connected');
    await dial(from, to);
    await connected;
  }
  assert.deepEqual([...both.transport.connections().keys()].sort(), [before.nodeId, after.nodeId].sort());
  await assertKeptOut(before, after);
});

test('a stranger who has the key and a certificate of another CA is kept out', async () => {
  await assertKeptOut(await start(), await start({ by: foreign, admitAll: true }));
});

test('a removed node is kept out', async () => {
  const [member, removed] = [await start(), await start()];
  const connected = member.next('connected');
  await dial(removed, member);
  await connected;
  member.members.remove(removed.nodeId);
  const lost = removed.next('disconnected');
  await member.transport.disconnect(removed.nodeId);
  await lost;
  await assertKeptOut(member, removed);
  // And is told why, whoever of the two has dialled.
  while (removed.refusals.length < 2) await removed.next('refused');
  assert.deepEqual(removed.refusals, ['because', 'because']);
  assert.deepEqual(member.refusals, []);
});

test('a connection is taken for dead when its peer dials anew after five seconds, however the clock jumps', async (t) => {
  const [dayMs, startedMs, key] = [86_400_000, Date.now(), newNodeKey()];
  let monotonicMs = 0;
  const member = await start({ monotonicMs: () => monotonicMs });
  const dialAs = async (): Promise<Node> => {
    const dialler = await start({ key });
    await dial(dialler, member);
    return dialler;
  };
  const connected = member.next('connected');
  const first = await dialAs();
  await connected;
  t.mock.method(Date, 'now', () => startedMs + dayMs);
  const second = await dialAs();
  await member.transport.request(key.nodeId, 'pull', Buffer.alloc(0), AbortSignal.timeout(5_000));
  assert.deepEqual(
    [first, second].map(({ transport }) => transport.connections().size),
    [1, 1],
  );
  t.mock.method(Date, 'now', () => startedMs - dayMs);
  monotonicMs += 5_001;
  const lost = [first.next('disconnected'), second.next('disconnected')];
  await dialAs();
  await Promise.all(lost);
});

test('who is dialled under the id of another is not taken for it', async () => {
  const [a, b, c] = [await start(), await start(), await start()];
  await assert.rejects(a.transport.dial(b.nodeId, [c.address], AbortSignal.timeout(5_000)));
  await assert.rejects(a.transport.dial(b.nodeId, [], AbortSignal.timeout(5_000)), /no address is known/);
  assert.equal(a.transport.connections().size, 0);
});
