import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { NodeId } from '../../../controlplane/ids.ts';
import {
  freeRanges,
  type Grant,
  halfToGive,
  nextFree,
  type Owned,
  type Range,
  sizeOf,
  splitByOwner,
} from '../../../controlplane/ring/ring.ts';

const size = 32;
const root = 'root' as NodeId;
const nodes = ['a', 'b', 'c', 'root'] as NodeId[];

const grant: fc.Arbitrary<Grant> = fc.record({
  start: fc.integer({ min: -2, max: size + 1 }),
  end: fc.integer({ min: -2, max: size + 2 }),
  to: fc.constantFrom(...nodes),
  generation: fc.integer({ min: 1, max: 6 }),
});
const grants = fc.array(grant, { maxLength: 12 });
const numbers = fc.uniqueArray(fc.integer({ min: 0, max: size - 1 }), { maxLength: size });
const numbersIn = (ranges: readonly Range[]): number[] =>
  ranges.flatMap(({ start, end }) => [...Array(end - start).keys()].map((i) => start + i));

test('a split covers every number once, in maximal runs', () => {
  fc.assert(
    fc.property(grants, (all) => {
      const split = splitByOwner(size, root, all);
      assert.deepEqual(numbersIn(split), [...Array(size).keys()]);
      for (const [i, each] of split.entries()) {
        const next = split[i + 1];
        assert.ok(next === undefined || next.owner !== each.owner || next.generation !== each.generation);
      }
    }),
    { numRuns: 1000 },
  );
});

test('who owns a number follows from the highest grant of it, in whatever order grants come', () => {
  const shuffled = grants.chain((all) =>
    fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length })),
  );
  fc.assert(
    fc.property(shuffled, ([all, other]) => {
      const split = splitByOwner(size, root, all);
      assert.deepEqual(splitByOwner(size, root, other), split);
      const valid = all.filter(({ start, end }) => start >= 0 && end <= size && start < end);
      for (const { start, owner, generation } of split) {
        const over = valid.filter((each) => each.start <= start && start < each.end);
        const top = Math.max(0, ...over.map((each) => each.generation));
        assert.equal(generation, top);
        const heirs = over.filter((each) => each.generation === top).map(({ to }) => to);
        assert.equal(owner, top === 0 ? root : heirs.sort()[0]);
      }
    }),
    { numRuns: 1000 },
  );
});

const owned: fc.Arbitrary<Owned[]> = grants.map((all) =>
  splitByOwner(size, root, all).filter(({ owner }) => owner === root),
);

test('free ranges are what is owned less what is taken', () => {
  fc.assert(
    fc.property(owned, numbers, (ranges, taken) => {
      const free = freeRanges(ranges, new Set(taken));
      assert.deepEqual(
        numbersIn(free),
        numbersIn(ranges).filter((number) => !taken.includes(number)),
      );
      assert.equal(sizeOf(free), numbersIn(free).length);
      assert.ok(free.every(({ start, end }) => start < end));
    }),
  );
});

test('what is given away is free, of one generation, and leaves the giver at least as much', () => {
  fc.assert(
    fc.property(owned, numbers, (ranges, taken) => {
      const given = halfToGive(ranges, new Set(taken));
      const free = numbersIn(freeRanges(ranges, new Set(taken)));
      if (given === null) {
        return assert.ok(freeRanges(ranges, new Set(taken)).every(({ start, end }) => end - start === 1));
      }
      const parent = ranges.find(({ start, end }) => start <= given.start && given.end <= end);
      assert.equal(parent?.generation, given.generation);
      assert.ok(numbersIn([given]).every((number) => free.includes(number)));
      assert.ok(given.start < given.end && sizeOf([given]) <= free.length / 2);
    }),
  );
});

test('the next number is free, the first at or after the cursor if there is one, and all come before any comes again', () => {
  fc.assert(
    fc.property(owned, numbers, fc.nat(size), (ranges, taken, cursor) => {
      const free = numbersIn(freeRanges(ranges, new Set(taken)));
      const next = nextFree(ranges, new Set(taken), cursor);
      assert.equal(next, free.find((number) => number >= cursor) ?? free[0] ?? null);
    }),
  );
  fc.assert(
    fc.property(owned, (ranges) => {
      const got: number[] = [];
      for (const _ of numbersIn(ranges)) got.push(nextFree(ranges, new Set(), (got.at(-1) ?? -1) + 1) ?? -1);
      assert.equal(new Set(got).size, numbersIn(ranges).length);
    }),
  );
});
