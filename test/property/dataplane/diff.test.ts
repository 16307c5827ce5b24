import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Desired } from '../../../dataplane/desired.ts';
import { applyToModel } from '../../../dataplane/diff/after.ts';
import { type DiffOptions, diff } from '../../../dataplane/diff/diff.ts';
import { parseOurName } from '../../../dataplane/names.ts';
import { emptyObserved, type Observed } from '../../../dataplane/observe/observed.ts';
import { ipLines } from '../../../dataplane/steps.ts';
import { GATEWAY } from '../../e2e/dataplane/wanted.ts';
import { desiredState, disturb, disturbances, options, reach } from './kernel.ts';

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
        for (const line of ipLines(step) ?? []) assert.match(line, /^(-6 )?[a-z][\x20-\x7e]*$/);
      }
    }),
  );
});
