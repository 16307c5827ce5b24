import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { NodeId } from '../../../controlplane/ids.ts';
import { Custody } from '../../../controlplane/ring/custody.ts';
import { NumberSet } from '../../../controlplane/ring/numbers.ts';
import {
  freeRanges,
  type Grant,
  halfToGive,
  inside,
  nextFree,
  type Owned,
  outside,
  type Range,
  reclaimGeneration,
  sizeOf,
  splitByOwner,
  unfounded,
} from '../../../controlplane/ring/ring.ts';

const size = 32;
const whole = { start: 0, end: size };
const root = 'root' as NodeId;
const nodes = ['a', 'b', 'c', 'root'] as NodeId[];

const grant: fc.Arbitrary<Grant> = fc.record({
  start: fc.integer({ min: -2, max: size + 1 }),
  end: fc.integer({ min: -2, max: size + 2 }),
  by: fc.constantFrom(...nodes),
  to: fc.constantFrom(...nodes),
  generation: fc.integer({ min: 1, max: 6 }),
  byManager: fc.boolean(),
});
const grants = fc.array(grant, { maxLength: 12 });
const numbers = fc.uniqueArray(fc.integer({ min: 0, max: size - 1 }), { maxLength: size });
const numbersIn = (ranges: Iterable<Range>): number[] =>
  [...ranges].flatMap(({ start, end }) => [...Array(end - start).keys()].map((i) => start + i));
const setOf = (all: readonly number[]): NumberSet => {
  const set = new NumberSet();
  for (const number of all) set.add(number);
  return set;
};

test('a split covers every number once, in maximal runs', () => {
  fc.assert(
    fc.property(grants, (all) => {
      const split = splitByOwner(whole, root, all);
      assert.deepEqual(numbersIn(split), [...Array(size).keys()]);
      for (const [i, each] of split.entries()) {
        const next = split[i + 1];
        assert.ok(next === undefined || next.owner !== each.owner || next.generation !== each.generation);
      }
    }),
    { numRuns: 1000 },
  );
});

/** Follows one number's grants, the slow way: a generation at a time. */
function ownerOf(number: number, all: readonly Grant[]): { owner: NodeId; generation: number } {
  const over = all.filter(({ start, end }) => start >= -2 && start <= number && number < end);
  let held = { owner: root, generation: 0 };
  for (let generation = 1; generation <= 6; generation += 1) {
    const counting = over.filter(
      (each) =>
        each.generation === generation &&
        (each.byManager || (each.by === held.owner && held.generation === generation - 1)),
    );
    const [heir] = counting.map(({ to }) => to).sort();
    if (heir !== undefined) held = { owner: heir, generation };
  }
  return held;
}

test('who owns a number follows its chain of grants, in whatever order they come', () => {
  const shuffled = grants.chain((all) =>
    fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length })),
  );
  fc.assert(
    fc.property(shuffled, ([all, other]) => {
      const split = splitByOwner(whole, root, all);
      assert.deepEqual(splitByOwner(whole, root, other), split);
      for (const { start, end, owner, generation } of split) {
        for (let number = start; number < end; number += 1) {
          assert.deepEqual({ owner, generation }, ownerOf(number, all), String(number));
        }
      }
    }),
    { numRuns: 1000 },
  );
});

test("a worker that never owned a number cannot take it, whatever generation it writes and in whoever's favour", () => {
  const honest = fc.array(
    grant.map((each) => ({ ...each, by: root, byManager: false })),
    { maxLength: 6 },
  );
  const hostile = fc.array(
    grant.map((each) => ({ ...each, by: 'thief' as NodeId, byManager: false })),
    { maxLength: 6 },
  );
  const huge = fc.nat(2 ** 30);
  fc.assert(
    fc.property(honest, hostile, huge, (own, forged, jump) => {
      const jumped = forged.map((each) => ({ ...each, generation: each.generation + jump }));
      assert.deepEqual(splitByOwner(whole, root, [...own, ...jumped]), splitByOwner(whole, root, own));
    }),
    { numRuns: 500 },
  );
});

