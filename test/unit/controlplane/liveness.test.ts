import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, encode } from '../../../controlplane/encoding.ts';
import { Prober } from '../../../controlplane/liveness/prober.ts';
import {
  decodeStatements,
  livenessTopic,
  maxStatements,
  type SignedStatement,
  signStatement,
  statementsToWire,
} from '../../../controlplane/liveness/statement.ts';
import type { Transport } from '../../../controlplane/mesh/transport.ts';
import { identityOf, simulationClusterId } from '../../sim/identities.ts';
import { VirtualTime } from '../../sim/time.ts';
import { FakeTransport, makeCluster, memoryStore, quietLog, virtualEnvironment } from './helpers.ts';

const [self, liar, subject] = [
  await identityOf(0, 'manager'),
  await identityOf(1, 'worker'),
  await identityOf(2, 'worker'),
];

/** The word of a node that it lives. */
function word({ key }: typeof subject, count: number): SignedStatement {
  const incarnation = { epoch: 1, count };
  return signStatement(key, simulationClusterId, { subject: key.nodeId, incarnation, claim: null }, count);
}

function forged(signed: SignedStatement): SignedStatement {
  return { ...signed, signature: Buffer.alloc(64, 7) };
}

async function started() {
  const time = new VirtualTime();
  const made = { ...makeCluster(self, memoryStore(), time), time };
  await made.cluster.start();
  for (const each of [liar, subject]) made.admit(each);
  return made;
}

test('nobody can use up the statements of another by forging them', async () => {
  const { cluster, transport } = await started();
  const { events } = transport;
  assert.ok(events);
  for (let frame = 0; frame < 10; frame += 1) {
    const all = Array.from({ length: maxStatements }, (_, i) =>
      forged(word(subject, 1_000 + frame * maxStatements + i)),
    );
    assert.equal(events.gossip(livenessTopic, statementsToWire(all), liar.key.nodeId), 'reject');
    await assert.rejects(async () => events.request('liveness', statementsToWire(all), liar.key.nodeId));
  }
  const frame = statementsToWire([word(subject, 1)]);
  assert.equal(events.gossip(livenessTopic, frame, subject.key.nodeId), 'accept');
  await cluster.stop();
});

test('what does not fit into one exchange is not left out of each', async () => {
  const made = await started();
  const { cluster, transport } = made;
  const { events } = transport;
  assert.ok(events);
  const many = await Promise.all(Array.from({ length: maxStatements + 6 }, (_, i) => identityOf(10 + i, 'worker')));
  for (const each of many) {
    made.admit(each);
    events.gossip(livenessTopic, statementsToWire([word(each, 1)]), each.key.nodeId);
  }
  const reply = await events.request('liveness', statementsToWire([]), liar.key.nodeId);
  assert.ok(Array.isArray(decode(reply)));
  const told = new Set(decodeStatements(reply)?.map(({ statement }) => statement.subject));
  assert.ok(told.has(cluster.self));
  const last = many.at(-1);
  assert.ok(last !== undefined && told.has(last.key.nodeId));
  await cluster.stop();
});

test('a node that hears its own word of a later incarnation refutes above it: its disk and its clock went back', async () => {
  const made = await started();
  const { cluster, transport } = made;
  const { events } = transport;
  assert.ok(events);
  const last = { epoch: cluster.tables.epoch + 1_000, count: 3 };
  const said = signStatement(
    self.key,
    simulationClusterId,
    { subject: self.key.nodeId, incarnation: last, claim: null },
    1,
  );
  await assert.rejects(async () => events.request('liveness', statementsToWire([forged(said)]), liar.key.nodeId));
  await events.request('liveness', statementsToWire([said]), liar.key.nodeId);
  await made.time.run(1_000);
  const reply = decodeStatements(await events.request('liveness', statementsToWire([]), liar.key.nodeId));
  const own = reply?.find(({ statement }) => statement.subject === cluster.self);
  assert.deepEqual(own?.statement.incarnation, { ...last, count: 4 });
  await cluster.stop();
});

test('asked_below_its_last_word: who is told of an accusation hears of its own last word, which it may not know any more', async () => {
  const { cluster, transport, time } = await started();
  const { events } = transport;
  assert.ok(events);
  const asked: SignedStatement[] = [];
  transport.answer = async (peer, method, body) => {
    if (method === 'liveness' && peer === subject.key.nodeId) asked.push(...(decodeStatements(body) ?? []));
    return statementsToWire([]);
  };
  transport.open.set(subject.key.nodeId, { direction: 'inbound', address: '192.0.2.3:7946', sinceMs: 0 });
  const last = word(subject, 4);
  const { incarnation } = last.statement;
  const about = { subject: subject.key.nodeId, incarnation, claim: 'refused' } as const;
  const accusation = signStatement(liar.key, simulationClusterId, about, 1);
  await events.request('liveness', statementsToWire([last, accusation]), liar.key.nodeId);
  await time.run(100);
  assert.deepEqual(
    asked.map(({ statement: { author, claim } }) => [author, claim]),
    [
      [subject.key.nodeId, null],
      [liar.key.nodeId, 'refused'],
    ],
  );
  await cluster.stop();
});

