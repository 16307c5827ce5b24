import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Desired } from '../../../dataplane/desired.ts';
import { allOk } from './checks.ts';
import { Host } from './host.ts';
import { gatePort6 } from './mesh.ts';
import {
  BRIDGE,
  GATEWAY,
  gateOf,
  guard,
  overlay,
  remote,
  remote6,
  returning6,
  sandbox,
  wanted,
  widened,
  withHostLeg,
  withIpv6,
} from './wanted.ts';

const full = wanted({
  overlays: [overlay(4097, 'a', [remote(4097, 2, 'b'), remote6(4097, 2, 'b')]), overlay(4098, 'a')],
  sandboxes: [
    returning6(widened(withIpv6(sandbox('one', 1, [4097, 4098], true))), [9, 10]),
    sandbox('two', 3, [4098]),
    withHostLeg(
      gateOf(withIpv6(sandbox('gate', 9, [4097], true)), [
        gatePort6('tcp', [1, 2]),
        gatePort6('udp', [2], { affinityMs: 1000 }),
      ]),
      9,
      [{ protocol: 'tcp', hostIp: null, hostPort: 8080, port: 8080 }],
    ),
  ],
  bridges: [GATEWAY, BRIDGE],
  guard: guard('a', [4097, 4098]),
});
const [first] = full.overlays;
const [one, , gate] = full.sandboxes;
assert.ok(first && one && gate);
const { returns: _returns, ...bare } = one;
const less = {
  ...full,
  overlays: [{ ...first, mtu: 1350, remotes: [remote(4097, 2, 'b'), remote(4097, 9, 'b')] }],
  sandboxes: [
    returning6({ ...one, overlayLegs: one.overlayLegs.slice(0, 1) }, [10, 11]),
    gateOf(gate, [gatePort6('tcp', [2]), gatePort6('udp', [1, 3], { affinityMs: 1000 })]),
  ],
  bridges: [GATEWAY],
};
const unserved = { ...full, sandboxes: [bare, { ...gate, gate: { ...gate.gate, ports: [] } }] } as Desired;

test('what a preview shows, run by hand, leaves nothing to do', async () => {
  await using host = await Host.start();
  await host.run('ip', 'address', 'add', '10.99.0.1/32', 'dev', 'lo');
  // Who switches it on by hand is the owner of the host, and the rules differ with that.
  await host.run('sysctl', '-w', 'net.ipv4.ip_forward=1');
  await host.run('sysctl', '-w', 'net.ipv6.conf.all.forwarding=1');
  let before = wanted({});
  for (const desired of [full, less, full, unserved, wanted({})]) {
    // What is done by hand would be undone at once.
    await host.restart(null, 'observe');
    await host.set(before);
    const { commands, conflicts } = await host.preview(desired);
    assert.deepEqual(conflicts, []);
    assert.ok(commands.length > 0);
    assert.equal((await host.preview(desired)).commands.length, commands.length, 'nothing was done');
    for (const command of commands) await host.run('sh', '-ec', command);
    await host.restart();
    await host.set(desired);
    assert.equal((await host.stats()).steps, 0, (await host.log()).join('\n'));
    await allOk(host);
    before = desired;
  }
});
