import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Desired } from '../../../dataplane/desired.ts';
import { applyToModel, emptySandbox } from '../../../dataplane/diff/after.ts';
import { type Difference, type DiffOptions, diff } from '../../../dataplane/diff/diff.ts';
import { emptyObserved, type Observed } from '../../../dataplane/observe/observed.ts';
import { commands } from '../../../dataplane/steps.ts';
import { must, parseMac } from '../../../dataplane/values.ts';
import { gatePort } from '../../e2e/dataplane/mesh.ts';
import { vipsOf } from '../../e2e/dataplane/vips.ts';
import {
  endpointId,
  GATEWAY,
  gateOf,
  hung,
  macOf,
  overlay,
  PARENT,
  remote,
  sandbox,
  wanted,
  widened,
  withIpv6,
} from '../../e2e/dataplane/wanted.ts';

const options: DiffOptions = { prune: true, randomMac: () => must(parseMac('02:00:00:00:00:aa')) };
const take = (observed: Observed, { steps }: Difference): void => {
  for (const step of steps) applyToModel(observed, step);
};
const kernelOf = (desired: Desired): Observed => {
  const observed = emptyObserved();
  take(observed, diff(desired, observed, options));
  return observed;
};
/** Without what is told to nft, which has tests of its own. */
const lines = (desired: Desired, observed: Observed, with_: Partial<DiffOptions> = {}): string[] =>
  diff(desired, observed, { ...options, ...with_ })
    .steps.flatMap(commands)
    .filter((line) => !/\bnft /.test(line));

const one = wanted({ overlays: [overlay(4097, 'a', [remote(4097, 2, 'b')])], sandboxes: [sandbox('one', 1, [4097])] });

test('a first endpoint, as commands a person can run', () => {
  assert.deepEqual(lines(one, emptyObserved()), [
    'ip netns add weft',
    'nsenter --net=/run/netns/weft sysctl -ew net.ipv6.conf.default.addr_gen_mode=1',
    'nsenter --net=/run/netns/weft sysctl -ew net.ipv6.conf.default.accept_ra=0',
    'nsenter --net=/run/netns/weft sysctl -ew net.ipv6.conf.default.disable_ipv6=1',
    'nsenter --net=/run/netns/weft sysctl -ew net.bridge.bridge-nf-call-arptables=0',
    'nsenter --net=/run/netns/weft sysctl -ew net.bridge.bridge-nf-call-iptables=0',
    'nsenter --net=/run/netns/weft sysctl -ew net.bridge.bridge-nf-call-ip6tables=0',
    'ip netns add weft-one',
    'ip link add name wb4097 netns /run/netns/weft address 02:00:00:00:00:aa mtu 1450 type bridge mcast_snooping 0',
    'ip link add name wx4097 netns /run/netns/weft address 02:00:00:00:00:aa mtu 1450 type vxlan id 4097 dstport 4789 local 10.99.0.1 nolearning proxy',
    'ip link add name wv001001000001 netns /run/netns/weft mtu 1450 type veth peer name eth0 netns /run/netns/weft-one address 02:42:10:01:00:01 mtu 1450',
    'nsenter --net=/run/netns/weft ip link set dev wb4097 up',
    'nsenter --net=/run/netns/weft ip link set dev wx4097 master wb4097',
    'nsenter --net=/run/netns/weft ip link set dev wx4097 type bridge_slave learning off flood on bcast_flood on mcast_flood on',
    'nsenter --net=/run/netns/weft ip link set dev wx4097 up',
    'nsenter --net=/run/netns/weft ip link set dev wv001001000001 master wb4097',
    'nsenter --net=/run/netns/weft ip link set dev wv001001000001 type bridge_slave learning off flood off isolated off bcast_flood on mcast_flood on',
    'nsenter --net=/run/netns/weft ip link set dev wv001001000001 up',
    'nsenter --net=/run/netns/weft sysctl -w net.ipv6.conf.wx4097.disable_ipv6=0',
    'nsenter --net=/run/netns/weft ip neigh replace 10.0.0.2 lladdr 02:42:10:01:00:02 dev wx4097 nud permanent protocol 201',
    'nsenter --net=/run/netns/weft bridge fdb replace 02:42:10:01:00:02 dev wx4097 dst 10.99.0.2 self permanent',
    'nsenter --net=/run/netns/weft bridge fdb replace 02:42:10:01:00:01 dev wv001001000001 master static',
    'nsenter --net=/run/netns/weft-one sysctl -w net/ipv6/conf/eth0/disable_ipv6=1',
    'nsenter --net=/run/netns/weft-one ip address replace 10.0.0.1/16 dev eth0',
    'nsenter --net=/run/netns/weft-one ip link set dev eth0 up',
    'nsenter --net=/run/netns/weft-one ip link set dev lo up',
  ]);
});

