import type { Desired, GatePort } from '../../../dataplane/desired.ts';
import type { Observed } from '../../../dataplane/observe/observed.ts';
import { must, parseIp, parseNetnsPath } from '../../../dataplane/values.ts';
import { vipsOf } from '../../e2e/dataplane/vips.ts';
import {
  BRIDGE,
  backend,
  backend6,
  bridged,
  GATEWAY,
  gateOf,
  guard,
  hung,
  macOf,
  overlay,
  PARENT,
  remote,
  remote6,
  returning,
  returning6,
  sandbox,
  wanted,
  widened,
  withHostLeg,
  withIpv6,
} from '../../e2e/dataplane/wanted.ts';

/** Wanted states, one after the other. */
export type Scenario = readonly Desired[];

const box = sandbox('one', 1, [4097]);
const both = sandbox('one', 1, [4097, 4098]);
const two = sandbox('two', 2, [4097], true);
const alone = sandbox('one', 1, []);
const published = [{ protocol: 'tcp', hostIp: null, hostPort: 8080, port: 80 }] as const;
const far = [2, 3, 4].map((n) => remote(4097, n, 'b'));
const moved = [remote(4097, 2, 'b'), remote(4097, 3, 'a'), remote(4097, 4, 'b')];
const here = (remotes = far) => overlay(4097, 'a', remotes);
const other = overlay(4098, 'a', [remote(4098, 2, 'b')]);
const base = wanted({ overlays: [here()], sandboxes: [box] });
const web = (port: number, backends: readonly number[], more: Partial<GatePort> = {}): GatePort => ({
  ...{ protocol: 'tcp', port, backends: backends.map(backend), affinityMs: 0, source: 'keep' },
  ...more,
});
const web6: typeof web = (port, backends, more = {}) => {
  const four = web(port, backends, more);
  return { ...four, backends: [...four.backends, ...backends.map(backend6)] };
};
const gate = (ports: readonly GatePort[]) => gateOf(sandbox('gate', 9, [4097], true), ports);
const elsewhere = (id: typeof box, name: string) => ({
  ...id,
  netns: must(parseNetnsPath(`/run/netns/weft-${name}`)),
});

