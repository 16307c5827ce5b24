import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { NetworkId } from '../../../controlplane/ids.ts';
import {
  overlapping,
  parseServiceKey,
  publishProtocols,
  type Service,
  type ServiceKey,
  type ServicePort,
  serviceKey,
  without,
} from '../../../controlplane/tables/services.ts';
import { settled, settledAddresses } from '../../../controlplane/tables/settled-services.ts';
import { subnetsOf } from '../../../controlplane/tables/subnets.ts';

const network = 'n'.repeat(25) as NetworkId;
const port = fc.record({
  protocol: fc.constantFrom(...publishProtocols),
  published: fc.integer({ min: 1, max: 40 }),
  target: fc.integer({ min: 1, max: 40 }),
  count: fc.integer({ min: 1, max: 6 }),
  mode: fc.constantFrom('ingress' as const, 'host' as const),
});
/** Each with ports that do not overlap, as records say them; names, and with them keys, are each another. */
const services = fc
  .array(fc.tuple(fc.array(port, { minLength: 1, maxLength: 5 }), fc.integer({ min: 0, max: 3 })), { maxLength: 8 })
  .map((all) =>
    all.map(([ports, createdMs], at): Service => {
      const name = `s${at}`;
      const own = ports.filter((each, index) => !ports.slice(0, index).some((other) => overlapping(each, other)));
      return {
        ...{ key: serviceKey(network, name), network, name, ports: own, lost: [], createdMs, stamp: [1, 0] },
        ...{ removed: false, source: 'keep', affinityMs: 0 },
      };
    }),
  );

const numbersOf = ({ protocol, published, count }: ServicePort): string[] =>
  Array.from({ length: count }, (_, at) => `${protocol} ${published + at}`);

test('two entries overlap when there is a port that is in both', () => {
  fc.assert(
    fc.property(port, port, (a, b) => {
      const shared = numbersOf(a).some((each) => numbersOf(b).includes(each));
      assert.equal(overlapping(a, b), shared);
    }),
  );
});

test('of an entry exactly those ports go that are taken back, and what stays leads where it led', () => {
  const leads = ({ protocol, published, target, count }: ServicePort): string[] =>
    Array.from({ length: count }, (_, at) => `${protocol} ${published + at} ${target + at}`);
  fc.assert(
    fc.property(port, fc.array(port, { maxLength: 6 }), (entry, going) => {
      const gone = new Set(going.flatMap(numbersOf));
      const left = without(entry, going);
      const expected = leads(entry).filter((_, at) => !gone.has(`${entry.protocol} ${entry.published + at}`));
      assert.deepEqual(left.flatMap(leads).sort(), expected.sort());
      for (const each of left) assert.ok(each.count >= 1 && each.mode === entry.mode);
    }),
  );
});

test('no port has two services, in whatever order they are known, and none is lost but to an older one that has it', () => {
  fc.assert(
    fc.property(services, fc.infiniteStream(fc.nat()), (asking, order) => {
      const found = settled(asking);
      const shuffled = asking.map((each) => [order.next().value ?? 0, each] as const).sort(([a], [b]) => a - b);
      const again = settled(shuffled.map(([, each]) => each));
      assert.deepEqual(new Map([...again].sort()), new Map([...found].sort()));
      const has = [...found.values()].flatMap(({ ports }) => ports.flatMap(numbersOf));
      assert.equal(new Set(has).size, has.length);
      for (const asked of asking) {
        const { ports = [], lost = [], createdMs = 0 } = found.get(asked.key) ?? {};
        const all = new Set([...ports, ...lost.map(({ port: each }) => each)]);
        assert.deepEqual(all, new Set(asked.ports));
        for (const { port: each, to } of lost) {
          const winner = found.get(to);
          assert.ok(winner !== undefined);
          assert.ok(winner.ports.some((other) => overlapping(each, other)));
          assert.ok(winner.createdMs < createdMs || (winner.createdMs === createdMs && to < asked.key));
        }
        if (lost.length === 0) assert.equal(found.get(asked.key), asked);
      }
    }),
  );
});

test('keys of services are read as they are written, and nothing else is', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/), (name) => {
      assert.deepEqual(parseServiceKey(serviceKey(network, name)), { network, name });
    }),
  );
  fc.assert(
    fc.property(fc.string(), (text) => {
      const read = parseServiceKey(text);
      if (read !== null) assert.equal(serviceKey(read.network, read.name), text);
    }),
  );
});

const space = subnetsOf(network, { subnet: '10.0.0.0/28', gateway: '10.0.0.1', root: 'a' } as never, []);
const [subnet] = space;

/** Services of one network that ask for one of few addresses, which may be none of it; and which endpoints there are. */
const wanting = fc.array(
  fc.record({ last: fc.option(fc.integer({ min: 0, max: 17 })), createdMs: fc.integer({ min: 0, max: 3 }) }),
  { maxLength: 10 },
);
const taken = fc.uniqueArray(fc.integer({ min: 2, max: 14 }), { maxLength: 5 });

test('an address is of one service or of one endpoint: the endpoint has it, else the oldest that asks, whatever the order', () => {
  fc.assert(
    fc.property(wanting, taken, fc.infiniteStream(fc.nat()), (all, endpoints, order) => {
      assert.ok(subnet !== undefined);
      const asking = all.map(({ last, createdMs }, at): [ServiceKey, Service] => {
        const vip = last === null ? {} : { vip: { ip: `10.0.0.${last}` } };
        const key = serviceKey(network, `s${at}`);
        const service = { key, network, name: `s${at}`, createdMs, ports: [], lost: [], ...vip } as unknown as Service;
        return [key, service];
      });
      const settle = (those: [ServiceKey, Service][]) =>
        settledAddresses(new Map(those), {
          subnetsOf: () => space,
          holder: (_ring, number) => (endpoints.includes(number) ? `box-${number}` : null),
        });
      const { services: found, rings } = settle(asking);
      const held = new Set<string>();
      for (const [key, was] of asking) {
        const now = found.get(key);
        const { ip } = was.vip ?? {};
        if (ip === undefined) {
          assert.equal(now, was, 'whom it does not concern is the same object');
          continue;
        }
        const last = Number(ip.split('.')[3]);
        const usable = last > 1 && last < 15;
        const older = asking.some(
          ([other, { vip, createdMs }]) =>
            vip?.ip === ip && (createdMs < was.createdMs || (createdMs === was.createdMs && other < key)),
        );
        const has = usable && !endpoints.includes(last) && !older;
        assert.deepEqual([now?.vip?.ip, now?.lostVip?.vip.ip], has ? [ip, undefined] : [undefined, ip]);
        if (has) {
          assert.ok(!held.has(ip));
          held.add(ip);
          assert.equal(rings.get(subnet.ring)?.services.get(last)?.key, key);
        }
      }
      assert.equal(rings.get(subnet.ring)?.numbers.size ?? 0, held.size);
      const shuffled = asking.map((each) => [order.next().value, each] as const).sort(([a], [b]) => a - b);
      const again = settle(shuffled.map(([, each]) => each));
      for (const [key, service] of found) assert.deepEqual(again.services.get(key), service);
    }),
  );
});
