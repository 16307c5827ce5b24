import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diff } from '../../../dataplane/diff/diff.ts';
import { DriftBook, findingsOf } from '../../../dataplane/drift/drift.ts';
import { Fights, Pace } from '../../../dataplane/drift/pace.ts';
import { emptyObserved } from '../../../dataplane/observe/observed.ts';
import { atOnce } from '../../../dataplane/slices.ts';
import { overlay, remote, sandbox, wanted } from '../../e2e/dataplane/wanted.ts';
import { options, reach } from '../../property/dataplane/kernel.ts';

test('missing, extra, wrong and foreign, each once', () => {
  const desired = wanted({ overlays: [overlay(4097, 'a', [remote(4097, 2, 'b')])] });
  const kernel = emptyObserved();
  reach(kernel, desired);
  assert.deepEqual(atOnce(findingsOf(diff(desired, kernel, options), kernel)), []);
  const tunnel = kernel.weft.tunnels.get('wx4097') ?? assert.fail();
  tunnel.fdb.clear();
  tunnel.fdb.set('02:00:00:00:00:99', '10.99.0.9');
  tunnel.neighbours.set('10.9.9.9', { mac: '02:00:00:00:00:98', ours: false });
  const bridge = kernel.weft.devices.get('wb4097') ?? assert.fail();
  kernel.weft.devices.set('wb4097', { ...bridge, up: false });
  kernel.weft.devices.set('br0', bridge);
  kernel.weft.foreignFdb.set('wx4097', new Map([['02:00:00:00:00:97', '10.99.0.7']]));
  assert.deepEqual(
    atOnce(findingsOf(diff(desired, kernel, options), kernel)).map(
      ({ object, what, why }) => `${what} ${object}: ${why}`,
    ),
    [
      'wrong overlay/4097: wb4097: is down',
      'missing remote/4097/02:42:10:01:00:02: missing',
      'extra remote/4097/02:00:00:00:00:99: extra',
      'foreign foreign/br0: a bridge device that is not ours',
      'foreign foreign/wx4097/02:00:00:00:00:97: FDB entry to 10.99.0.7 that is not ours',
      'foreign foreign/wx4097/10.9.9.9: neighbour 02:00:00:00:00:98 that is not ours',
    ],
  );
});

test('a namespace that others have to make is missing, an interface of theirs in the way is foreign', () => {
  const desired = wanted({
    overlays: [overlay(4097, 'a')],
    sandboxes: [{ ...sandbox('theirs', 1, [4097]), owned: false }],
  });
  const kernel = emptyObserved();
  const missing = atOnce(findingsOf(diff(desired, kernel, options), kernel));
  assert.ok(missing.some(({ object, what }) => object === 'sandbox/theirs' && what === 'missing'));
});

test('since when: from the first listing that found it to the last', () => {
  const book = new DriftBook(2);
  const [a, b, c] = ['a', 'b', 'c'].map((object) => ({ object, what: 'missing' as const, why: 'missing' }));
  assert.ok(a && b && c);
  assert.equal(atOnce(book.update([a], 100)).fresh.length, 1);
  const second = atOnce(book.update([a, b], 200));
  assert.deepEqual(
    second.all.map(({ sinceMs }) => sinceMs),
    [100, 200],
  );
  assert.deepEqual(
    second.fresh.map(({ object }) => object),
    ['b'],
  );
  atOnce(book.update([], 300));
  assert.equal(atOnce(book.update([a], 400)).all[0]?.sinceMs, 400);
  // Beyond its bound it forgets, and goes on listing.
  assert.equal(atOnce(book.update([a, b, c], 500)).all.length, 3);
  assert.deepEqual(
    atOnce(book.update([a, b, c], 600)).all.map(({ sinceMs }) => sinceMs),
    [400, 500, 600],
  );
});

test('one change is looked at within milliseconds; a storm five times a second, and no more than a fifth of the time', () => {
  const pace = new Pace();
  assert.equal(pace.dueMs(1000, 1000), 1005);
  pace.listed(1020, 15);
  assert.equal(pace.dueMs(1021, 1021), 1080);
  let nowMs = 10_000;
  let listings = 0;
  while (nowMs < 70_000) {
    nowMs = pace.dueMs(nowMs, nowMs) + 1;
    pace.listed(nowMs, 1);
    listings++;
  }
  assert.ok(listings > 300 && listings < 380, `${listings}`);
  assert.ok(pace.listed(nowMs, 1), 'the next has to wait');
  assert.ok(pace.dueMs(nowMs, nowMs) - nowMs <= 200, 'and still comes in time');
  assert.equal(pace.listed(nowMs + 60_000, 1), false, 'after quiet none waits');
});

test('the same thing repaired again and again is a fight; now and then, or other things, is not', () => {
  const fights = new Fights();
  const often = (key: string, everyMs: number): number =>
    Array.from({ length: 100 }, (_, at) => fights.repaired(key, at * everyMs)).indexOf(true) + 1;
  assert.equal(often('overlay/1 is down', 100), 25);
  assert.equal(often('overlay/2 is down', 1000), 0);
  assert.equal(Array.from({ length: 5000 }, (_, at) => fights.repaired(`remote/${at}`, 0)).some(Boolean), false);
});
