import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Gate, GatePort } from '../../../dataplane/desired.ts';
import { keyOfElement } from '../../../dataplane/nft/elements.ts';
import { meshFor } from '../../../dataplane/nft/mesh.ts';
import { gatesOf, isOurMark } from '../../../dataplane/nft/returns.ts';
import type { TableContent } from '../../../dataplane/nft/tables.ts';
import { slotsOf } from '../../../dataplane/nft/turns.ts';
import { must, parseCidr, parseIfName, parseIp, parseNetnsPath } from '../../../dataplane/values.ts';
import { backend, macOf } from '../../e2e/dataplane/wanted.ts';

const WHERE = must(parseNetnsPath('/run/netns/weft-gate'));
const numbers = (max: number) => fc.uniqueArray(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: max });
const portOf = (backends: readonly number[]) =>
  fc.record({
    protocol: fc.constantFrom('tcp' as const, 'udp' as const, 'sctp' as const),
    backends: fc.constant(backends.map(backend)),
    affinityMs: fc.constantFrom(0, 60_000, 600_000),
    source: fc.constantFrom('keep' as const, 'snat' as const),
  });
const ports: fc.Arbitrary<GatePort[]> = fc
  .array(
    numbers(40).chain((backends) => portOf(backends)),
    { minLength: 1, maxLength: 6 },
  )
  .map((all) => all.map((each, index) => ({ ...each, port: 8000 + index })));

const tableOf = (all: readonly GatePort[]): TableContent => {
  const gate: Gate = { legIfName: must(parseIfName('eth0')), ports: all };
  return meshFor(gate, WHERE);
};
const textsOf = ({ elements }: TableContent): string[] =>
  [...elements].flatMap(([set, texts]) => [...texts].map((text) => `${set} ${text}`));

test('backends have slots evenly: one more than others at most, and within a tenth up to 100 of them', () => {
  fc.assert(
    fc.property(numbers(200), (all) => {
      const slots = slotsOf(all.map(backend));
      const counts = new Map<string, number>();
      for (const { ip } of slots) counts.set(ip, (counts.get(ip) ?? 0) + 1);
      assert.equal(counts.size, all.length);
      const [least, most] = [Math.min(...counts.values()), Math.max(...counts.values())];
      assert.ok(most - least <= 1);
      const even = slots.length / all.length;
      if (all.length <= 100) assert.ok(Math.max(most - even, even - least) <= even / 10, `${all.length}`);
    }),
  );
});

test('every slot that a counter can name leads to a backend, by one element', () => {
  fc.assert(
    fc.property(ports, (all) => {
      const { elements } = tableOf(all);
      for (const texts of elements.values()) assert.equal(new Set([...texts].map(keyOfElement)).size, texts.size);
      const backends = new Set([...(elements.get('backends') ?? [])].map(keyOfElement));
      for (const text of elements.get('ports') ?? []) {
        const [service, mark] = text.split(' : ');
        const slots = (Number(mark) % 0x10000) >> 4;
        assert.ok(slots > 0);
        for (let slot = 0; slot < slots; slot++) assert.ok(backends.has(`${service} ${slot}`));
      }
    }),
  );
});

test('the order in which backends are told makes no difference', () => {
  fc.assert(
    fc.property(ports, (all) => {
      const reversed = all.map((port) => ({ ...port, backends: [...port.backends].reverse() })).reverse();
      assert.deepEqual(textsOf(tableOf(reversed)).sort(), textsOf(tableOf(all)).sort());
      assert.equal(tableOf(reversed).digest, tableOf(all).digest);
    }),
  );
});

test('a backend that comes or goes changes elements of its own port alone, and no rule', () => {
  fc.assert(
    fc.property(ports, fc.nat(), fc.boolean(), (all, pick, comes) => {
      const at = pick % all.length;
      const changed = all[at] ?? assert.fail();
      const backends = comes ? [...changed.backends, backend(3000)] : changed.backends.slice(1);
      // With the last one of a duration its rule goes, too.
      if (backends.length === 0) return;
      const [before, after] = [tableOf(all), tableOf(all.with(at, { ...changed, backends }))];
      assert.equal(after.digest, before.digest);
      const had = new Set(textsOf(before));
      const has = new Set(textsOf(after));
      const differ = [...[...had].filter((text) => !has.has(text)), ...[...has].filter((text) => !had.has(text))];
      const service = `${changed.protocol} ${changed.port} `;
      for (const text of differ) assert.ok(text.includes(service) || text.startsWith('ids '), text);
      const most = Math.max(changed.backends.length, backends.length);
      if (most <= 32) assert.ok(differ.length <= 2 * (most + 3), `${differ.length} elements for ${most} backends`);
    }),
  );
});

test('gates have marks of their own, that stay with them', () => {
  fc.assert(
    fc.property(numbers(50), (all) => {
      const gates = all.map((n) => ({ mac: macOf(4097, n), ip: must(parseIp(`10.0.${n >> 8}.${n & 0xff}`)) }));
      const path = { mac: macOf(4097, 1), subnet: must(parseCidr('10.0.0.0/16')), gates };
      const marks = new Map(gatesOf(path).map(({ ip, mark }) => [ip, mark]));
      assert.equal(new Set(marks.values()).size, gates.length);
      for (const mark of marks.values()) assert.ok(isOurMark(mark));
      for (const { ip, mark } of gatesOf({ ...path, gates: gates.slice(1) })) assert.equal(mark, marks.get(ip));
    }),
  );
});
