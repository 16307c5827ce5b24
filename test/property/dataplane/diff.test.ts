import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { applyToModel } from '../../../dataplane/after.ts';
import type { Desired, DesiredSandbox } from '../../../dataplane/desired.ts';
import { type DiffOptions, diff } from '../../../dataplane/diff.ts';
import { OVERLAY_NETNS, parseOurName } from '../../../dataplane/names.ts';
import { emptyObserved, type Observed } from '../../../dataplane/observed.ts';
import { ipLines, type Step } from '../../../dataplane/steps.ts';
import { must, parseMac } from '../../../dataplane/values.ts';
import { GATEWAY, overlay, remote, sandbox, wanted, widened } from '../../e2e/dataplane/wanted.ts';

const options: DiffOptions = { prune: true, randomMac: () => must(parseMac('02:00:00:00:00:aa')) };
const VNIS = [4097, 4098, 4099];

/** Any state that a plan could want: sandbox n is endpoint n of some networks, remotes are endpoints above 100. */
const desiredState: fc.Arbitrary<Desired> = fc
  .record({
    vnis: fc.subarray(VNIS),
    remotes: fc.array(fc.tuple(fc.integer({ min: 101, max: 110 }), fc.constantFrom('a' as const, 'b' as const)), {
      maxLength: 8,
    }),
    boxes: fc.uniqueArray(
      fc.record({ n: fc.integer({ min: 1, max: 5 }), on: fc.shuffledSubarray(VNIS), gateway: fc.boolean() }),
      {
        selector: ({ n }) => n,
        maxLength: 4,
      },
    ),
    gateway: fc.boolean(),
    on: fc.constantFrom('a' as const, 'b' as const),
  })
  .map(({ vnis, remotes, boxes, gateway, on }) => {
    const unique = [...new Map(remotes).entries()];
    return wanted({
      overlays: vnis.map((vni) =>
        overlay(
          vni,
          on,
          unique.map(([n, vtep]) => remote(vni, n, vtep)),
        ),
      ),
      sandboxes: boxes.map((box) =>
        (box.gateway ? widened : (plain: DesiredSandbox) => plain)(
          sandbox(
            `box${box.n}`,
            box.n,
            box.on.filter((vni) => vnis.includes(vni)),
            gateway && box.gateway,
          ),
        ),
      ),
      gatewayBridge: gateway ? GATEWAY : null,
    });
  });

/** Ways in which someone else changes the kernel. `pick` chooses which of the objects. */
const disturb: Record<string, (kernel: Observed, pick: number) => void> = {
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
    }
  },
  'lose addresses and routes': ({ sandboxes }) => {
    for (const box of sandboxes.values()) {
      box.defaultRoute = null;
      for (const [name, device] of box.devices)
        box.devices.set(name, { ...device, addresses: new Set(['10.7.7.7/24']), onLink: new Set(), up: false });
    }
  },
  'lose the rules': ({ host }) => {
    host.rules = null;
  },
  'alter the rules': ({ host }) => {
    if (host.rules !== null) host.rules = 'altered';
  },
  'stop forwarding': ({ host }) => {
    host.forwarding = { ...host.forwarding, on: false };
  },
};

function choose<V>(maps: readonly Map<string, V>[], pick: number): [Map<string, V> | undefined, string | undefined] {
  const all = maps.flatMap((map) => [...map.keys()].map((name) => [map, name] as const));
  const chosen = all[pick % Math.max(all.length, 1)];
  return chosen ? [chosen[0], chosen[1]] : [undefined, undefined];
}

const disturbances = fc.array(fc.tuple(fc.constantFrom(...Object.keys(disturb)), fc.nat(50)), { maxLength: 4 });

function foreign(kernel: Observed): void {
  const device = { kind: 'bridge', mtu: 1500, mac: '', up: true, alias: '', master: null, vxlan: null, port: null };
  kernel.weft.devices.set('br-theirs', device);
  kernel.host.devices.set('docker0', device);
}

/** Sandboxes that are gone from the wanted state are not listed by the kernel's lister either. */
function lookAt(kernel: Observed, desired: Desired): void {
  const netns = new Set<string>(desired.sandboxes.map((box) => box.netns));
  for (const path of kernel.sandboxes.keys()) if (!netns.has(path)) kernel.sandboxes.delete(path);
}

