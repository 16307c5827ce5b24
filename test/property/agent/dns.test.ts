import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressOf, decide, type Named } from '../../../agent/dns/decide.ts';
import { Names } from '../../../agent/dns/names.ts';
import { Resolver } from '../../../agent/dns/resolver.ts';
import { types } from '../../../agent/dns/wire.ts';
import type { NetworkId } from '../../../controlplane/ids.ts';
import { type Service, type ServiceKey, serviceKey } from '../../../controlplane/tables/services.ts';
import { subnetsOf } from '../../../controlplane/tables/subnets.ts';
import type { Endpoint, Network } from '../../../controlplane/tables/view.ts';
import { networkOf, queryFor } from '../../unit/agent/dns/helpers.ts';

const networkIds = [0, 1, 2].map((at) => String(at).repeat(25) as NetworkId);
const words = ['db', 'web', 'DB', 'store', 'Cache'];
const nodes = ['one', 'two', 'three'];

const network = (at: number): Network => {
  const value = { name: `Net${at}`, subnet: `10.0.${at}.0/24`, gateway: `10.0.${at}.1`, root: 'one' };
  const id = networkIds[at] as NetworkId;
  return { ...value, id, subnets: subnetsOf(id, value as unknown as Network, []) } as unknown as Network;
};

type Change =
  | {
      readonly kind: 'endpoint';
      readonly at: number;
      readonly key: number;
      readonly of: Omit<Named, 'owner'> & { owner: string };
    }
  | { readonly kind: 'gone'; readonly at: number; readonly key: number }
  | { readonly kind: 'service'; readonly at: number; readonly name: string; readonly last: number | null }
  | { readonly kind: 'network'; readonly at: number; readonly there: boolean }
  | { readonly kind: 'node'; readonly node: string; readonly up: boolean }
  | { readonly kind: 'asker'; readonly on: number[] };

const at = fc.nat(2);
const key = fc.nat(5);
const endpoint = fc.record({
  name: fc.constantFrom(...words),
  aliases: fc.subarray(words),
  owner: fc.constantFrom(...nodes),
  ready: fc.constantFrom(undefined, undefined, false),
  last: fc.integer({ min: 2, max: 6 }),
});
const change: fc.Arbitrary<Change> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ at, key, made: endpoint }).map(({ at, key, made: { last, ...of } }) => ({
      kind: 'endpoint' as const,
      at,
      key,
      of: { ...of, ip: `10.0.${at}.${last}` },
    })),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('gone' as const), at, key }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('service' as const),
      ...{ at, name: fc.constantFrom(...words), last: fc.option(fc.constantFrom(201, 202)) },
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('network' as const), at, there: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('node' as const), node: fc.constantFrom(...nodes), up: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('asker' as const), on: fc.subarray([0, 1, 2]) }) },
);

/** Tables as the resolver follows them, and as a person would look through them. */
class World {
  readonly networks = new Map(networkIds.map((id, index) => [id, network(index)]));
  readonly endpoints = new Map(networkIds.map((id) => [id, new Map<string, Endpoint>()]));
  readonly services = new Map<ServiceKey, Service>();
  readonly down = new Set<string>();
  on: NetworkId[] = [...networkIds];
  readonly names = new Names({
    ...{ networks: this.networks, services: this.services },
    endpointsOf: (id) => this.endpoints.get(id) ?? new Map(),
  });
  readonly resolver = new Resolver({
    askers: { of: () => ({ networks: this.on }), find: async () => null },
    names: (id) => this.names.of(id),
    isUp: (node) => !this.down.has(node),
    forwarder: { ask: (_query, _client, reply) => reply(null) },
    random: Math.random,
  });

  apply(made: Change): void {
    if (made.kind === 'asker') {
      this.on = made.on.map((index) => networkIds[index] as NetworkId);
      this.names.keep(new Set(this.on));
    } else if (made.kind === 'node') {
      if (made.up) this.down.delete(made.node);
      else this.down.add(made.node);
    } else {
      const id = networkIds[made.at] as NetworkId;
      const touched = new Map<NetworkId, Set<string>>();
      if (made.kind === 'network') {
        if (made.there) this.networks.set(id, network(made.at));
        else this.networks.delete(id);
      } else if (made.kind === 'service') {
        const key = serviceKey(id, made.name);
        const vip = made.last === null ? {} : { vip: { ip: `10.0.${made.at}.${made.last}` } };
        this.services.set(key, { key, network: id, name: made.name, createdMs: 1, ...vip } as Service);
      } else {
        touched.set(id, new Set([String(made.key)]));
        if (made.kind === 'gone') this.endpoints.get(id)?.delete(String(made.key));
        else this.endpoints.get(id)?.set(String(made.key), { ...made.of, networkId: id } as unknown as Endpoint);
      }
      this.names.follow({
        ...{ networks: made.kind === 'network', services: made.kind === 'service', endpoints: touched },
      });
    }
  }

