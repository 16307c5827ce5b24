import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { must, parseIp } from '../../../dataplane/values.ts';
import { eventually } from '../../lab/process.ts';
import { changes, hostEnd } from './changes.ts';
import { allOk, stepsOfSweep } from './checks.ts';
import { connect, Host } from './host.ts';
import { gatePort, gatePort6 } from './mesh.ts';
import {
  BRIDGE,
  bridged,
  endpointId,
  GATEWAY,
  gateOf,
  guard,
  hung,
  macOf,
  overlay,
  PORT,
  remote,
  remote6,
  returning6,
  sandbox,
  wanted,
  widened,
  withHostLeg,
  withIpv6,
} from './wanted.ts';

const inWeft = (...command: string[]): string[] => ['ip', 'netns', 'exec', 'weft', ...command];
const published = [{ protocol: 'tcp', hostIp: null, hostPort: 8080, port: 80 }] as const;

/** Commands for `ip -batch`, in a file of their own. */
async function batchFile(lines: readonly string[]): Promise<AsyncDisposable & { readonly path: string }> {
  const directory = await mkdtemp(`${tmpdir()}/weft-batch-`);
  const path = `${directory}/batch`;
  await writeFile(path, [...lines, ''].join('\n'));
  return { path, [Symbol.asyncDispose]: () => rm(directory, { recursive: true }) };
}

/** How often each is done; fewer than what passes for a fight. */
const TIMES = Number(process.env['DRIFT_TIMES'] ?? 3);

test('a change by someone else is heard, repaired and named', async (t) => {
  await using a = await Host.start();
  await using b = await Host.start();
  await connect(a, b);
  await b.set(
    wanted({
      overlays: [overlay(4097, 'b', [remote(4097, 1, 'a'), remote6(4097, 1, 'a')])],
      sandboxes: [withIpv6(sandbox('two', 2, [4097]))],
    }),
  );
  const onA = wanted({
    overlays: [overlay(4097, 'a', [remote(4097, 2, 'b'), remote6(4097, 2, 'b')]), { ...overlay(4098, 'a'), mtu: 1350 }],
    sandboxes: [
      returning6(bridged(widened(withIpv6(sandbox('one', 1, [4097], true))), 1, published), [9]),
      withHostLeg(
        gateOf(withIpv6(sandbox('gate', 9, [4097], true)), [gatePort6('tcp', [1, 2]), gatePort('udp', [2])]),
        9,
        published,
      ),
    ],
    bridges: [GATEWAY, BRIDGE],
    agentPorts: [2377, 7946],
    guard: guard('a', [4097]),
  });
  await a.set(onA);
  assert.ok(await a.pings('weft-one', '10.0.0.2'));
  const { listings } = await a.stats();
  assert.equal(listings, 1, 'what we do ourselves is no reason to list');

  for (const [what, command, named] of changes) {
    await t.test(what, async () => {
      // One that has repaired nothing yet, or it would come to take this for a fight.
      await a.restart();
      await a.set(onA);
      assert.equal((await a.stats()).steps, 0, 'adopted as it is');
      for (let time = 1; time <= TIMES; time++) {
        const before = await a.stats();
        await a.log();
        await a.run(...command);
        await a.line(new RegExp(`^repaired drift: .*${named.source}`));
        // A namespace that was deleted holds its devices until the kernel has taken them down, in its own time.
        await allOk(a);
        assert.ok((await a.stats()).repairs > before.repairs);
      }
      assert.equal(await stepsOfSweep(a), 0);
      assert.deepEqual(await a.drift(), []);
      assert.ok(await a.pings('weft-one', '10.0.0.2'), 'network');
      assert.ok(await a.pings('weft-one', 'fd00::2'), 'network, by IPv6');
      assert.ok(await a.pings('weft-one', '172.18.0.1'), 'gateway');
      assert.ok(await a.pings('weft-one', '172.30.0.1'), 'bridge network');
    });
  }
  await t.test('a change of mind is no drift', async () => {
    const before = await a.stats();
    await a.log();
    await a.set(wanted({ overlays: [overlay(4097, 'a')], sandboxes: [sandbox('one', 1, [4097])] }));
    const after = await a.stats();
    assert.deepEqual([after.repairs, after.listings], [before.repairs, before.listings]);
    assert.doesNotMatch((await a.log()).join('\n'), /drift/);
  });
  await t.test('what is not told is found by the sweep', async () => {
    await a.restart(20);
    await a.set(wanted({ overlays: [overlay(4097, 'a')] }));
    await a.log();
    await a.run(...inWeft('sysctl', '-w', 'net.ipv6.conf.wx4097.disable_ipv6=1'));
    await a.line(/^repaired drift: overlay\/4097: wx4097 cannot hold IPv6 neighbours/);
    await a.set(wanted({ sandboxes: [bridged(sandbox('two', 2, []), 2, published)], bridges: [BRIDGE] }));
    await a.run('sysctl', '-w', `net/ipv4/conf/${BRIDGE.name}/route_localnet=0`);
    await a.line(/^repaired drift: bridge\/wnabcdefghijkl: route_localnet is 0/);
    await a.set(wanted({ sandboxes: [withHostLeg(sandbox('gate', 9, []), 9, published)], bridges: [GATEWAY] }));
    await a.run('ip', '-6', 'route', 'del', 'local', '::1', 'dev', hostEnd, 'table', 'local');
    await a.line(/^repaired drift: endpoint\/000003000009.*the route to ::1 is missing/);
    await a.run('sysctl', '-w', 'net.ipv6.conf.u0.accept_ra=1');
    await a.line(/^repaired drift: .*router advertisements are not heeded: u0/);
    assert.equal((await a.run('sysctl', '-n', 'net.ipv6.conf.u0.accept_ra')).trim(), '2');
    await a.run('sysctl', '-w', `net.ipv6.conf.${hostEnd}.accept_ra=2`);
    await a.line(/^repaired drift: .*router advertisements are heeded/);
  });
});

