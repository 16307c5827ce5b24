import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compareEntries, kernelEntries, wantedEntries } from '../../lab/expect.ts';
import { diffKernel, type KernelDump, normalNetns, normalNft } from '../../lab/kernel.ts';
import { mapLimit, pairs } from '../../lab/limit.ts';
import { parsePing, pingArgs } from '../../lab/ping.ts';
import { CommandError, eventually, exec, within } from '../../lab/process.ts';
import { labDirectory, newLabId, ownerLives } from '../../lab/sweep.ts';

describe('parsePing', () => {
  it('reads counts and times', () => {
    const text = `PING 10.0.1.3 (10.0.1.3) 56(84) bytes of data.

--- 10.0.1.3 ping statistics ---
1000 packets transmitted, 998 received, 0.2% packet loss, time 10012ms
rtt min/avg/max/mdev = 0.031/0.045/0.210/0.012 ms
`;
    assert.deepEqual(parsePing(text), { sent: 1000, received: 998, rttMs: { min: 0.031, avg: 0.045, max: 0.21 } });
  });
  it('takes no answer for a result', () => {
    const text = '3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 2ms\n';
    assert.deepEqual(parsePing(text), { sent: 3, received: 0, rttMs: null });
  });
  it('takes a ping that did not run for an error', () => {
    assert.throws(() => parsePing('ping: connect: Network is unreachable\n'), /no summary.*unreachable/);
  });
  it('asks for intervals in seconds', () => {
    const args = pingArgs('10.0.1.3', { count: 1000, intervalMs: 10, dontFragment: true, dataBytes: 1422 });
    assert.equal(args.join(' '), '-n -c 1000 -i 0.01 -W 1 -s 1422 -M do 10.0.1.3');
  });
});

const raw = {
  links: [
    { ifname: 'lo', address: '00:00:00:00:00:00', flags: ['UP'] },
    {
      ifindex: 5,
      ifname: 'vx1',
      address: '02:00:00:00:00:01',
      mtu: 1450,
      flags: ['BROADCAST', 'UP'],
      master: 'br1',
      linkinfo: { info_kind: 'vxlan', info_data: { id: 4097, local: '10.99.0.1', ageing: 300 } },
    },
    { ifname: 'br1', address: '02:00:00:00:00:02', mtu: 1450, flags: [], linkinfo: { info_kind: 'bridge' } },
  ],
  addresses: [{ ifname: 'br1', addr_info: [{ local: 'fe80::1', prefixlen: 64, scope: 'link' }] }],
  routes: [
    { dst: 'default', gateway: '10.99.0.254', dev: 'eth0', flags: ['linkdown'] },
    { dst: 'fe80::/64', dev: 'eth0' },
  ],
  neighbours: [{ dst: '10.0.1.3', dev: 'vx1', lladdr: '02:42:0a:00:01:03', state: ['PERMANENT'] }],
  fdb: [
    { mac: '02:42:0a:00:01:03', ifname: 'vx1', dst: '10.99.0.2', state: 'permanent' },
    { mac: '02:00:00:00:00:01', ifname: 'vx1', master: 'br1', state: 'permanent' },
    { mac: '33:33:00:00:00:01', ifname: 'br1', state: 'permanent' },
    { mac: '02:42:0a:00:01:09', ifname: 'veth1', master: 'br1', state: '' },
  ],
};

