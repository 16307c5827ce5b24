import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Store } from '../../../controlplane/store.ts';
import { compareTimestamps, HybridClock, maxSkewMs } from '../../../controlplane/tables/clock.ts';
import { Members } from '../../../controlplane/tables/members.ts';
import { nowhere } from '../../../controlplane/tables/position.ts';
import { forked, Tables, type Validate } from '../../../controlplane/tables/tables.ts';
import { identityOf } from '../../sim/identities.ts';
import { VirtualTime } from '../../sim/time.ts';
import { memoryStore, quietLog, settled, virtualEnvironment, Writer } from './helpers.ts';

const topic = `net/${'n'.repeat(25)}`;
const self = await identityOf(0, 'manager');
const other = await identityOf(1, 'manager');

const older: Validate = ({ record }) => (record.key.startsWith('new/') ? 'unknown key' : null);

/** A node that does not know the kind `new/…`, as one of an older version. */
async function open(store: Store, nowMs?: number, validate: Validate = older): Promise<Tables> {
  const members = new Members(() => self.trust, store, virtualEnvironment(new VirtualTime()));
  for (const each of [self, other]) members.admit(each.certificate);
  const tables = new Tables({
    ...self,
    store,
    members,
    validate,
    log: quietLog,
    ...(nowMs === undefined ? {} : { now: () => nowMs }),
  });
  tables.addInterest(topic);
  await tables.load();
  return tables;
}

const keysOf = (tables: Tables): string[] => [...tables.records(topic)].map(({ record }) => record.key).sort();

test('one_refused_record_froze_its_owner: what is not understood is hidden, kept and passed on', async () => {
  const store = memoryStore();
  const tables = await open(store);
  const writer = new Writer(other);
  const records = [writer.write(topic, '', 1), writer.write(topic, 'new/a', 1), writer.write(topic, 'b', 1)];
  for (const signed of records) tables.ingest(signed);
  assert.deepEqual(keysOf(tables), ['b']);
  const { epoch, seq, ahead } = tables.position(topic, other.key.nodeId);
  assert.deepEqual({ epoch, seq, ahead }, { epoch: 1, seq: 3, ahead: 0 });
  const passedOn = tables.after(topic, other.key.nodeId, nowhere)[0]?.records.map(({ payload }) => payload);
  assert.deepEqual(
    passedOn,
    records.map(({ payload }) => payload),
  );
  await tables.flushed();
  assert.deepEqual(keysOf(await open(store)), ['b'], 'also after a restart');
});

test('own_record_that_all_others_refuse: it is refused here already, and nothing of it is left', async () => {
  const tables = await open(memoryStore());
  await tables.put(topic, 'a', 1);
  await assert.rejects(tables.put(topic, 'new/a', 1), /would be refused by others: unknown key/);
  await tables.put(topic, 'b', 1);
  const { upTo, records } = tables.after(topic, tables.self, nowhere)[0] ?? { upTo: 0, records: [] };
  assert.deepEqual([upTo, records.map(({ record }) => record.seq)], [3, [1, 2, 3]]);
});

test('failed_commit_left_a_hole: the next commit takes along what the last one could not', async () => {
  const store = memoryStore();
  const tables = await open(store);
  const { commit } = store;
  store.commit = async () => {
    throw new Error('no space left on device');
  };
  await assert.rejects(tables.put(topic, 'a', 1), /no space left/);
  store.commit = commit;
  await tables.put(topic, 'b', 1);
  const { upTo, records } = tables.after(topic, tables.self, nowhere)[0] ?? { upTo: 0, records: [] };
  assert.deepEqual([upTo, records.map(({ record }) => record.key)], [3, ['', 'a', 'b']]);
});

test('failed_commit_lost_what_others_wrote: it is stored with the next one, or some seconds later', async () => {
  const store = memoryStore();
  const tables = await open(store);
  const { commit } = store;
  store.commit = async () => {
    throw new Error('no space left on device');
  };
  const writer = new Writer(other);
  for (const key of ['', 'a', 'b']) tables.ingest(writer.write(topic, key, 1));
  await tables.flushed();
  await settled();
  store.commit = commit;
  tables.ingest(writer.write(topic, 'c', 1));
  await tables.flushed();
  assert.deepEqual(keysOf(await open(store)), ['a', 'b', 'c']);
  store.commit = async () => {
    throw new Error('no space left on device');
  };
  tables.ingest(writer.write(topic, 'd', 1));
  await tables.flushed();
  await settled();
  store.commit = commit;
  await tables.reap();
  assert.deepEqual(keysOf(await open(store)), ['a', 'b', 'c', 'd']);
});

