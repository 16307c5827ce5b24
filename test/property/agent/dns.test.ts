import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressOf, decide, type Named } from '../../../agent/dns/decide.ts';
import { Names } from '../../../agent/dns/names.ts';
import { Resolver } from '../../../agent/dns/resolver.ts';
import { types } from '../../../agent/dns/wire.ts';
import type { NetworkId } from '../../../controlplane/ids.ts';
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
  readonly down = new Set<string>();
  on: NetworkId[] = [...networkIds];
  readonly names = new Names({ networks: this.networks, endpointsOf: (id) => this.endpoints.get(id) ?? new Map() });
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
      } else {
        touched.set(id, new Set([String(made.key)]));
        if (made.kind === 'gone') this.endpoints.get(id)?.delete(String(made.key));
        else this.endpoints.get(id)?.set(String(made.key), { ...made.of, networkId: id } as unknown as Endpoint);
      }
      this.names.follow({ networks: made.kind === 'network', endpoints: touched });
    }
  }

  /** Endpoints on the asker's networks that are there. */
  reachable(): Endpoint[] {
    return this.on.flatMap((id) => (this.networks.has(id) ? [...(this.endpoints.get(id)?.values() ?? [])] : []));
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
        const there = called.filter(({ owner, ready }) => ready !== false && !world.down.has(owner));
        const { rcode, tail } = world.ask(asked, types.A);
        // Nobody else knows: the one that is asked what is not ours fails.
        assert.equal(rcode, called.length === 0 ? 2 : there.length === 0 ? 3 : 0, asked);
        assert.deepEqual([...new Set(tail)].sort(), [...new Set(there.flatMap(({ ip }) => ip ?? []))].sort(), asked);
        if (there.length > 0) assert.deepEqual(world.ask(asked, types.AAAA), { rcode: 0, answers: 0, tail: [] });
      }
    }),
  );
});

test('an address of its networks leads to who has it, and is asked of nobody else', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(change, at, fc.nat(7)), { maxLength: 60 }), (steps) => {
      const world = new World();
      for (const [made, net, last] of steps) {
        world.apply(made);
        const { rcode, answers } = world.ask(`${last}.${net}.0.10.in-addr.arpa`, types.PTR);
        const id = networkIds[net] as NetworkId;
        const ours = world.on.includes(id) && world.networks.has(id);
        const has = world
          .reachable()
          .filter((each) => each.ip === `10.0.${net}.${last}` && !world.down.has(each.owner));
        assert.deepEqual([rcode, answers], [!ours ? 2 : has.length === 0 ? 3 : 0, has.length]);
      }
    }),
  );
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
