import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeId } from '../../../controlplane/ids.ts';
import { Offences } from '../../../controlplane/offences.ts';

const node = (n: number): NodeId => `node${n}` as NodeId;

test('the first of a kind is told apart, the rest are counted, the latest stand first', () => {
  let nowMs = 0;
  const offences = new Offences(() => nowMs);
  assert.equal(offences.report(node(1), 'bad signature'), true);
  nowMs = 5;
  assert.equal(offences.report(node(2), 'bad signature'), true);
  nowMs = 9;
  assert.equal(offences.report(node(1), 'bad signature', 3), false);
  assert.deepEqual(offences.list(), [
    { nodeId: node(1), what: 'bad signature', count: 4, lastMs: 9 },
    { nodeId: node(2), what: 'bad signature', count: 1, lastMs: 5 },
  ]);
  offences.clear(node(1), 'bad signature');
  assert.equal(offences.list().length, 1);
});

test('neither many offenders nor many kinds of offence take more than their room', () => {
  const offences = new Offences(() => 0);
  for (let n = 0; n < 5_000; n += 1) offences.report(node(n), 'x');
  assert.equal(offences.list().length, 1_024);
  assert.ok(offences.list().some(({ nodeId }) => nodeId === node(4_999)));
  for (let n = 0; n < 1_000; n += 1) offences.report(node(4_999), `kind ${n}`);
  assert.equal(offences.list().filter(({ nodeId }) => nodeId === node(4_999)).length, 32);
});