test('a subnet that a network was given later is a route on the same leg, made again when the leg was down', () => {
  const wider = wanted({ ...one, sandboxes: one.sandboxes.map(widened) });
  const route = 'nsenter --net=/run/netns/weft-one ip route replace 10.100.0.0/24 dev eth0';
  assert.deepEqual(lines(wider, kernelOf(one)), [route]);
  assert.deepEqual(lines(wider, kernelOf(wider)), []);
  assert.equal(lines(wider, emptyObserved()).at(-2), route);
});

test('the route to its own subnet that a sandbox has lost is made again', () => {
  const kernel = kernelOf(one);
  const { devices } = kernel.sandboxes.get('/run/netns/weft-one') ?? assert.fail();
  const leg = devices.get('eth0') ?? assert.fail();
  assert.deepEqual([...leg.onLink], ['10.0.0.0/16']);
  devices.set('eth0', { ...leg, onLink: new Set() });
  assert.deepEqual(lines(one, kernel), ['nsenter --net=/run/netns/weft-one ip route replace 10.0.0.0/16 dev eth0']);
});

test('a leg with IPv6: switched on before the addresses, and deaf to router advertisements', () => {
  const inside = (with_: Desired): string[] =>
    lines(with_, emptyObserved())
      .filter((line) => line.startsWith('nsenter --net=/run/netns/weft-one '))
      .map((line) => line.replace('nsenter --net=/run/netns/weft-one ', ''));
  const dual = wanted({ ...one, sandboxes: one.sandboxes.map((box) => widened(withIpv6(box))) });
  assert.deepEqual(inside(dual), [
    'sysctl -w net/ipv6/conf/eth0/accept_ra=0',
    'sysctl -w net/ipv6/conf/eth0/accept_dad=0',
    'sysctl -w net/ipv6/conf/eth0/disable_ipv6=0',
    'ip address replace 10.0.0.1/16 dev eth0',
    'ip address replace fd00::1/64 dev eth0 nodad',
    'ip link set dev eth0 up',
    'ip route replace 10.100.0.0/24 dev eth0',
    'ip route replace fd01::/64 dev eth0',
    'ip link set dev lo up',
  ]);
  assert.deepEqual(lines(dual, kernelOf(dual)), []);
  const alone = wanted({ ...one, sandboxes: one.sandboxes.map((box) => withIpv6(box, true)) });
  assert.deepEqual(
    lines(alone, kernelOf(dual)).filter((line) => line.includes('address')),
    ['nsenter --net=/run/netns/weft-one ip address del 10.0.0.1/16 dev eth0'],
  );
  assert.deepEqual(
    lines(one, kernelOf(alone)).at(0),
    'nsenter --net=/run/netns/weft-one sysctl -w net/ipv6/conf/eth0/disable_ipv6=1',
  );
});

test('the route to its own IPv6 subnet is made again like that of IPv4', () => {
  const dual = wanted({ ...one, sandboxes: one.sandboxes.map((box) => withIpv6(box)) });
  const kernel = kernelOf(dual);
  const { devices } = kernel.sandboxes.get('/run/netns/weft-one') ?? assert.fail();
  const leg = devices.get('eth0') ?? assert.fail();
  assert.deepEqual([...leg.onLink], ['10.0.0.0/16', 'fd00::/64']);
  devices.set('eth0', { ...leg, onLink: new Set(['10.0.0.0/16']) });
  assert.deepEqual(lines(dual, kernel), ['nsenter --net=/run/netns/weft-one ip route replace fd00::/64 dev eth0']);
});

test('an endpoint that comes or goes is one element of the table that guards the ports', () => {
  const nft = (desired: Desired, kernel: Observed): string[] =>
    diff(desired, kernel, options)
      .steps.flatMap(commands)
      .filter((line) => /\bnft /.test(line));
  const [box] = one.sandboxes;
  assert.ok(box);
  const dual = wanted({ ...one, sandboxes: [withIpv6(box)] });
  assert.deepEqual(nft(dual, kernelOf(one)), [
    `nsenter --net=/run/netns/weft nft add element bridge weft_ports nds '{ "wv001001000001" . 0x${'fd'.padEnd(31, '0')}1 }'`,
  ]);
  assert.deepEqual(nft(wanted({ ...one, sandboxes: [] }), kernelOf(one)), [
    `nsenter --net=/run/netns/weft nft delete element bridge weft_ports arps '{ "wv001001000001" . 10.0.0.1 . ${macOf(4097, 1)} }'`,
  ]);
});

test('nothing to do for what is there', () => {
  assert.deepEqual(lines(one, kernelOf(one)), []);
});

