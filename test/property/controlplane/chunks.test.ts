import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Batch } from '../../../controlplane/tables/epoch.ts';
import { cutBatch } from '../../../controlplane/tables/pull.ts';
import type { SignedRecord } from '../../../controlplane/tables/record.ts';
import { Stream } from '../../../controlplane/tables/stream.ts';
import { type Action, liveOf, write } from './records.ts';

// A batch that is larger than a frame comes in parts (pull.ts).

// What cutBatch counts for a record without a payload.
const recordBytes = 80;

const key = fc.constantFrom('a', 'b', 'c', 'd', 'e');
const actions: fc.Arbitrary<Action[]> = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ set: key, to: fc.nat(1000) }) },
    { weight: 3, arbitrary: fc.record({ remove: key }) },
    { weight: 1, arbitrary: fc.constant({ restart: true as const }) },
  ),
  { maxLength: 30 },
);

/** About the first `count` records of a batch, as an answer with that much room has them. */
const cut = (batch: Batch, count: number): Batch => cutBatch(batch, (count + 1) * recordBytes);

function take(stream: Stream, batch: Batch, onChange: () => void): void {
  const [first = 0, second = first] = batch.records.map(({ record: each }) => each.seq);
  for (const [i, signed] of batch.records.entries()) {
    if (i === 1 && first > second) stream.expect(batch.epoch, first);
    stream.offer(signed);
    onChange();
  }
  stream.advanceTo(batch.epoch, batch.upTo);
  onChange();
}

test('a batch in pieces of any size brings what the whole brings', () => {
  fc.assert(
    fc.property(actions, fc.integer({ min: 1, max: 4 }), fc.infiniteStream(fc.boolean()), (list, count, lost) => {
      const { all, stream, live } = write(list);
      const reader = new Stream();
      for (const signed of all) if (lost.next().value === false) reader.offer(signed);
      for (let rounds = 0; rounds <= all.length + 1; rounds += 1) {
        const [batch] = stream.after(reader.position);
        if (batch === undefined) break;
        take(reader, cut(batch, count), () => {});
      }
      assert.deepEqual(stream.after(reader.position), [], 'the pieces come to an end');
      assert.deepEqual(reader.position, stream.position);
      assert.deepEqual(liveOf(reader), live);
    }),
    { numRuns: 1000 },
  );
});

/** Keys that the owner has had, without a break, from before its restart until now. */
function lasting(all: readonly SignedRecord[], epoch: number): Set<string> {
  const opening = all.filter(({ record }) => record.epoch === epoch);
  const size = Number(opening[0]?.record.value);
  const kept = new Set(opening.slice(1, size).map(({ record }) => record.key));
  for (const { record } of opening) if (record.value === null) kept.delete(record.key);
  return kept;
}

const neverBlinks = (list: readonly Action[], then: readonly Action[], count: number): void => {
  const before = write(list);
  const { all, stream } = write([...list, { restart: true }, ...then.filter((each) => !('restart' in each))]);
  const reader = new Stream();
  for (const signed of before.all) reader.offer(signed);
  const kept = lasting(all, stream.position.epoch);
  for (let rounds = 0; rounds <= all.length + 1; rounds += 1) {
    const [batch] = stream.after(reader.position);
    if (batch === undefined) break;
    take(reader, cut(batch, count), () => {
      for (const name of kept) assert.ok(reader.get(name) !== null, `${name} was there all the time, and is gone`);
    });
  }
};

test('a restart that is pulled in one piece hides nothing that lasted', () => {
  fc.assert(
    fc.property(actions, actions, (list, then) => neverBlinks(list, then, 1000)),
    { numRuns: 500 },
  );
});

test('a restart that is pulled in pieces hides nothing that lasted', () => {
  fc.assert(fc.property(actions, actions, fc.integer({ min: 1, max: 4 }), neverBlinks), { numRuns: 1000 });
});
