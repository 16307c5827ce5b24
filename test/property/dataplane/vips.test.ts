import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Vip } from '../../../dataplane/desired.ts';
import { keyOfElement } from '../../../dataplane/nft/elements.ts';
import type { TableContent } from '../../../dataplane/nft/tables.ts';
import { vipsFor } from '../../../dataplane/nft/vips.ts';
import { must, type NetnsPath, parseIp, parseNetnsPath } from '../../../dataplane/values.ts';

const COUNTERS = 4;
const ipOf = (six: boolean, n: number) => must(parseIp(six ? `fd00::${n.toString(16)}` : `10.0.${n >> 8}.${n & 0xff}`));
const netns: fc.Arbitrary<NetnsPath> = fc.nat(1000).map((n) => must(parseNetnsPath(`/run/netns/weft-${n}`)));
const vips: fc.Arbitrary<Vip[]> = fc
  .array(fc.tuple(fc.boolean(), fc.uniqueArray(fc.integer({ min: 1, max: 2000 }), { maxLength: 40 })), { maxLength: 6 })
  .map((all) =>
    all.map(([six, numbers], at) => ({ ip: ipOf(six, 4000 + at), backends: numbers.map((n) => ipOf(six, n)) })),
  );

const setOf = ({ elements }: TableContent, name: string, ip: string): [string, string][] =>
  [...(elements.get(`${name}${ip.includes(':') ? 6 : 4}`) ?? [])].map((text) => text.split(' : ') as [string, string]);
/** How many slots the counter has that the address is led by. */
function slotsOf(table: TableContent, ip: string): number {
  const chain = new Map(setOf(table, 'vips', ip)).get(ip) ?? assert.fail(`${ip} leads nowhere`);
  return chain === 'none' ? 0 : Math.floor(Number(chain.slice('turn'.length)) / COUNTERS);
}
const textsOf = ({ elements }: TableContent): Set<string> =>
  new Set([...elements].flatMap(([set, texts]) => [...texts].map((text) => `${set} ${text}`)));

test('every slot that a counter can show leads to a backend, each as often as the others or once more', () => {
  fc.assert(
    fc.property(vips, netns, (all, where) => {
      const table = vipsFor(all, where);
      for (const { ip, backends } of all) {
        const led = setOf(table, 'slots', ip).filter(([key]) => key.startsWith(`${ip} `));
        const slots = slotsOf(table, ip);
        assert.deepEqual(
          led.map(([key]) => Number(key.split(' ')[1])).sort((a, b) => a - b),
          Array.from({ length: slots }, (_, slot) => slot),
        );
        const counts = backends.map((backend) => led.filter(([, to]) => to === backend).length);
        assert.equal(
          counts.reduce((sum, count) => sum + count, 0),
          slots,
        );
        if (counts.length > 0) assert.ok(Math.max(...counts) - Math.min(...counts) <= 1 && Math.min(...counts) > 0);
      }
      for (const texts of table.elements.values()) {
        assert.equal(new Set([...texts].map(keyOfElement)).size, texts.size);
      }
    }),
  );
});

test('the order in which endpoints are told makes no difference', () => {
  fc.assert(
    fc.property(vips, netns, (all, where) => {
      const reversed = all.map((vip) => ({ ...vip, backends: [...vip.backends].reverse() })).reverse();
      assert.deepEqual([...textsOf(vipsFor(reversed, where))].sort(), [...textsOf(vipsFor(all, where))].sort());
    }),
  );
});

test('an endpoint that comes or goes changes elements of its own address alone, and no rule', () => {
  fc.assert(
    fc.property(vips, netns, fc.nat(), fc.boolean(), (all, where, pick, comes) => {
      const at = pick % Math.max(all.length, 1);
      const changed = all[at];
      if (changed === undefined) return;
      const { ip } = changed;
      const backends = comes ? [...changed.backends, ipOf(ip.includes(':'), 3000)] : changed.backends.slice(1);
      const [before, after] = [vipsFor(all, where), vipsFor(all.with(at, { ip, backends }), where)];
      assert.equal(after.digest, before.digest);
      const [had, has] = [textsOf(before), textsOf(after)];
      const differ = [...[...had].filter((text) => !has.has(text)), ...[...has].filter((text) => !had.has(text))];
      for (const text of differ) assert.ok(text.split(' ')[1] === ip, text);
      const most = Math.max(changed.backends.length, backends.length);
      if (most <= 32) assert.ok(differ.length <= 2 * (most + 1), `${differ.length} elements for ${most} endpoints`);
    }),
  );
});

test('of many sandboxes each endpoint is the first one of some', () => {
  const backends = [1, 2, 3, 4].map((n) => ipOf(false, n));
  const all = [{ ip: ipOf(false, 4000), backends }];
  const firsts = new Map<string, number>();
  for (let n = 0; n < 200; n++) {
    const table = vipsFor(all, must(parseNetnsPath(`/run/netns/weft-${n}`)));
    const first = new Map(setOf(table, 'slots', '10.0.0.0')).get(`${all[0]?.ip} 0`) ?? '';
    firsts.set(first, (firsts.get(first) ?? 0) + 1);
  }
  assert.deepEqual([...firsts.keys()].sort(), [...backends].sort());
  assert.ok(Math.min(...firsts.values()) > 25, JSON.stringify([...firsts]));
});