test('a VXLAN device that cannot be changed in place is made again, with its entries', () => {
  for (const [change, why] of [
    [{ port: 4790 }, 'has UDP port 4789, not 4790'],
    [{ vtep: '10.99.0.2' as never }, 'has local address 10.99.0.1, not 10.99.0.2'],
  ] as const) {
    const [first] = one.overlays;
    assert.ok(first);
    const { steps } = diff({ ...one, overlays: [{ ...first, ...change }] }, kernelOf(one), options);
    assert.deepEqual(
      steps.map(({ kind }) => kind),
      ['device-delete', 'vxlan-add', 'device-set', 'ipv6-on', 'entry', 'entry'],
    );
    assert.equal(steps[1]?.why, why);
  }
});

test('legs go before the devices of their network, and those before the namespace', () => {
  assert.deepEqual(lines(wanted({}), kernelOf(one)), [
    'nsenter --net=/run/netns/weft ip link del dev wv001001000001',
    'nsenter --net=/run/netns/weft ip link del dev wx4097',
    'nsenter --net=/run/netns/weft ip link del dev wb4097',
    'ip netns del weft-one',
  ]);
});

test('without pruning nothing goes', () => {
  assert.deepEqual(lines(wanted({}), kernelOf(one), { prune: false }), []);
});

test('an endpoint that gives its interface name to another frees it first', () => {
  const box = sandbox('one', 1, [4097]);
  const next = { ...box, overlayLegs: sandbox('one', 7, [4097]).overlayLegs };
  const kernel = kernelOf(one);
  const difference = diff({ ...one, sandboxes: [next] }, kernel, options);
  assert.deepEqual(difference.conflicts, []);
  take(kernel, difference);
  assert.deepEqual(lines({ ...one, sandboxes: [next] }, kernel), []);
});

test('two legs trade names', () => {
  const both = wanted({
    overlays: [overlay(4097, 'a'), overlay(4098, 'a')],
    sandboxes: [sandbox('one', 1, [4097, 4098])],
  });
  const traded = { ...both, sandboxes: [sandbox('one', 1, [4098, 4097])] };
  const kernel = kernelOf(both);
  const difference = diff(traded, kernel, options);
  assert.deepEqual(difference.conflicts, []);
  take(kernel, difference);
  assert.deepEqual(lines(traded, kernel), []);
});

test('an interface of someone else is in the way of its object only', () => {
  const adopted = { ...sandbox('box', 1, [4097]), owned: false };
  const kernel = emptyObserved();
  kernel.sandboxes.set(adopted.netns, emptySandbox());
  const device = { kind: 'veth', mtu: 1500, mac: '', up: true, alias: '', master: null, vxlan: null, port: null };
  kernel.sandboxes
    .get(adopted.netns)
    ?.devices.set('eth0', { ...device, addresses: new Set(), onLink: new Set(), ipv6: 'on', peer: null });
  const { steps, conflicts } = diff({ ...one, sandboxes: [adopted, sandbox('two', 2, [4097])] }, kernel, options);
  assert.deepEqual(conflicts, [
    {
      object: `endpoint/${endpointId(4097, 1)}`,
      why: 'eth0 in /run/netns/weft-box is a veth device that is not ours',
    },
  ]);
  assert.ok(steps.every(({ object }) => object !== conflicts[0]?.object));
  assert.ok(steps.some(({ object }) => object === `endpoint/${endpointId(4097, 2)}`));
});

test('a gateway bridge that is not ours keeps its address, and its guard', () => {
  const kernel = emptyObserved();
  const bridge = { kind: 'bridge', mtu: 1500, mac: '', up: true, alias: '', master: null, vxlan: null, port: null };
  kernel.host.devices.set('docker_gwbridge', bridge);
  kernel.host.addresses.set('docker_gwbridge', new Set(['172.19.0.1/16']));
  const gateway = wanted({ bridges: [GATEWAY], sandboxes: [sandbox('one', 1, [], true)] });
  const { steps, conflicts } = diff(gateway, kernel, options);
  assert.match(conflicts[0]?.why ?? '', /has 172\.19\.0\.1\/16, not 172\.18\.0\.1\/16/);
  assert.ok(
    steps.every(({ object }) => object.startsWith('sandbox/')),
    'nor is anything done that needs it',
  );
  assert.deepEqual(lines(wanted({}), kernel), []);
});

test('the rules are there before the bridge, and the guard before forwarding', () => {
  const kinds = diff(wanted({ bridges: [GATEWAY] }), emptyObserved(), options).steps.map(({ kind }) => kind);
  assert.deepEqual(kinds.slice(0, 3), ['table-replace', 'forwarding-on', 'bridge-add']);
});

