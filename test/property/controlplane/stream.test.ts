import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { SignedRecord } from '../../../controlplane/tables/record.ts';
import { type Batch, type Change, isBehind, nowhere, Stream } from '../../../controlplane/tables/stream.ts';
import { type Action, liveOf, write } from './records.ts';

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

/** What an exchange does with a batch. */
function takeBatch(stream: Stream, batch: Batch | null): Change[] {
  if (batch === null) return [];
  const changes: Change[] = [];
  for (const signed of batch.records) {
    const offer = stream.offer(signed);
    if (offer.result === 'applied') changes.push(...offer.changes);
  }
  return [...changes, ...stream.advanceTo(batch.epoch, batch.upTo)];
}

test('whatever was lost, doubled or reordered: one pull makes a reader equal to the owner', () => {
  fc.assert(
    fc.property(history, ([{ stream, live }, first]) => {
      const reader = taking(first);
      takeBatch(reader, stream.after(reader.position));
      assert.deepEqual(liveOf(reader), live);
      assert.deepEqual(reader.position, stream.position);
      assert.equal(stream.after(reader.position), null);
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
        takeBatch(a, b.after(a.position));
        takeBatch(b, a.after(b.position));
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
        assert.deepEqual(other.position, ab.position);
        // What is still shown of an epoch that is over depends on whether it was here before the newer one was known of.
        if (ab.epochs.length === 1 && other.epochs.length === 1) assert.deepEqual(liveOf(other), liveOf(ab));
        takeBatch(other, stream.after(other.position));
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
      const batch = stream.after({ epoch, seq, ahead: 0 });
      if (seq >= stream.position.seq) return assert.equal(batch, null);
      assert.ok(batch !== null);
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
