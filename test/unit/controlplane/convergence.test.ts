import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Convergence } from '../../../controlplane/convergence.ts';
import { encode } from '../../../controlplane/encoding.ts';
import { type NetworkId, type NodeId, newEndpointId } from '../../../controlplane/ids.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { nowhere } from '../../../controlplane/tables/position.ts';
import { clusterTopic, ownerBytes } from '../../../controlplane/tables/record.ts';
import { identityOf } from '../../sim/identities.ts';
import { Writer } from './helpers.ts';
import { at, makeNode, type Node } from './nodes.ts';

const network = 'n'.repeat(25) as NetworkId;
const topic = networkTopic(network);
const nodeValue = (name: string) => ({
  hostname: name,
  vtep: '192.0.2.9',
  gossip: ['192.0.2.9:7946'],
  version: '0',
  createdMs: 0,
});
const endpoint = {
  name: 'box',
  sandbox: 'a'.repeat(64),
  ip: '10.0.1.7',
  mac: '02:00:00:00:00:01',
  aliases: [],
  createdMs: 0,
};

/** Three nodes that know each other; what is written from now on, nobody tells. */
async function three() {
  const nodes = [await makeNode(0), await makeNode(1), await makeNode(2)];
  for (const [i, node] of nodes.entries()) await node.tables.put(clusterTopic, 'node', nodeValue(`host${i}`));
  for (const node of nodes) for (const other of nodes) give(other, node, clusterTopic);
  const suspended = new Set<NodeId>();
  const unreachable = new Set<NodeId>();
  const lies = new Map<NodeId, (method: string) => Uint8Array>();
  const convergences = new Map<NodeId, Convergence>();
  for (const { id, tables, view } of nodes) {
    const transport = {
      canReach: (peer: NodeId) => !unreachable.has(peer),
      request: async (peer: NodeId, method: string, body: Uint8Array) => {
        const asked = convergences.get(peer);
        if (asked === undefined) throw new Error('nobody there');
        return lies.get(peer)?.(method) ?? (method === 'digest' ? asked.answer(body) : asked.answerPositions(body));
      },
    };
    const isSuspended = (node: NodeId): boolean => suspended.has(node);
    convergences.set(id, new Convergence({ tables, view, transport, pending: () => '', isSuspended }));
  }
  const ask = async (asker: Node, about: NetworkId | null = null) => {
    const lags = (await convergences.get(asker.id)?.ask(about)) ?? [];
    const name = (id: NodeId): string => `host${nodes.findIndex((node) => node.id === id)}`;
    return Object.fromEntries(lags.map(({ nodeId, lag, suspended: out }) => [name(nodeId), out ? 'suspended' : lag]));
  };
  return { a: at(nodes, 0), b: at(nodes, 1), c: at(nodes, 2), suspended, unreachable, lies, ask };
}

/** One node takes what the other wrote. */
function give(from: Node, to: Node, of: string): void {
  to.members.recognise(from.identity.certificate);
  if (from === to) return;
  for (const { records, epoch, upTo } of from.tables.after(of, from.id, to.tables.position(of, from.id))) {
    for (const signed of records) to.tables.ingest(signed);
    to.tables.advance(of, from.id, epoch, upTo);
  }
}

test('who lags is named, and by how many records of whom, whoever asks', async () => {
  const { a, b, c, ask } = await three();
  assert.deepEqual(await ask(a), { host0: '', host1: '', host2: '' });
  await a.tables.put(clusterTopic, 'node', nodeValue('host0'));
  await a.tables.put(clusterTopic, 'node', nodeValue('host0'));
  give(a, b, clusterTopic);
  const lag = 'lacks cluster: 2 records of host0';
  for (const asker of [a, b, c]) assert.deepEqual(await ask(asker), { host0: '', host1: '', host2: lag });
  give(a, c, clusterTopic);
  assert.deepEqual(await ask(c), { host0: '', host1: '', host2: '' });
});