/** What becomes of a host, by what a person would call it. */
export const scenarios: Readonly<Record<string, Scenario>> = {
  'endpoints come, move to another host and go': [
    wanted({ overlays: [here([])], sandboxes: [box] }),
    base,
    wanted({ overlays: [here(moved)], sandboxes: [box] }),
    wanted({ overlays: [here(moved.slice(1))], sandboxes: [box] }),
  ],
  'addresses of endpoints change hands': [
    base,
    wanted({ overlays: [here(far.map((each) => ({ ...each, mac: macOf(1, 1) })))], sandboxes: [box] }),
    wanted({ overlays: [here(far.map((each, at) => ({ ...each, mac: macOf(4097, 4 - at) })))], sandboxes: [box] }),
  ],
  'networks come and go': [
    base,
    wanted({ overlays: [here(), other], sandboxes: [both] }),
    wanted({ overlays: [other], sandboxes: [sandbox('three', 3, [4098])] }),
  ],
  'the MTU changes': [
    base,
    wanted({
      overlays: [{ ...here(), mtu: 1300 }],
      sandboxes: [{ ...box, overlayLegs: box.overlayLegs.map((leg) => ({ ...leg, mtu: 1300 })) }],
    }),
  ],
  'the VTEP of this host changes': [
    base,
    wanted({ overlays: [{ ...here(), vtep: must(parseIp('10.99.0.3')) }], sandboxes: [box] }),
  ],
  'sandboxes come and go, with and without a way out': [
    wanted({ overlays: [here()], sandboxes: [two], bridges: [GATEWAY] }),
    wanted({ overlays: [here()], sandboxes: [widened(box), { ...two, bridgeLegs: [] }], bridges: [GATEWAY] }),
    wanted({ overlays: [here()], sandboxes: [widened(box)], bridges: [] }),
  ],
  'a sandbox is replaced by another with its endpoints': [
    base,
    wanted({ overlays: [here()], sandboxes: [elsewhere(box, 'replaced')] }),
    wanted({ overlays: [here()], sandboxes: [{ ...elsewhere(box, 'replaced'), id: 'other' }] }),
  ],
  'a sandbox changes its networks': [
    wanted({ overlays: [here(), other], sandboxes: [both] }),
    wanted({ overlays: [here(), other], sandboxes: [sandbox('one', 1, [4098, 4097])] }),
    wanted({ overlays: [here(), other], sandboxes: [sandbox('one', 1, [4098])] }),
  ],
  'members come and go, and frames of others stay out': [
    wanted({ overlays: [here([])], guard: { ...guard('a', [4097]), vteps: [] } }),
    wanted({ overlays: [here()], guard: guard('a', [4097, 4098]) }),
    wanted({ overlays: [other], guard: guard('a', [4098]) }),
    wanted({}),
  ],
  'ports are published, and sandboxes move from a bridge to a wire': [
    wanted({ sandboxes: [bridged(alone, 1, published)], bridges: [BRIDGE] }),
    wanted({
      sandboxes: [bridged(alone, 1), hung(sandbox('two', 2, []), 2, 'bridge')],
      bridges: [BRIDGE],
      parents: [PARENT],
    }),
    wanted({ sandboxes: [hung(alone, 1, 'private')], parents: [PARENT] }),
    wanted({ sandboxes: [alone] }),
  ],
  'IPv6 comes and goes': [
    base,
    wanted({ overlays: [here([...far, remote6(4097, 2, 'b')])], sandboxes: [withIpv6(box)] }),
    wanted({ overlays: [here([remote6(4097, 2, 'b'), remote6(4097, 3, 'b')])], sandboxes: [withIpv6(box, true)] }),
    base,
  ],
  'services come, change and go, and so do gates': [
    wanted({
      overlays: [here()],
      sandboxes: [gate([web(8080, [1, 2, 3])]), returning(two, [200])],
      bridges: [GATEWAY],
    }),
    wanted({
      overlays: [here()],
      sandboxes: [
        gate([web(8080, [2, 3]), web(8081, [1], { affinityMs: 60_000 })]),
        returning({ ...two, bridgeLegs: [] }, [200, 201]),
      ],
      bridges: [GATEWAY],
    }),
    wanted({
      overlays: [here()],
      sandboxes: [gate([web(8080, [], { source: 'snat' }), web(8081, [1])]), returning(two, [201])],
      bridges: [GATEWAY],
    }),
    wanted({ overlays: [here()], sandboxes: [gate([]), two], bridges: [GATEWAY] }),
    wanted({ overlays: [here()], sandboxes: [two], bridges: [GATEWAY] }),
  ],
  'published ports are reached over IPv6, and are not any more': [
    wanted({ overlays: [here()], sandboxes: [gate([web(8080, [1, 2])]), returning(two, [200])], bridges: [GATEWAY] }),
    wanted({
      overlays: [here()],
      sandboxes: [withHostLeg(withIpv6(gate([web6(8080, [1, 2])])), 9, published), returning6(withIpv6(two), [200])],
      bridges: [GATEWAY],
    }),
    wanted({
      overlays: [here()],
      sandboxes: [
        withHostLeg(withIpv6(gate([web6(8080, [2, 3]), web6(8081, [1], { affinityMs: 60_000 })])), 9),
        returning6(withIpv6(two), [201, 202]),
      ],
      bridges: [GATEWAY],
    }),
    wanted({ overlays: [here()], sandboxes: [gate([web(8080, [1, 2])]), returning(two, [200])], bridges: [GATEWAY] }),
    wanted({ overlays: [here()], sandboxes: [two], bridges: [GATEWAY] }),
  ],
  'virtual addresses come, change and go': [
    base,
    wanted({ overlays: [here()], sandboxes: [{ ...box, vips: vipsOf([1, 2]) }, two], bridges: [GATEWAY] }),
    wanted({
      overlays: [here()],
      sandboxes: [
        { ...box, vips: vipsOf([2, 3, 4]) },
        { ...returning(two, [200]), vips: vipsOf([]) },
      ],
      bridges: [GATEWAY],
    }),
    wanted({
      overlays: [here()],
      sandboxes: [{ ...box, vips: vipsOf([]).slice(2) }, returning(two, [200])],
      bridges: [GATEWAY],
    }),
    base,
  ],
  'all goes, and comes back': [
    wanted({ overlays: [here(), other], sandboxes: [both, two], bridges: [GATEWAY] }),
    wanted({}),
    wanted({ overlays: [here(), other], sandboxes: [both, two], bridges: [GATEWAY] }),
  ],
};

/** What is handed over before the kernel may follow, and whether the data plane is started anew before that. */
export interface Act {
  readonly states: Scenario;
  readonly restart: boolean;
}

/** One after the other, each followed by the kernel. */
const acts = (states: Scenario): Act[] => states.map((state) => ({ states: [state], restart: false }));

/** The same story told otherwise. Each ends in the last state, but for the reversed one. */
export const tellings: Readonly<Record<string, (scenario: Scenario) => readonly Act[]>> = {
  told: acts,
  reversed: (scenario) => acts([...scenario].reverse()),
  split: (scenario) => acts(scenario.flatMap((state, at) => [...between(scenario[at - 1], state), state])),
  squashed: (scenario) => [{ states: scenario, restart: false }],
  duplicated: (scenario) => acts(scenario.flatMap((state) => [state, structuredClone(state)])),
  restarted: (scenario) => acts(scenario).map((act) => ({ ...act, restart: true })),
};

