import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DirectLeg } from '../../../dataplane/desired.ts';
import { must, parseCidr, parseIfName, parseIp } from '../../../dataplane/values.ts';
import { eventually } from '../../lab/process.ts';
import { allOk, stepsOfSweep } from './checks.ts';
import { connect, Host } from './host.ts';
import { endpointId, GATEWAY, macOf, overlay, remote, sandbox, wanted } from './wanted.ts';

const OVERLAY_NS = ['ip', 'netns', 'exec', 'weft'];
const mtuOf = async (host: Host, netns: string, device: string): Promise<number> => {
  const [link] = JSON.parse(await host.run('ip', '-j', '-n', netns, 'link', 'show', device)) as { mtu: number }[];
  return link?.mtu ?? 0;
};
test('two hosts, one overlay: containers reach each other, and only within their network', async (t) => {
  await using a = await Host.start();
  await using b = await Host.start();
  await connect(a, b);
  const onA = wanted({
    overlays: [overlay(4097, 'a', [remote(4097, 2, 'b')]), overlay(4098, 'a', [remote(4098, 4, 'b')])],
    sandboxes: [sandbox('one', 1, [4097]), sandbox('three', 3, [4098])],
  });
  const onB = wanted({
    overlays: [overlay(4097, 'b', [remote(4097, 1, 'a')]), overlay(4098, 'b', [remote(4098, 3, 'a')])],
    sandboxes: [sandbox('two', 2, [4097]), sandbox('four', 4, [4098])],
  });
  await Promise.all([a.set(onA), b.set(onB)]);

  await t.test('ping crosses', async () => {
    await a.whenApplied(endpointId(4097, 1));
    assert.ok(await a.pings('weft-one', '10.0.0.2'));
    assert.ok(await b.pings('weft-four', '10.0.0.3'));
    assert.ok(await a.pings('weft-one', '10.0.0.2', '-s', '1422', '-M', 'do'), 'a full packet');
  });
  await t.test('the other network with the same subnet is out of reach', async () => {
    assert.equal(await a.pings('weft-one', '10.0.0.4'), false);
    assert.equal(await a.pings('weft-one', '10.0.0.3'), false);
  });
  await t.test('both ends of a veth have the MTU', async () => {
    assert.equal(await mtuOf(a, 'weft-one', 'eth0'), 1450);
    assert.equal(await mtuOf(a, 'weft', `wv${endpointId(4097, 1).slice(0, 12)}`), 1450);
    assert.equal(await mtuOf(a, 'weft', 'wx4097'), 1450);
    assert.equal(await mtuOf(a, 'weft', 'wb4097'), 1450);
  });
  await t.test('nothing in the overlay namespace speaks for itself', async () => {
    assert.equal((await a.run(...OVERLAY_NS, 'ip', '-6', 'address')).trim(), '');
    assert.equal(await a.run(...OVERLAY_NS, 'cat', '/proc/sys/net/ipv6/conf/wb4097/disable_ipv6'), '1');
  });
  await t.test('a second look finds nothing to do', async () => {
    assert.equal(await stepsOfSweep(a), 0);
  });
  await t.test('a restarted agent changes nothing', async () => {
    await a.restart();
    await a.set(onA);
    assert.equal((await a.stats()).steps, 0);
    assert.ok(await a.pings('weft-one', '10.0.0.2'));
  });
  await t.test('one more remote endpoint needs no listing', async () => {
    const [first, second] = onA.overlays;
    assert.ok(first && second);
    const before = await a.stats();
    await a.set({ ...onA, overlays: [{ ...first, remotes: [...first.remotes, remote(4097, 9, 'b')] }, second] });
    const after = await a.stats();
    assert.equal(after.listings, before.listings);
    assert.equal(after.steps - before.steps, 2);
    assert.match(await a.run(...OVERLAY_NS, 'bridge', 'fdb', 'show', 'dev', 'wx4097'), new RegExp(macOf(4097, 9)));
    await a.set(onA);
    assert.doesNotMatch(
      await a.run(...OVERLAY_NS, 'bridge', 'fdb', 'show', 'dev', 'wx4097'),
      new RegExp(macOf(4097, 9)),
    );
    assert.equal(await stepsOfSweep(a), 0);
  });
  await t.test('not pruning removes nothing', async () => {
    await a.restart();
    await a.set(wanted({}), false);
    assert.equal((await a.stats()).steps, 0);
    assert.ok(await a.pings('weft-one', '10.0.0.2'));
  });
  await t.test('what is not wanted any more goes', async () => {
    await a.set(wanted({ overlays: onA.overlays.slice(0, 1), sandboxes: onA.sandboxes.slice(0, 1) }));
    assert.ok(await a.pings('weft-one', '10.0.0.2'));
    assert.doesNotMatch(await a.run('ip', '-n', 'weft', 'link'), /4098/);
    assert.doesNotMatch(await a.run('ip', 'netns', 'list'), /weft-three/);
    await a.set(wanted({}));
    assert.doesNotMatch(await a.run('ip', '-n', 'weft', 'link'), /w[bxv]/);
    assert.doesNotMatch(await a.run('ip', 'netns', 'list'), /weft-/);
    await a.cleanUp();
    assert.equal((await a.run('ip', 'netns', 'list')).trim(), '');
    await a.cleanUp();
  });
});

