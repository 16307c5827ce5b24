import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Identity } from '../../../controlplane/identity/state.ts';
import type { Store } from '../../../controlplane/store.ts';
import { Members } from '../../../controlplane/tables/members.ts';
import { nowhere } from '../../../controlplane/tables/position.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { badSignature, Tables } from '../../../controlplane/tables/tables.ts';
import { identityOf } from '../../sim/identities.ts';
import { VirtualTime } from '../../sim/time.ts';
import { memoryStore, quietLog, settled, virtualEnvironment, Writer } from './helpers.ts';

const topic = `net/${'n'.repeat(25)}`;
const self = await identityOf(0, 'manager');
const other = await identityOf(1, 'manager');

async function open(store: Store, identity: Identity = self): Promise<Tables> {
  const members = new Members(() => identity.trust, store, virtualEnvironment(new VirtualTime()));
  for (const each of [self, other]) members.admit(each.certificate);
  const { key, clusterId } = identity;
  const tables = new Tables({ key, clusterId, store, members, validate: () => null, log: quietLog });
  tables.addInterest(topic);
  await tables.load();
  return tables;
}

const keysOf = (tables: Tables): string[] => [...tables.records(topic)].map(({ record }) => record.key).sort();

test('a write is acknowledged when it is on disk, also when it shares a commit with others', async () => {
  const store = memoryStore();
  const tables = await open(store);
  store.held = true;
  const acknowledged: string[] = [];
  for (const key of ['a', 'b', 'c']) void tables.put(topic, key, 1).then(() => acknowledged.push(key));
  for (let commit = 0; commit < 4; commit += 1) {
    await settled();
    const onDisk = store.disk.entries(['own', topic]).map(([key]) => String(key[3]));
    for (const key of acknowledged) assert.ok(onDisk.includes(key), `${key} is acknowledged and not on disk`);
    store.release();
  }
  await settled();
  assert.deepEqual(acknowledged, ['a', 'b', 'c']);
});

test('a write under steady load is acknowledged with its own commit', async () => {
  const store = memoryStore();
  const tables = await open(store);
  store.held = true;
  const first = tables.put(topic, 'first', 1);
  await settled();
  const second = tables.put(topic, 'second', 1);
  let more = 0;
  for (const done of [first, second]) {
    void tables.put(topic, `more-${more}`, 1);
    more += 1;
    store.release();
    await done;
  }
});

test('nothing of what is not on disk yet is given to others, and nothing that it replaces is taken away', async () => {
  const store = memoryStore();
  const tables = await open(store);
  await tables.put(topic, 'a', 1);
  store.held = true;
  const writes = [tables.put(topic, 'b', 1), tables.remove(topic, 'a')];
  const [before] = tables.after(topic, tables.self, nowhere);
  assert.deepEqual([before?.upTo, before?.records.map(({ record }) => record.key)], [2, ['', 'a']]);
  store.release();
  await settled();
  store.release();
  await Promise.all(writes);
  const [after] = tables.after(topic, tables.self, nowhere);
  assert.deepEqual([after?.upTo, after?.records.length], [4, 3]);
});

test('own records leave once they are on disk, in the order of writing', async () => {
  const store = memoryStore();
  const tables = await open(store);
  const sent: string[] = [];
  tables.onOwnRecords = (records) => sent.push(...records.map(({ record }) => record.key));
  await Promise.all(['a', 'b', 'c'].map((key) => tables.put(topic, key, 1)));
  assert.deepEqual(sent, ['', 'a', 'b', 'c']);
});

test('what a crash may take back leaves before it is on disk, once, but not ahead of what may not', async () => {
  const store = memoryStore();
  const tables = await open(store);
  await tables.put(topic, 'a', 1);
  const sent: string[] = [];
  tables.onOwnRecords = (records) => sent.push(...records.map(({ record }) => record.key));
  store.held = true;
  const writes = [
    tables.put(topic, 'early', 1, true),
    tables.put(topic, 'grant', 1),
    tables.put(topic, 'later', 1, true),
  ];
  assert.deepEqual(sent, ['early']);
  assert.equal(tables.after(topic, tables.self, nowhere)[0]?.upTo, 3);
  store.held = false;
  await settled();
  store.release();
  await Promise.all(writes);
  assert.deepEqual(sent, ['early', 'grant', 'later']);
  const again = await open(store);
  assert.deepEqual(keysOf(again), ['a', 'early', 'grant', 'later']);
});