test('what we do ourselves is no reason to list', async () => {
  await using host = await Host.start();
  await host.run('ip', 'address', 'add', '10.99.0.1/32', 'dev', 'lo');
  await host.run('ip', 'address', 'add', '10.99.0.3/32', 'dev', 'lo');
  const remotes = [2, 3, 4].map((n) => remote(4097, n, 'b'));
  const full = wanted({
    overlays: [overlay(4097, 'a', remotes), overlay(4098, 'a')],
    sandboxes: [
      hung(bridged(widened(sandbox('one', 1, [4097, 4098], true)), 1, published), 1, 'bridge', 'p0' as never),
      sandbox('two', 8, [4097]),
    ],
    bridges: [GATEWAY, BRIDGE],
    guard: guard('a', [4097, 4098]),
  });
  await host.run('ip', 'link', 'add', 'p0', 'type', 'veth', 'peer', 'name', 'p1');
  await host.run('ip', 'link', 'set', 'p0', 'up');
  const [first, second] = full.overlays;
  const [one, two] = full.sandboxes;
  assert.ok(first && second && one && two);
  await host.set(full);
  const { listings } = await host.stats();
  const states = [
    { ...full, sandboxes: [one] },
    { ...full, overlays: [{ ...first, mtu: 1300, remotes: remotes.slice(1) }, second] },
    { ...full, overlays: [{ ...first, vtep: must(parseIp('10.99.0.3')) }, second] },
    { ...full, overlays: [{ ...first, remotes: remotes.map((each) => ({ ...each, mac: macOf(1, 1) })) }, second] },
    { ...full, overlays: [first], sandboxes: [{ ...one, overlayLegs: one.overlayLegs.slice(0, 1) }, two] },
    { ...full, sandboxes: [{ ...one, bridgeLegs: [] }] },
    { ...full, sandboxes: [{ ...one, directLegs: [] }, two] },
    { ...full, sandboxes: [hung({ ...one, directLegs: [] }, 1, 'private', 'p0' as never), two] },
    { ...full, sandboxes: [{ ...one, bridgeLegs: one.bridgeLegs.map((leg) => ({ ...leg, published: [] })) }, two] },
    { ...full, bridges: [GATEWAY, { ...BRIDGE, icc: false }] },
    { ...full, guard: { port: PORT, vteps: [], vnis: [] } },
    { ...full, sandboxes: [] },
  ];
  for (const state of states) {
    await host.set(state);
    await host.set(full);
  }
  await host.whenApplied(endpointId(4097, 1));
  assert.equal((await host.stats()).listings, listings);
  assert.deepEqual(await host.drift(), []);
});