test('IPv6 inside, over an IPv6 underlay', async () => {
  await using a = await Host.start();
  await using b = await Host.start();
  await connect(a, b);
  const [vtepA, vtepB] = [must(parseIp('fd99::1')), must(parseIp('fd99::2'))];
  for (const [host, vtep] of [
    [a, vtepA],
    [b, vtepB],
  ] as const) {
    await host.run('ip', 'address', 'add', `${vtep}/64`, 'dev', 'u0', 'nodad');
  }
  await a.run('ping', '-c1', '-w5', vtepB);
  const state = (n: number, own: typeof vtepA, peer: number, other: typeof vtepA) => {
    const box = sandbox('six', n, [4097]);
    const remotes = ['10.0.0.', 'fd00::'].map((net) => ({
      ip: must(parseIp(`${net}${peer}`)),
      mac: macOf(4097, peer),
      vtep: other,
    }));
    const legs = box.overlayLegs.map((leg) => ({ ...leg, mtu: 1430, addresses: [must(parseCidr(`fd00::${n}/64`))] }));
    return wanted({
      overlays: [{ ...overlay(4097, 'a', remotes), vtep: own, mtu: 1430 }],
      sandboxes: [{ ...box, overlayLegs: legs }],
    });
  };
  await Promise.all([a.set(state(1, vtepA, 2, vtepB)), b.set(state(2, vtepB, 1, vtepA))]);
  assert.ok(await a.pings('weft-six', 'fd00::2'));
  assert.equal(await stepsOfSweep(a), 0);
});

test('the gateway bridge: out with masquerade, not between containers, not in', async (t) => {
  await using host = await Host.start();
  await using outside = await Host.start();
  await connect(host, outside);
  const desired = wanted({
    sandboxes: [sandbox('one', 1, [], true), sandbox('two', 2, [], true)],
    bridges: [GATEWAY],
  });
  await host.set(desired);

  await t.test('a container reaches the world under the host’s address', async () => {
    // The outside has no route back to 172.18.0.0/16.
    assert.ok(await host.pings('weft-one', '10.99.0.2'));
  });
  await t.test('containers do not reach each other', async () => {
    assert.equal(await host.pings('weft-one', '172.18.1.2'), false);
  });
  await t.test('the world does not reach a container, nor anything through the host', async () => {
    await outside.run('ip', 'route', 'add', '172.16.0.0/12', 'via', '10.99.0.1');
    assert.notEqual((await outside.try('ping', '-c1', '-W1', '172.18.0.1')).exitCode, 1);
    assert.equal((await outside.try('ping', '-c1', '-W1', '172.18.1.2')).exitCode, 1);
    await host.run('ip', 'netns', 'add', 'other');
    await host.run('ip', 'link', 'add', 'o0', 'type', 'veth', 'peer', 'name', 'o0', 'netns', 'other');
    await host.run('ip', 'address', 'add', '172.30.0.1/24', 'dev', 'o0');
    await host.run('ip', 'link', 'set', 'o0', 'up');
    await host.run('ip', '-n', 'other', 'address', 'add', '172.30.0.2/24', 'dev', 'o0');
    await host.run('ip', '-n', 'other', 'link', 'set', 'o0', 'up');
    await host.run('ip', '-n', 'other', 'route', 'add', 'default', 'via', '172.30.0.1');
    assert.equal(await host.pings('other', '172.30.0.1'), true);
    assert.equal(await host.pings('other', '10.99.0.2'), false, 'the host did not become a router');
  });
  await t.test('forwarding_guard_broke_docker: a bridge of someone else forwards as it did', async () => {
    await host.run('ip', 'link', 'add', 'docker0', 'type', 'bridge');
    await host.run('ip', 'address', 'add', '172.31.0.1/24', 'dev', 'docker0');
    await host.run('ip', 'link', 'set', 'docker0', 'up');
    await host.run('ip', 'netns', 'add', 'container');
    const peer = ['type', 'veth', 'peer', 'name', 'c0', 'netns', 'container'];
    await host.run('ip', 'link', 'add', 'd0', 'master', 'docker0', ...peer);
    await host.run('ip', 'link', 'set', 'd0', 'up');
    await host.run('ip', '-n', 'container', 'address', 'add', '172.31.0.2/24', 'dev', 'c0');
    await host.run('ip', '-n', 'container', 'link', 'set', 'c0', 'up');
    await host.run('ip', '-n', 'container', 'route', 'add', 'default', 'via', '172.31.0.1');
    await outside.run('ip', 'route', 'add', '172.31.0.0/24', 'via', '10.99.0.1');
    assert.equal(await host.pings('container', '10.99.0.2'), true);
    await host.run('ip', 'netns', 'delete', 'container');
    await host.run('ip', 'link', 'delete', 'docker0');
  });
  await t.test('after a restart the host is still guarded', async () => {
    await host.restart();
    await host.set(desired);
    assert.equal((await host.stats()).steps, 0);
    assert.equal(await host.pings('other', '10.99.0.2'), false);
  });
  await t.test('what the host uses is known', async () => {
    assert.ok((await host.hostRoutes()).includes('172.30.0.0/24'));
    assert.equal(await host.defaultAddress(), null);
    await host.run('ip', 'route', 'add', 'default', 'via', '10.99.0.2');
    assert.deepEqual(await host.defaultAddress(), { address: '10.99.0.1', device: 'u0', mtu: 1500 });
    // Without a route of IPv4, by that of IPv6, whose gateway is known by its link; not an address that is about to go.
    await host.run('ip', 'route', 'delete', 'default');
    await host.run('ip', 'address', 'add', 'fd33::1/64', 'dev', 'u0', 'nodad');
    await host.run('ip', 'address', 'add', 'fd33::2/64', 'dev', 'u0', 'nodad', 'preferred_lft', '0');
    await host.run('ip', 'route', 'add', 'default', 'via', 'fe80::99', 'dev', 'u0');
    assert.deepEqual(await host.defaultAddress(), { address: 'fd33::1', device: 'u0', mtu: 1500 });
    const prefixes = await host.hostRoutes();
    assert.ok(prefixes.includes('fd33::/64'));
    assert.ok(!prefixes.some((prefix) => prefix.startsWith('fe80:')), prefixes.join());
  });
  await t.test('clean-up leaves nothing and switches forwarding off again', async () => {
    await host.cleanUp();
    assert.doesNotMatch(await host.run('ip', 'link'), /docker_gwbridge|wg/);
    assert.equal(await host.run('nft', 'list', 'ruleset'), '');
    assert.doesNotMatch(await host.run('ip', 'netns', 'list'), /weft/);
    assert.match(await host.run('sysctl', 'net.ipv4.ip_forward'), /= 0/);
  });
});