test('a grant without foundation is one of a worker that is ahead of the chain somewhere, and changes nothing', () => {
  fc.assert(
    fc.property(grants, (all) => {
      const found = unfounded(whole, root, all);
      for (const each of all) {
        const over = numbersIn([whole]).filter((number) => each.start <= number && number < each.end);
        const ahead = !each.byManager && over.some((number) => each.generation > ownerOf(number, all).generation);
        assert.equal(found.has(each), ahead);
      }
    }),
    { numRuns: 1000 },
  );
});

test('thousands of grants over the numbers of others are not worked in', () => {
  const custody = new Custody();
  custody.setSpace(65_536, root);
  for (let i = 0; i < 5_000; i += 1) {
    const liar = nodes[0] as NodeId;
    const each = { start: 5_000 - i, end: 60_000 + i, by: liar, to: liar, generation: i + 1, byManager: false };
    assert.equal(custody.set(String(i), each), null);
  }
  assert.equal(custody.runs.length, 1);
  assert.equal(custody.unfounded().size, 5_000);
});

test('working a grant in or out is the same as splitting all anew', () => {
  const change = fc.record({ name: fc.integer({ min: 0, max: 8 }), grant: fc.option(grant) });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 30 }), fc.nat(size - 1), (changes, number) => {
      const custody = new Custody();
      const known = new Map<number, Grant>();
      custody.setSpace(size, root);
      for (const each of changes) {
        custody.set(String(each.name), each.grant);
        if (each.grant === null) known.delete(each.name);
        else known.set(each.name, each.grant);
        const split = splitByOwner(whole, root, known.values());
        assert.deepEqual(custody.runs, split);
        assert.deepEqual(
          custody.at(number),
          split.find(({ start, end }) => start <= number && number < end),
        );
        for (const node of nodes) {
          assert.deepEqual(
            custody.of(node),
            split.filter(({ owner }) => owner === node),
          );
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('what depends on a writer is exactly what differs without it', () => {
  fc.assert(
    fc.property(grants, fc.constantFrom(...nodes), (all, writer) => {
      const custody = new Custody();
      custody.setSpace(size, root);
      for (const [i, each] of all.entries()) custody.set(String(i), each);
      const without = all.filter(({ by }) => by !== writer);
      const depending = numbersIn(custody.dependingOn(writer));
      for (let number = 0; number < size; number += 1) {
        const [before, after] = [ownerOf(number, all), ownerOf(number, without)];
        const differs = before.owner !== after.owner || before.generation !== after.generation;
        assert.equal(depending.includes(number), differs, String(number));
      }
      // What a manager then writes down keeps everything as it was, once the writer's own records are gone. Unless two
      // grants of one generation say different things of a number, which takes a liar.
      const contested = all.some((a) =>
        all.some((b) => a.generation === b.generation && a.to !== b.to && a.start < b.end && b.start < a.end),
      );
      if (contested) return;
      const deeds = custody.dependingOn(writer).filter(({ generation }) => generation > 0);
      const vouched = deeds.map(
        ({ owner, ...run }): Grant => ({ ...run, to: owner, by: 'm' as NodeId, byManager: true }),
      );
      const owners = (runs: readonly Owned[]) => runs.flatMap((run) => numbersIn([run]).map(() => run.owner));
      assert.deepEqual(owners(splitByOwner(whole, root, [...without, ...vouched])), owners(custody.runs));
    }),
    { numRuns: 500 },
  );
});

test('a reclaim is above whatever grants the dead may have written, and a later heir above an earlier one', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 40), fc.nat(1_000), (generation, ballot) => {
      assert.ok(reclaimGeneration(generation, ballot) > generation);
      assert.ok(reclaimGeneration(generation, ballot + 1) - reclaimGeneration(generation, ballot) >= 2 ** 20);
    }),
  );
});

const owned: fc.Arbitrary<Owned[]> = grants.map((all) =>
  splitByOwner(whole, root, all).filter(({ owner }) => owner === root),
);
const taken = fc.tuple(numbers, numbers).map(([a, b]) => ({ all: [...a, ...b], sets: [setOf(a), setOf(b)] }));

