import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { emptyResolver } from '../../../agent/files/resolv-conf.ts';
import { IncrementalPlan, TouchedSince } from '../../../agent/incremental-plan.ts';
import { ingressSandboxName } from '../../../agent/ingress/legs.ts';
import { type Attachments, plan, type TablesForPlan } from '../../../agent/plan.ts';
import type { StoredSandbox } from '../../../agent/sandbox-state.ts';
import type { EndpointId, NetworkId, NodeId } from '../../../controlplane/ids.ts';
import type { NetworkValue, NodeValue } from '../../../controlplane/tables/kinds.ts';
import { type Service, type ServiceKey, serviceKey } from '../../../controlplane/tables/services.ts';
import { subnetsOf } from '../../../controlplane/tables/subnets.ts';
import type { Endpoint, Network } from '../../../controlplane/tables/view.ts';

// Few addresses, nodes and moments, so that claims collide all the time, also in chains.
const self = 'self' as NodeId;
const NODES = ['a', 'b', 'c'] as const;
const NETWORKS = ['n', 'm'].map((letter) => letter.repeat(25) as NetworkId);
const SERVICES = ['web', 'api'].map((name) => serviceKey(NETWORKS[0] as NetworkId, name));
const gatePrefix6 = 'fdaa:bbcc:dd00::/64';
const hexId = (number: number): EndpointId => number.toString(16).padStart(64, '0') as EndpointId;

function networkOf(id: NetworkId, vni: number, ingress: boolean): Network {
  const value = {
    ...{ stamp: [1, 0] as [number, number], removed: false, name: id.slice(0, 1), vni, subnet: '10.0.0.0/24' },
    ...{ gateway: '10.0.0.1', internal: false, attachable: false, ingress, options: {}, labels: {} },
    ...{ createdMs: 1, root: self },
  } satisfies NetworkValue;
  return { ...value, id, subnets: subnetsOf(id, value, []) };
}

const networks = new Map(NETWORKS.map((id, at) => [id, networkOf(id, 4097 + at, at === 1)]));

interface State {
  readonly nodes: Map<NodeId, NodeValue>;
  readonly endpoints: Map<NetworkId, Map<string, Endpoint>>;
  readonly services: Map<ServiceKey, Service>;
  readonly down: Set<NodeId>;
  readonly zones: Map<NodeId, string | null>;
  sandboxes: StoredSandbox[];
  vtep: string;
}

const nothing = (): State => ({
  ...{
    nodes: new Map(),
    endpoints: new Map(),
    services: new Map(),
    down: new Set(),
    zones: new Map(),
    sandboxes: [],
    vtep: '',
  },
});

type Change = (state: State, touched: TouchedSince) => void;

const touch = (touched: TouchedSince, network: NetworkId, name: string): void =>
  touched.add({ nodes: false, networks: false, services: false, endpoints: new Map([[network, new Set([name])]]) });

const endpointChange: fc.Arbitrary<Change> = fc
  .record({
    network: fc.constantFrom(...NETWORKS),
    number: fc.integer({ min: 1, max: 8 }),
    owner: fc.constantFrom(...NODES, 'self', 'unknown'),
    gone: fc.boolean(),
    ip: fc.constantFrom('10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', 'nonsense'),
    ip6: fc.option(fc.constantFrom('fd00::2', 'fd00::3')),
    mac: fc.constantFrom('02:00:00:00:00:01', '02:00:00:00:00:02', '02:00:00:00:00:03', '02:00:00:00:00:04'),
    createdMs: fc.integer({ min: 1, max: 3 }),
    serves: fc.subarray(SERVICES),
    aliases: fc.subarray(['web', 'API']),
    ready: fc.constantFrom(undefined, false as const),
    isGate: fc.boolean(),
  })
  .map(
    ({ network, number, owner, gone, ip, ip6, mac, createdMs, serves, aliases, ready, isGate }) =>
      (state, touched) => {
        const name = `${owner} ${hexId(number)}`;
        const known = state.endpoints.get(network) ?? new Map<string, Endpoint>();
        if (gone) known.delete(name);
        else {
          known.set(name, {
            ...{ id: hexId(number), networkId: network, owner: owner as NodeId, ip, mac, createdMs },
            ...{ name: isGate ? ingressSandboxName : `box-${number}`, serves },
            ...{
              sandbox: hexId(100 + number),
              aliases,
              ...(ready === undefined ? {} : { ready }),
              ...(ip6 === null ? {} : { ip6 }),
            },
          });
        }
        state.endpoints.set(network, known);
        touch(touched, network, name);
      },
  );

const nodeChange: fc.Arbitrary<Change> = fc
  .record({
    id: fc.constantFrom(...NODES),
    vtep: fc.option(fc.constantFrom('192.0.2.1', '192.0.2.2', '192.0.2.3', '2001:db8::2')),
    hostname: fc.constantFrom('one', 'two'),
  })
  .map(({ id, vtep, hostname }) => ({ nodes }, touched) => {
    if (vtep === null) nodes.delete(id as NodeId);
    else nodes.set(id as NodeId, { hostname, vtep, gossip: [`${vtep}:7946`], version: '0', createdMs: 1 });
    touched.add({ nodes: true, networks: false, services: false, endpoints: new Map() });
  });