test('what is someone else’s is left alone and named', async (t) => {
  await using host = await Host.start();
  await host.run('ip', 'address', 'add', '10.99.0.1/32', 'dev', 'lo');

  await t.test('an adopted gateway bridge is used and stays', async () => {
    await host.run('ip', 'link', 'add', 'docker_gwbridge', 'type', 'bridge');
    await host.run('ip', 'address', 'add', '172.18.0.1/16', 'dev', 'docker_gwbridge');
    await host.set(wanted({ sandboxes: [sandbox('one', 1, [], true)], bridges: [GATEWAY] }));
    assert.ok(await host.pings('weft-one', '172.18.0.1'));
    await host.cleanUp();
    assert.match(await host.run('ip', 'link'), /docker_gwbridge/);
    assert.doesNotMatch(await host.run('ip', 'link'), /wg/);
  });
  await t.test('eth0 that is taken', async () => {
    await host.run('ip', 'netns', 'add', 'foreign');
    await host.run('ip', '-n', 'foreign', 'link', 'add', 'eth0', 'type', 'bridge');
    const adopted = { ...sandbox('foreign', 1, [4097]), owned: false, netns: '/run/netns/foreign' as never };
    await host.set(wanted({ overlays: [overlay(4097, 'a')], sandboxes: [adopted, sandbox('two', 2, [4097])] }));
    await assert.rejects(
      host.whenApplied(endpointId(4097, 1)),
      /eth0 in \/run\/netns\/foreign is a bridge device that is not ours/,
    );
    await host.whenApplied(endpointId(4097, 2));
    await host.run('ip', '-n', 'foreign', 'link', 'del', 'eth0');
    await host.sweep();
    await host.whenApplied(endpointId(4097, 1));
    await host.cleanUp();
    assert.match(await host.run('ip', 'netns', 'list'), /foreign/);
    assert.doesNotMatch(await host.run('ip', '-n', 'foreign', 'link'), /eth0/);
  });
  await t.test('a VNI that is held by another device', async () => {
    await host.run('ip', 'netns', 'add', 'swarm');
    await host.run(
      'ip',
      'link',
      'add',
      'vx1',
      'netns',
      'swarm',
      'type',
      'vxlan',
      'id',
      '4099',
      'dstport',
      '4789',
      'local',
      '10.99.0.1',
    );
    await host.set(
      wanted({
        overlays: [overlay(4099, 'a'), overlay(4097, 'a')],
        sandboxes: [sandbox('two', 2, [4097]), sandbox('nine', 9, [4099])],
      }),
    );
    await host.whenApplied(endpointId(4097, 2));
    await assert.rejects(host.whenApplied(endpointId(4099, 9)), /held by VXLAN device vx1 in \/run\/netns\/swarm/);
    const status = await host.status();
    assert.equal(status['overlay/4099']?.state, 'failed');
    assert.equal(status[`endpoint/${endpointId(4099, 9)}`]?.state, 'pending');
    await host.run('ip', '-n', 'swarm', 'link', 'del', 'vx1');
    await allOk(host);
    assert.equal(await stepsOfSweep(host), 0);
  });
  await t.test('a UDP port that a process has', async () => {
    const script = "require('node:dgram').createSocket('udp4').bind(4799, () => process.send('bound'))";
    const pid = await host.start(script);
    const [first] = wanted({ overlays: [overlay(4100, 'a')] }).overlays;
    assert.ok(first);
    await host.set(wanted({ overlays: [{ ...first, port: 4799 }], sandboxes: [sandbox('ten', 10, [4100])] }));
    await assert.rejects(
      host.whenApplied(endpointId(4100, 10)),
      new RegExp(`UDP port 4799 is held by node.* \\(pid ${pid}\\); stop that, or .*--data-path-port`),
    );
    await host.end(pid);
    await allOk(host);
  });
});

