import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, encode } from '../../../controlplane/encoding.ts';
import { newNetworkId } from '../../../controlplane/ids.ts';
import { Allocator } from '../../../controlplane/ring/allocator.ts';
import { splitByOwner } from '../../../controlplane/ring/ring.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { decodeRecord } from '../../../controlplane/tables/record.ts';
import { nowhere } from '../../../controlplane/tables/stream.ts';
import { VirtualTime } from '../../sim/time.ts';
import { quietLog, settled } from './helpers.ts';
import { at, connect, makeNode, type Node } from './nodes.ts';

const ring = newNetworkId();
const topic = networkTopic(ring);
const size = 64;

const endpoint = {
  name: 'box',
  sandbox: 'a'.repeat(64),
  ip: '10.0.1.7',
  mac: '02:00:00:00:00:01',
  aliases: [],
  createdMs: 0,
};

/** A small cluster: everyone can ask everyone, but records travel only where a test carries them. */
async function cluster(count: number, order: readonly number[] = [0, 1, 2]) {
  const time = new VirtualTime();
  const made = await Promise.all(order.slice(0, count).map((index) => makeNode(index, 'worker', time)));
  const root = at(made, 0).id;
  const nodes = made.map((node) => {
    for (const other of made) if (other !== node) connect(node, other);
    node.tables.addInterest(topic);
    const taken = new Set<number>();
    const allocator = new Allocator({
      ...node,
      log: quietLog,
      spaceOf: (asked) => (asked === ring ? { size, root, taken, name: 'network test' } : null),
      mayOwn: () => true,
      catchUp: (peer) => node.replica.pullNow(peer),
    });
    return { ...node, allocator, taken, asked: 0 };
  });
  for (const node of nodes) {
    node.transport.answer = async (peer, method, body) => {
      const asked = nodes.find(({ id }) => id === peer);
      if (asked === undefined) throw new Error('no such node');
      if (method === 'pull') return asked.replica.answerPull(body, node.id);
      asked.asked += 1;
      return asked.allocator.answerAsk(body, node.id);
    };
  }
  return { nodes, root, time };
}

/** As `cluster`, where all have heard of the root's stream in the topic already. */
async function openCluster(count: number, order?: readonly number[]) {
  const made = await cluster(count, order);
  const [first, ...others] = made.nodes;
  await first?.tables.put(topic, `ep/${'e'.repeat(64)}`, endpoint);
  for (const { tables } of others) {
    for (const signed of first?.tables.after(topic, made.root, nowhere)?.records ?? []) tables.ingest(signed);
  }
  return made;
}

const ownedBy = (node: Node, root: Node['id']) =>
  splitByOwner(size, root, node.view.grants(ring)).filter(({ owner }) => owner === node.id);
const numbersOf = (node: Node, root: Node['id']): number[] =>
  ownedBy(node, root).flatMap(({ start, end }) => [...Array(end - start).keys()].map((i) => start + i));

test('the one who asks gets half, claims it, and the giver hands on no number of it', async () => {
  const { nodes, root } = await openCluster(2);
  const [a, b] = [at(nodes, 0), at(nodes, 1)];
  const number = await b.allocator.allocate(ring);
  assert.ok(number >= size / 2);
  assert.deepEqual(
    ownedBy(b, root).map(({ generation }) => generation),
    [2],
  );
  const mine = numbersOf(a, root);
  assert.equal(mine.includes(number), false);
  assert.equal(mine.length + numbersOf(b, root).length, size);
});

test('the first range of a network does not depend on gossip that is faster than the answer', async () => {
  const { nodes, root } = await cluster(2);
  assert.ok((await at(nodes, 1).allocator.allocate(ring)) >= size / 2);
  assert.ok(numbersOf(at(nodes, 1), root).length > 0);
});

test('allocations at the same time get numbers of their own, from one question', async () => {
  const { nodes } = await openCluster(2);
  const b = at(nodes, 1);
  const numbers = await Promise.all([...Array(20).keys()].map(() => b.allocator.allocate(ring)));
  assert.equal(new Set(numbers).size, 20);
  assert.equal(at(nodes, 0).asked, 1);
});

test('a number that was let go rests, one in the tables comes back never', async () => {
  const { nodes, time } = await openCluster(1);
  const a = at(nodes, 0);
  for (let i = 0; i < size; i += 1) {
    const number = await a.allocator.allocate(ring);
    a.allocator.release(ring, number, number !== 7);
    if (number !== 7) a.taken.add(number);
  }
  await assert.rejects(a.allocator.allocate(ring), { code: 'exhausted' });
  await time.run(30_001);
  assert.equal(await a.allocator.allocate(ring), 7);
});

test('nobody who can be asked is told apart from nothing left', async () => {
  const { nodes } = await openCluster(2);
  const b = at(nodes, 1);
  b.transport.open.clear();
  await assert.rejects(b.allocator.allocate(ring), { code: 'no_owner_reachable' });
  await assert.rejects(b.allocator.answerAsk(encode(['nonsense']), b.id), /malformed range request/);
});

test('a grant is on disk before it leaves', async () => {
  const { nodes } = await openCluster(2);
  const [a, b] = [at(nodes, 0), at(nodes, 1)];
  a.store.held = true;
  let answered = false;
  const answer = a.allocator.answerAsk(encode([ring]), b.id).then((bytes) => {
    answered = true;
    return bytes;
  });
  await settled();
  assert.equal(answered, false);
  a.store.release();
  const signed = decodeRecord(decode(await answer));
  assert.equal(signed?.record.owner, a.id);
  assert.ok([...a.store.entries(['own', topic])].some(([key]) => key.at(-1) === signed?.record.key));
});

test('what is given away while a claim waits for the disk is not claimed as well', async () => {
  // Of two grants of one generation the receiver with the smaller id wins: both orders are tried.
  for (const order of [
    [0, 1, 2],
    [0, 2, 1],
  ]) {
    const { nodes, root } = await openCluster(3, order);
    const [a, b, c] = [at(nodes, 0), at(nodes, 1), at(nodes, 2)];
    // B is given two ranges, with one of A's between them, and has claimed neither yet.
    for (const { start, end } of [
      { start: 0, end: 4 },
      { start: 32, end: 64 },
    ]) {
      b.tables.ingest(await a.tables.put(topic, `range/${start}/1`, { start, end, to: b.id, generation: 1 }));
    }
    b.store.held = true;
    const claiming = b.allocator.claim(ring);
    await settled();
    const asking = b.allocator.answerAsk(encode([ring]), c.id);
    b.store.held = false;
    for (let i = 0; i < 8; i += 1) {
      b.store.release();
      await settled();
    }
    await claiming;
    const grant = decodeRecord(decode(await asking));
    assert.ok(grant !== null);
    // C has heard of B's stream up to the grant, not yet what came after it.
    for (const signed of b.tables.after(topic, b.id, nowhere)?.records ?? []) {
      if (signed.record.seq <= grant.record.seq) c.tables.ingest(signed);
    }
    assert.ok(numbersOf(c, root).length > 0, 'C owns what it was given, as far as it knows');
    const twice = numbersOf(c, root).filter((number) => numbersOf(b, root).includes(number));
    assert.deepEqual(twice, [], 'B and C both own these');
  }
});
