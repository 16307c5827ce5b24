import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, encode } from '../../../controlplane/encoding.ts';
import { newNetworkId } from '../../../controlplane/ids.ts';
import { Allocator } from '../../../controlplane/ring/allocator.ts';
import { NumberSet } from '../../../controlplane/ring/numbers.ts';
import { type NetworkValue, networkTopic } from '../../../controlplane/tables/kinds.ts';
import { nowhere } from '../../../controlplane/tables/position.ts';
import { decodeRecord } from '../../../controlplane/tables/record.ts';
import { ringOf, subnetsOf } from '../../../controlplane/tables/subnets.ts';
import { VirtualTime } from '../../sim/time.ts';
import { quietLog, settled } from './helpers.ts';
import { at, connect, makeNode, type Node } from './nodes.ts';

const network = newNetworkId();
const ring = ringOf(network, '10.0.1.0/26');
const topic = networkTopic(network);
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
async function cluster(count: number) {
  const time = new VirtualTime();
  const made = await Promise.all([...Array(count).keys()].map((index) => makeNode(index, 'worker', time)));
  const root = at(made, 0).id;
  const nodes = made.map((node) => {
    for (const other of made) if (other !== node) connect(node, other);
    node.tables.addInterest(topic);
    node.view.ownership.setSpace(ring, size, root);
    const taken = new NumberSet();
    const makeAllocator = () =>
      new Allocator({
        ...node,
        log: quietLog,
        spaceOf: (asked) =>
          asked === ring
            ? {
                window: { start: 0, end: size },
                taken,
                reserved: (number) => (number === 1 ? 'the gateway' : null),
                name: 'network test',
                nameOf: (number) => `10.0.1.${number}`,
              }
            : null,
        mayOwn: () => true,
        canReach: (peer) => node.transport.open.has(peer),
        catchUp: (peer) => node.replica.pullNow(peer),
        inheritance: () => null,
      });
    return { ...node, allocator: makeAllocator(), makeAllocator, taken, asked: 0 };
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
async function openCluster(count: number) {
  const made = await cluster(count);
  const [first, ...others] = made.nodes;
  await first?.tables.put(topic, `ep/${'e'.repeat(64)}`, endpoint);
  for (const { tables } of others) {
    for (const signed of first?.tables.after(topic, made.root, nowhere)[0]?.records ?? []) tables.ingest(signed);
  }
  return made;
}

const numbersOf = (node: Node): number[] =>
  node.view
    .custody(ring)
    .of(node.id)
    .flatMap(({ start, end }) => [...Array(end - start).keys()].map((i) => start + i));

test('the one who asks gets half, and the giver hands on no number of it', async () => {
  const { nodes } = await openCluster(2);
  const [a, b] = [at(nodes, 0), at(nodes, 1)];
  const number = await b.allocator.allocate(ring);
  assert.ok(number >= size / 2);
  assert.deepEqual(
    b.view
      .custody(ring)
      .of(b.id)
      .map(({ generation }) => generation),
    [1],
  );
  const mine = numbersOf(a);
  assert.equal(mine.includes(number), false);
  assert.equal(mine.length + numbersOf(b).length, size);
});

test('the first range of a network does not depend on gossip that is faster than the answer', async () => {
  const { nodes } = await cluster(2);
  assert.ok((await at(nodes, 1).allocator.allocate(ring)) >= size / 2);
  assert.ok(numbersOf(at(nodes, 1)).length > 0);
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
  const signed = decodeRecord((decode(await answer) as { grant: unknown }).grant);
  assert.equal(signed?.record.owner, a.id);
  assert.ok([...a.store.entries(['own', topic])].some(([key]) => key.at(-1) === signed?.record.key));
});

test('a wanted number is asked of who owns it, and given alone', async () => {
  const { nodes } = await openCluster(3);
  const [a, b, c] = [at(nodes, 0), at(nodes, 1), at(nodes, 2)];
  assert.equal(await b.allocator.allocate(ring, 40), 40);
  assert.deepEqual(numbersOf(b), [40]);
  b.allocator.release(ring, 40, true);
  b.taken.add(40);
  await assert.rejects(c.allocator.allocate(ring, 1), { code: 'address_reserved', message: /10\.0\.1\.1 .*gateway/ });
  a.taken.add(12);
  await assert.rejects(c.allocator.allocate(ring, 12), { code: 'address_in_use' });
  for (const signed of a.tables.after(topic, a.id, nowhere).flatMap(({ records }) => records)) c.tables.ingest(signed);
  await assert.rejects(c.allocator.allocate(ring, 40), { code: 'address_in_use', message: /being made/ });
  b.transport.open.clear();
  c.transport.open.clear();
  await assert.rejects(c.allocator.allocate(ring, 41), { code: 'no_owner_reachable', message: /not 10\.0\.1\.41 of/ });
});

test('a number that two want at once goes to one of them', async () => {
  const { nodes } = await openCluster(3);
  const wanted = nodes.map(({ allocator }) => allocator.allocate(ring, 20));
  const results = await Promise.allSettled(wanted);
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('a freed number rests half a minute however the clock jumps, and after a restart all of it anew', async () => {
  const { nodes, time } = await openCluster(1);
  const a = at(nodes, 0);
  for (let number = 0; number < size; number += 1) if (number !== 9) a.taken.add(number);
  const rests = async (allocator: typeof a.allocator): Promise<void> => {
    await time.run(29_000);
    await assert.rejects(allocator.allocate(ring), { code: 'exhausted', message: /free again in 1 s/ });
    await assert.rejects(allocator.allocate(ring, 9), { code: 'address_resting', message: /free again in 1 s/ });
  };
  for (const jumpMs of [-86_400_000, 86_400_000]) {
    a.allocator.rest(ring, 9);
    a.environment.now = () => time.now() + jumpMs;
    await rests(a.allocator);
    await rests(a.makeAllocator());
    await time.run(1_001);
    const number = await a.allocator.allocate(ring);
    assert.equal(number, 9, `${jumpMs}`);
    a.allocator.release(ring, number, true);
  }
});

test('a number that is held here and stands in the tables is counted once', async () => {
  const { nodes } = await openCluster(1);
  const a = at(nodes, 0);
  const flags = { removed: false, internal: false, attachable: true, ingress: false };
  const value: NetworkValue = {
    ...{ ...flags, name: 'test', vni: 4097, root: a.id, subnet: '10.0.1.0/26', gateway: '10.0.1.1' },
    ...{ stamp: [1, 0], options: {}, labels: {}, createdMs: 0 },
  };
  a.view.ownership.setNetwork(network, subnetsOf(network, value, []));
  const all = [{ start: 0, end: size }];
  const { free } = a.allocator.count(ring, all);
  a.taken.add(7);
  assert.deepEqual(a.allocator.count(ring, all), { free, resting: 0 });
  a.taken.add(9);
  assert.deepEqual(a.allocator.count(ring, all), { free: free - 1, resting: 0 });
  a.allocator.rest(ring, 9);
  assert.deepEqual(a.allocator.count(ring, all), { free: free - 1, resting: 0 });
});

test('a freed number rests across a restart, and a full ring says that it does', async () => {
  const { nodes, time } = await openCluster(1);
  const a = at(nodes, 0);
  for (let number = 0; number < size; number += 1) if (number !== 9) a.taken.add(number);
  a.allocator.rest(ring, 9);
  const next = a.makeAllocator();
  await assert.rejects(next.allocate(ring), { code: 'exhausted', message: /free again in 30 s/ });
  await assert.rejects(next.allocate(ring, 9), { code: 'address_resting' });
  assert.deepEqual(next.count(ring, [{ start: 0, end: size }]), { free: 0, resting: 1 });
  await time.run(30_001);
  assert.equal(await next.allocate(ring), 9);
});

test('a damaged row of what rests is named, instead of ending the start with a TypeError', async () => {
  const { nodes } = await openCluster(1);
  const a = at(nodes, 0);
  for (const value of ['damaged', 7, [], [9], [10.5], { 0: 10 }]) {
    await a.store.commit([{ key: ['resting', ring, 9], value }]);
    assert.throws(() => a.makeAllocator(), { code: 'damaged_state', message: new RegExp(`resting/${ring}/9`) });
  }
});

test('what was given away whole is not handed out here meanwhile, and afterwards not at all', async () => {
  const { nodes } = await openCluster(2);
  const [a, b] = [at(nodes, 0), at(nodes, 1)];
  a.store.held = true;
  const giving = a.allocator.giveAll(ring, b.id);
  await settled();
  const refused = decode(await a.allocator.answerAsk(encode([ring]), b.id));
  assert.equal((refused as { reason: string }).reason, 'none');
  a.store.held = false;
  a.store.release();
  assert.equal(await giving, true);
  assert.deepEqual(numbersOf(a), []);
  for (const signed of a.tables.after(topic, a.id, nowhere).flatMap(({ records }) => records)) b.tables.ingest(signed);
  assert.equal(numbersOf(b).length, size);
});

test('drained_by_asking: who asks and hands back all the time is held back and named, since each grant is kept', async () => {
  const { nodes, time } = await openCluster(2);
  const [a, b] = [at(nodes, 0), at(nodes, 1)];
  a.members.admit(b.identity.certificate);
  const ask = async () => decode(await a.allocator.answerAsk(encode([ring]), b.id)) as { grant?: unknown };
  let given = 0;
  for (let answer = await ask(); answer.grant !== undefined; answer = await ask()) {
    given += 1;
    const signed = decodeRecord(answer.grant);
    assert.ok(signed !== null && given <= 1_000);
    b.tables.ingest(signed);
    await b.allocator.giveAll(ring, a.id);
    for (const { records, epoch, upTo } of b.tables.after(topic, b.id, a.tables.position(topic, b.id))) {
      for (const each of records) a.tables.ingest(each, true);
      a.tables.advance(topic, b.id, epoch, upTo);
    }
  }
  assert.equal(given, 1_000);
  assert.deepEqual(
    a.offences.list().map(({ nodeId }) => nodeId),
    [b.id],
  );
  await time.run(6_000);
  assert.ok((await ask()).grant !== undefined);
});