test('a device that somebody else made for a sandbox is moved in, kept right, and moved back', async (t) => {
  await using host = await Host.start();
  await host.run('ip', 'link', 'add', 'x0', 'type', 'veth', 'peer', 'name', 'x1');
  await host.run('ip', 'address', 'add', '172.28.0.1/24', 'dev', 'x1');
  await host.run('ip', 'link', 'set', 'x1', 'up');
  const box = sandbox('one', 1, []);
  const leg: DirectLeg = {
    endpointId: endpointId(3, 1),
    ifName: must(parseIfName('mesh0')),
    mac: null,
    mtu: null,
    addresses: [must(parseCidr('172.28.0.2/24'))],
    onLink: [must(parseCidr('10.123.0.0/24'))],
    defaultVia: must(parseIp('172.28.0.1')),
    source: { kind: 'moved', name: must(parseIfName('x0')) },
  };
  const desired = wanted({ sandboxes: [{ ...box, directLegs: [leg] }] });
  const inOne = (...command: string[]): Promise<string> => host.run('ip', 'netns', 'exec', 'weft-one', ...command);

  // Of two ends that come up the kernel passes packets a moment later (net/core/link_watch.c).
  const reached = () => eventually('the other end to answer', () => host.pings('weft-one', '172.28.0.1'));

  await t.test('in, with its address and routes, and known again by the next agent', async () => {
    await host.set(desired);
    await host.whenApplied(leg.endpointId);
    await reached();
    assert.match(await inOne('ip', 'route'), /default via 172\.28\.0\.1 dev mesh0[\s\S]*10\.123\.0\.0\/24 dev mesh0/);
    assert.equal(await stepsOfSweep(host), 0);
    await host.restart();
    await host.set(desired);
    assert.equal((await host.stats()).steps, 0);
  });
  await t.test('what others change is undone', async () => {
    for (const change of [
      ['ip', 'link', 'set', 'mesh0', 'down'],
      ['ip', 'address', 'flush', 'dev', 'mesh0'],
      ['ip', 'route', 'del', '10.123.0.0/24'],
    ]) {
      await host.log();
      await inOne(...change);
      await host.line(/^repaired drift/);
      await allOk(host);
      await reached();
    }
  });
  await t.test('back under its own name when it is no longer wanted, and in again', async () => {
    await host.set(wanted({ sandboxes: [box] }));
    assert.match(await host.run('ip', 'link', 'show', 'x0'), /x0/);
    assert.doesNotMatch(await inOne('ip', 'link'), /mesh0/);
    await host.set(desired);
    await reached();
  });
  await t.test('one that is not there is waited for, by name', async () => {
    await host.run('ip', 'link', 'del', 'x1');
    await host.sweep();
    await assert.rejects(host.whenApplied(leg.endpointId), /x0, which its driver was to make, is not on this host/);
    await host.run('ip', 'link', 'add', 'x0', 'type', 'veth', 'peer', 'name', 'x1');
    await host.run('ip', 'address', 'add', '172.28.0.1/24', 'dev', 'x1');
    await host.run('ip', 'link', 'set', 'x1', 'up');
    await allOk(host);
    await reached();
  });
});
