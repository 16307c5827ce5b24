import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from '../../../controlplane/encoding.ts';
import type { NetworkId } from '../../../controlplane/ids.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { Members } from '../../../controlplane/tables/members.ts';
import { nowhere } from '../../../controlplane/tables/position.ts';
import { Tables, type TablesInit } from '../../../controlplane/tables/tables.ts';
import type { Disk } from '../../sim/disk.ts';
import { identityOf } from '../../sim/identities.ts';
import { VirtualTime } from '../../sim/time.ts';
import { memoryStore, quietLog, settled, virtualEnvironment } from './helpers.ts';

const topic = networkTopic('n'.repeat(25) as NetworkId);
const yearSeconds = 365 * 86_400;
const [owner, reader] = [await identityOf(1, 'worker'), await identityOf(2, 'worker')];

async function open(identity = owner, store = memoryStore(), more: Partial<TablesInit> = {}) {
  const members = new Members(() => identity.trust, store, virtualEnvironment(new VirtualTime()));
  for (const each of [owner, reader]) members.recognise(each.certificate);
  const reaping = { minTombstones: 3, minAgeMs: 0 };
  const base = { ...identity, store, members, validate: () => null, log: quietLog, reaping };
  const tables = new Tables({ ...base, ...more });
  tables.addInterest(topic);
  await tables.load();
  return tables;
}

const liveIn = (tables: Tables): string[] =>
  [...tables.records(topic)].map(({ record }) => `${record.key}=${String(record.value)}`).sort();

/** What `to` lacks of the owner's stream. */
function pull(to: Tables, from: Tables): void {
  for (const { records, epoch, upTo } of from.after(topic, owner.key.nodeId, to.position(topic, owner.key.nodeId))) {
    for (const signed of records) to.ingest(signed);
    to.advance(topic, owner.key.nodeId, epoch, upTo);
  }
}

test('tombstones that outweigh what lives go by a new epoch, in memory and on disk, here and at readers', async () => {
  const [store, others] = [memoryStore(), memoryStore()];
  const [tables, other] = [await open(owner, store), await open(reader, others)];
  for (let i = 0; i < 10; i += 1) await tables.put(topic, `k${i}`, i);
  for (let i = 0; i < 8; i += 1) await tables.remove(topic, `k${i}`);
  pull(other, tables);
  const { epoch } = tables.position(topic, tables.self);
  await tables.reap();
  assert.deepEqual(liveIn(tables), ['k8=8', 'k9=9']);
  assert.ok(tables.position(topic, tables.self).epoch > epoch);
  assert.equal(tables.after(topic, tables.self, nowhere)[0]?.records.length, 3);
  assert.equal(store.disk.entries(['own', topic]).length, 3);
  assert.equal(store.disk.get(['epoch']), tables.position(topic, tables.self).epoch);
  pull(other, tables);
  assert.deepEqual(liveIn(other), ['k8=8', 'k9=9']);
  await settled();
  assert.equal(others.disk.entries(['record', topic]).length, 3);
  assert.deepEqual(liveIn(await open(owner, store)), ['k8=8', 'k9=9'], 'also after a restart');
  await tables.put(topic, 'k8', 'again');
  pull(other, tables);
  assert.deepEqual(liveIn(other), ['k8=again', 'k9=9']);
});

test('few tombstones, or fewer than what lives, are left alone', async () => {
  const tables = await open();
  for (let i = 0; i < 10; i += 1) await tables.put(topic, `k${i}`, i);
  const { epoch } = tables.position(topic, tables.self);
  for (let i = 0; i < 4; i += 1) await tables.remove(topic, `k${i}`);
  await tables.reap();
  assert.equal(tables.position(topic, tables.self).epoch, epoch);
});

test('tombstones are reaped when they are due, also after the clock was set back a year', async () => {
  let [nowMs, monotonicMs] = [Date.UTC(2027, 0), 1_000];
  const reaping = { minTombstones: 1, minAgeMs: 60_000 };
  const clocks = { now: () => nowMs, monotonicMs: () => monotonicMs };
  const tables = await open(owner, memoryStore(), { ...clocks, reaping });
  await tables.put(topic, 'dead', 1);
  await tables.remove(topic, 'dead');
  const { epoch } = tables.position(topic, tables.self);
  nowMs -= yearSeconds * 1000;
  monotonicMs += 59_000;
  await tables.reap();
  assert.equal(tables.position(topic, tables.self).epoch, epoch, 'not yet');
  monotonicMs += 1_000;
  await tables.reap();
  assert.ok(tables.position(topic, tables.self).epoch > epoch);
});