test('thousands of entries that go at once are back, and take few listings', async () => {
  await using host = await Host.start();
  await host.run('ip', 'address', 'add', '10.99.0.1/32', 'dev', 'lo');
  const remotes = Array.from({ length: 10_000 }, (_, at) => remote(4097, at + 10, 'b'));
  await host.set(wanted({ overlays: [overlay(4097, 'a', remotes)] }));
  const before = await host.stats();
  await host.log();
  // Each once: `ip neigh flush` lists and flushes until nothing is left, and so would take what was put back a second time.
  await using batch = await batchFile(remotes.map(({ ip }) => `neigh del ${ip} dev wx4097`));
  await host.run('ip', '-n', 'weft', '-batch', batch.path);
  await eventually(
    'each entry to be put back',
    async () => (await host.stats()).repairs - before.repairs >= remotes.length,
  );
  assert.deepEqual(await host.drift(), []);
  const { listings, repairs } = await host.stats();
  assert.equal(repairs - before.repairs, remotes.length);
  assert.ok(listings - before.listings < 10, `${listings - before.listings} listings`);
});

test('a flood of changes, of which some are never told, is found all the same', async () => {
  await using host = await Host.start();
  await host.run('ip', 'address', 'add', '10.99.0.1/32', 'dev', 'lo');
  const remotes = [2, 3, 4].map((n) => remote(4097, n, 'b'));
  await host.set(wanted({ overlays: [overlay(4097, 'a', remotes)] }));
  await host.run(...inWeft('ip', 'link', 'add', 'br-theirs', 'type', 'bridge'));
  await host.run(...inWeft('ip', 'link', 'set', 'br-theirs', 'up'));
  await host.line(/foreign\/br-theirs/);
  await host.sweep();
  const before = await host.stats();
  await host.log();
  // More than the socket has room for, while nobody reads, and none of our business; ours goes last, when it is full.
  const lines = Array.from(
    { length: 40_000 },
    (_, n) => `neigh replace 192.0.2.1 lladdr ${macOf(1, n)} dev br-theirs nud permanent`,
  );
  await using batch = await batchFile([...lines, `neigh del ${remotes[0]?.ip} dev wx4097`]);
  await host.runBlocked('ip', '-n', 'weft', '-batch', batch.path);
  await host.line(/too many changes at once in .run.netns.weft/);
  await host.line(/^repaired drift/);
  await allOk(host);
  assert.deepEqual(
    (await host.drift()).filter(({ what }) => what !== 'foreign'),
    [],
  );
  const { repairs, doubts } = await host.stats();
  assert.deepEqual([repairs - before.repairs, doubts - before.doubts], [1, 1]);
});

test('who puts it back again and again is left to it for a while, and named', async () => {
  await using host = await Host.start();
  await host.run('ip', 'address', 'add', '10.99.0.1/32', 'dev', 'lo');
  await host.set(wanted({ overlays: [overlay(4097, 'a')] }));
  const down = inWeft('ip', 'link', 'set', 'wb4097', 'down');
  for (let time = 1; time <= 24; time++) {
    await host.log();
    await host.run(...down);
    await host.line(/^repaired drift: overlay\/4097: wb4097: is down/);
  }
  await host.run(...down);
  await host.line(/somebody else changed it again each of 25 times .* left as it is/);
  await host.run(...down);
  const [found] = await host.drift();
  assert.deepEqual([found?.object, found?.what, found?.why], ['overlay/4097', 'wrong', 'wb4097: is down']);
  assert.equal((await host.status())['overlay/4097']?.state, 'failed');
});