test('legs without another end, as commands a person can run', () => {
  const box = hung(sandbox('one', 1, []), 1, 'private');
  const desired = wanted({ parents: [PARENT], sandboxes: [box] });
  assert.deepEqual(lines(desired, emptyObserved()), [
    'ip netns add weft-one',
    'ip link add name wdabcdefghijkl type dummy',
    'ip link set dev wdabcdefghijkl alias weft',
    'ip link set dev wdabcdefghijkl up',
    'ip link add link wdabcdefghijkl name eth0 netns /run/netns/weft-one address 02:42:00:02:00:01 type macvlan mode private',
    'nsenter --net=/run/netns/weft-one ip link set dev eth0 alias weft',
    'nsenter --net=/run/netns/weft-one sysctl -w net/ipv6/conf/eth0/disable_ipv6=1',
    'nsenter --net=/run/netns/weft-one ip address replace 172.29.0.2/24 dev eth0',
    'nsenter --net=/run/netns/weft-one ip link set dev eth0 up',
    'nsenter --net=/run/netns/weft-one ip route replace default via 172.29.0.1 dev eth0',
    'nsenter --net=/run/netns/weft-one ip link set dev lo up',
  ]);
  const kernel = kernelOf(desired);
  assert.deepEqual(lines(desired, kernel), []);
  // Another mode is another device; without the mark it is known by its MAC.
  const other = wanted({ parents: [PARENT], sandboxes: [hung(sandbox('one', 1, []), 1, 'bridge')] });
  assert.equal(lines(other, kernel)[0], 'nsenter --net=/run/netns/weft-one ip link del dev eth0');
  const { devices } = kernel.sandboxes.get('/run/netns/weft-one') ?? assert.fail();
  devices.set('eth0', { ...(devices.get('eth0') ?? assert.fail()), alias: '' });
  assert.deepEqual(lines(desired, kernel), ['nsenter --net=/run/netns/weft-one ip link set dev eth0 alias weft']);
  devices.set('eth0', { ...(devices.get('eth0') ?? assert.fail()), mac: '02:00:00:00:00:77' });
  assert.match(diff(desired, kernel, options).conflicts[0]?.why ?? '', /eth0 .* is a macvlan device that is not ours/);
});

test('remotes that are known to be applied are not looked at again', () => {
  const [first] = one.overlays;
  assert.ok(first);
  const appliedRemotes = new Map([[first.vni, first.remotes]]);
  const kernel = kernelOf(one);
  kernel.weft.tunnels.get('wx4097')?.fdb.clear();
  assert.deepEqual(lines(one, kernel, { appliedRemotes }), []);
  kernel.weft.devices.delete('wx4097');
  assert.ok(
    lines(one, kernel, { appliedRemotes }).some((line) => line.includes('bridge fdb replace')),
    'but a new device has none',
  );
});

test('an IPv6 remote shares the FDB entry of its IPv4 twin', () => {
  const four = remote(4097, 2, 'b');
  const six = { ...four, ip: 'fd00::2' as never };
  const dual = wanted({ overlays: [overlay(4097, 'a', [four, six])] });
  const entries = diff(dual, emptyObserved(), options).steps.filter(({ kind }) => kind === 'entry');
  assert.equal(entries.length, 3);
  assert.deepEqual(lines(dual, kernelOf(dual)), []);
});

test('a gate, and a virtual address, lead nobody to a leg any more before the leg goes, and to one that comes once it is there', () => {
  const gate = sandbox('gate', 9, [4097], true);
  const led = (web: readonly number[], first: number): Desired =>
    wanted({
      overlays: [overlay(4097, 'a', [remote(4097, 5, 'b')])],
      sandboxes: [
        gateOf(gate, [gatePort('tcp', [5, ...web])]),
        { ...sandbox('client', 8, [4097]), vips: vipsOf([5, ...web]) },
        ...web.map((n) => sandbox(`web${first}`, n, [4097])),
      ],
      bridges: [GATEWAY],
    });
  const observed = kernelOf(led([6], 1));
  const order = (desired: Desired): string[] => {
    const { steps } = diff(desired, observed, options);
    const kinds = steps.map(({ kind, object }) => (object === 'gate' || object.startsWith('vips/') ? 'leads' : kind));
    take(observed, { steps, conflicts: [] });
    return kinds;
  };
  const gone = order(led([], 1));
  assert.deepEqual([gone.slice(0, 2), gone.slice(2).includes('leads')], [['leads', 'leads'], false]);
  assert.ok(gone.includes('device-delete'));
  const come = order(led([7], 2));
  assert.ok(come.indexOf('leads') > come.lastIndexOf('device-set') && come.includes('device-set'), come.join());
});