test('what is written while a stream is opened anew is in the new epoch, and nothing dead is', async () => {
  const store = memoryStore();
  let meanwhile: (() => void) | null = null;
  const tables = await open(owner, store, { pause: async () => meanwhile?.() });
  await Promise.all([...Array(300).keys()].map((i) => tables.put(topic, `k${i}`, i)));
  await Promise.all([...Array(301).keys()].map((i) => tables.put(topic, `dead${i}`, i)));
  await Promise.all([...Array(301).keys()].map((i) => tables.remove(topic, `dead${i}`)));
  const writes: Promise<unknown>[] = [];
  meanwhile = () => {
    meanwhile = null;
    // One that is signed already, one that is not, one that is new, and one that comes and goes.
    writes.push(tables.remove(topic, 'k0'), tables.remove(topic, 'k299'), tables.put(topic, 'k1', 'changed'));
    writes.push(tables.put(topic, 'new', 1), tables.put(topic, 'brief', 1), tables.remove(topic, 'brief'));
  };
  await tables.reap();
  await Promise.all(writes);
  const expected = [...Array(300).keys()]
    .filter((i) => i !== 0 && i !== 299)
    .map((i) => `k${i}=${i === 1 ? 'changed' : i}`);
  assert.deepEqual(liveIn(tables), [...expected, 'new=1'].sort());
  assert.equal(
    [...(tables.after(topic, tables.self, nowhere)[0]?.records ?? [])].some(({ record }) =>
      record.key.startsWith('dead'),
    ),
    false,
  );
  const other = await open(reader);
  pull(other, tables);
  assert.deepEqual(liveIn(other), liveIn(tables));
  assert.deepEqual(liveIn(await open(owner, store)), liveIn(tables), 'also after a restart');
});

test('a crash while a stream is opened anew costs nothing and brings nothing back', async () => {
  const store = memoryStore();
  let copies: Disk[] = [];
  const tables = await open(owner, store, {
    pause: async () => {
      copies.push(store.disk.copy());
    },
  });
  await Promise.all([...Array(300).keys()].map((i) => tables.put(topic, `k${i}`, i)));
  await Promise.all([...Array(301).keys()].map((i) => tables.put(topic, `dead${i}`, i)));
  await Promise.all([...Array(301).keys()].map((i) => tables.remove(topic, `dead${i}`)));
  copies = [];
  await tables.reap();
  assert.ok(copies.length >= 4);
  for (const disk of copies) assert.deepEqual(liveIn(await open(owner, memoryStore(disk))), liveIn(tables));
});

test('an older copy of the disk and a clock set back a year: what others hold of this node counts, and nothing dead returns', async () => {
  const store = memoryStore();
  const nowMs = Date.UTC(2027, 0);
  const first = await open(owner, store, { now: () => nowMs });
  await first.put(topic, 'dead', 1);
  await first.put(topic, 'kept', 1);
  const older = store.disk.copy();
  // A run of which the copy knows nothing.
  const second = await open(owner, store, { now: () => nowMs + yearSeconds * 1000 });
  await second.remove(topic, 'dead');
  await second.put(topic, 'later', 1);
  const other = await open(reader);
  pull(other, second);

  const third = await open(owner, memoryStore(older), { now: () => nowMs - yearSeconds * 1000 });
  await third.put(topic, 'now', 1);
  pull(other, third);
  assert.deepEqual(liveIn(other), ['kept=1', 'later=1'], 'its epoch is lower than what is known of it');
  const [held] = other.after(topic, owner.key.nodeId, third.position(topic, third.self));
  await third.recover(topic, held?.records.map(({ payload, signature }) => [payload, signature]) ?? [], true);
  assert.deepEqual(liveIn(third), ['kept=1', 'later=1', 'now=1']);
  pull(other, third);
  assert.deepEqual(liveIn(other), ['kept=1', 'later=1', 'now=1']);
});

test('lost_network_of_an_older_copy: one that was made before the second start, and before others were met, stays', async () => {
  const store = memoryStore();
  const nowMs = Date.UTC(2027, 0);
  const back = { now: () => nowMs - yearSeconds * 1000 };
  const first = await open(owner, store, { now: () => nowMs });
  await first.put(topic, 'old', 1);
  const older = store.disk.copy();
  const other = await open(reader);
  pull(other, await open(owner, store, { now: () => nowMs + yearSeconds * 1000 }));

  const disk = memoryStore(older);
  const third = await open(owner, disk, back);
  await third.put(topic, 'network/n', 1);
  await third.put(topic, 'ep/e', 1);
  const fourth = await open(owner, disk, back);
  const [held] = other.after(topic, owner.key.nodeId, fourth.position(topic, fourth.self));
  await fourth.recover(topic, held?.records.map(({ payload, signature }) => [payload, signature]) ?? [], true);
  // An endpoint is announced again by its sandbox; one that was taken back must not return.
  assert.deepEqual(liveIn(fourth), ['network/n=1', 'old=1']);
});

test('records of an earlier format are not dropped in silence: the agent says so and ends', async () => {
  const store = memoryStore();
  const payload = encode([1, topic, owner.key.publicKey, 5, 1, '', 1]);
  await store.commit([{ key: ['own', topic, 5, ''], value: [payload, Buffer.alloc(64)] }]);
  await assert.rejects(open(owner, store), { code: 'state_format' });
  assert.equal(store.disk.entries(['own', topic]).length, 1);
});
