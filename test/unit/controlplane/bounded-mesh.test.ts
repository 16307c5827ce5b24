import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeId } from '../../../controlplane/ids.ts';
import { Mesh } from '../../../controlplane/mesh/mesh.ts';
import { idleMs, maxExtraConnections } from '../../../controlplane/mesh/shape.ts';
import { keyFrom } from '../../sim/identities.ts';
import { VirtualTime } from '../../sim/time.ts';
import { FakeTransport, quietLog, settled, virtualEnvironment } from './helpers.ts';

const ids = [...Array(30).keys()].map((i) => keyFrom(`node ${i}`).nodeId);
const [self = keyFrom('node 0').nodeId, ...others] = ids;
const signal = new AbortController().signal;

async function make({ held = false } = {}) {
  const time = new VirtualTime();
  const transport = new FakeTransport();
  const environment = virtualEnvironment(time);
  const suspended = new Set<NodeId>();
  transport.answer = async () => Buffer.from('answer');
  for (const id of others) transport.listening.add(id);
  const mesh = new Mesh({
    ...{ self, transport, environment, log: quietLog },
    nodes: () => new Map(ids.map((id) => [id, 'worker' as const])),
    addressesOf: (peer) => (others.includes(peer) ? [`192.0.2.${others.indexOf(peer) + 1}:7946`] : []),
    networks: () => [],
    isSuspended: (peer) => suspended.has(peer),
    fullMeshUpTo: 20,
  });
  let answering: Promise<void> = Promise.resolve();
  if (held) mesh.hold();
  await mesh.start({
    gossip: () => 'accept',
    request: async () => {
      await answering;
      return Buffer.alloc(0);
    },
    pinged: () => {},
    connected: () => {},
    disconnected: () => {},
  });
  mesh.reshape();
  await time.run(5_000);
  const stranger = others.find((id) => !transport.open.has(id)) ?? self;
  const hold = (): (() => void) => {
    let release = (): void => {};
    answering = new Promise((resolve) => {
      release = resolve;
    });
    return release;
  };
  return { time, transport, environment, suspended, mesh, stranger, hold };
}

test('a node of a large mesh is connected to few, and can ask all', async () => {
  const { time, transport, mesh, stranger } = await make();
  const neighbours = transport.open.size;
  assert.ok(neighbours >= 4 && neighbours <= 8, `${neighbours} connections`);
  assert.ok(mesh.canReach(stranger));
  assert.equal(String(await mesh.request(stranger, 'digest', Buffer.alloc(0), signal)), 'answer');
  assert.ok(transport.open.has(stranger));
  await time.run(idleMs - 10_000);
  assert.ok(transport.open.has(stranger));
  await time.run(30_000);
  assert.ok(!transport.open.has(stranger), 'closed after it was idle');
  assert.equal(transport.open.size, neighbours);
  await mesh.stop();
});

test('a mesh that is held back dials for requests alone, and all that it should when it is let go', async () => {
  const { time, transport, mesh, stranger } = await make({ held: true });
  assert.equal(transport.open.size, 0);
  mesh.heard(stranger);
  mesh.wake();
  await time.run(60_000);
  assert.equal(transport.open.size, 0);
  await mesh.request(stranger, 'digest', Buffer.alloc(0), signal);
  assert.deepEqual([...transport.open.keys()], [stranger]);
  mesh.release();
  await time.run(5_000);
  assert.ok(transport.open.size >= 4, `${transport.open.size} connections`);
  await mesh.stop();
});

test('connections beside the shape end after a minute, and are no more than 64, however the clock jumps', async () => {
  for (const jumpMs of [-86_400_000, 86_400_000]) {
    const { time, transport, environment, mesh } = await make();
    const neighbours = transport.open.size;
    for (let i = 0; i < 80; i += 1) transport.connect(keyFrom(`stranger ${i}`).nodeId, 'inbound');
    environment.now = () => time.now() + jumpMs;
    await time.run(15_000);
    assert.equal(transport.open.size, neighbours + maxExtraConnections, `${jumpMs}`);
    await time.run(idleMs);
    assert.equal(transport.open.size, neighbours, `${jumpMs}`);
    await mesh.stop();
  }
});

test('a connection is not closed while a request of either end is under way, but pulls do not hold it', async () => {
  const { time, transport, mesh, stranger, hold } = await make();
  transport.connect(stranger, 'inbound');
  const release = hold();
  const asked = transport.events?.request('range', Buffer.alloc(0), stranger);
  await time.run(3 * idleMs);
  assert.ok(transport.open.has(stranger));
  release();
  await asked;
  for (let i = 0; i < 9; i += 1) {
    await transport.events?.request('pull', Buffer.alloc(0), stranger);
    await time.run(10_000);
  }
  assert.ok(!transport.open.has(stranger));
  await mesh.stop();
});

test('who is suspended is bridged over, and who failed just now is not asked', async () => {
  const { time, transport, suspended, mesh } = await make();
  const [lost = self] = transport.open.keys();
  const before = transport.open.size;
  transport.listening.delete(lost);
  await transport.disconnect(lost);
  await time.run(1_000);
  assert.ok(!mesh.canReach(lost));
  suspended.add(lost);
  mesh.wake();
  await time.run(3_000);
  assert.ok(transport.open.size > before - 1, 'others have taken its place');
  transport.listening.add(lost);
  await time.run(4_000);
  assert.ok(transport.open.has(lost), 'it is redialled all the same');
  await mesh.stop();
});

test('where a member was seen is a hint for redialling, at the port of its record and after its address', async () => {
  const { time, transport, mesh } = await make();
  const [peer = self] = transport.open.keys();
  const told = `192.0.2.${others.indexOf(peer) + 1}:7946`;
  await transport.disconnect(peer);
  transport.connect(peer, 'inbound', '198.51.100.7:40000');
  await time.run(100);
  transport.listening.delete(peer);
  transport.dialledAt.length = 0;
  await transport.disconnect(peer);
  await time.run(2_000);
  assert.deepEqual(transport.dialledAt.slice(0, 2), [
    [told, '198.51.100.7:7946'],
    ['198.51.100.7:7946', told],
  ]);
  await mesh.stop();
});

test('a request to nobody known fails, and so does one whose dial fails', async () => {
  const { transport, mesh, stranger } = await make();
  const nobody = keyFrom('nobody').nodeId;
  assert.ok(!mesh.canReach(nobody));
  await assert.rejects(mesh.request(nobody, 'digest', Buffer.alloc(0), signal), /no address of it is known/);
  transport.listening.delete(stranger);
  await assert.rejects(mesh.request(stranger, 'digest', Buffer.alloc(0), signal), /refused/);
  await mesh.stop();
  await settled();
});

test('a request that waits for its turn to dial ends when its time is up, and takes the turn of nobody', async () => {
  const { transport, mesh, stranger } = await make();
  let fail = (): void => {};
  transport.dial = () =>
    new Promise((_, reject) => {
      fail = () => reject(new Error('no answer'));
    });
  const ask = (until: AbortSignal) => mesh.request(stranger, 'digest', Buffer.alloc(0), until);
  const dialling = Array.from({ length: 32 }, () => assert.rejects(ask(signal)));
  const impatient = new AbortController();
  const gaveUp = Array.from({ length: 8 }, () => assert.rejects(ask(impatient.signal)));
  const patient = ask(signal);
  await settled();
  impatient.abort(new Error('time is up'));
  await Promise.all(gaveUp);
  const { dial } = FakeTransport.prototype;
  transport.dial = dial;
  fail();
  await Promise.all(dialling);
  assert.equal(String(await patient), 'answer');
  await mesh.stop();
});