test('a network is compared among those who follow it', async () => {
  const { a, b, c, ask } = await three();
  for (const { tables } of [a, b]) tables.addInterest(topic);
  await a.tables.put(topic, `ep/${newEndpointId()}`, endpoint);
  const lag = 'lacks a network that is not known here: all of host0';
  assert.deepEqual(await ask(c, network), { host0: '', host1: lag, host2: '' });
  give(a, b, topic);
  assert.deepEqual(await ask(c, network), { host0: '', host1: '', host2: '' });
});

test('what is known to be missing is a lag, also where nobody has it', async () => {
  const { a, b, c, ask } = await three();
  await a.tables.put(clusterTopic, 'node', nodeValue('host0'));
  const [late] = a.tables.after(clusterTopic, a.id, nowhere)[0]?.records.slice(-1) ?? [];
  assert.ok(late !== undefined);
  const later = await a.tables.put(clusterTopic, 'node', nodeValue('host0'));
  for (const { tables } of [b, c]) tables.ingest(later);
  const lags = await ask(b);
  assert.equal(lags['host0'], '');
  assert.match(lags['host1'] ?? '', /lacks cluster: 2 records of host0/);
  assert.notEqual(a.tables.digest(clusterTopic), b.tables.digest(clusterTopic));
});

test('a suspended node is named and not waited for; one that gives no answer is', async () => {
  const { a, b, c, suspended, unreachable, ask } = await three();
  suspended.add(b.id);
  unreachable.add(c.id);
  assert.deepEqual(await ask(a), { host0: '', host1: 'suspended', host2: 'cannot be reached' });
});

test('named_nobody_for_a_fork: of two records for one place not all have the same, and whoever has the other is named', async () => {
  const { a, b, c, ask } = await three();
  const liar = await identityOf(5, 'worker');
  const writers = [new Writer(liar), new Writer(liar)] as const;
  for (const [node, writer, name] of [
    [a, writers[0], 'one'],
    [c, writers[1], 'other'],
  ] as const) {
    node.members.admit(liar.certificate);
    for (const signed of [writer.write(clusterTopic, '', 1), writer.write(clusterTopic, 'node', nodeValue(name))]) {
      assert.equal(node.tables.ingest(signed).result, 'applied');
      if (node === a) {
        b.members.admit(liar.certificate);
        b.tables.ingest(signed);
      }
    }
  }
  const lags = await ask(b);
  assert.deepEqual([lags['host0'], lags['host1']], ['', '']);
  assert.match(lags['host2'] ?? '', /^lacks cluster: records of \S+ as others have them$/);
});

test('a liar that shows more than there is makes nobody else lag, and is named', async () => {
  const { a, b, c, lies, ask } = await three();
  const rows = [...a.tables.vector(clusterTopic)].map(([owner, { epoch, seq, sum }]) => {
    return [ownerBytes(owner), epoch, owner === a.id ? seq + 1_000_000 : seq, sum];
  });
  lies.set(b.id, (method) =>
    encode(
      method === 'digest'
        ? { topics: { [clusterTopic]: 'f'.repeat(64) }, lacking: {}, pending: '' }
        : { [clusterTopic]: rows },
    ),
  );
  const named = 'alone shows cluster: 1000000 records of host0';
  for (const asker of [a, c]) assert.deepEqual(await ask(asker), { host0: '', host1: named, host2: '' });
  // Also of an owner that nobody knows.
  rows.push([ownerBytes((await makeNode(9)).id), 5, 7, 1]);
  assert.match((await ask(c))['host1'] ?? '', /^alone shows cluster: 1000000 records of host0, all of 12D3/);
});

test('what only one node has of a node that is away is no lie here, but there it is not known either', async () => {
  const { a, b, c, suspended, ask } = await three();
  await a.tables.put(clusterTopic, 'node', nodeValue('host0'));
  give(a, b, clusterTopic);
  suspended.add(a.id);
  assert.deepEqual(await ask(b), { host0: 'suspended', host1: '', host2: 'lacks cluster: 1 record of host0' });
  const alone = 'alone shows cluster: 1 record of host0';
  assert.deepEqual(await ask(c), { host0: 'suspended', host1: alone, host2: '' });
});
