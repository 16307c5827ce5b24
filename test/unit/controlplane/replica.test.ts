import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, encode } from '../../../controlplane/encoding.ts';
import { type NetworkId, type NodeId, newEndpointId } from '../../../controlplane/ids.ts';
import { maxFrameBytes, maxGossipBytes } from '../../../controlplane/mesh/transport.ts';
import { Offences } from '../../../controlplane/offences.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { parsePullRequest } from '../../../controlplane/tables/pull.ts';
import { clusterTopic, ownerBytes, type SignedRecord, toWire } from '../../../controlplane/tables/record.ts';
import { Replica } from '../../../controlplane/tables/replica.ts';
import { identityOf } from '../../sim/identities.ts';
import { quietLog, settled, Writer, whileTimePasses } from './helpers.ts';
import { connect, makeAuthority, makeNode, makeParty, type Node } from './nodes.ts';

const topic = networkTopic('n'.repeat(25) as NetworkId);
const nodeValue = (name: string) => ({
  hostname: name,
  vtep: '192.0.2.9',
  gossip: ['192.0.2.9:7946'],
  version: '0',
  createdMs: 0,
});
const endpoint = (n: number) => ({
  name: `box${n}`,
  sandbox: 'a'.repeat(64),
  ip: '10.0.1.7',
  mac: '02:00:00:00:00:01',
  aliases: [],
  createdMs: n,
});

/** `asker` may ask `others`, and they it. */
function mesh(...nodes: Node[]): void {
  for (const node of nodes) {
    for (const other of nodes) if (other !== node) connect(node, other);
    node.transport.answer = async (peer, method, body) => {
      const other = nodes.find(({ id }) => id === peer);
      if (other === undefined) throw new Error('not connected');
      return method === 'compare'
        ? other.replica.answerCompare(body, node.id)
        : other.replica.answerPull(body, node.id);
    };
  }
}

test('one exchange brings everything, also of owners that were never met', async () => {
  const [a, b, c] = [await makeNode(0), await makeNode(1), await makeNode(2)];
  mesh(b, c);
  await c.tables.put(clusterTopic, 'node', nodeValue('c'));
  await b.replica.pullNow(c.id);
  await b.tables.put(clusterTopic, 'node', nodeValue('b'));
  mesh(a, b);
  await a.replica.pullNow(b.id);
  assert.deepEqual([...a.view.nodes.values()].map(({ hostname }) => hostname).sort(), ['b', 'c']);
  assert.equal(a.tables.digest(clusterTopic), b.tables.digest(clusterTopic));
});

test('more than a frame holds comes in several answers', async () => {
  const [a, b] = [await makeNode(0), await makeNode(1)];
  mesh(a, b);
  for (const { tables } of [a, b]) tables.addInterest(topic);
  const aliases = [...Array(16).keys()].map((i) => `${i}`.padEnd(60, 'x'));
  const puts = [...Array(600).keys()].map((n) =>
    b.tables.put(topic, `ep/${newEndpointId()}`, { ...endpoint(n), aliases }),
  );
  await Promise.all(puts);
  let answers = 0;
  const { answer } = a.transport;
  a.transport.answer = async (...args) => {
    const reply = await answer(...args);
    assert.ok(reply.length <= maxFrameBytes);
    answers += 1;
    return reply;
  };
  await whileTimePasses(a.time, a.replica.pullNow(b.id));
  assert.ok(answers > 1);
  assert.equal([...a.tables.records(topic)].length, 600);
  assert.equal(a.tables.digest(topic), b.tables.digest(topic));
});

test('what gossip may pass on for one owner is no more after a step ahead of the clock, and no less after one back', async () => {
  const node = await makeNode(0);
  const owner = await identityOf(1, 'worker');
  node.members.admit(owner.certificate);
  node.tables.addInterest(topic);
  const writer = new Writer(owner);
  const told = (signed: SignedRecord) => node.replica.gossip(topic, encode([toWire(signed)]), writer.nodeId);
  told(writer.write(topic, '', 1));
  for (let i = 1; i < 4_000; i += 1) told(writer.write(topic, `ep/${'e'.repeat(64)}`, endpoint(i)));
  assert.equal(node.tables.position(topic, writer.nodeId).seq, 4_000);
  const next = writer.write(topic, `ep/${'e'.repeat(64)}`, endpoint(4_000));
  for (const [jumpMs, taken] of [
    [86_400_000, 4_000],
    [-86_400_000, 4_001],
  ] as const) {
    if (taken > 4_000) await node.time.run(1_000);
    node.environment.now = () => node.time.now() + jumpMs;
    told(next);
    assert.equal(node.tables.position(topic, writer.nodeId).seq, taken, `${jumpMs}`);
  }
});

