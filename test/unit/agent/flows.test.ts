import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Fate, fateOf, sortFlows } from '../../../agent/ingress/flows.ts';
import type { NetworkId, NodeId } from '../../../controlplane/ids.ts';
import { type Service, serviceKey } from '../../../controlplane/tables/services.ts';
import type { Endpoint } from '../../../controlplane/tables/view.ts';

const [ingress, frontend] = ['i'.repeat(25), 'f'.repeat(25)] as [NetworkId, NetworkId];
const [self, other] = ['a', 'b'] as [NodeId, NodeId];
const key = serviceKey(frontend, 'web');
const service = (drainMs?: number): Service => ({
  ...{ key, network: frontend, name: 'web', stamp: [1, 0], removed: false, source: 'keep', affinityMs: 0 },
  ...{ createdMs: 1, lost: [], ports: [] },
  ...(drainMs === undefined ? {} : { drainMs }),
});
const leg = (more: Partial<Endpoint> = {}): Endpoint => ({
  ...{ id: '0'.repeat(64) as Endpoint['id'], owner: other, networkId: ingress, name: 'box', sandbox: '0'.repeat(64) },
  ...{ ip: '10.0.0.3', mac: '02:00:00:00:00:03', aliases: [], createdMs: 1, serves: [key] },
  ...more,
});
const up = { isThere: () => true, isUp: () => true };
const drained = { isThere: () => true, isUp: (node: NodeId) => node === self };
const down = { isThere: (node: NodeId) => node === self, isUp: (node: NodeId) => node === self };

test('a connection goes on as long as its endpoint takes new ones, and by default as long as it lasts', () => {
  for (const protocol of ['tcp', 'udp', 'sctp'] as const) {
    assert.equal(fateOf(protocol, service(500), leg(), up), 'stays');
    assert.equal(fateOf(protocol, service(), leg(), drained), 'stays');
    assert.equal(fateOf(protocol, service(), leg({ ready: false }), up), 'stays');
    assert.equal(fateOf(protocol, service(), leg({ serves: [] }), up), 'stays');
  }
  const own = leg({ networkId: frontend, aliases: ['WEB'], serves: undefined });
  assert.equal(fateOf('tcp', service(500), own, up), 'stays', 'of a virtual address it is the endpoint itself');
});

test('it is cut when its endpoint has gone; of datagrams that is when its node has, too', () => {
  for (const protocol of ['tcp', 'udp', 'sctp'] as const)
    assert.equal(fateOf(protocol, service(), undefined, up), 'cut');
  assert.equal(fateOf('udp', service(), leg(), down), 'cut');
  assert.equal(fateOf('tcp', service(), leg(), down), 'stays');
  assert.equal(fateOf('udp', service(), leg({ owner: self }), down), 'stays');
});

test('and when it has drained, where its service says for how long', () => {
  const drains: Fate = { drainMs: 500 };
  assert.deepEqual(fateOf('tcp', service(500), leg(), drained), drains);
  assert.deepEqual(fateOf('udp', service(500), leg({ ready: false }), up), drains);
  assert.deepEqual(fateOf('tcp', service(500), leg({ serves: [] }), up), drains);
  assert.deepEqual(fateOf('tcp', service(500), leg(), down), drains);
  assert.equal(fateOf('tcp', undefined, leg(), drained), 'stays', 'what is published no more');
});

test('what drains is cut at its end, and its beginning is forgotten when it has no connections', () => {
  const flows = [
    { key: 'one', fate: 'stays', flow: 1 },
    { key: 'two', fate: 'cut', flow: 2 },
    { key: 'three', fate: { drainMs: 500 }, flow: 3 },
    { key: 'four', fate: { drainMs: 900 }, flow: 4 },
  ] as const;
  const first = sortFlows(flows, new Map([['gone', 1]]), 1000);
  assert.deepEqual(first, { cut: [2], sinceMs: new Map(Object.entries({ three: 1000, four: 1000 })), nextMs: 500 });
  const second = sortFlows(flows.slice(2), first.sinceMs, 1500);
  assert.deepEqual([second.cut, second.nextMs], [[3], 400]);
  assert.deepEqual(sortFlows([], second.sinceMs, 1900), { cut: [], sinceMs: new Map(), nextMs: null });
});