function reach(kernel: Observed, desired: Desired, with_: DiffOptions = options): readonly Step[] {
  const { steps } = diff(desired, kernel, with_);
  for (const step of steps) applyToModel(kernel, step);
  return steps;
}

test('from any kernel to any wanted state: one pass, and then nothing is left to do', () => {
  fc.assert(
    fc.property(desiredState, desiredState, disturbances, (before, after, changes) => {
      const kernel = emptyObserved();
      foreign(kernel);
      reach(kernel, before);
      for (const [what, pick] of changes) disturb[what]?.(kernel, pick);
      reach(kernel, after);
      lookAt(kernel, after);
      const rest = diff(after, kernel, options);
      assert.deepEqual(rest.steps, []);
    }),
    { numRuns: 2000 },
  );
});

test('comparing with the last wanted state gives the same steps as comparing with the whole kernel', () => {
  fc.assert(
    fc.property(desiredState, desiredState, fc.boolean(), (before, after, prune) => {
      const kernel = emptyObserved();
      reach(kernel, before);
      const appliedRemotes = new Map(before.overlays.map(({ vni, remotes }) => [vni, remotes]));
      const sorted = (with_: DiffOptions): string[] =>
        diff(after, kernel, with_)
          .steps.map((step) => JSON.stringify(step))
          .sort();
      assert.deepEqual(sorted({ ...options, prune, appliedRemotes }), sorted({ ...options, prune }));
    }),
    { numRuns: 1000 },
  );
});

test('nothing of anyone else is touched, by any step', () => {
  fc.assert(
    fc.property(desiredState, desiredState, disturbances, (before, after, changes) => {
      const kernel = emptyObserved();
      foreign(kernel);
      reach(kernel, before);
      for (const [what, pick] of changes)
        if (what !== 'delete a device' && !what.startsWith('turn') && !what.startsWith('set'))
          disturb[what]?.(kernel, pick);
      for (const step of reach(kernel, after)) {
        if (step.kind !== 'device-delete' && step.kind !== 'device-set') continue;
        const inSandbox = step.where?.startsWith('/run/netns/weft-') ?? false;
        assert.ok(inSandbox || parseOurName(step.name) || step.name === GATEWAY.name, step.name);
      }
      assert.ok(kernel.weft.devices.has('br-theirs') && kernel.host.devices.has('docker0'));
    }),
  );
});

test('without pruning, whatever was there and is not in the way of anything stays', () => {
  fc.assert(
    fc.property(desiredState, desiredState, (before, after) => {
      const kernel = emptyObserved();
      reach(kernel, before);
      for (const step of diff(after, kernel, { ...options, prune: false }).steps) {
        if (step.kind === 'entry') assert.match(step.write.op, /-put$/);
        assert.ok(!['netns-delete', 'address-delete', 'rules-delete'].includes(step.kind));
        // A device that goes is the wrong device for an object that is wanted.
        if (step.kind === 'device-delete') assert.match(step.object, /^(overlay|endpoint)\//);
      }
    }),
  );
});

test('every step can be taken twice', () => {
  fc.assert(
    fc.property(desiredState, desiredState, (before, after) => {
      const once = emptyObserved();
      const twice = emptyObserved();
      reach(once, before);
      reach(twice, before);
      for (const step of diff(after, once, options).steps) applyToModel(once, step);
      const { steps } = diff(after, twice, options);
      for (const step of steps.filter(
        ({ kind }) => kind === 'entry' || kind.endsWith('-delete') || kind === 'device-set',
      )) {
        applyToModel(twice, step);
      }
      for (const step of steps) applyToModel(twice, step);
      lookAt(twice, after);
      assert.deepEqual(diff(after, twice, options).steps, []);
    }),
  );
});

test('no command that a step is shown as holds a newline', () => {
  fc.assert(
    fc.property(desiredState, (desired) => {
      for (const step of diff(desired, emptyObserved(), options).steps) {
        for (const line of ipLines(step) ?? []) assert.match(line, /^[a-z][\x20-\x7e]*$/);
      }
    }),
  );
});