test('an answer fits into a frame also when there are many streams with little in each', async () => {
  const a = await makeNode(0);
  const topics = [...Array(40).keys()].map((i) => networkTopic(`${i}`.padStart(25, '0') as NetworkId));
  for (const each of topics) a.tables.addInterest(each);
  for (let i = 1; i <= 40; i += 1) {
    const identity = await identityOf(i, 'worker');
    a.members.admit(identity.certificate);
    const writer = new Writer(identity);
    const range = { start: i, end: i + 1, to: writer.nodeId, generation: 2 };
    for (const each of topics) {
      a.tables.ingest(writer.write(each, '', 2));
      a.tables.ingest(writer.write(each, `range/${i}/2`, range));
    }
  }
  const reply = a.replica.answerPull(
    encode(topics.map((each) => ({ topic: each, range: [null, null], rows: [] }))),
    a.id,
  );
  assert.ok(reply.length <= maxFrameBytes, `${reply.length} bytes; the other end reads ${maxFrameBytes}`);
});

/** A reply in which `streams` stand for whatever a neighbour makes up. */
const reply = (streams: readonly object[], more: boolean): Uint8Array => encode({ streams, more, foreign: [] });

test('a neighbour that always says "more" and brings nothing is not asked for ever', async () => {
  const [a, b] = [await makeNode(0), await makeNode(1)];
  connect(a, b);
  let asked = 0;
  a.transport.answer = async () => {
    asked += 1;
    if (asked > 20) throw new Error('asked too often');
    return reply([], true);
  };
  await a.replica.pullNow(b.id);
  assert.equal(asked, 1);
});

test('a neighbour that always says "more" about a stream that is not kept is not asked for ever', async () => {
  const [a, b] = [await makeNode(0), await makeNode(1)];
  connect(a, b);
  const { certificate } = b.identity;
  const stream = { topic, owner: ownerBytes(b.id), certificate, epoch: 1, after: 0, upTo: 5, records: [] };
  let asked = 0;
  a.transport.answer = async () => {
    asked += 1;
    if (asked > 20) throw new Error('asked too often');
    return reply([stream], true);
  };
  await a.replica.pullNow(b.id).catch(() => {});
  assert.equal(asked, 1);
});

test('a neighbour cannot make a reader skip what the owner wrote', async () => {
  const [a, b, owner] = [await makeNode(0), await makeNode(1), await makeNode(2)];
  connect(a, b);
  a.members.admit(owner.identity.certificate);
  const writer = new Writer(owner.identity);
  a.tables.ingest(writer.write(clusterTopic, '', 1));
  const { certificate } = owner.identity;
  const lie = {
    topic: clusterTopic,
    owner: ownerBytes(owner.id),
    certificate,
    epoch: 1,
    after: 1,
    upTo: 1e9,
    records: [],
  };
  a.transport.answer = async () => reply([lie], false);
  await a.replica.pullNow(b.id);
  a.tables.ingest(writer.write(clusterTopic, 'node', nodeValue('owner')));
  assert.equal(a.view.nodes.get(owner.id)?.hostname, 'owner');
});

test('streams of strangers, of removed nodes and under a false name bring nothing', async () => {
  const [a, b, c, removed] = [await makeNode(0), await makeNode(1), await makeNode(2), await makeNode(3)];
  const foreign = await makeParty(await makeAuthority(), 'worker');
  connect(a, b);
  a.members.remove(removed.id);
  const of = (identity: Node['identity'], certificate: Uint8Array) => {
    const writer = new Writer(identity);
    const records = [writer.write(clusterTopic, '', 2), writer.write(clusterTopic, 'node', nodeValue('bad'))];
    const owner = ownerBytes(identity.key.nodeId);
    return { topic: clusterTopic, owner, certificate, epoch: 1, after: 0, upTo: 2, records: records.map(toWire) };
  };
  a.transport.answer = async () =>
    reply(
      [
        of({ ...c.identity, key: foreign.key }, foreign.certificate),
        of(removed.identity, removed.identity.certificate),
        of(c.identity, b.identity.certificate),
        { ...of(b.identity, b.identity.certificate), owner: ownerBytes(a.id) },
      ],
      false,
    );
  await a.replica.pullNow(b.id);
  assert.equal(a.view.nodes.size, 0);
  assert.equal([...a.tables.records(clusterTopic)].length, 0);
});

test('who is asked and sees that it lacks something pulls in turn', async () => {
  const [a, b] = [await makeNode(0), await makeNode(1)];
  mesh(a, b);
  await a.tables.put(clusterTopic, 'node', nodeValue('a'));
  await a.replica.pullNow(b.id);
  for (let i = 0; i < 5; i += 1) await settled();
  assert.equal(b.view.nodes.get(a.id)?.hostname, 'a');
});

test('gossip: a gap is pulled from the neighbour that showed it', async () => {
  const [a, b] = [await makeNode(0), await makeNode(1)];
  mesh(a, b);
  await b.tables.put(clusterTopic, 'node', nodeValue('b'));
  const late = await b.tables.put(clusterTopic, 'node', nodeValue('later'));
  assert.equal(a.replica.gossip(clusterTopic, encode([toWire(late)]), b.id), 'accept');
  for (let i = 0; i < 5; i += 1) await settled();
  assert.equal(a.view.nodes.get(b.id)?.hostname, 'later');
});

