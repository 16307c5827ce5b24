import fc from 'fast-check';
import type { Desired } from '../../../dataplane/desired.ts';
import { applyToModel } from '../../../dataplane/diff/after.ts';
import { type DiffOptions, diff } from '../../../dataplane/diff/diff.ts';
import { OVERLAY_NETNS } from '../../../dataplane/names.ts';
import type { Observed } from '../../../dataplane/observe/observed.ts';
import type { Step } from '../../../dataplane/steps.ts';
import { must, parseIp, parseMac, parseVni } from '../../../dataplane/values.ts';
import { vipsOf } from '../../e2e/dataplane/vips.ts';
import {
  BRIDGE,
  backend,
  backend6,
  bridged,
  GATEWAY,
  gateOf,
  hung,
  MTU,
  overlay,
  PARENT,
  PORT,
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

// Wanted states, a kernel that is a model, and what others do to it.

export const options: DiffOptions = { prune: true, randomMac: () => must(parseMac('02:00:00:00:00:aa')) };
const VNIS = [4097, 4098, 4099];
const STRANGE: Record<string, string> = {
  ...{ vnis: '77', vteps4: '10.66.0.1', vteps6: 'fd66::1' },
  ...{ ports: 'udp 66 : 16', backends: 'udp 66 0 : 10.66.0.1 66', ids: '10.66.0.1 : 66' },
  ...{ ports6: 'udp 66 : 16', backends6: 'udp 66 0 : fd66::1 66', ids6: 'fd66::1 : 66' },
  gates: '02:00:00:00:00:66 : 66',
  ...{ slots4: '10.66.0.1 0 : 10.66.0.2', slots6: 'fd66::1 0 : fd66::2' },
  ...{ vips4: '10.66.0.1 : turn4', vips6: 'fd66::1 : none' },
  ...{ arps: 'wv0 10.66.0.1 02:00:00:00:00:66', nds: 'wv0 fd66::1' },
};
const allTables = ({ tables, sandboxes }: Observed): Observed['tables'][] => [
  tables,
  ...[...sandboxes.values()].map((box) => box.tables),
];
const MEMBERS = ['10.99.0.1', '10.99.0.2', 'fd99::1', 'fd99::2'].map((ip) => must(parseIp(ip)));

/** Any state that a plan could want: sandbox n is endpoint n of some networks, remotes are endpoints above 100. */
export const desiredState: fc.Arbitrary<Desired> = fc
  .record({
    vnis: fc.subarray(VNIS),
    small: fc.subarray(VNIS),
    remotes: fc.array(fc.tuple(fc.integer({ min: 101, max: 110 }), fc.constantFrom('a' as const, 'b' as const)), {
      maxLength: 8,
    }),
    boxes: fc.uniqueArray(
      fc.record({
        n: fc.integer({ min: 1, max: 5 }),
        on: fc.shuffledSubarray(VNIS),
        gateway: fc.boolean(),
        bridge: fc.boolean(),
        published: fc.boolean(),
        hung: fc.constantFrom(null, 'bridge' as const, 'private' as const),
        vip: fc.option(fc.subarray([1, 2, 3, 101, 102])),
        gates: fc.option(fc.uniqueArray(fc.integer({ min: 200, max: 205 }), { maxLength: 4 })),
      }),
      {
        selector: ({ n }) => n,
        maxLength: 4,
      },
    ),
    gateway: fc.boolean(),
    members: fc.option(fc.subarray(MEMBERS)),
    parent: fc.boolean(),
    agentPorts: fc.constantFrom([], [2377, 7946]),
    bridge: fc.constantFrom(null, BRIDGE, { ...BRIDGE, icc: false }, { ...BRIDGE, internal: true }),
    on: fc.constantFrom('a' as const, 'b' as const),
    families: fc.constantFrom('4', '6', '46'),
    served: fc.option(
      fc.uniqueArray(
        fc.record({
          port: fc.integer({ min: 8000, max: 8004 }),
          backends: fc.subarray([1, 2, 3, 101, 102]),
          affinityMs: fc.constantFrom(0, 0, 60_000),
          source: fc.constantFrom('keep' as const, 'snat' as const),
        }),
        { selector: ({ port }) => port },
      ),
    ),
  })
  .map(({ served, vnis, small, remotes, boxes, gateway, parent, bridge, members, agentPorts, on, families }) => {
    const unique = [...new Map(remotes).entries()];
    return wanted({
      overlays: vnis.map((vni) => ({
        ...overlay(
          vni,
          on,
          unique.flatMap(([n, vtep]) => [
            ...(families === '6' ? [] : [remote(vni, n, vtep)]),
            ...(families === '4' ? [] : [remote6(vni, n, vtep)]),
          ]),
        ),
        mtu: small.includes(vni) ? 1350 : MTU,
      })),
      sandboxes: boxes
        .map((box) => {
          const own = box.on.filter((vni) => vnis.includes(vni));
          const plain = sandbox(`box${box.n}`, box.n, own, gateway && box.gateway);
          const dual = families === '4' ? plain : withIpv6(plain, families === '6');
          const wide = box.gateway ? widened(dual) : dual;
          const port = { protocol: 'tcp', hostIp: null, hostPort: 8000 + box.n, port: 80 } as const;
          const all = bridge !== null && box.bridge ? bridged(wide, box.n, box.published ? [port] : []) : wide;
          const whole = parent && box.hung !== null ? hung(all, box.n, box.hung) : all;
          const led = box.vip === null ? whole : { ...whole, vips: vipsOf(box.vip) };
          if (box.gates === null || own.length === 0) return led;
          return families === '46' ? returning6(led, box.gates) : returning(led, box.gates);
        })
        .concat(
          served === null || !vnis.includes(4097)
            ? []
            : [
                gateOf(
                  families === '4' ? sandbox('gate', 9, [4097]) : withHostLeg(withIpv6(sandbox('gate', 9, [4097])), 9),
                  served.map(({ backends, ...each }) => ({
                    ...each,
                    protocol: 'tcp' as const,
                    backends: [...backends.map(backend), ...(families === '4' ? [] : backends.map(backend6))],
                  })),
                ),
              ],
        ),
      parents: parent ? [PARENT] : [],
      bridges: [...(gateway ? [GATEWAY] : []), ...(bridge === null ? [] : [bridge])],
      agentPorts,
      guard: members === null ? null : { port: PORT, vteps: members, vnis: vnis.map((vni) => must(parseVni(vni))) },
    });
  });

/** Ways in which someone else changes the kernel. `pick` chooses which of the objects. */
export const disturb: Record<string, (kernel: Observed, pick: number) => void> = {
  'delete a device': (kernel, pick) => {
    const [devices, name] = choose([kernel.weft.devices, kernel.host.devices], pick);
    if (name === undefined) return;
    const where = devices === kernel.host.devices ? null : OVERLAY_NETNS;
    applyToModel(kernel, { kind: 'device-delete', object: '', needs: [], why: '', where, name });
  },
  'set a device down and its MTU wrong': ({ weft, host }, pick) => {
    const [devices, name] = choose([weft.devices, host.devices], pick);
    const device = devices?.get(name ?? '');
    if (devices && device && name !== undefined)
      devices.set(name, { ...device, up: false, mtu: 900, master: null, port: null });
  },
  'turn a device into another kind': ({ weft }, pick) => {
    const [devices, name] = choose([weft.devices], pick);
    const device = devices?.get(name ?? '');
    if (devices && device && name !== undefined) devices.set(name, { ...device, kind: 'dummy', vxlan: null });
  },
  'lose entries': ({ weft }) => {
    for (const { fdb, neighbours } of weft.tunnels.values()) {
      fdb.clear();
      neighbours.clear();
    }
    weft.statics.clear();
  },
  'add entries': ({ weft }) => {
    for (const { fdb, neighbours } of weft.tunnels.values()) {
      fdb.set('02:00:00:00:00:99', '10.99.0.9');
      neighbours.set('10.9.9.9', { mac: '02:00:00:00:00:99', ours: true });
      neighbours.set('fd09::9', { mac: '02:00:00:00:00:99', ours: true });
    }
  },
  'lose addresses and routes': ({ sandboxes }) => {
    for (const box of sandboxes.values()) {
      box.defaultRoute = null;
      box.defaultRoute6 = null;
      box.tableRoutes.clear();
      for (const [name, device] of box.devices)
        box.devices.set(name, { ...device, addresses: new Set(['10.7.7.7/24']), onLink: new Set(), up: false });
    }
  },
  'switch IPv6 off in sandboxes': ({ sandboxes }) => {
    for (const box of sandboxes.values()) {
      for (const [name, device] of box.devices) {
        const rest = (all: ReadonlySet<string>): Set<string> => new Set([...all].filter((each) => !each.includes(':')));
        const left = { addresses: rest(device.addresses), onLink: rest(device.onLink) };
        box.devices.set(name, { ...device, ...left, ipv6: 'off' });
      }
    }
  },
  'lose a table': (kernel, pick) => {
    const [tables, name] = choose(allTables(kernel), pick);
    tables?.delete(name ?? '');
  },
  'alter a table': (kernel, pick) => {
    const [tables, name = ''] = choose(allTables(kernel), pick);
    const table = tables?.get(name);
    if (table) tables?.set(name, { ...table, digest: 'altered' });
  },
  'lose and add elements': (kernel) => {
    for (const { elements } of allTables(kernel).flatMap((tables) => [...tables.values()])) {
      for (const [set, keys] of elements) {
        keys.clear();
        keys.add(STRANGE[set] ?? '');
      }
    }
  },
  'lose what is of IPv6 on the host': ({ host }) => {
    for (const [name, addresses] of host.addresses) {
      for (const each of addresses) if (each.includes(':')) addresses.delete(each);
      if (host.quiet6.has(name)) addresses.add('fd66::66/64');
    }
    host.quiet6.clear();
    host.loopback6.clear();
    host.forwarding6 = { ...host.forwarding6, deaf: ['eth66'] };
  },
  'stop forwarding': ({ host, sandboxes }) => {
    host.forwarding = { ...host.forwarding, on: false };
    host.forwarding6 = { ...host.forwarding6, on: false };
    for (const box of sandboxes.values()) {
      box.forwards = false;
      box.forwards6 = false;
    }
  },
  'lose and add routing by marks': ({ sandboxes }) => {
    for (const box of sandboxes.values()) {
      if (box.tables.size === 0) continue;
      box.rules.clear();
      box.rules.add('66/4294967295 66 5757').add('-6 66/4294967295 66 5757');
      for (const table of box.tableRoutes.keys()) box.tableRoutes.set(table, '10.0.66.66 eth66');
      box.tableRoutes.set(`${0x57000042}`, '10.0.66.66 eth66');
      box.tableRoutes.set(`-6 ${0x57000042}`, 'fd00::6666 eth66');
      box.heedsMarks.clear();
    }
  },
};

export function choose<V>(
  maps: readonly Map<string, V>[],
  pick: number,
): [Map<string, V> | undefined, string | undefined] {
  const all = maps.flatMap((map) => [...map.keys()].map((name) => [map, name] as const));
  const chosen = all[pick % Math.max(all.length, 1)];
  return chosen ? [chosen[0], chosen[1]] : [undefined, undefined];
}

export const disturbances = fc.array(fc.tuple(fc.constantFrom(...Object.keys(disturb)), fc.nat(50)), { maxLength: 4 });

export function reach(kernel: Observed, desired: Desired, with_: DiffOptions = options): readonly Step[] {
  const { steps } = diff(desired, kernel, with_);
  for (const step of steps) applyToModel(kernel, step);
  return steps;
}
