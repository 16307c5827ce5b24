import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Identity } from '../../../controlplane/identity/state.ts';
import { Members } from '../../../controlplane/tables/members.ts';
import { nowhere } from '../../../controlplane/tables/position.ts';
import type { SignedRecord } from '../../../controlplane/tables/record.ts';
import { Tables } from '../../../controlplane/tables/tables.ts';
import { identityOf } from '../../sim/identities.ts';
import { VirtualTime } from '../../sim/time.ts';
import { memoryStore, quietLog, virtualEnvironment, Writer } from '../../unit/controlplane/helpers.ts';

const topic = `net/${'n'.repeat(25)}`;
const writers = [await identityOf(1, 'worker'), await identityOf(2, 'worker')];
const [one, two] = [await identityOf(3, 'worker'), await identityOf(4, 'worker')];

async function open(identity: Identity, store = memoryStore()): Promise<Tables> {
  const members = new Members(() => identity.trust, store, virtualEnvironment(new VirtualTime()));
  for (const each of [...writers, one, two]) members.admit(each.certificate);
  const { key, clusterId } = identity;
  const tables = new Tables({ key, clusterId, store, members, validate: () => null, log: quietLog });
  tables.addInterest(topic);
  await tables.load();
  return tables;
}

const contentOf = (tables: Tables): string[] =>
  [...tables.records(topic)].map(({ record }) => `${record.owner} ${record.key} ${String(record.value)}`).sort();

/** What the two writers wrote: keys set (a number) or removed (null), and a restart now and then. */
const history: fc.Arbitrary<SignedRecord[]> = fc
  .array(
    fc.record({
      by: fc.nat(1),
      key: fc.constantFrom('a', 'b', 'c'),
      value: fc.oneof({ weight: 2, arbitrary: fc.nat(9) }, { weight: 1, arbitrary: fc.constant(null) }),
      restart: fc.integer({ min: 0, max: 9 }).map((dice) => dice === 0),
    }),
    { minLength: 1, maxLength: 24 },
  )
  .map((steps) => {
    const all: SignedRecord[] = [];
    const states = writers.map((identity) => ({ identity, writer: new Writer(identity, 0), live: new Map() }));
    const restart = (state: (typeof states)[number]): void => {
      state.writer = new Writer(state.identity, state.writer.epoch + 1);
      all.push(state.writer.write(topic, '', state.live.size + 1));
      for (const [key, value] of state.live) all.push(state.writer.write(topic, key, value));
    };
    for (const state of states) restart(state);
    for (const step of steps) {
      const state = states[step.by];
      if (state === undefined) continue;
      if (step.restart) restart(state);
      if (step.value === null && !state.live.delete(step.key)) continue;
      if (step.value !== null) state.live.set(step.key, step.value);
      all.push(state.writer.write(topic, step.key, step.value));
    }
    return all;
  });

const scenario = history.chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all), fc.shuffledSubarray(all)));

/** What Replica does with the answer to a pull, without the wire. */
function pull(into: Tables, from: Tables): void {
  for (const owner of from.vector(topic).keys()) {
    if (owner === into.self) continue;
    for (const { records, epoch, upTo } of from.after(topic, owner, into.vector(topic).get(owner) ?? nowhere)) {
      for (const signed of records) into.ingest(signed, true);
      into.advance(topic, owner, epoch, upTo);
    }
  }
}

function exchange(a: Tables, b: Tables): void {
  for (let round = 0; round < 4; round += 1) {
    pull(a, b);
    pull(b, a);
  }
}

test('an exchange makes two nodes equal, and with somebody who lacks nothing also their content', async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async ([all, first, second]) => {
      const [a, b] = [await open(one), await open(two)];
      const whole = await open(one);
      for (const signed of first) a.ingest(signed);
      for (const signed of second) b.ingest(signed);
      for (const signed of all) whole.ingest(signed);
      assert.equal(a.digest(topic) === b.digest(topic), sameVectors(a, b));
      exchange(a, b);
      // What lies behind a gap is not compared: only who lacks nothing can fill it.
      assert.equal(a.digest(topic), b.digest(topic));
      assert.equal(a.digest(topic) === whole.digest(topic), sameVectors(a, whole));
      pull(a, whole);
      pull(b, a);
      for (const each of [a, b]) {
        assert.equal(each.digest(topic), whole.digest(topic));
        assert.deepEqual(contentOf(each), contentOf(whole));
      }
    }),
    { numRuns: 60 },
  );
});

test('a restart changes nothing of what is known of others', async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async ([all, first]) => {
      const store = memoryStore();
      const before = await open(one, store);
      for (const signed of first) before.ingest(signed);
      await before.flushed();
      const after = await open(one, store);
      assert.deepEqual(contentOf(after), contentOf(before));
      assert.equal(after.digest(topic), before.digest(topic));
      // And goes on alike.
      for (const tables of [before, after]) for (const signed of all) tables.ingest(signed);
      assert.deepEqual(contentOf(after), contentOf(before));
    }),
    { numRuns: 60 },
  );
});

test('how far an older epoch got that came on after a newer one began is known after a restart', async () => {
  const [identity] = writers;
  assert.ok(identity);
  const [older, newer] = [new Writer(identity, 1), new Writer(identity, 2)];
  const written = ['', 'c', 'd', 'c'].map((key) => older.write(topic, key, 1));
  const opening = newer.write(topic, '', 3);
  const store = memoryStore();
  const before = await open(one, store);
  // The fourth takes the row of the second.
  for (const at of [0, null, 1, 3]) before.ingest(at === null ? opening : (written[at] as SignedRecord));
  await before.flushed();
  const after = await open(one, store);
  assert.deepEqual([...after.vector(topic)], [...before.vector(topic)]);
  assert.equal(after.digest(topic), before.digest(topic));
});

function sameVectors(a: Tables, b: Tables): boolean {
  const [ofA, ofB] = [a, b].map((tables) =>
    JSON.stringify([...tables.vector(topic)].sort(([x], [y]) => (x < y ? -1 : 1))),
  );
  return ofA === ofB;
}