test('gossip: what its author told everybody is not passed on, unless somebody may be new to the topic', async () => {
  const [a, b, c] = [await makeNode(0), await makeNode(1), await makeNode(2)];
  connect(a, b);
  let whole = true;
  const offences = new Offences(() => 0);
  const replica = new Replica({ ...a, offences, isWhole: () => whole, log: quietLog });
  const writer = new Writer(b.identity);
  const next = () => encode([toWire(writer.write(clusterTopic, 'node', nodeValue('b')))]);
  const opening = encode([toWire(writer.write(clusterTopic, '', 1))]);
  assert.equal(replica.gossip(clusterTopic, opening, b.id), 'ignore');
  assert.equal(replica.gossip(clusterTopic, next(), c.id), 'accept', 'passed on by another: it was not with all');
  whole = false;
  assert.equal(replica.gossip(clusterTopic, next(), b.id), 'accept', 'somebody may not be connected to the author');
  whole = true;
  replica.answerPull(encode([{ topic: clusterTopic, range: [null, null], rows: [] }]), c.id);
  assert.equal(replica.gossip(clusterTopic, next(), b.id), 'accept', 'the author may not know of the newcomer yet');
  await a.time.run(6_000);
  assert.equal(replica.gossip(clusterTopic, next(), b.id), 'ignore');
  assert.equal(a.view.nodes.get(b.id)?.hostname, 'b');
});

test('gossip: records of one topic under another, and what is no record, are held against the sender', async () => {
  const [a, b] = [await makeNode(0), await makeNode(1)];
  connect(a, b);
  const writer = new Writer(b.identity);
  const opening = toWire(writer.write(clusterTopic, '', 1));
  assert.equal(a.replica.gossip(topic, encode([opening]), b.id), 'reject');
  for (const body of [encode([]), encode([1]), encode('x'), Buffer.of(0xc1), Buffer.alloc(0)]) {
    assert.equal(a.replica.gossip(clusterTopic, body, b.id), 'reject');
  }
  assert.equal(a.replica.gossip(clusterTopic, encode([opening]), b.id), 'accept');
  assert.equal(a.replica.gossip(clusterTopic, encode([opening]), b.id), 'ignore');
});

test('gossip: a frame with a forged record is not passed on, wherever in it that stands', async () => {
  for (const forgedFirst of [false, true]) {
    const [a, b] = [await makeNode(0), await makeNode(1)];
    connect(a, b);
    const writer = new Writer(b.identity);
    const opening = writer.write(clusterTopic, '', 2);
    const forged = { ...writer.write(clusterTopic, 'node', nodeValue('b')), signature: Buffer.alloc(64) };
    const frame = (forgedFirst ? [forged, opening] : [opening, forged]).map(toWire);
    assert.equal(a.replica.gossip(clusterTopic, encode(frame), b.id), 'reject', `forged first: ${forgedFirst}`);
  }
});

test('a request that is malformed is an error, and one for what is unknown an empty answer', async () => {
  const a = await makeNode(0);
  const from = 'x' as NodeId;
  for (const bad of [
    null,
    {},
    [1],
    [{ topic: 'nonsense', range: null, rows: [] }],
    [{ topic, range: 1, rows: [] }],
    [{ topic, range: null, rows: [[1]] }],
  ]) {
    assert.throws(() => a.replica.answerPull(encode(bad), from), /malformed pull request/);
  }
  const empty = decode(a.replica.answerPull(encode([{ topic, range: [null, null], rows: [] }]), from));
  assert.deepEqual(empty, { streams: [], more: false, foreign: [topic] });
});

test('a frame of gossip that is larger than any that is sent is refused before it is looked at', async () => {
  const node = await makeNode(1);
  const frame = Buffer.alloc(maxGossipBytes + 1);
  assert.equal(node.replica.gossip(clusterTopic, frame, node.id), 'reject');
});

test('a pull that names a topic thousands of times is none', () => {
  const ask = { topic: clusterTopic, range: [null, null], rows: [] };
  assert.ok(parsePullRequest([ask]) !== null);
  assert.equal(parsePullRequest([ask, ask]), null);
});

test('gathered_for_ever: what lies behind a gap that nobody can fill does not make an epoch that is here look unfinished', async () => {
  const [asker, answerer] = [await makeNode(0), await makeNode(1)];
  connect(asker, answerer);
  const identity = await identityOf(2, 'worker');
  const owner = new Writer(identity);
  for (const { members } of [asker, answerer]) members.admit(identity.certificate);
  // The second is superseded by the fourth, and nobody has the fifth.
  const written = ['', 'on/a', 'on/b', 'on/a', 'on/lost', 'on/c'].map((name) =>
    owner.write(clusterTopic, name, name === '' ? 4 : {}),
  );
  for (const [i, signed] of written.entries()) if (i !== 4) answerer.tables.ingest(signed);
  asker.transport.answer = async (_, method, body) => {
    assert.equal(method, 'pull');
    return answerer.replica.answerPull(body, asker.id);
  };
  await asker.replica.pullNow(answerer.id);
  assert.deepEqual(
    asker.tables.position(clusterTopic, owner.nodeId),
    answerer.tables.position(clusterTopic, owner.nodeId),
  );
});
