import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { meshOf } from '../../../agent/ingress/mesh.ts';
import { preferred } from '../../../agent/ingress/prefer.ts';
import type { NetworkId, NodeId } from '../../../controlplane/ids.ts';
import { type Service, serviceKey } from '../../../controlplane/tables/services.ts';
import type { Endpoint, Network } from '../../../controlplane/tables/view.ts';

const nodes = ['a', 'b', 'c', 'd', 'e'] as NodeId[];
const [ingress, frontend] = ['i'.repeat(25), 'f'.repeat(25)] as [NetworkId, NetworkId];
const key = serviceKey(frontend, 'web');

const prefer = fc.constantFrom(undefined, 'local' as const, 'zone' as const);
const zones = fc.array(fc.constantFrom(null, 'x', 'y', ''), { minLength: nodes.length, maxLength: nodes.length });
/** Of each backend its node, and whether it is ready by now. */
const backends = fc.array(fc.record({ owner: fc.constantFrom(...nodes), ready: fc.boolean() }), { maxLength: 8 });
const down = fc.subarray(nodes);

const zoneIn =
  (all: readonly (string | null)[]) =>
  (node: NodeId): string | null =>
    all[nodes.indexOf(node)] ?? null;

test('near ones alone as long as there is one, all as soon as there is none, and nobody else ever', () => {
  fc.assert(
    fc.property(prefer, zones, fc.constantFrom(...nodes), backends, (wanted, all, self, those) => {
      const zoneOf = zoneIn(all);
      const found = preferred(wanted, those, { self, zoneOf });
      const isNear = (owner: NodeId): boolean =>
        wanted === 'local' ? owner === self : zoneOf(self) !== null && zoneOf(owner) === zoneOf(self);
      const near = wanted === undefined ? [] : those.filter(({ owner }) => isNear(owner));
      assert.deepEqual(found, near.length > 0 ? near : those);
      // What is of this node alone, as with `--source local`, is the same among all and among those that come first.
      const own = (each: { owner: NodeId }): boolean => each.owner === self;
      assert.deepEqual(found.filter(own), those.filter(own));
    }),
  );
});

test('a gate spills over while no near backend takes connections, and comes back with the first that does', () => {
  const step = fc.record({ zones, backends, down });
  fc.assert(
    fc.property(fc.constantFrom('local', 'zone'), fc.constantFrom(...nodes), fc.array(step), (wanted, self, steps) => {
      // One and the same service all along, so that what was made of it before must not be taken for what is true now.
      const service = {
        ...{ key, network: frontend, name: 'web', stamp: [1, 0], removed: false, source: 'keep', affinityMs: 0 },
        ...{ createdMs: 1, lost: [], prefer: wanted },
        ports: [{ protocol: 'tcp', published: 80, target: 80, count: 1, mode: 'ingress' }],
      } as Service;
      for (const now of steps) {
        const zoneOf = zoneIn(now.zones);
        const isUp = (node: NodeId): boolean => !now.down.includes(node);
        const legs = now.backends.map(({ owner, ready }, at) => ({
          ...{ id: String(at).padStart(64, '0'), owner, networkId: ingress, name: `box-${at}`, serves: [key] },
          ...{ ip: `10.0.0.${at + 2}`, mac: `02:00:00:00:00:0${at}`, aliases: [], createdMs: 1, sandbox: '' },
          ...(ready ? {} : { ready }),
        })) as unknown as Endpoint[];
        const { ports } = meshOf({
          ...{ self, isUp, zoneOf, services: new Map([[key, service]]) },
          networks: new Map([[ingress, { id: ingress, ingress: true, subnets: [] } as unknown as Network]]),
          endpoints: new Map([[ingress, new Map(legs.map((leg) => [`${leg.owner} ${leg.id}`, leg]))]]),
        });
        const able = legs.filter(({ owner, ready }) => ready !== false && isUp(owner));
        const isNear = ({ owner }: Endpoint): boolean =>
          wanted === 'local' ? owner === self : zoneOf(self) !== null && zoneOf(owner) === zoneOf(self);
        const near = able.filter(isNear);
        assert.deepEqual(
          ports.flatMap((each) => each.backends.map(({ ip }) => ip as string)),
          (near.length > 0 ? near : able).map(({ ip }) => ip),
        );
      }
    }),
  );
});
