import assert from 'node:assert/strict';
import { test } from 'node:test';
import { must, parseCidr, parseIfName } from '../../../dataplane/values.ts';
import { stepsOfSweep } from './checks.ts';
import { connect, Host } from './host.ts';
import { endpointId, guard, macOf, overlay, remote, sandbox, wanted } from './wanted.ts';

/** A bridge has 1023 ports, one of them that of the VXLAN device. */
const LEGS_MAX = 1022;

/** A sandbox with legs 1 to `count` on one network: a namespace for each would be as many processes of `ip`. */
function crowd(count: number) {
  const box = sandbox('crowd', 1, []);
  const overlayLegs = Array.from({ length: count }, (_, at) => ({
    ...(sandbox('one', at + 1, [4097]).overlayLegs[0] ?? assert.fail()),
    ifName: must(parseIfName(`eth${at}`)),
    addresses: [must(parseCidr(`10.0.${(at + 1) >> 8}.${(at + 1) & 0xff}/32`))],
  }));
  return { ...box, overlayLegs };
}

test('as many endpoints on one network and host as a bridge has ports, and words for those that are too many', async () => {
  await using host = await Host.start();
  await host.run('ip', 'address', 'add', '10.99.0.1/32', 'dev', 'lo');
  const overlays = [overlay(4097, 'a', [remote(4097, 5000, 'b')])];
  await host.set(wanted({ overlays, sandboxes: [crowd(LEGS_MAX + 2)] }));
  const status = await host.status();
  const failed = Object.entries(status).filter(([, { state }]) => state !== 'ok');
  assert.deepEqual(
    failed.map(([object]) => object),
    [LEGS_MAX + 1, LEGS_MAX + 2].map((n) => `endpoint/${endpointId(4097, n)}`),
  );
  await assert.rejects(
    host.whenApplied(endpointId(4097, LEGS_MAX + 1)),
    /wb4097 has the 1023 ports that a bridge can have/,
  );
  await host.whenApplied(endpointId(4097, LEGS_MAX));
  await host.set(wanted({ overlays, sandboxes: [crowd(LEGS_MAX)] }));
  assert.ok(Object.values(await host.status()).every(({ state }) => state === 'ok'));
  assert.equal(await stepsOfSweep(host), 0);
});

test('200 networks on one host, all with the same subnet, each for itself', async () => {
  await using a = await Host.start();
  await using b = await Host.start();
  await connect(a, b);
  const vnis = Array.from({ length: 200 }, (_, at) => 4096 + at);
  const state = (on: 'a' | 'b', own: number, far: number) =>
    wanted({
      overlays: vnis.map((vni) => overlay(vni, on, [remote(vni, far, on === 'a' ? 'b' : 'a')])),
      sandboxes: [0, 99, 199].map((at) => sandbox(`box${at}`, own, [4096 + at])),
      guard: guard(on, vnis),
    });
  await Promise.all([a.set(state('a', 1, 2)), b.set(state('b', 2, 1))]);
  for (const host of [a, b]) {
    assert.ok(Object.values(await host.status()).every(({ state: each }) => each === 'ok'));
    assert.equal(await stepsOfSweep(host), 0);
    assert.deepEqual(await host.drift(), []);
  }
  for (const at of [0, 99, 199]) assert.ok(await a.pings(`weft-box${at}`, '10.0.0.2'), `network ${at}`);
  // The same address is another sandbox on each network.
  for (const at of [0, 99, 199]) {
    await a.run('ip', 'netns', 'exec', `weft-box${at}`, 'ping', '-c1', '-W1', '10.0.0.2');
    const neighbours = await a.run('ip', '-n', `weft-box${at}`, 'neigh', 'show', '10.0.0.2');
    assert.match(neighbours, new RegExp(macOf(4096 + at, 2)));
  }
});
