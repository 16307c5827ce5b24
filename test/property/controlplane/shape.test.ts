import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Role } from '../../../controlplane/identity/certificates.ts';
import type { NodeId } from '../../../controlplane/ids.ts';
import { idleMs, maxExtraConnections, shape } from '../../../controlplane/mesh/shape.ts';

const fullMeshUpTo = 6;
// Four cycles, two managers.
const degreeOfWorker = 10;

interface World {
  readonly nodes: Map<NodeId, Role>;
  readonly suspended: Set<NodeId>;
  readonly networks: Set<NodeId>[];
}

const world: fc.Arbitrary<World> = fc
  .record({
    salt: fc.integer({ min: 0, max: 1_000 }),
    workers: fc.integer({ min: 0, max: 50 }),
    managers: fc.integer({ min: 1, max: 7 }),
    suspended: fc.array(fc.integer({ min: 0, max: 56 }), { maxLength: 40 }),
    networks: fc.array(fc.array(fc.integer({ min: 0, max: 56 }), { maxLength: 20 }), { maxLength: 3 }),
  })
  .map(({ salt, workers, managers, suspended, networks }) => {
    const ids = [...Array(managers + workers).keys()].map((i) => `${salt}-${i}` as NodeId);
    const pick = (indices: readonly number[]): Set<NodeId> => new Set(indices.flatMap((i) => ids[i] ?? []));
    return {
      nodes: new Map(ids.map((id, i): [NodeId, Role] => [id, i < managers ? 'manager' : 'worker'])),
      suspended: pick(suspended),
      networks: networks.map(pick),
    };
  });

const none: ReadonlyMap<NodeId, number> = new Map();
const wantedBy = (self: NodeId, { nodes, suspended, networks }: World) =>
  shape({ self, nodes, suspended, networks: networks.filter((on) => on.has(self)), present: none, fullMeshUpTo });

/** Everybody's wishes. */
const graph = (given: World): Map<NodeId, ReadonlySet<NodeId>> =>
  new Map([...given.nodes.keys()].map((id) => [id, wantedBy(id, given).connect]));

function isConnected(among: readonly NodeId[], edges: ReadonlyMap<NodeId, ReadonlySet<NodeId>>): boolean {
  const inside = new Set(among);
  const seen = new Set(among.slice(0, 1));
  for (const id of seen) for (const next of edges.get(id) ?? []) if (inside.has(next)) seen.add(next);
  return seen.size === inside.size;
}

const living = ({ nodes, suspended }: World): NodeId[] => [...nodes.keys()].filter((id) => !suspended.has(id));

test('two nodes that live want each other, or neither does', () => {
  fc.assert(
    fc.property(world, (given) => {
      const edges = graph(given);
      const live = living(given);
      for (const a of live) {
        for (const b of live) assert.equal(edges.get(a)?.has(b), edges.get(b)?.has(a), `${a} and ${b}`);
        for (const b of edges.get(a) ?? []) assert.ok(b !== a && given.nodes.has(b) && !given.suspended.has(b));
      }
    }),
    { numRuns: 40 },
  );
});

test('those who live are connected, whoever they are, and so are the members of each network among themselves', () => {
  fc.assert(
    fc.property(world, (given) => {
      const edges = graph(given);
      const live = living(given);
      assert.ok(isConnected(live, edges));
      for (const members of given.networks) {
        assert.ok(
          isConnected(
            live.filter((id) => members.has(id)),
            edges,
          ),
        );
      }
    }),
    { numRuns: 60 },
  );
});

test('managers_out_of_hearing: who follows a network is connected by those who do, a manager that nobody on it chose too', () => {
  fc.assert(
    fc.property(world, (given) => {
      const edges = graph(given);
      for (const members of given.networks) {
        const follows = (id: NodeId): boolean => members.has(id) || given.nodes.get(id) === 'manager';
        assert.ok(isConnected(living(given).filter(follows), edges));
      }
    }),
    { numRuns: 60 },
  );
});

test('a worker has ten neighbours at most, and four more for each network that it is on', () => {
  fc.assert(
    fc.property(world, (given) => {
      if (given.nodes.size <= fullMeshUpTo) return;
      for (const [id, { size }] of graph(given)) {
        const networks = given.networks.filter((members) => members.has(id)).length;
        if (given.nodes.get(id) === 'worker') assert.ok(size <= degreeOfWorker + 4 * networks, `${size}`);
      }
    }),
    { numRuns: 40 },
  );
});

test('the workers are spread over the managers, two managers each', () => {
  const ids = [...Array(507).keys()].map((i) => `node-${i}` as NodeId);
  const nodes = new Map(ids.map((id, i): [NodeId, Role] => [id, i < 7 ? 'manager' : 'worker']));
  const given = { nodes, suspended: new Set<NodeId>(), networks: [] };
  const managersOf = (worker: NodeId): number =>
    [...wantedBy(worker, given).connect].filter((id) => nodes.get(id) === 'manager').length;
  for (const worker of ids.slice(7, 40)) assert.ok(managersOf(worker) >= 2);
  for (const manager of ids.slice(0, 7)) {
    const { size } = wantedBy(manager, given).connect;
    assert.ok(size > 90 && size < 220, `${manager} has ${size} neighbours`);
  }
});

