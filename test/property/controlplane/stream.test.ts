import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Batch } from '../../../controlplane/tables/epoch.ts';
import { isBehind, mayLack, nowhere } from '../../../controlplane/tables/position.ts';
import type { SignedRecord } from '../../../controlplane/tables/record.ts';
import { type Change, Stream } from '../../../controlplane/tables/stream.ts';
import { type Action, liveOf, record, write } from './records.ts';

const key = fc.constantFrom('a', 'b', 'c', 'd', 'e');
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ set: key, to: fc.nat(1000) }) },
  { weight: 3, arbitrary: fc.record({ remove: key }) },
  { weight: 1, arbitrary: fc.constant({ restart: true as const }) },
);
const actions = fc.array(action, { maxLength: 40 });

/** A delivery of the records: some lost, some twice, in any order. */
const delivery = (all: readonly SignedRecord[]): fc.Arbitrary<SignedRecord[]> =>
  fc.tuple(fc.shuffledSubarray([...all]), fc.subarray([...all])).chain(([once, twice]) => {
    const frames = [...once, ...twice];
    return fc.shuffledSubarray(frames, { minLength: frames.length });
  });

const history = actions.chain((list) => {
  const written = write(list);
  return fc.tuple(fc.constant(written), delivery(written.all), delivery(written.all));
});

function taking(records: readonly SignedRecord[], into = new Stream()): Stream {
  for (const signed of records) into.offer(signed);
  return into;
}

/** What an exchange does with what it was given. */
function takeBatches(stream: Stream, batches: readonly Batch[]): Change[] {
  const changes: Change[] = [];
  for (const { records, epoch, upTo } of batches) {
    for (const signed of records) {
      const offer = stream.offer(signed, true);
      if (offer.result === 'applied') changes.push(...offer.changes);
    }
    changes.push(...stream.advanceTo(epoch, upTo));
  }
  return changes;
}

test('whatever was lost, doubled or reordered: one pull makes a reader equal to the owner', () => {
  fc.assert(
    fc.property(history, ([{ stream, live }, first]) => {
      const reader = taking(first);
      takeBatches(reader, stream.after(reader.position));
      assert.deepEqual(liveOf(reader), live);
      assert.deepEqual(reader.position, stream.position);
      assert.deepEqual(stream.after(reader.position), []);
    }),
    { numRuns: 1000 },
  );
});

test('readers become equal by pulling from each other, wherever the records of either came from', () => {
  fc.assert(
    fc.property(history, ([{ all, live }, first, second]) => {
      const half = all.filter((_, i) => i % 2 === 0);
      const others = all.filter((_, i) => i % 2 === 1);
      const [a, b] = [taking([...first, ...half]), taking([...second, ...others])];
      for (let round = 0; round < 2 * all.length; round += 1) {
        takeBatches(a, b.after(a.position));
        takeBatches(b, a.after(b.position));
      }
      assert.deepEqual(a.position, b.position);
      assert.deepEqual(liveOf(a), liveOf(b));
      // Between them they had everything.
      for (const signed of all) a.offer(signed);
      assert.deepEqual(liveOf(a), live);
    }),
    { numRuns: 500 },
  );
});

test('the order of two deliveries, and a delivery again, make no difference', () => {
  fc.assert(
    fc.property(history, ([{ stream }, first, second]) => {
      const [ab, ba] = [taking([...first, ...second]), taking([...second, ...first])];
      const again = taking(first, taking(second, taking([...first, ...second])));
      for (const other of [ba, again]) {
        assert.deepEqual({ ...other.position, before: null }, { ...ab.position, before: null });
        // What is still shown of an epoch that is over depends on whether it was here before the newer one was known of.
        if (ab.epochs.length === 1 && other.epochs.length === 1) assert.deepEqual(liveOf(other), liveOf(ab));
        takeBatches(other, stream.after(other.position));
        assert.deepEqual(liveOf(other), liveOf(stream));
      }
    }),
    { numRuns: 500 },
  );
});

test('a position never goes back', () => {
  fc.assert(
    fc.property(history, ([, first]) => {
      const reader = new Stream();
      let before = nowhere;
      for (const signed of first) {
        reader.offer(signed);
        assert.ok(!isBehind(reader.position, before));
        before = reader.position;
      }
    }),
  );
});

test('a batch has all after the position, and nothing else', () => {
  fc.assert(
    fc.property(history, fc.nat(60), ([{ all, stream }], seq) => {
      const { epoch } = stream.position;
      const sum = seq === stream.position.seq ? stream.position.sum : 0;
      const [batch, ...rest] = stream.after({ epoch, seq, ahead: 0, sum, before: null });
      assert.equal(rest.length, 0);
      if (seq >= stream.position.seq) return assert.equal(batch, undefined);
      assert.ok(batch !== undefined);
      assert.deepEqual([batch.epoch, batch.after, batch.upTo], [epoch, seq, stream.position.seq]);
      const latest = new Map(all.filter(({ record }) => record.epoch === epoch).map((each) => [each.record.key, each]));
      const wanted = [...latest.values()].filter(({ record }) => record.seq > seq);
      assert.deepEqual(
        batch.records.map(({ record }) => record.seq),
        wanted.map(({ record }) => record.seq).sort((a, b) => a - b),
      );
    }),
  );
});

