import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { NodeId } from '../../../controlplane/ids.ts';
import { Custody } from '../../../controlplane/ring/custody.ts';
import { NumberSet } from '../../../controlplane/ring/numbers.ts';
import { type Grant, halfToGive, nextFree, type Range, reclaimGeneration } from '../../../controlplane/ring/ring.ts';

const size = 24;
const nodeCount = 5;
/** Nodes 0 and 1 are managers; 0 made the network, and so is its root. */
const isManager = (i: number): boolean => i < 2;
const root = 'node-0' as NodeId;

/** Grants that one node has written, what it knows of those of others, in any order, and the numbers that it has. */
interface Node {
  readonly index: number;
  readonly id: NodeId;
  readonly written: Grant[];
  readonly custody: Custody;
  readonly taken: NumberSet;
  /** Whose grants it drops: they have left. */
  readonly barred: Set<NodeId>;
}

type Move =
  | { readonly do: 'take'; readonly at: number }
  | { readonly do: 'release'; readonly at: number }
  | { readonly do: 'ask'; readonly at: number; readonly of: number; readonly delivered: boolean }
  | { readonly do: 'leave' | 'die'; readonly at: number; readonly of: number }
  | { readonly do: 'hear'; readonly at: number; readonly of: number; readonly pick: number };

const at = fc.nat(nodeCount - 1);
const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('take' as const), at }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('release' as const), at }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('leave' as const, 'die' as const), at, of: at }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('ask' as const), at, of: at, delivered: fc.boolean() }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('hear' as const), at, of: at, pick: fc.nat(50) }) },
);

const learn = (node: Node, grant: Grant): void => {
  if (!node.barred.has(grant.by)) node.custody.set(nameOf(grant), grant);
};
const nameOf = ({ by, start, end, generation }: Grant): string => `${by} ${start}-${end}/${generation}`;

function grant(node: Node, range: Range & { generation: number }, to: NodeId): Grant {
  const { start, end, generation } = range;
  const given = { start, end, by: node.id, to, generation, byManager: isManager(node.index) };
  if (!node.written.some((each) => nameOf(each) === nameOf(given))) node.written.push(given);
  learn(node, given);
  return given;
}

/** As Inheritance.vouch(). */
function vouch(manager: Node, gone: NodeId): void {
  for (const run of manager.custody.dependingOn(gone)) if (run.generation > 0) grant(manager, run, run.owner);
}

/** As Removal: nobody drops what the gone node wrote before others can prove all that it proved. */
function bar(node: Node, gone: Node): void {
  if (node.custody.dependingOn(gone.id).length > 0) return;
  node.barred.add(gone.id);
  for (const written of gone.written) node.custody.set(nameOf(written), null);
}

/** What one node believes to be its own, number by number. */
const numbersOf = ({ id, custody }: Node): number[] =>
  custody.of(id).flatMap(({ start, end }) => [...Array(end - start).keys()].map((i) => start + i));

test('no number ever has two owners or two holders, whatever each has heard of grants, hand-overs and reclaims', () => {
  fc.assert(
    fc.property(fc.array(move, { maxLength: 150 }), (moves) => {
      const nodes: Node[] = [...Array(nodeCount).keys()].map((index) => {
        const custody = new Custody();
        custody.setSpace(size, root);
        const id = `node-${index}` as NodeId;
        return { index, id, written: [], custody, taken: new NumberSet(), barred: new Set() };
      });
      const holder = new Map<number, NodeId>();
      const gone = new Set<Node>();
      /** The one manager that all have promised a dead node's numbers to (fence.test.ts). */
      const heirs = new Map<Node, Node>();
      const living = (i: number): Node | undefined => nodes.find((node) => node.index === i && !gone.has(node));
      const free = (node: Node): void => {
        gone.add(node);
        for (const [number, id] of holder) if (id === node.id) holder.delete(number);
      };
      for (const each of moves) {
        const node = living(each.at);
        if (node === undefined) continue;
        if (each.do === 'take') {
          const number = nextFree(node.custody.of(node.id), [node.taken], 0);
          if (number === null) continue;
          assert.equal(holder.get(number), undefined, `${number} is held twice`);
          holder.set(number, node.id);
          node.taken.add(number);
        } else if (each.do === 'release') {
          const number = node.taken.nextPresent(0, size);
          if (number === null) continue;
          node.taken.delete(number);
          holder.delete(number);
        } else if (each.do === 'ask') {
          const giver = living(each.of);
          if (giver === undefined || giver === node) continue;
          const range = halfToGive(giver.custody.of(giver.id), [giver.taken]);
          if (range === null) continue;
          const given = grant(giver, { ...range, generation: range.generation + 1 }, node.id);
          if (each.delivered) learn(node, given);
        } else if (each.do === 'leave') {
          // It hands over in its own stream; the manager has all of that before it vouches, and lets it go.
          const leaver = living(each.of);
          if (leaver === undefined || leaver === node || !isManager(node.index)) continue;
          const runs = leaver.custody.of(leaver.id);
          for (const run of runs) grant(leaver, { ...run, generation: run.generation + 1 }, node.id);
          for (const written of leaver.written) learn(node, written);
          vouch(node, leaver.id);
          free(leaver);
        } else if (each.do === 'die') {
          // What it wrote last may be known to nobody, or only to some.
          const dead = living(each.of);
          if (dead === undefined || dead === node || !isManager(node.index) || isManager(dead.index)) continue;
          vouch(node, dead.id);
          heirs.set(dead, node);
          free(dead);
        } else if (each.do === 'hear') {
          const source = nodes[each.of];
          const heard = source?.written[each.pick % Math.max(1, source.written.length)];
          if (heard !== undefined) learn(node, heard);
        }
        for (const [dead, heir] of heirs) {
          if (gone.has(heir)) continue;
          // Whatever the heir finds to be the dead one's, sooner or later.
          for (const run of heir.custody.of(dead.id)) {
            const { start, end } = run;
            // Who holds a number by a grant that only the dead could show loses it, and is told so.
            for (const [number, id] of holder) {
              if (number < start || number >= end) continue;
              holder.delete(number);
              nodes.find((other) => other.id === id)?.taken.delete(number);
            }
            const reclaimed = grant(heir, { ...run, generation: reclaimGeneration(run.generation, 0) }, heir.id);
            for (const other of nodes) learn(other, reclaimed);
          }
        }
        for (const left of gone) if (!node.barred.has(left.id)) bar(node, left);
        const covered = nodes.filter((reader) => !gone.has(reader)).flatMap(numbersOf);
        assert.equal(new Set(covered).size, covered.length, 'two nodes both own a number');
      }
    }),
    { numRuns: 400 },
  );
});
