import assert from 'node:assert/strict';
import { test } from 'node:test';
import { joinedVips, type VipTables, vipsOn } from '../../../agent/ingress/vips.ts';
import type { NetworkId, NodeId } from '../../../controlplane/ids.ts';
import { type Service, serviceKey } from '../../../controlplane/tables/services.ts';
import type { Endpoint } from '../../../controlplane/tables/view.ts';

const [back, front] = ['b'.repeat(25), 'f'.repeat(25)] as [NetworkId, NetworkId];
const [self, other] = ['a', 'b'] as [NodeId, NodeId];

const endpoint = (number: number, owner: NodeId, more: Partial<Endpoint> = {}): Endpoint => ({
  ...{ id: String(number).padStart(64, '0') as Endpoint['id'], owner, networkId: back, name: `db.${number}` },
  ...{ sandbox: '0'.repeat(64), ip: `10.0.0.${number}`, mac: `02:00:00:00:00:0${number}`, aliases: ['db'] },
  ...{ createdMs: 1, ip6: `fd00::${number}` },
  ...more,
});
const service = (name: string, vip: Service['vip'], network = back): Service => ({
  ...{ key: serviceKey(network, name), network, name, stamp: [1, 0], removed: false, source: 'keep', affinityMs: 0 },
  ...{ createdMs: 1, lost: [], ports: [] },
  ...(vip === undefined ? {} : { vip }),
});
const tables = (
  services: readonly Service[],
  endpoints: readonly Endpoint[],
  isUp: VipTables['isUp'] = () => true,
): VipTables => ({
  services: new Map(services.map((each) => [each.key, each])),
  endpoints: new Map([[back, new Map(endpoints.map((each) => [`${each.owner} ${each.id}`, each]))]]),
  isUp,
  self,
  zoneOf: () => null,
});

test('a virtual address leads to the endpoints of that name, on whatever node, by addresses of its family', () => {
  const endpoints = [
    endpoint(4, other),
    endpoint(3, self),
    endpoint(5, other, { aliases: ['cache'] }),
    endpoint(6, other, { name: 'DB', aliases: [] }),
    endpoint(7, self, { ready: false }),
    endpoint(8, self, { ip6: undefined }),
  ];
  const services = [service('db', { ip: '10.0.0.200', ip6: 'fd00::200' }), service('cache', undefined)];
  assert.deepEqual(vipsOn(tables(services, endpoints), back), [
    { ip: '10.0.0.200', backends: ['10.0.0.3', '10.0.0.4', '10.0.0.6', '10.0.0.8'] },
    { ip: 'fd00::200', backends: ['fd00::3', 'fd00::4', 'fd00::6'] },
  ]);
  assert.deepEqual(vipsOn(tables(services, endpoints), front), []);
});

test('no new connection goes to a node that is not there or drained; an address with nobody stays, and refuses', () => {
  const services = [service('db', { ip: '10.0.0.200' })];
  const endpoints = [endpoint(3, self), endpoint(4, other)];
  const led = (isUp: VipTables['isUp']) => vipsOn(tables(services, endpoints, isUp), back);
  assert.deepEqual(
    led((node) => node === self),
    [{ ip: '10.0.0.200', backends: ['10.0.0.3'] }],
  );
  assert.deepEqual(
    led(() => false),
    [{ ip: '10.0.0.200', backends: [] }],
  );
});

test('a preference and a doubt count as for published ports', () => {
  const near = { ...service('db', { ip: '10.0.0.200' }), prefer: 'local' as const };
  const endpoints = [endpoint(3, self), endpoint(4, other), endpoint(5, other)];
  assert.deepEqual(vipsOn(tables([near], endpoints), back)[0]?.backends, ['10.0.0.3']);
  assert.deepEqual(vipsOn(tables([near], endpoints.slice(1)), back)[0]?.backends, ['10.0.0.4', '10.0.0.5']);
  const plain = tables([service('db', { ip: '10.0.0.200' })], endpoints);
  assert.deepEqual(vipsOn({ ...plain, doubted: new Set([other]) }, back)[0]?.backends, ['10.0.0.3']);
});

test('what is still so is the same object', () => {
  const services = [service('db', { ip: '10.0.0.200' }), service('cache', { ip: '10.0.0.201' })];
  const endpoints = [endpoint(3, self), endpoint(4, other), endpoint(5, other, { aliases: ['cache'] })];
  const before = vipsOn(tables(services, endpoints), back);
  assert.equal(vipsOn(tables([...services].reverse(), [...endpoints].reverse()), back, before), before);
  const after = vipsOn(tables(services, endpoints.slice(1)), back, before);
  assert.notEqual(after, before);
  assert.deepEqual(after[1]?.backends, ['10.0.0.4']);
  assert.equal(after[0], before[0]);
});

test('a sandbox on several networks has the addresses of all, each once; and the same array as others on the same', () => {
  const some = [{ ip: '10.0.0.200', backends: [] }] as never[];
  const more = [
    { ip: '10.0.0.200', backends: ['10.0.0.1'] },
    { ip: '10.1.0.200', backends: [] },
  ] as never[];
  assert.equal(joinedVips([[], some, []]), some);
  const joined = joinedVips([some, more]);
  assert.deepEqual(joined, [some[0], more[1]]);
  assert.equal(joinedVips([some, [], more]), joined);
  assert.deepEqual(joinedVips([]), []);
});