test('readers see whole epochs only, no dead record comes back, and the changes add up to what is there', () => {
  fc.assert(
    fc.property(history, ([{ all }, first]) => {
      const reader = new Stream();
      const shown = new Map<string, SignedRecord>();
      for (const signed of first) {
        const offer = reader.offer(signed);
        for (const { key: name, previous, current } of offer.result === 'applied' ? offer.changes : []) {
          assert.equal(shown.get(name) ?? null, previous);
          if (current === null) {
            shown.delete(name);
            continue;
          }
          // What is shown of a key only ever gets newer.
          const { epoch, seq } = current.record;
          if (previous !== null) assert.ok(isBehind(previous.record, { epoch, seq }));
          shown.set(name, current);
        }
        assert.deepEqual(new Map([...reader.live()].map((each) => [each.record.key, each])), shown);
        assertWhole(all, reader);
      }
    }),
    { numRuns: 500 },
  );
});

test('an owner that signs several records for one place is found out, and its readers agree all the same', () => {
  const other = fc.record({ at: fc.nat(40), name: key, to: fc.nat(1000) });
  fc.assert(
    fc.property(
      actions,
      fc.array(other, { minLength: 1, maxLength: 5 }),
      fc.func(fc.boolean()),
      (list, lies, picks) => {
        const { all } = write(list);
        const { epoch } = all.at(-1)?.record ?? { epoch: 0 };
        const last = all.filter(({ record: each }) => each.epoch === epoch);
        const forks = lies.map(({ at, name, to }) => record(epoch, 2 + (at % last.length), name, `other ${to}`));
        // Each reader has had one of them at each place; the last record is honest, so that both reach as far.
        const end = record(epoch, last.length + 2, 'end', 0);
        const one = [...last, record(epoch, last.length + 1, 'a', 0), end];
        const two = one.map((signed, i) => forks.find(({ record: { seq } }) => seq === i + 1 && picks(seq)) ?? signed);
        const [a, b] = [taking(one), taking(two)];
        const differ = JSON.stringify([...liveOf(a)].sort()) !== JSON.stringify([...liveOf(b)].sort());
        if (differ) assert.notEqual(a.position.sum, b.position.sum);
        for (let round = 0; round < 3; round += 1) {
          takeBatches(a, b.after(a.position));
          takeBatches(b, a.after(b.position));
        }
        assert.deepEqual(a.position, b.position);
        assert.deepEqual(new Map([...liveOf(a)].sort()), new Map([...liveOf(b)].sort()));
        // Whoever has seen both can prove it.
        const both = taking(one);
        const caught = forks.some((signed) => {
          const offer = both.offer(signed);
          return offer.result === 'applied' && offer.forked;
        });
        const isPlain = forks.every((fork) => both.wants(fork) === false);
        assert.ok(caught || isPlain);
      },
    ),
    { numRuns: 500 },
  );
});

test('an owner that is gone in the middle of a restart leaves the same behind everywhere, also with those who join later', () => {
  fc.assert(
    fc.property(history, fc.nat(10), ([{ all }, first], missing) => {
      // Of the last epoch nobody has the opening record, so nobody will ever have all of it.
      const { epoch } = all.at(-1)?.record ?? { epoch: 0 };
      const lost = (signed: SignedRecord): boolean =>
        signed.record.epoch === epoch && (signed.record.seq === 1 || signed.record.seq === missing);
      const witness = taking(all.filter((signed) => !lost(signed)));
      const others = [taking(first.filter((signed) => !lost(signed))), new Stream()];
      for (const reader of others) {
        for (let round = 0; round < 3; round += 1) {
          takeBatches(reader, witness.after(reader.position));
          takeBatches(witness, reader.after(witness.position));
        }
        assert.deepEqual(reader.position, witness.position);
        assert.deepEqual(liveOf(reader), liveOf(witness));
        assert.ok(!mayLack(reader.position, witness.position));
      }
    }),
    { numRuns: 500 },
  );
});

/** What a reader shows is the state at some moment of one epoch, or ahead of it, but never half of how it began. */
function assertWhole(all: readonly SignedRecord[], reader: Stream): void {
  const epoch = [...reader.live()][0]?.record.epoch;
  if (epoch === undefined) return;
  const ofEpoch = all.filter(({ record }) => record.epoch === epoch);
  const size = Number(ofEpoch[0]?.record.value);
  const opening = ofEpoch.slice(1, size).map(({ record }) => record.key);
  const removed = new Set(ofEpoch.filter(({ record }) => record.value === null).map(({ record }) => record.key));
  for (const name of opening) assert.ok(removed.has(name) || reader.get(name) !== null, `${name} is missing`);
}