/** Who is there, and which services; the view says both as one. */
const serviceChange: fc.Arbitrary<Change> = fc
  .record({
    key: fc.constantFrom(...SERVICES),
    published: fc.option(fc.integer({ min: 80, max: 82 })),
    vip: fc.option(fc.constantFrom({ ip: '10.0.0.8' }, { ip: '10.0.0.9', ip6: 'fd00::9' })),
    source: fc.constantFrom('keep', 'snat', 'local'),
    node: fc.constantFrom(...NODES),
    isDown: fc.boolean(),
    zone: fc.option(fc.constantFrom('a', 'b')),
    prefer: fc.constantFrom('local', 'zone'),
  })
  .map(({ key, published, vip, source, node, isDown, zone, prefer }) => ({ services, down, zones }, touched) => {
    zones.set(node as NodeId, zone);
    if (isDown) down.add(node as NodeId);
    else down.delete(node as NodeId);
    if (published === null) services.delete(key);
    else {
      const port = { protocol: 'tcp', published, target: 8080, count: 2, mode: 'ingress' } as const;
      const place = { key, network: NETWORKS[0] as NetworkId, name: key.slice(26), stamp: [1, 0] as [number, number] };
      const settings = { source, affinityMs: 0, createdMs: 1, prefer, ...(vip === null ? {} : { vip }) };
      services.set(key, { ...place, removed: false, ports: [port], lost: [], ...settings });
    }
    touched.add({ nodes: false, networks: false, services: true, endpoints: new Map() });
  });

const legChange: fc.Arbitrary<Change> = fc
  .record({
    number: fc.integer({ min: 1, max: 2 }),
    on: fc.subarray(NETWORKS),
    ip: fc.constantFrom('10.0.0.2', '10.0.0.3'),
  })
  .map(({ number, on, ip }) => (state) => {
    const id = `sandbox-${number}`;
    const rest = state.sandboxes.filter((each) => each.id !== id);
    const legs = on.map((networkId, at) => ({
      ...{ networkId, endpointId: hexId(900 + number * 10 + at), ifName: `eth${at}`, mac: '02:00:00:00:00:01', ip },
      ...{ ip6: number === 1 ? 'fd00::4' : null, aliases: [], createdMs: 1 },
    }));
    const sandbox = {
      ...{
        id,
        name: number === 1 ? ingressSandboxName : id,
        createdMs: 1,
        netns: `/run/netns/weft-${id}`,
        adopted: false,
        inode: null,
        labels: {},
      },
      ...{ hostname: null, resolver: emptyResolver, legs, gateway: null, local: [], published: [] },
    } as StoredSandbox;
    state.sandboxes = on.length === 0 ? rest : [...rest, sandbox];
  });

const addressChange: fc.Arbitrary<Change> = fc.constantFrom('192.0.2.1', '192.0.2.9').map((vtep) => (state) => {
  state.vtep = vtep;
});

const changes = fc.array(
  fc.array(
    fc.oneof(
      { weight: 20, arbitrary: endpointChange },
      { weight: 3, arbitrary: nodeChange },
      { weight: 3, arbitrary: serviceChange },
      { weight: 3, arbitrary: legChange },
      { weight: 1, arbitrary: addressChange },
    ),
    { minLength: 1, maxLength: 25 },
  ),
  { maxLength: 12 },
);

test('a plan that follows what changes equals the whole plan, at every point', () => {
  fc.assert(
    fc.property(changes, (batches) => {
      const state: State = { ...nothing(), vtep: '192.0.2.9' };
      const running = new IncrementalPlan();
      let touched: TouchedSince | null = null;
      for (const batch of batches) {
        const since: TouchedSince = touched ?? new TouchedSince();
        for (const change of batch) change(state, since);
        const isUp = (node: NodeId): boolean => !state.down.has(node);
        const zoneOf = (node: NodeId): string | null => state.zones.get(node) ?? null;
        const tables: TablesForPlan = { ...state, ...{ self, port: 4789, networks, isUp, zoneOf } };
        const attachments: Attachments = {
          ...{ sandboxes: state.sandboxes, gateway: null, gatePrefix6, localNetworks: [], underlayMtu: 1500 },
        };
        assert.deepEqual(running.next(tables, attachments, touched), plan(tables, attachments));
        touched = new TouchedSince();
      }
    }),
    { numRuns: 3000 },
  );
});

test('what did not change is the same object: nothing below has to look at it', () => {
  const running = new IncrementalPlan();
  const endpoint = (number: number): Endpoint => ({
    ...{ id: hexId(number), networkId: NETWORKS[0] as NetworkId, owner: 'a' as NodeId, name: `box-${number}` },
    ...{ ip: `10.0.0.${number}`, mac: `02:00:00:00:00:${number}`, createdMs: number, sandbox: hexId(1), aliases: [] },
  });
  const known = new Map([10, 11, 12].map((number) => [`a ${hexId(number)}`, endpoint(number)]));
  const node = { hostname: 'a', vtep: '192.0.2.2', gossip: ['192.0.2.2:7946'], version: '0', createdMs: 1 };
  const tables = {
    ...{ self, vtep: '192.0.2.1', port: 4789, networks, nodes: new Map([['a' as NodeId, node]]) },
    ...{ services: new Map(), isUp: () => true, zoneOf: () => null },
    endpoints: new Map([[NETWORKS[0] as NetworkId, known]]),
  };
  const state = nothing();
  const [attach] = fc.sample(
    legChange.filter((change) => {
      change(state, new TouchedSince());
      return state.sandboxes[0]?.legs[0]?.networkId === NETWORKS[0];
    }),
    { numRuns: 1, seed: 1 },
  );
  assert.ok(attach);
  const attachments = { sandboxes: state.sandboxes, gateway: null, gatePrefix6, localNetworks: [], underlayMtu: 1500 };
  const first = running.next(tables, attachments, null).desired;
  const second = running.next(tables, attachments, new TouchedSince()).desired;
  assert.equal(second.overlays[0]?.remotes, first.overlays[0]?.remotes);
  assert.equal(second.guard, first.guard);
});
