import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Strangers } from '../../../controlplane/mesh/strangers.ts';

test('one too many costs the oldest connection of the address that has most', () => {
  const strangers = new Strangers(4);
  const closed: string[] = [];
  const came = (id: string): void => strangers.came(id, id.slice(0, 1), () => closed.push(id));
  for (const id of ['a1', 'b1', 'c1', 'b2']) came(id);
  assert.deepEqual(closed, []);
  came('d1');
  assert.deepEqual(closed, ['b1']);
  came('e1');
  assert.deepEqual(closed, ['b1', 'a1']);
  strangers.left('c1');
  came('f1');
  assert.deepEqual(closed, ['b1', 'a1']);
});
