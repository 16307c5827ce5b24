import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Leaving } from '../../../controlplane/leaving.ts';
import type { NodeValue } from '../../../controlplane/tables/kinds.ts';
import { identityOf } from '../../sim/identities.ts';
import { quietLog, settled } from './helpers.ts';

const [self, other, leaver] = await Promise.all(
  [0, 1, 2].map(async (i) => (await identityOf(i, 'manager')).key.nodeId),
);
if (self === undefined || other === undefined || leaver === undefined) throw new Error('three identities were made');

/** A manager that can be asked by `leaver` and can ask `other`; `story` is what happened, in order. */
function makeLeaving() {
  const story: string[] = [];
  const allocator = { retired: false };
  const disk = { isFull: false };
  let finish = (): void => {};
  const removed = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const value: NodeValue = { hostname: 'x', vtep: '192.0.2.1', gossip: ['192.0.2.1:7946'], version: '0', createdMs: 0 };
  const leaving = new Leaving({
    self: self as NonNullable<typeof self>,
    view: { nodes: new Map([self, other, leaver].flatMap((id) => (id === undefined ? [] : [[id, value] as const]))) },
    roles: { managers: () => [self, other].flatMap((id) => id ?? []) },
    removal: {
      has: () => false,
      removeLeaver: async () => {
        await removed;
        story.push('took over');
      },
    },
    allocator,
    inheritance: {
      handOver: async () => {
        if (disk.isFull) throw new Error('no space left on device');
        story.push('handed over');
      },
    },
    transport: {
      canReach: () => true,
      request: async () => {
        story.push('asked');
        return Buffer.alloc(0);
      },
    },
    log: quietLog,
    isManager: () => true,
    catchUp: async () => {},
  });
  return { leaving, story, finish, allocator, disk };
}

test('a manager that leaves first ends what it takes over for another one: it would go with it', async () => {
  const { leaving, story, finish } = makeLeaving();
  const answering = leaving.answer(leaver);
  const asking = leaving.ask();
  await settled();
  assert.deepEqual(story, []);
  finish();
  await Promise.all([answering, asking]);
  assert.deepEqual(story, ['took over', 'handed over', 'asked']);
});

test('a manager that leaves takes nothing over any more', async () => {
  const { leaving } = makeLeaving();
  await leaving.ask();
  await assert.rejects(leaving.answer(leaver), /leaving itself/);
});

test('a node that could not hand over has not left: it hands out addresses and answers others as before', async () => {
  const { leaving, finish, allocator, disk } = makeLeaving();
  disk.isFull = true;
  await assert.rejects(leaving.ask(), /no space/);
  assert.equal(allocator.retired, false);
  finish();
  await leaving.answer(leaver);
});
