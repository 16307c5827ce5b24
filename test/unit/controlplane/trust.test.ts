import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { crossSign, issueCertificate, newAuthority, validityAt } from '../../../controlplane/identity/authority.ts';
import { TrustAnchor } from '../../../controlplane/identity/certificates.ts';
import { newNodeKey } from '../../../controlplane/identity/keys.ts';
import { maxAnchors, Trust } from '../../../controlplane/identity/trust.ts';
import { newest, outlived } from '../../../controlplane/keys/generations.ts';

const nowMs = Date.UTC(2026, 0, 1);
const clusterId = 'c'.repeat(25);
const roots = await Promise.all(Array.from({ length: 6 }, () => newAuthority(clusterId, nowMs)));
const at = (i: number) => {
  const root = roots[i];
  if (root === undefined) throw new Error(`there is no root ${i}`);
  return root;
};
const digest = (i: number) => new TrustAnchor(at(i).certificate).digest;
/** Root `to`, vouched for by root `from`. */
const link = async (from: number, to: number) => ({
  root: at(to).certificate,
  cross: await crossSign(at(from), at(to)),
});
const first = Trust.of([{ root: at(0).certificate, cross: null }]);
const node = { ...newNodeKey(), role: 'worker' as const };
const of = (i: number) => issueCertificate(at(i), clusterId, node, nowMs);

test('a root is followed by the signature of one that is trusted, in steps and in any order', async () => {
  assert.ok(!first.check(await of(2), nowMs).ok);
  const trust = first.follow([await link(1, 2), await link(0, 1)]);
  assert.deepEqual(
    trust.anchors.map((anchor) => anchor.digest),
    [digest(2), digest(1), digest(0)],
  );
  for (const i of [0, 1, 2]) assert.ok(trust.check(await of(i), nowMs).ok, `root ${i}`);
  assert.equal(trust.follow([await link(0, 1)]), trust);
});

test('no other link leads anywhere', async () => {
  const cross = await crossSign(at(0), at(1));
  const changed = Buffer.from(cross);
  changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
  const foreign = await newAuthority('d'.repeat(25), nowMs);
  const links = [
    await link(1, 2),
    { root: at(2).certificate, cross },
    { root: at(1).certificate, cross: changed },
    { root: at(1).certificate, cross: at(1).certificate },
    { root: at(1).certificate, cross: Buffer.concat([cross, Buffer.of(0)]) },
    { root: Buffer.concat([at(1).certificate, Buffer.of(0)]), cross },
    { root: cross, cross },
    { root: Buffer.from('garbage'), cross },
    { root: at(1).certificate, cross: Buffer.from('garbage') },
    { root: at(1).certificate, cross: null },
    // A node's certificate is signed by the root too, and vouches for nothing.
    { root: at(1).certificate, cross: await of(0) },
    { root: foreign.certificate, cross: await crossSign(at(0), foreign) },
  ];
  for (const [i, each] of links.entries()) assert.equal(first.follow([each]), first, `link ${i}`);
});

test('a dropped root admits nobody, vouches for nothing, and is remembered for those it admitted', async () => {
  const trust = first.follow([await link(0, 1)]).without(new Set([digest(0)]));
  const old = await of(0);
  assert.ok(!trust.check(old, nowMs).ok && !trust.recognise(old).ok);
  assert.ok(trust.recall(old).ok);
  assert.equal(trust.follow([await link(0, 2)]), trust);
  assert.equal(trust.without(new Set([digest(1)])), trust, 'the last one stays');
  // Who was away follows by what those who stayed show.
  assert.ok(first.follow(trust.links).check(await of(1), nowMs).ok);
  const loaded = Trust.of(trust.active, trust.dropped);
  assert.deepEqual([loaded.links, loaded.current.digest], [trust.links, digest(1)]);
  assert.ok(loaded.recall(old).ok);
});

test('the roots accepted at a time are bounded', async () => {
  const links = await Promise.all([1, 2, 3, 4, 5].map((i) => link(0, i)));
  assert.equal(first.follow(links).anchors.length, maxAnchors);
});

test('half of any life lies ahead, and a new certificate begins after the one before', () => {
  fc.assert(
    fc.property(fc.integer({ min: 10_000, max: 4e11 }), fc.integer({ min: 0, max: 1e9 }), (lifetimeMs, aheadMs) => {
      const afterMs = Math.floor((nowMs + aheadMs) / 1000) * 1000;
      const [begin, end] = validityAt(nowMs, { lifetimeMs });
      assert.ok(begin.getTime() <= nowMs && end.getTime() === nowMs + lifetimeMs);
      assert.ok((begin.getTime() + end.getTime()) / 2 > nowMs);
      assert.ok(validityAt(nowMs, { lifetimeMs, afterMs })[0].getTime() > afterMs);
    }),
  );
});

test('whatever order announcements come in, all nodes use the same one and drop the same ones', () => {
  const name = fc.constantFrom('a', 'b', 'c', 'd', 'e');
  const each = fc.record({ generation: fc.integer({ min: 1, max: 4 }), done: fc.boolean() });
  fc.assert(
    fc.property(fc.dictionary(name, each), fc.subarray(['a', 'b', 'c', 'd', 'e', 'first']), (all, held) => {
      const entries = Object.entries(all);
      const [forth, back] = [new Map(entries), new Map(entries.reverse())];
      assert.equal(newest(forth), newest(back));
      const gone = outlived(forth, held);
      assert.deepEqual(gone, outlived(back, held));
      assert.ok(gone.length === 0 || gone.length < held.length, 'never all');
      const current = newest(forth);
      if (current !== null) assert.ok(!gone.includes(current));
      if (![...forth.values()].some(({ done }) => done)) assert.deepEqual(gone, []);
    }),
  );
});