test('free ranges are what is owned less what is taken', () => {
  fc.assert(
    fc.property(owned, taken, (ranges, { all, sets }) => {
      const free = ranges.flatMap((range) => [...freeRanges(range, sets)]);
      assert.deepEqual(
        numbersIn(free),
        numbersIn(ranges).filter((number) => !all.includes(number)),
      );
      assert.equal(sizeOf(free), numbersIn(free).length);
      assert.ok(free.every(({ start, end }) => start < end));
    }),
  );
});

test('inside and outside of a window are all of it, and nothing twice', () => {
  const window = fc
    .tuple(fc.nat(size), fc.nat(size))
    .map(([a, b]) => ({ start: Math.min(a, b), end: Math.max(a, b) }))
    .filter(({ start, end }) => start < end);
  fc.assert(
    fc.property(owned, window, (ranges, part) => {
      const isIn = (number: number): boolean => number >= part.start && number < part.end;
      assert.deepEqual(numbersIn(inside(ranges, part)), numbersIn(ranges).filter(isIn));
      assert.deepEqual(
        numbersIn(outside(ranges, part)),
        numbersIn(ranges).filter((number) => !isIn(number)),
      );
    }),
  );
});

test('what is given away is free, of one generation, and leaves the giver at least as much', () => {
  fc.assert(
    fc.property(owned, taken, (ranges, { sets }) => {
      const given = halfToGive(ranges, sets);
      const free = ranges.flatMap((range) => [...freeRanges(range, sets)]);
      if (given === null) return assert.ok(free.every(({ start, end }) => end - start === 1));
      const parent = ranges.find(({ start, end }) => start <= given.start && given.end <= end);
      assert.equal(parent?.generation, given.generation);
      const all = numbersIn(free);
      assert.ok(numbersIn([given]).every((number) => all.includes(number)));
      assert.ok(given.start < given.end && sizeOf([given]) <= all.length / 2);
    }),
  );
});

test('the next number is free, the first at or after the cursor if there is one, and all come before any comes again', () => {
  fc.assert(
    fc.property(owned, taken, fc.nat(size), (ranges, { sets }, cursor) => {
      const free = numbersIn(ranges.flatMap((range) => [...freeRanges(range, sets)]));
      const next = nextFree(ranges, sets, cursor);
      assert.equal(next, free.find((number) => number >= cursor) ?? free[0] ?? null);
    }),
  );
  fc.assert(
    fc.property(owned, (ranges) => {
      const got: number[] = [];
      for (const _ of numbersIn(ranges)) got.push(nextFree(ranges, [], (got.at(-1) ?? -1) + 1) ?? -1);
      assert.equal(new Set(got).size, numbersIn(ranges).length);
    }),
  );
});

test('a set of numbers is a set of numbers, across its blocks', () => {
  const number = fc.oneof(
    fc.nat(70),
    fc.integer({ min: 4060, max: 4130 }),
    fc.integer({ min: 2 ** 32 - 40, max: 2 ** 32 - 1 }),
  );
  const action = fc.record({ add: fc.boolean(), number });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 200 }), number, number, (actions, one, other) => {
      const [from, end] = [Math.min(one, other), Math.max(one, other)];
      const set = new NumberSet();
      const model = new Set<number>();
      for (const each of actions) {
        if (each.add) {
          set.add(each.number);
          model.add(each.number);
        } else {
          set.delete(each.number);
          model.delete(each.number);
        }
      }
      const within = [...model].filter((each) => each >= from && each < end).sort((a, b) => a - b);
      assert.equal(set.size, model.size);
      assert.equal(set.has(one), model.has(one));
      assert.deepEqual([...set.within(from, end)], within);
      assert.equal(set.countWithin(from, end), within.length);
      let absent: number | null = from;
      while (absent < end && model.has(absent)) absent += 1;
      assert.equal(set.nextAbsent(from, end), absent < end ? absent : null);
    }),
    { numRuns: 500 },
  );
});

test('full blocks are passed over', () => {
  const set = new NumberSet();
  for (let number = 0; number < 100_000; number += 1) set.add(number);
  set.delete(99_000);
  assert.equal(set.nextAbsent(0, 100_000), 99_000);
  assert.equal(set.countWithin(1, 100_000), 99_998);
});
