import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { chosenMtu, largestMtu, mtuWarning, mtuWarnings, needOf, networkMtu } from '../../../agent/mtu.ts';
import type { NodeId } from '../../../controlplane/ids.ts';
import type { OnValue } from '../../../controlplane/tables/kinds.ts';

const [a, b, c] = ['a', 'b', 'c'] as NodeId[] as [NodeId, NodeId, NodeId];
const vtep = '192.0.2.1';
const plain = { options: {} };
const here = { vtep, deviceMtu: 1500, pathMtu: (node: NodeId) => (node === b ? 1400 : node === c ? 1500 : null) };
const warningOf = (said: ReadonlyMap<NodeId, OnValue>, option?: string): string | null => {
  const network = option === undefined ? plain : { options: { 'com.docker.network.driver.mtu': option } };
  const found = networkMtu(network, a, needOf([], here), said, 1450);
  return mtuWarning(found, { largest: 1450, vtep, nameOf: (node) => `host-${node}` });
};

test('what a node needs is what its device leaves, or its worst path to a member, and never less than IPv6 asks for', () => {
  assert.deepEqual(needOf([], here), { mtu: 1450 });
  assert.deepEqual(needOf([c, b], here), { mtu: 1350, peer: b });
  assert.deepEqual(needOf([c, 'unknown' as NodeId], here), { mtu: 1450 });
  assert.deepEqual(needOf([b], { ...here, pathMtu: () => 600 }), { mtu: 1280, peer: b });
  assert.deepEqual(
    needOf([b, c], { ...here, pathMtu: () => 1400 }),
    { mtu: 1350, peer: b },
    'of two the same one always',
  );
  assert.equal(largestMtu(1500, 'fd00::1'), 1430);
});

test('a network has the least that its members need, and the option overrides', () => {
  const said = new Map<NodeId, OnValue>([
    [a, { mtu: 1450 }],
    [b, {}],
    [c, { mtu: 1350, peer: a }],
  ]);
  const own = needOf([], here);
  assert.deepEqual(networkMtu(plain, a, own, said, 1450), {
    mtu: 1350,
    chosen: false,
    lowered: { mtu: 1350, by: c, peer: a },
  });
  assert.equal(networkMtu({ options: { 'com.docker.network.driver.mtu': '1400' } }, a, own, said, 1450).mtu, 1400);
  assert.equal(networkMtu(plain, a, own, new Map([[b, {}]]), 1450).lowered, null);
  for (const mtu of ['', '100', '70000', '1e9', 'x'])
    assert.equal(chosenMtu({ options: { 'com.docker.network.driver.mtu': mtu } }), null, mtu);
});

test('all members come to the same MTU from the same tables, whatever order their records came in', () => {
  const value = fc.record({ mtu: fc.integer({ min: 1280, max: 9000 }), peer: fc.constantFrom(undefined, a, b, c) });
  fc.assert(
    fc.property(fc.array(value, { minLength: 2, maxLength: 6 }), fc.nat(), (values, seed) => {
      const entries = values.map(({ mtu, peer }, i): [NodeId, OnValue & { mtu: number }] => [
        `n${i}` as NodeId,
        peer === undefined ? { mtu } : { mtu, peer },
      ]);
      const turned = [...entries.slice(seed % entries.length), ...entries.slice(0, seed % entries.length)];
      const mtus = entries.map(([self, own]) => networkMtu(plain, self, own, new Map(turned), own.mtu).mtu);
      assert.deepEqual(new Set(mtus), new Set([Math.min(...values.map(({ mtu }) => mtu))]));
    }),
  );
});

test('the warning names the path or the device that lowers it, and says what an option leads to', () => {
  assert.equal(warningOf(new Map([[b, {}]])), null);
  assert.equal(
    warningOf(new Map([[b, { mtu: 1350, peer: c }]])),
    'MTU 1350 and not 1450: path from host-b to host-c takes 1400 bytes',
  );
  // The path to a device that takes less follows from it.
  const both = new Map<NodeId, OnValue>([
    [b, { mtu: 1350, peer: c }],
    [c, { mtu: 1350 }],
  ]);
  assert.equal(warningOf(both), 'MTU 1350 and not 1450: the underlay device of host-c takes 1400 bytes');
  assert.match(warningOf(new Map([[c, { mtu: 1280 }]])) ?? '', /host-c takes 1330 bytes or less$/);
  assert.equal(warningOf(both, '1300'), null);
  assert.match(
    warningOf(both, '1400') ?? '',
    /^MTU 1400 by its option, but the underlay device of host-c takes 1400 bytes and leaves 1350: /,
  );
  assert.match(warningOf(new Map(), '1500') ?? '', /^MTU 1500 by its option, more than the 1450 that this/);
});

test('networks with one reason are one line, and many are counted', () => {
  assert.deepEqual(mtuWarnings(new Map()), []);
  assert.deepEqual(
    mtuWarnings(
      new Map([
        ['web', 'x'],
        ['db', 'y'],
        ['app', 'x'],
      ]),
    ),
    ['networks app, web: x', 'network db: y'],
  );
  const many = new Map(Array.from({ length: 9 }, (_, i) => [`n${i}`, 'x']));
  assert.deepEqual(mtuWarnings(many), ['networks n0, n1, n2, n3, n4 and 4 more: x']);
});