  /** Endpoints on the asker's networks that are there. */
  reachable(): Endpoint[] {
    return this.on.flatMap((id) => (this.networks.has(id) ? [...(this.endpoints.get(id)?.values() ?? [])] : []));
  }

  /** Services with an address of their own on the asker's networks; of those that differ by case alone the first by key. */
  virtual(): Service[] {
    const all = [...this.services.values()].filter(
      ({ network: id, vip }) => vip !== undefined && this.on.includes(id) && this.networks.has(id),
    );
    const same = (a: Service, b: Service) => a.network === b.network && a.name.toLowerCase() === b.name.toLowerCase();
    return all.filter((each) => !all.some((other) => same(each, other) && other.key < each.key));
  }

  ask(name: string, type: number): { rcode: number; answers: number; tail: string[] } {
    let found = Buffer.alloc(0);
    const query = queryFor(name, type);
    this.resolver.answer(query, '172.18.0.2', 'tcp', (reply) => {
      found = Buffer.from(reply);
    });
    // Letter by letter: whoever spells it by chance goes by that (draft-vixie-dnsext-dns0x20).
    assert.ok(found.subarray(12, query.length).equals(query.subarray(12)));
    const answers = found.readUInt16BE(6);
    const tail =
      type === types.A
        ? Array.from({ length: answers }, (_, index) =>
            [...found.subarray(found.length - 16 * index - 4, found.length - 16 * index)].join('.'),
          )
        : [];
    return { rcode: found.readUInt16BE(2) & 0xf, answers, tail };
  }
}

const spellings = (endpoint: Endpoint, networkName: string): string[] =>
  [endpoint.name, ...endpoint.aliases]
    .map((each) => each.toLowerCase())
    .flatMap((each) => [each, `${each}.${networkName}`, `tasks.${each}`, `tasks.${each}.${networkName}`]);

test('an asker is told the addresses of all endpoints so called on its networks that are there, and of no others', () => {
  const name = fc.record({
    word: fc.constantFrom(...words, 'nobody'),
    net: fc.constantFrom('', '.net0', '.NET1', '.net2'),
    tasks: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(fc.tuple(change, name), { maxLength: 60 }), (steps) => {
      const world = new World();
      for (const [made, { word, net, tasks }] of steps) {
        world.apply(made);
        const asked = `${tasks ? 'tasks.' : ''}${word}${net}`;
        const called = world
          .reachable()
          .filter((each) => spellings(each, `net${networkIds.indexOf(each.networkId)}`).includes(asked.toLowerCase()));
        const spelled = (prefix: string) =>
          world.virtual().filter(({ name, network: id }) => {
            const known = `${prefix}${name.toLowerCase()}`;
            return [known, `${known}.net${networkIds.indexOf(id)}`].includes(asked.toLowerCase());
          });
        const virtual = spelled('');
        const behind = (each: Endpoint): boolean => virtual.some(({ network: id }) => id === each.networkId);
        const there = called.filter((each) => !behind(each) && each.ready !== false && !world.down.has(each.owner));
        const { rcode, tail } = world.ask(asked, types.A);
        const wanted = [...virtual.map(({ vip }) => vip?.ip ?? ''), ...there.flatMap(({ ip }) => ip ?? [])];
        // Nobody else knows: the one that is asked what is not ours fails.
        const ours = called.length + virtual.length + spelled('tasks.').length > 0;
        assert.equal(rcode, !ours ? 2 : wanted.length === 0 ? 3 : 0, asked);
        assert.deepEqual([...new Set(tail)].sort(), [...new Set(wanted)].sort(), asked);
        if (wanted.length > 0) assert.deepEqual(world.ask(asked, types.AAAA), { rcode: 0, answers: 0, tail: [] });
      }
    }),
  );
});

test('an address of its networks leads to who has it, and is asked of nobody else', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(change, at, fc.oneof(fc.nat(7), fc.constantFrom(201, 202))), { maxLength: 60 }),
      (steps) => {
        const world = new World();
        for (const [made, net, last] of steps) {
          world.apply(made);
          const { rcode, answers } = world.ask(`${last}.${net}.0.10.in-addr.arpa`, types.PTR);
          const id = networkIds[net] as NetworkId;
          const ours = world.on.includes(id) && world.networks.has(id);
          const has = world
            .reachable()
            .filter((each) => each.ip === `10.0.${net}.${last}` && !world.down.has(each.owner));
          const ip = `10.0.${net}.${last}`;
          const isVirtual = ours && [...world.services.values()].some(({ vip }) => vip?.ip === ip);
          const count = isVirtual ? 1 : has.length;
          assert.deepEqual([rcode, answers], [!ours ? 2 : count === 0 ? 3 : 0, count]);
        }
      },
    ),
  );
});

