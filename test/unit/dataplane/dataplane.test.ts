import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DataPlane } from '../../../dataplane/dataplane.ts';
import { Failures, objectsOf } from '../../../dataplane/failures.ts';
import type { Log } from '../../../dataplane/log.ts';
import { endpointId, GATEWAY, overlay, sandbox, wanted } from '../../e2e/dataplane/wanted.ts';
import { ModelKernel } from '../../property/dataplane/model-kernel.ts';

// What needs no kernel, or a model of one.

const quiet: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const plane = (): DataPlane => new DataPlane({ log: quiet, runDir: '/nonexistent' });

test('nothing to wait for before the first set', async () => {
  await plane().settled();
});

test('the same state again is no new generation', () => {
  const data = plane();
  const desired = wanted({});
  const first = data.set(desired, { prune: false });
  assert.equal(data.set(desired, { prune: false }), first);
  assert.equal(data.set(desired, { prune: true }), first + 1);
});

test('waiting ends with the signal, and with the data plane', async () => {
  const data = plane();
  const generation = data.set(wanted({}), { prune: false });
  const controller = new AbortController();
  const aborted = data.settled(generation, controller.signal);
  controller.abort(new Error('enough'));
  await assert.rejects(aborted, /enough/);
  const stopped = data.whenApplied(endpointId(1, 1));
  await Promise.all([assert.rejects(stopped, /stopped/), data[Symbol.asyncDispose]()]);
  await assert.rejects(data.settled(), /stopped/);
});

test('a loop without a wanted state ends with its signal', async () => {
  const data = plane();
  const controller = new AbortController();
  data.start(controller.signal);
  assert.throws(() => data.start(controller.signal), /already started/);
  controller.abort();
  await data[Symbol.asyncDispose]();
});

test('what is wanted and not applied is pending', () => {
  const data = plane();
  data.set(wanted({ overlays: [overlay(4097, 'a')], sandboxes: [sandbox('one', 1, [4097])] }), { prune: true });
  const pending = { state: 'pending', why: 'not applied yet' };
  assert.deepEqual(
    data.status(),
    new Map(['ports', 'overlay/4097', 'sandbox/one', `endpoint/${endpointId(4097, 1)}`].map((key) => [key, pending])),
  );
});

test('a status is not that of what was wanted before, while the kernel cannot be listed', async () => {
  const kernel = new ModelKernel();
  await using data = new DataPlane({ log: quiet, runDir: '/nonexistent', kernel, retryMinMs: 3_600_000 });
  data.start(new AbortController().signal);
  const before = wanted({ sandboxes: [sandbox('one', 1, [])] });
  await data.settled(data.set(before, { prune: true }));
  assert.deepEqual(data.status().get('sandbox/one'), { state: 'ok' });
  kernel.fault = { at: kernel.calls + 1, how: 'EPERM' };
  data.set(
    { ...before, sandboxes: [{ ...sandbox('one', 1, []), netns: '/run/netns/weft-other' as never }] },
    { prune: true },
  );
  await assert.rejects(data.whenApplied(endpointId(1, 1)), /Operation not permitted/);
  const status = data.status().get('sandbox/one');
  assert.ok(status?.state === 'pending' && /Operation not permitted/.test(status.why), JSON.stringify(status));
});

test('an object is held back longer each time, and its dependents say what they wait for', () => {
  const failures = new Failures({ minMs: 100, maxMs: 1000 });
  const broken = new Error('no such thing');
  assert.deepEqual(
    [0, 0, 0, 0, 0].map((nowMs) => failures.add('overlay/1', broken, nowMs)),
    [100, 200, 400, 800, 1000],
  );
  assert.ok(failures.isHeld('overlay/1', 999) && !failures.isHeld('overlay/1', 1000));
  assert.equal(failures.nextRetryAtMs(), 1000);
  const toWallMs = (atMs: number): number => atMs + 5;
  assert.deepEqual(failures.statusOf('overlay/1', [], toWallMs), {
    state: 'failed',
    why: 'no such thing',
    retryAt: 1005,
  });
  assert.deepEqual(failures.statusOf('endpoint/x', ['overlay/1'], toWallMs), {
    state: 'pending',
    why: 'waits for overlay/1: no such thing',
  });
  assert.deepEqual(
    failures.keepOnly(() => false),
    ['overlay/1'],
  );
  assert.deepEqual(failures.statusOf('overlay/1', [], toWallMs), { state: 'ok' });
});

test('an endpoint needs its sandbox, and its network or the gateway', () => {
  const objects = objectsOf(
    wanted({ overlays: [overlay(4097, 'a')], sandboxes: [sandbox('one', 1, [4097], true)], bridges: [GATEWAY] }),
  );
  assert.deepEqual(objects.get(`endpoint/${endpointId(4097, 1)}`), ['netns/weft', 'overlay/4097', 'sandbox/one']);
  assert.deepEqual(objects.get(`endpoint/${endpointId(0, 1)}`), ['sandbox/one', 'bridge/docker_gwbridge', 'rules']);
});
