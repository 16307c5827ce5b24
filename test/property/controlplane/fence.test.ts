import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { NodeId } from '../../../controlplane/ids.ts';
import { nextStep, type Promises } from '../../../controlplane/ring/fence.ts';

const ids = ['a', 'b', 'c', 'd'] as NodeId[];

/** Something that a manager has written about the inheritance, once and for ever. */
type Said = { readonly by: NodeId; readonly ballot: number; readonly heir: NodeId | 'settled' };

interface Manager {
  readonly id: NodeId;
  readonly written: Said[];
  /** What has reached it of the others, in any order; its own at once. */
  readonly heard: Set<Said>;
  /** Managers that it knows of. */
  readonly known: Set<NodeId>;
  readonly removers: Set<NodeId>;
}

/** As Inheritance: who takes part is a manager also where nothing else is known of it. */
function promisesOf({ id, heard, known, removers }: Manager): Promises {
  const ballots = new Map<number, Map<NodeId, NodeId>>();
  const settled = new Map<NodeId, number>();
  const managers = new Set([id, ...known]);
  for (const { by, ballot, heir } of heard) {
    managers.add(by);
    if (heir === 'settled') settled.set(by, ballot);
    else {
      managers.add(heir);
      ballots.set(ballot, (ballots.get(ballot) ?? new Map<NodeId, NodeId>()).set(by, heir));
    }
  }
  return { self: id, managers, removers: [...removers], ballots, settled };
}

type Move =
  | { readonly do: 'act'; readonly at: number }
  | { readonly do: 'hear'; readonly at: number; readonly of: number; readonly pick: number }
  | { readonly do: 'meet'; readonly at: number; readonly of: number }
  | { readonly do: 'remover'; readonly at: number; readonly of: number };

const at = fc.nat(ids.length - 1);
const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('act' as const), at }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('hear' as const), at, of: at, pick: fc.nat(20) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('meet' as const), at, of: at }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remover' as const), at, of: at }) },
);

function start(knowing: readonly number[]): Manager[] {
  return ids.map((id, i) => ({
    id,
    written: [],
    heard: new Set(),
    known: new Set(knowing.includes(i) ? ids : ids.slice(0, 2)),
    removers: new Set(),
  }));
}

function act(manager: Manager): void {
  const step = nextStep(promisesOf(manager));
  if (step.do !== 'promise' && step.do !== 'settle') return;
  const heir: Said['heir'] = step.do === 'promise' ? step.heir : 'settled';
  const said: Said = { by: manager.id, ballot: step.ballot, heir };
  const again = manager.written.some(
    (each) => each.ballot === said.ballot && (each.heir === 'settled') === (heir === 'settled'),
  );
  assert.ok(!again, 'a promise is made once');
  manager.written.push(said);
  manager.heard.add(said);
}

const heirsOf = (managers: readonly Manager[]): NodeId[] =>
  managers.flatMap(({ id, written }) => (written.some(({ heir }) => heir === 'settled') ? [id] : []));

function run(managers: readonly Manager[], moves: readonly Move[]): void {
  for (const each of moves) {
    const manager = managers[each.at];
    if (manager === undefined) continue;
    if (each.do === 'act') act(manager);
    const other = 'of' in each ? managers[each.of] : undefined;
    if (other === undefined) continue;
    if (each.do === 'hear') {
      const said = other.written[each.pick % Math.max(1, other.written.length)];
      if (said !== undefined) manager.heard.add(said);
    } else if (each.do === 'meet') manager.known.add(other.id);
    else manager.removers.add(other.id);
    assert.ok(heirsOf(managers).length <= 1, `two heirs: ${heirsOf(managers).join(', ')}`);
  }
}

test('two heirs can never both have every promise, whatever each has heard in whatever order', () => {
  fc.assert(
    fc.property(fc.array(move, { maxLength: 150 }), (moves) => {
      run(start([0, 1, 2, 3]), moves);
    }),
    { numRuns: 1_500 },
  );
});

test('nor where some of them learn only later that there are other managers', () => {
  fc.assert(
    fc.property(fc.array(move, { maxLength: 150 }), fc.subarray([0, 1, 2, 3]), (moves, knowing) => {
      run(start(knowing), moves);
    }),
    { numRuns: 1_500 },
  );
});

test('once all hear all, there is one heir, whatever was said before', () => {
  fc.assert(
    fc.property(fc.array(move, { maxLength: 80 }), (moves) => {
      const managers = start([0, 1, 2, 3]);
      run(managers, moves);
      for (let round = 0; round < 30; round += 1) {
        for (const manager of managers) {
          for (const other of managers) for (const said of other.written) manager.heard.add(said);
          act(manager);
        }
      }
      assert.equal(heirsOf(managers).length, 1);
    }),
    { numRuns: 500 },
  );
});

test('while one is silent nobody inherits, and it is named', () => {
  const managers = start([0, 1, 2, 3]);
  const speaking = managers.slice(0, 3);
  for (let round = 0; round < 10; round += 1) {
    for (const manager of speaking) {
      for (const other of speaking) for (const said of other.written) manager.heard.add(said);
      act(manager);
    }
  }
  assert.deepEqual(heirsOf(managers), []);
  const [first] = speaking;
  assert.ok(first !== undefined);
  assert.deepEqual(nextStep(promisesOf(first)), { do: 'wait', for: ['d'] });
});

test('an heir that was removed before it settled is passed over', () => {
  const ballots = new Map([
    [
      0,
      new Map([
        ['b', 'a'],
        ['c', 'a'],
      ] as [NodeId, NodeId][]),
    ],
  ]);
  const [, b, c] = ids as [NodeId, NodeId, NodeId];
  const promises = { self: b, managers: new Set([b, c]), removers: [], ballots, settled: new Map() };
  assert.deepEqual(nextStep(promises), { do: 'promise', ballot: 1, heir: b });
});