test('signed_two_records_for_one_place: readers that had different ones agree, and know whose fault it is', async () => {
  const [a, b] = [await open(memoryStore()), await open(memoryStore())];
  const owner = other.key.nodeId;
  const [one, two] = [new Writer(other), new Writer(other)];
  for (const [tables, writer, name] of [
    [a, one, 'mine'],
    [b, two, 'yours'],
  ] as const) {
    for (const key of ['', name, 'last']) tables.ingest(writer.write(topic, key, 1));
  }
  assert.notEqual(a.digest(topic), b.digest(topic));
  assert.ok(a.lacks(topic, owner, b.position(topic, owner)));
  const objections: unknown[] = [];
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    for (const { records } of from.after(topic, owner, to.position(topic, owner))) {
      for (const signed of records) {
        const outcome = to.ingest(signed, true);
        if (outcome.result === 'applied') objections.push(outcome.objection);
      }
    }
  }
  assert.deepEqual(objections, [forked, forked]);
  assert.deepEqual(keysOf(a), ['last', 'mine', 'yours']);
  assert.deepEqual(keysOf(b), keysOf(a));
  assert.equal(a.digest(topic), b.digest(topic));
});

test('restored_state_reused_an_epoch: also where the clock is as far behind as the copy', async () => {
  const copy = memoryStore();
  const epochs = await Promise.all(
    Array.from({ length: 4 }, async () => (await open(memoryStore(copy.disk.copy()))).epoch),
  );
  assert.equal(new Set(epochs).size, epochs.length);
});

test('restored_state_reused_an_epoch: an old copy of the state opens an epoch of its own', async () => {
  const before = await open(memoryStore(), 5_000_000);
  // The same state as before the first start, an hour later.
  const restored = await open(memoryStore(), 8_600_000);
  assert.ok(restored.epoch > before.epoch);
});

test('skewed_clock_lost_writes: what is written over an object counts more, however far ahead its stamp was', () => {
  const now = 1_000_000;
  const clock = new HybridClock(() => now);
  const ahead = [now + 10 * maxSkewMs, 7] as const;
  assert.equal(clock.observe(ahead), false);
  assert.ok(compareTimestamps(clock.next(ahead), ahead) > 0);
  assert.ok(clock.next()[0] <= now + maxSkewMs, 'and the clock stays where it was');
});

test('expired_certificate_cleared_the_kernel: who was a member when it was admitted stays one over a restart', async () => {
  const store = memoryStore();
  const years = { ...virtualEnvironment(new VirtualTime()) };
  new Members(() => self.trust, store, years).admit(other.certificate);
  years.now = () => Date.UTC(2100, 0);
  const restarted = new Members(() => self.trust, store, years);
  assert.equal(restarted.roleOf(other.key.nodeId), 'manager');
  assert.equal(restarted.admit(other.certificate).ok, false, 'but it is let in no more');
});

test('stricter_version_could_not_start: own records that it would not write do not keep an agent from starting', async () => {
  const store = memoryStore();
  const lenient = await open(store, undefined, () => null);
  await lenient.put(topic, 'new/a', 1);
  assert.deepEqual(keysOf(await open(store)), ['new/a']);
});

test('kept_what_was_on_its_way: forgetting an owner, or a topic, also takes what is not on the disk yet', async () => {
  const store = memoryStore();
  const tables = await open(store);
  const writer = new Writer(other);
  store.held = true;
  for (const key of ['', 'a', 'b']) tables.ingest(writer.write(topic, key, 1));
  void tables.flushed();
  const forgotten = tables.dropOwner(other.key.nodeId);
  const own = tables.put(topic, 'mine', 1);
  await settled();
  const dropped = tables.dropTopic(topic);
  store.held = false;
  for (let i = 0; i < 9; i += 1) {
    store.release();
    await settled();
  }
  await Promise.all([forgotten, own, dropped]);
  const rows = ['record', 'position', 'own'].flatMap((table) => [...store.entries([table, topic])]);
  assert.deepEqual(rows, []);
});
