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
  splitByOwner,
} from '../../../controlplane/ring/ring.ts';

const size = 24;
const nodeCount = 4;

/** Grants that one node has written, and how many of them each reader has, in any order. */
interface Node {
  readonly id: NodeId;
  readonly written: Grant[];
  readonly known: Set<Grant>;
  readonly taken: Set<number>;
}

type Move =
  | { readonly do: 'take'; readonly at: number }
  | { readonly do: 'release'; readonly at: number }
  | { readonly do: 'ask'; readonly at: number; readonly of: number; readonly delivered: boolean }
  | { readonly do: 'remove'; readonly at: number; readonly of: number }
  | { readonly do: 'hear'; readonly at: number; readonly of: number; readonly pick: number };

const at = fc.nat(nodeCount - 1);
const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('take' as const), at }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('release' as const), at }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), at, of: at }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('ask' as const), at, of: at, delivered: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('hear' as const), at, of: at, pick: fc.nat(50) }) },
);

const owned = (node: Node, root: NodeId): Owned[] =>
  splitByOwner(size, root, node.known).filter(({ owner }) => owner === node.id);

function grant(node: Node, range: Range & { generation: number }, to: NodeId): Grant {
  const given = { start: range.start, end: range.end, to, generation: range.generation + 1 };
  node.written.push(given);
  node.known.add(given);
  return given;
}

/** As Allocator.claim(): what was given becomes an own record. */
function claim(node: Node, root: NodeId): void {
  for (const range of owned(node, root)) {
    if (range.generation === 0) continue;
    const claimed = node.written.some(
      ({ start, end, generation, to }) =>
        to === node.id && generation === range.generation && start <= range.start && range.end <= end,
    );
    if (!claimed) grant(node, range, node.id);
  }
}

test('no number is ever given to two nodes, whatever each has heard of the others, in whatever order', () => {
  fc.assert(
    fc.property(fc.array(move, { maxLength: 120 }), (moves) => {
      const nodes: Node[] = [...Array(nodeCount).keys()].map((i) => ({
        id: `node-${i}` as NodeId,
        written: [],
        known: new Set(),
        taken: new Set(),
      }));
      const root = 'node-0' as NodeId;
      const holder = new Map<number, NodeId>();
      let gone: Node | null = null;
      let remover: Node | null = null;
      const barred = new Set<Node>();
      /** Nobody listens to the removed node any more, nor has what it said. */
      const bar = (node: Node): void => {
        barred.add(node);
        for (const each of gone?.written ?? []) node.known.delete(each);
      };
      for (const each of moves) {
        const node = nodes[each.at];
        if (node === undefined || node === gone) continue;
        if (each.do === 'take') {
          const number = nextFree(owned(node, root), node.taken, 0);
          if (number === null) continue;
          assert.equal(holder.get(number), undefined, `${number} is held twice`);
          holder.set(number, node.id);
          node.taken.add(number);
        } else if (each.do === 'release') {
          for (const number of node.taken) {
            node.taken.delete(number);
            holder.delete(number);
            break;
          }
        } else if (each.do === 'ask') {
          const giver = nodes[each.of];
          // Whoever was told closes the connection.
          if (giver === undefined || giver === node || giver === gone) continue;
          const range = halfToGive(owned(giver, root), giver.taken);
          if (range === null) continue;
          const given = grant(giver, range, node.id);
          if (each.delivered) node.known.add(given);
        } else if (each.do === 'remove') {
          const leaver = nodes[each.of];
          if (leaver === undefined || leaver === node || gone !== null) continue;
          // As for `leave`: the manager has all of the leaver's records, and the leaver writes no more.
          gone = leaver;
          remover = node;
          for (const written of leaver.written) node.known.add(written);
          for (const range of splitByOwner(size, root, node.known)) {
            if (range.owner === leaver.id) grant(node, range, node.id);
          }
          for (const [number, id] of holder) if (id === leaver.id) holder.delete(number);
          bar(node);
        } else {
          const source = nodes[each.of];
          if (source === undefined || (source === gone && barred.has(node))) continue;
          const heard = source.written[each.pick % Math.max(1, source.written.length)];
          if (heard !== undefined) node.known.add(heard);
          if (source === remover && each.pick % 3 === 0) bar(node);
        }
        claim(node, root);
        const all = nodes
          .filter((reader) => reader !== gone)
          .map((reader) => owned(reader, root).flatMap((range) => freeRanges([range], new Set())));
        const covered = all.flat().flatMap(({ start, end }) => [...Array(end - start).keys()].map((i) => start + i));
        assert.equal(new Set(covered).size, covered.length, 'two nodes both own a number');
      }
      const everything = nodes.flatMap((node) => (node === gone ? [] : node.written));
      for (const [number, id] of holder) {
        const split = splitByOwner(size, root, everything);
        assert.equal(split.find(({ start, end }) => start <= number && number < end)?.owner, id);
      }
    }),
    { numRuns: 400 },
  );
});