/** A change in parts: networks first, then half of the endpoints, then sandboxes one by one; what goes, goes last. */
function between(from: Desired = wanted({}), to: Desired): Desired[] {
  const vnis = new Set<number>(to.overlays.map(({ vni }) => vni));
  const left = from.overlays.filter(({ vni }) => !vnis.has(vni));
  const ids = new Set(to.sandboxes.map(({ id }) => id));
  const gone = from.sandboxes.filter(({ id }) => !ids.has(id));
  // All else that is wanted of a host comes first.
  const bridges = new Map([...from.bridges, ...to.bridges].map((bridge) => [bridge.name, bridge]));
  const parents = new Map([...from.parents, ...to.parents].map((parent) => [parent.name, parent]));
  const rest = { ...to, bridges: [...bridges.values()], parents: [...parents.values()] };
  const known = new Map(from.overlays.map((each) => [each.vni, each]));
  const early = to.overlays.map((each) => ({ ...each, remotes: known.get(each.vni)?.remotes ?? [] }));
  const half = to.overlays.map((each) => ({ ...each, remotes: each.remotes.slice(each.remotes.length >> 1) }));
  // A leg that has come with another sandbox is not in two.
  const taken = new Set(to.sandboxes.flatMap((each) => legsOf(each)));
  const staying = gone.filter((each) => !legsOf(each).some((leg) => taken.has(leg)));
  const sandboxes = to.sandboxes.map((_, at) => [...staying, ...to.sandboxes.slice(0, at + 1)]);
  return [
    { ...rest, overlays: [...early, ...left], sandboxes: from.sandboxes },
    { ...rest, overlays: [...half, ...left], sandboxes: from.sandboxes },
    ...sandboxes.map((some) => ({ ...rest, overlays: [...to.overlays, ...left], sandboxes: some })),
  ];
}

const legsOf = ({ overlayLegs, bridgeLegs, directLegs }: Desired['sandboxes'][number]): string[] => [
  ...[...overlayLegs, ...bridgeLegs, ...directLegs].map(({ endpointId }) => endpointId),
];

/**
 * A kernel as plain data in one order, without what is random (MACs that nobody addresses) and what stays when
 * nothing needs it any more (forwarding, route_localnet, the overlays' namespace; of sandboxes a loopback that is up, routes, and that a leg heeds marks).
 */
export function plainly(kernel: Observed): unknown {
  const { host, weft, sandboxes } = kernel;
  const inside = [...sandboxes].map(([netns, box]) => {
    const others = [...box.devices].filter(([name]) => name !== 'lo');
    const devices = others.map(([name, device]) => [name, { ...device, onLink: null }] as const);
    return [netns, { ...box, devices: new Map(devices), heedsMarks: null }] as const;
  });
  const devices = [...weft.devices].map(([name, device]) => [name, { ...device, mac: '' }] as const);
  return plain({
    ...kernel,
    sandboxes: new Map(inside),
    host: { ...host, forwarding: null, forwarding6: null, localnet: null, quiet6: null },
    weft: { ...weft, devices: new Map(devices), ...(devices.length > 0 ? {} : { state: null, quiet: null }) },
  });
}

function plain(value: unknown): unknown {
  if (value instanceof Set) return [...value].sort();
  if (value instanceof Map) return plain(Object.fromEntries(value));
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(fields.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, field]) => [key, plain(field)]));
}

/**
 * What traffic goes by: entries, ports, legs, addresses, each with what makes it the same one and not another of that name.
 * What of it is wanted before and after a change must not be gone in between.
 */
export function heldIn({ host, weft, sandboxes, tables }: Observed): string[] {
  const held: string[] = [];
  for (const [name, { elements }] of tables) {
    for (const [set, keys] of elements) for (const key of keys) held.push(`${name} ${set} ${key}`);
  }
  for (const [name, { fdb, neighbours }] of weft.tunnels) {
    const { vni, local, port } = weft.devices.get(name)?.vxlan ?? {};
    const on = `${name} ${vni} ${local} ${port}`;
    held.push(on);
    for (const [mac, vtep] of fdb) held.push(`${on}: ${mac} -> ${vtep}`);
    for (const [ip, { mac }] of neighbours) held.push(`${on}: ${ip} -> ${mac}`);
  }
  const bridges = [...host.devices, ...weft.devices].filter(([, { kind }]) => kind === 'bridge');
  for (const [name] of bridges) held.push(name);
  for (const [netns, box] of sandboxes) {
    const { devices, tables: inside, rules, tableRoutes } = box;
    for (const [name, { elements }] of inside) {
      for (const [set, keys] of elements) for (const key of keys) held.push(`${netns} ${name} ${set} ${key}`);
    }
    for (const rule of rules) held.push(`${netns} rule ${rule}`);
    for (const [table, to] of tableRoutes) {
      held.push(`${netns} table ${table} ${to} ${devices.get(to.split(' ')[1] ?? '')?.peer}`);
    }
    for (const [name, { peer, addresses }] of devices) {
      if (peer === null) continue;
      const leg = `${netns} ${name} ${peer}`;
      held.push(leg);
      for (const address of addresses) held.push(`${leg} ${address}`);
      for (const mac of weft.statics.get(peer) ?? []) held.push(`${leg} static ${mac}`);
      for (const route of [box.defaultRoute, box.defaultRoute6]) {
        if (route?.device === name) held.push(`${leg} default via ${route.via}`);
      }
    }
  }
  return held;
}