describe('a dump of the kernel', () => {
  it('keeps what someone chose and nothing else', () => {
    const dump = normalNetns(raw);
    assert.deepEqual(
      dump.links.map(({ name, kind, mac, up }) => ({ name, kind, mac, up })),
      [
        { name: 'br1', kind: 'bridge', mac: '', up: false },
        { name: 'vx1', kind: 'vxlan', mac: '02:00:00:00:00:01', up: true },
      ],
    );
    assert.deepEqual(dump.links[1]?.info, { id: 4097, local: '10.99.0.1' });
    assert.deepEqual(dump.addresses, []);
    assert.deepEqual(dump.routes, ['default via 10.99.0.254 dev eth0']);
    assert.deepEqual(dump.fdb, ['vx1 02:42:0a:00:01:03 dst 10.99.0.2']);
    assert.deepEqual(dump.neighbours, ['vx1 10.0.1.3 lladdr 02:42:0a:00:01:03']);
  });

  it('takes handles and counters out of nftables', () => {
    const rule = { table: 'weft', handle: 4, expr: [{ counter: { packets: 9, bytes: 900 } }, { accept: null }] };
    const lines = normalNft({ nftables: [{ metainfo: { version: '1.0.6' } }, { rule }] });
    assert.deepEqual(lines, ['{"rule":{"table":"weft","expr":[{"counter":{}},{"accept":null}]}}']);
  });

  it('names what differs', () => {
    const empty = { links: [], addresses: [], routes: [], fdb: [], neighbours: [] };
    const before: KernelDump = { weft: normalNetns(raw), host: empty, sandboxes: {}, nft: [] };
    const after: KernelDump = { ...before, weft: { ...normalNetns(raw), fdb: [] }, sandboxes: { web: empty } };
    assert.deepEqual(diffKernel(before, before), []);
    assert.deepEqual(diffKernel(before, after), ['- /weft/fdb: vx1 02:42:0a:00:01:03 dst 10.99.0.2']);
  });
});

describe('entries', () => {
  const endpoint = {
    ID: 'e',
    Network: 'frontend',
    NetworkID: 'n1',
    Name: 'web',
    SandboxID: 's',
    Node: 'host2',
    NodeID: 'b',
    IPv4Address: '10.0.1.3/24',
    IPv6Address: '',
    MacAddress: '02:42:0A:00:01:03',
    VTEP: '10.99.0.2',
    Aliases: [],
    Ready: true,
    Ports: [],
    Local: false,
  };
  const networks = [{ Id: 'n1', VNI: 4097 }];
  const local = { ...endpoint, NodeID: 'a', IPv4Address: '10.0.1.2/24' };

  it('are wanted for remote endpoints of networks that the node is on', () => {
    assert.deepEqual([...wantedEntries([endpoint], networks, 'a')], []);
    const wanted = wantedEntries([endpoint, local], networks, 'a');
    const empty = { links: [], addresses: [], routes: [], fdb: [], neighbours: [] };
    const there = kernelEntries({ weft: normalNetns(raw), host: empty, sandboxes: {}, nft: [] });
    assert.deepEqual(compareEntries(wanted, there), { wanted: 2, missing: [], extra: [] });
  });
});

describe('processes', () => {
  it('say what ran and why it failed', async () => {
    await assert.rejects(exec('bash', ['-c', 'echo no luck >&2; exit 7']), (error: unknown) => {
      assert.ok(error instanceof CommandError);
      assert.match(error.message, /^bash -c .*: exit code 7\nno luck$/s);
      return true;
    });
    assert.equal((await exec('cat', [], { input: 'x' })).stdout, 'x');
    await assert.rejects(exec('/no/such/program', []), /cannot run .*ENOENT/);
  });
  it('say what was waited for', async () => {
    await assert.rejects(
      within(new Promise(() => {}), 5, 'a miracle', () => 'none yet'),
      /waited 5 ms for a miracle: none yet/,
    );
    const never = eventually('the impossible', () => undefined, { timeoutMs: 5, everyMs: 1 });
    await assert.rejects(never, /waited 5 ms for the impossible/);
  });
});

describe('lab ids', () => {
  it('name their owner beyond reuse of its pid', () => {
    const id = newLabId();
    assert.equal(ownerLives(id), true);
    assert.equal(ownerLives(id.replace(/-\d+-(\w+)$/, '-1-$1')), false);
    assert.equal(ownerLives('weft-lab-notes'), false);
    // The longest socket path of a host must fit sun_path (unix(7): 108 bytes).
    assert.ok(`${labDirectory(id)}/host200/run/weft-ro.sock`.length < 104, labDirectory(id));
  });
});

describe('lists', () => {
  it('are mapped with a bound', async () => {
    let running = 0;
    let most = 0;
    const doubled = await mapLimit([1, 2, 3, 4, 5], 2, async (item) => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      running--;
      return item * 2;
    });
    assert.deepEqual([doubled, most], [[2, 4, 6, 8, 10], 2]);
    assert.deepEqual(pairs(['a', 'b', 'c']), [
      ['a', 'b'],
      ['a', 'c'],
      ['b', 'c'],
    ]);
  });
});