test('drift that is only observed is listed, held, and repaired when asked', async (t) => {
  await using host = await Host.start();
  await host.run('ip', 'address', 'add', '10.99.0.1/32', 'dev', 'lo');
  const desired = wanted({
    overlays: [overlay(4097, 'a', [remote(4097, 2, 'b')]), overlay(4098, 'a')],
    sandboxes: [sandbox('one', 1, [4097])],
  });
  await host.restart(null, 'observe');
  await host.set(desired);
  assert.deepEqual(await host.drift(), []);
  await host.log();
  await host.run(...inWeft('ip', 'link', 'set', 'wb4097', 'down'));
  await host.line(/^drift: overlay\/4097: wb4097: is down \(not repaired/);

  await t.test('it is listed, since when it was seen', async () => {
    const [first] = await host.drift();
    assert.deepEqual([first?.object, first?.what, first?.why], ['overlay/4097', 'wrong', 'wb4097: is down']);
    await host.sweep();
    assert.deepEqual(await host.drift(), [first]);
    assert.equal((await host.status())['overlay/4097']?.state, 'pending');
    assert.doesNotMatch(await host.run(...inWeft('ip', 'link', 'show', 'wb4097')), /[<,]UP/);
  });
  await t.test('what is wanted anew is done all the same, but for what needs it', async () => {
    const [first, second] = desired.overlays;
    assert.ok(first && second);
    await host.set({ ...desired, overlays: [first, { ...second, remotes: [remote(4098, 3, 'b')] }] });
    assert.match(await host.run(...inWeft('bridge', 'fdb', 'show', 'dev', 'wx4098')), new RegExp(macOf(4098, 3)));
    await assert.rejects(host.whenApplied(endpointId(4097, 1)), /overlay\/4097: .* is down.*only observed/);
  });
  await t.test('a repair that is asked for is made', async () => {
    assert.equal(await host.repair(), 1);
    assert.deepEqual(await host.drift(), []);
    await allOk(host);
    await host.whenApplied(endpointId(4097, 1));
  });
});

test('what is foreign is named and left alone', async () => {
  await using host = await Host.start();
  await host.run('ip', 'address', 'add', '10.99.0.1/32', 'dev', 'lo');
  await host.set(wanted({ overlays: [overlay(4097, 'a')] }));
  await host.log();
  await host.run(
    ...inWeft('bridge', 'fdb', 'add', '02:00:00:00:00:99', 'dev', 'wx4097', 'dst', '10.99.0.2', 'self', 'static'),
  );
  await host.run(
    ...inWeft('ip', 'neigh', 'add', '10.9.9.9', 'lladdr', '02:00:00:00:00:99', 'dev', 'wx4097', 'nud', 'permanent'),
  );
  await host.run(...inWeft('ip', 'link', 'add', 'br-theirs', 'type', 'bridge'));
  await host.line(/^left alone: foreign\/br-theirs: a bridge device that is not ours/);
  const listed = (await host.drift()).map(({ object, what, why }) => `${object} ${what} ${why}`);
  assert.deepEqual(listed.sort(), [
    'foreign/br-theirs foreign a bridge device that is not ours',
    'foreign/wx4097/02:00:00:00:00:99 foreign FDB entry to 10.99.0.2 that is not ours',
    'foreign/wx4097/10.9.9.9 foreign neighbour 02:00:00:00:00:99 that is not ours',
  ]);
  await host.repair();
  assert.equal((await host.drift()).length, 3);
  assert.equal((await host.stats()).repairs, 0);
});