test('a service with an address of its own has its name lead there, whoever is there, and `tasks.` to its endpoints', () => {
  const both = { name: 'web-1', aliases: ['Web'], owner: 'one', ip: '10.0.0.2', ip6: 'fd00::2' };
  const vip = { ip: '10.0.0.9', ip6: 'fd00::9' };
  const names = (endpoints: Named[]) => [networkOf('net', endpoints, () => true, { web: vip })];
  const ask = (name: string, type: number, endpoints: Named[] = [both]) => {
    const verdict = decide({ name, type, class: 1 }, names(endpoints), () => true, Math.random);
    return verdict.kind === 'answer'
      ? verdict.answers.map(({ data }) => Buffer.from(data).toString('hex'))
      : verdict.kind;
  };
  const hex = { vip: '0a000009', vip6: `fd${'0'.repeat(29)}9`, own: '0a000002', own6: `fd${'0'.repeat(29)}2` };
  for (const name of ['web', 'web.net']) {
    for (const endpoints of [[both], [], [{ ...both, ready: false }]]) {
      assert.deepEqual(ask(name, types.A, endpoints), [hex.vip], name);
      assert.deepEqual(ask(name, types.AAAA, endpoints), [hex.vip6], name);
    }
  }
  for (const name of ['tasks.web', 'tasks.web.net', 'web-1']) {
    assert.deepEqual(ask(name, types.A), [hex.own], name);
    assert.deepEqual(ask(name, types.AAAA), [hex.own6], name);
  }
  for (const none of [[{ ...both, ready: false }], []]) assert.equal(ask('tasks.web', types.A, none), 'noName');
  assert.equal(ask('tasks.shop', types.A), 'forward');
  for (const reverse of ['9.0.0.10.in-addr.arpa', `9.${'0.'.repeat(29)}d.f.ip6.arpa`])
    assert.deepEqual(ask(reverse, types.PTR), [Buffer.from('\x03web\x03net\x00').toString('hex')]);
  const serving = { ...both, ports: ['80/tcp'] };
  const verdict = decide(
    { name: '_80._tcp.web', type: types.SRV, class: 1 },
    names([serving]),
    () => true,
    Math.random,
  );
  assert.ok(verdict.kind === 'answer' && verdict.answers.length === 1, 'where each endpoint is to be had');
});

test('every order of several addresses comes, and no more than fit', () => {
  const all = Array.from({ length: 3 }, (_, index) => ({
    name: `a${index}`,
    aliases: ['web'],
    owner: 'one',
    ip: `10.0.0.${index}`,
  }));
  const orders = new Set<string>();
  const question = { name: 'web', type: types.A, class: 1 };
  for (let round = 0; round < 400; round += 1) {
    const verdict = decide(question, [networkOf('net', all, () => true)], () => true, Math.random);
    if (verdict.kind === 'answer') orders.add(verdict.answers.map(({ data }) => data[3]).join());
  }
  assert.equal(orders.size, 6);
  const crowd = Array.from({ length: 400 }, (_, index) => ({
    name: 'web',
    aliases: [],
    owner: 'one',
    ip: `10.0.${index >> 8}.${index & 255}`,
  }));
  const verdict = decide(question, [networkOf('net', crowd, () => true)], () => true, Math.random);
  assert.ok(verdict.kind === 'answer');
  assert.equal(new Set(verdict.answers.map(({ data }) => Buffer.from(data).toString('hex'))).size, 250);
});

test('a name for a reverse lookup is read as the address in the spelling of the tables, or as none', () => {
  fc.assert(
    fc.property(fc.ipV4(), (ip) => {
      assert.equal(addressOf(`${ip.split('.').reverse().join('.')}.in-addr.arpa`), ip);
    }),
  );
  const nibbles = '1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.9.0.0.0.0.0.d.f';
  assert.equal(addressOf(`${nibbles}.ip6.arpa`), 'fd00:9:1::1');
  for (const name of [
    '10.in-addr.arpa',
    '1.2.3.4.5.in-addr.arpa',
    '1.2.3.400.in-addr.arpa',
    'x.ip6.arpa',
    `g${nibbles.slice(1)}.ip6.arpa`,
    '04.0.0.10.in-addr.arpa',
  ]) {
    assert.equal(addressOf(name), null, name);
  }
});