test('a restart opens the next epoch with what is live', async () => {
  const store = memoryStore();
  const first = await open(store);
  await first.put(topic, 'kept', 1);
  await first.put(topic, 'gone', 1);
  await first.remove(topic, 'gone');
  const second = await open(store);
  assert.ok(second.epoch > first.epoch);
  assert.deepEqual(keysOf(second), ['kept']);
});

test('a restart tells of a topic also when nothing in it is live any more', async () => {
  const store = memoryStore();
  const first = await open(store);
  await first.put(topic, 'ep', 1);
  const reader = await open(memoryStore(), other);
  for (const signed of first.after(topic, first.self, nowhere)[0]?.records ?? []) reader.ingest(signed);
  assert.deepEqual(keysOf(reader), ['ep']);
  // The tombstone reaches nobody.
  await first.remove(topic, 'ep');
  for (let restart = 0; restart < 3; restart += 1) {
    const again = await open(store);
    const position = reader.vector(topic).get(self.key.nodeId) ?? nowhere;
    for (const signed of again.after(topic, again.self, position)[0]?.records ?? []) reader.ingest(signed);
    assert.deepEqual(keysOf(reader), []);
    assert.equal(reader.digest(topic), again.digest(topic));
  }
});

test('a record that comes after its tombstone is dead on disk too', async () => {
  const store = memoryStore();
  const writer = new Writer(other);
  const [opening, put, removal] = [
    writer.write(topic, '', 1),
    writer.write(topic, 'ep', 1),
    writer.write(topic, 'ep', null),
  ];
  const tables = await open(store);
  for (const signed of [opening, removal, put]) assert.equal(tables.ingest(signed).result, 'applied');
  assert.deepEqual(keysOf(tables), []);
  await tables.flushed();
  const again = await open(store);
  assert.deepEqual(keysOf(again), []);
  assert.deepEqual(again.vector(topic), tables.vector(topic));
});

test('what others wrote is there after a restart, and goes on where it was', async () => {
  const store = memoryStore();
  const writer = new Writer(other);
  const first = await open(store);
  for (const key of ['', 'a', 'b']) first.ingest(writer.write(topic, key, key === '' ? 1 : 7));
  await first.flushed();
  const again = await open(store);
  assert.deepEqual(keysOf(again), ['a', 'b']);
  assert.equal(again.digest(topic), first.digest(topic));
  const next = again.ingest(writer.write(topic, 'c', 1));
  assert.ok(next.result === 'applied' && !next.gap);
});

test('the digest tells epochs apart, and sequence numbers', async () => {
  const [a, b] = [await open(memoryStore()), await open(memoryStore())];
  const [first, second] = [new Writer(other, 1), new Writer(other, 2)];
  a.ingest(first.write(topic, '', 1));
  b.ingest(second.write(topic, '', 1));
  assert.notEqual(a.digest(topic), b.digest(topic));
  a.ingest(second.write(topic, 'x', 1));
  assert.notEqual(a.digest(topic), b.digest(topic));
});

test('records are refused that their owner did not sign, and those of strangers wait', async () => {
  const tables = await open(memoryStore());
  const signed = new Writer(other).write(topic, '', 1);
  const forged = { ...signed, signature: Buffer.alloc(64) };
  assert.deepEqual(tables.ingest(forged), { result: 'refused', reason: badSignature });
  assert.equal(tables.ingest(signed).result, 'applied');
  assert.deepEqual(tables.ingest(signed), { result: 'stale' });
  const stranger = new Writer(await identityOf(2, 'worker')).write(topic, '', 1);
  assert.deepEqual(tables.ingest(stranger), { result: 'unknown-owner' });
  assert.deepEqual(tables.ingest(new Writer(self).write(topic, '', 1)), { result: 'stale' });
  assert.deepEqual(tables.ingest(new Writer(other).write(`net/${'x'.repeat(25)}`, '', 1)), { result: 'stale' });
});

test('a watcher that comes late is told what is there, and a dropped owner is told as removals', async () => {
  const tables = await open(memoryStore());
  const writer = new Writer(other);
  for (const key of ['', 'a', 'b']) tables.ingest(writer.write(topic, key, 1));
  const told: (readonly [string, boolean])[] = [];
  tables.watch((changes) => told.push(...changes.map(({ key, current }) => [key, current !== null] as const)));
  await tables.dropOwner(other.key.nodeId);
  assert.deepEqual(told, [
    ['a', true],
    ['b', true],
    ['a', false],
    ['b', false],
  ]);
  assert.equal(tables.vector(topic).size, 0);
  assert.equal(tables.own(clusterTopic, 'node'), null);
});