test('an accusation that is replayed is answered once a second at most, and costs its author nothing', async () => {
  const { cluster, transport, time } = await started();
  const { events } = transport;
  assert.ok(events);
  const accuse = async (count: number): Promise<void> => {
    const incarnation = { epoch: cluster.tables.epoch, count };
    const statement = { subject: cluster.self, incarnation, claim: 'silent' } as const;
    const said = statementsToWire([signStatement(subject.key, simulationClusterId, statement, count)]);
    // More often than the budget of an author.
    for (let i = 0; i < 300; i += 1) await events.request('liveness', said, liar.key.nodeId);
    await time.run(200);
  };
  const counted = async (): Promise<number | undefined> => {
    const reply = decodeStatements(await events.request('liveness', statementsToWire([]), liar.key.nodeId));
    return reply?.find((each) => each.statement.subject === cluster.self)?.statement.incarnation.count;
  };
  await accuse(0);
  await accuse(0);
  assert.equal(await counted(), 1);
  await accuse(1);
  assert.equal(await counted(), 2);
  // The answer may have been lost.
  await time.run(1_000);
  await accuse(0);
  assert.equal(await counted(), 3);
  const frame = statementsToWire([word(subject, 1)]);
  assert.equal(events.gossip(livenessTopic, frame, subject.key.nodeId), 'accept');
  await cluster.stop();
});

test('a look that fails is logged, and nothing else comes of it', async () => {
  const logged: string[] = [];
  const time = new VirtualTime();
  const prober = new Prober({
    ...{ self: self.key.nodeId, transport: new FakeTransport(), environment: virtualEnvironment(time) },
    log: { ...quietLog, error: (_, message) => void logged.push(message) },
    place: () => {
      throw new Error('a bug');
    },
    missing: () => [subject.key.nodeId],
    hostAnswers: async () => null,
    isSuspended: () => false,
    onVerdict: () => {},
    onUnwatched: () => {},
  });
  prober.look(subject.key.nodeId);
  await time.run(1_000);
  assert.deepEqual(logged, ['looking at a node failed']);
  prober.stop();
});

/** A prober of one node, with what it has found; knocks are refused from `refusedFromMs` on, and not answered before. */
function probing(refusedFromMs: number) {
  const time = new VirtualTime();
  const startMs = time.now();
  const transport = new FakeTransport();
  const silence: Transport['knock'] = (_, signal) =>
    new Promise((resolve) => signal.addEventListener('abort', () => resolve('silent')));
  const isRefusing = (): boolean => time.now() - startMs >= refusedFromMs;
  Object.assign(transport, {
    knock: ((addresses, signal) =>
      isRefusing() ? Promise.resolve('refused') : silence(addresses, signal)) satisfies Transport['knock'],
  });
  const verdicts: string[] = [];
  const prober = new Prober({
    ...{ self: self.key.nodeId, transport, environment: virtualEnvironment(time), log: quietLog },
    place: () => ({ vtep: '192.0.2.3', gossip: ['192.0.2.3:7946'] }),
    missing: () => (transport.open.has(subject.key.nodeId) ? [] : [subject.key.nodeId]),
    hostAnswers: async () => null,
    isSuspended: () => false,
    onVerdict: (_, verdict) => void verdicts.push(verdict),
    onUnwatched: () => {},
  });
  return { time, transport, prober, verdicts };
}

test('looked_for_others_only: who is asked to look at a node all the time still looks for itself', async () => {
  const { time, prober, verdicts } = probing(Number.POSITIVE_INFINITY);
  prober.look(subject.key.nodeId);
  const asked = encode([subject.key.publicKey]);
  for (let atMs = 0; atMs < 15_000; atMs += 100) time.after(atMs, () => void prober.help(asked).catch(() => {}));
  await time.run(15_000);
  assert.ok(verdicts.length >= 5, `${verdicts.length} verdicts`);
  prober.stop();
});

test('lost_while_heard: a node whose connection ends while a look hears it is looked at again', async () => {
  const { time, transport, prober, verdicts } = probing(1_000);
  const peer = subject.key.nodeId;
  transport.open.set(peer, { direction: 'outbound', address: '192.0.2.3:7946', sinceMs: 0 });
  transport.ping = () => new Promise((resolve) => void time.after(200, resolve));
  prober.connected(peer);
  prober.look(peer);
  await time.run(100);
  transport.open.delete(peer);
  prober.disconnected(peer);
  await time.run(5_000);
  assert.equal(verdicts.at(-1), 'refused', verdicts.join());
  prober.stop();
});

test('asked_while_looking: a look that is asked for while one is under way follows it at once', async () => {
  const { time, prober, transport } = probing(Number.POSITIVE_INFINITY);
  const knock: Transport['knock'] = transport.knock;
  const begunMs: number[] = [];
  Object.assign(transport, {
    knock: ((addresses, signal) => {
      begunMs.push(time.now());
      return knock(addresses, signal);
    }) satisfies Transport['knock'],
  });
  prober.look(subject.key.nodeId);
  await time.run(100);
  prober.look(subject.key.nodeId);
  await time.run(5_000);
  const [firstMs = 0, secondMs = 0] = begunMs;
  // As long as a look takes.
  assert.equal(secondMs - firstMs, 400);
  prober.stop();
});

test('heard_while_a_ping_was_late: a node that falls silent while a ping of it is still open is looked at', async () => {
  const { time, transport, prober, verdicts } = probing(Number.POSITIVE_INFINITY);
  const peer = subject.key.nodeId;
  transport.open.set(peer, { direction: 'outbound', address: '192.0.2.3:7946', sinceMs: 0 });
  const ping: Transport['ping'] = (_, signal) =>
    new Promise((__, reject) => signal.addEventListener('abort', () => reject(new Error('no answer'))));
  Object.assign(transport, { ping });
  prober.start();
  prober.connected(peer);
  // The ping is looked after once, and what else is heard of the node meanwhile speaks for it.
  for (let atMs = 0; atMs < 2_000; atMs += 100) time.after(atMs, () => prober.heard(peer));
  await time.run(2_000);
  assert.deepEqual([...new Set(verdicts)], ['answers']);
  await time.run(3_000);
  assert.equal(verdicts.at(-1), 'silent');
  prober.stop();
});