test('who joins, leaves or is suspended changes the neighbours of few', () => {
  fc.assert(
    fc.property(world, fc.nat(), fc.boolean(), (given, which, suspend) => {
      const ids = [...given.nodes.keys()].filter((id) => !given.suspended.has(id));
      const gone = ids[which % Math.max(1, ids.length)];
      if (gone === undefined || given.nodes.size <= fullMeshUpTo + 1 || given.nodes.get(gone) === 'manager') return;
      const nodes = new Map([...given.nodes].filter(([id]) => suspend || id !== gone));
      const suspended = suspend ? new Set([...given.suspended, gone]) : given.suspended;
      const before = graph(given);
      const after = graph({ ...given, nodes, suspended });
      const neighbours = before.get(gone) ?? new Set();
      let changed = 0;
      for (const id of living({ ...given, nodes, suspended })) {
        const [was, is] = [before.get(id) ?? new Set<NodeId>(), after.get(id) ?? new Set<NodeId>()];
        const lost: NodeId[] = [...was].filter((each) => each !== gone && !is.has(each));
        assert.deepEqual(lost, [], 'what is bridged over takes no other edge away');
        const won = [...is].filter((each) => !was.has(each));
        if (won.length > 0) assert.ok(neighbours.has(id), 'only neighbours of who is gone get new ones');
        changed += won.length;
      }
      // Each cycle that it was in has one new edge, which has two ends.
      const cycles = 4 + 2 * given.networks.filter((members) => members.has(gone)).length;
      assert.ok(changed <= 2 * cycles, `${changed}`);
    }),
    { numRuns: 60 },
  );
});

test('who is suspended is dialled by those who would be its neighbours, and by nobody else', () => {
  fc.assert(
    fc.property(world, (given) => {
      const everybody = graph({ ...given, suspended: new Set() });
      for (const id of given.nodes.keys()) {
        const { retry, connect } = wantedBy(id, given);
        const wanted = [...(everybody.get(id) ?? [])].filter((each) => given.suspended.has(each)).sort();
        assert.deepEqual([...retry].sort(), wanted);
        assert.ok([...retry].every((each) => !connect.has(each)));
      }
    }),
    { numRuns: 40 },
  );
});

test('few nodes are a full mesh, which one node more does not become at once', () => {
  const ids = [...Array(fullMeshUpTo).keys()].map((i) => `node-${i}` as NodeId);
  const nodes = new Map(ids.map((id): [NodeId, Role] => [id, 'worker']));
  const [self = ids[0] as NodeId, other = self] = ids;
  const given = { self, nodes, networks: [], fullMeshUpTo };
  const full = shape({ ...given, suspended: new Set([other]), present: none });
  assert.deepEqual([...full.connect], ids.slice(2));
  assert.deepEqual([...full.retry], [other]);
  for (let i = fullMeshUpTo; i < 30; i += 1) nodes.set(`node-${i}` as NodeId, 'worker');
  const present = new Map(ids.slice(1).map((id) => [id, 0]));
  assert.deepEqual(shape({ ...given, suspended: new Set(), present }).disconnect, []);
  assert.ok(shape({ ...given, suspended: new Set(), present: none }).connect.size <= 8);
});

test('a connection that is not wanted ends when it was unused for long, or when there are too many of them', () => {
  const nodes = new Map([...Array(200).keys()].map((i): [NodeId, Role] => [`node-${i}` as NodeId, 'worker']));
  const self = 'node-0' as NodeId;
  const given = { self, nodes, networks: [], suspended: new Set<NodeId>() };
  const { connect } = shape({ ...given, present: none });
  const present = new Map([...nodes.keys()].filter((id) => id !== self).map((id, i) => [id, i]));
  const { disconnect } = shape({ ...given, present });
  assert.equal(present.size - disconnect.length, connect.size + maxExtraConnections);
  const kept = [...present].filter(([id]) => !disconnect.includes(id) && !connect.has(id));
  assert.ok(Math.max(...kept.map(([, ms]) => ms)) < Math.min(...disconnect.map((id) => present.get(id) ?? 0)));
  assert.ok(disconnect.every((id) => !connect.has(id)));
  const unwanted = [...nodes.keys()].find((id) => id !== self && !connect.has(id)) ?? self;
  const [wanted = self] = connect;
  const after = (ms: number) =>
    shape({
      ...given,
      present: new Map([
        [unwanted, ms],
        [wanted, ms],
      ]),
    }).disconnect;
  assert.deepEqual([after(idleMs - 1), after(idleMs)], [[], [unwanted]]);
});
