import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, Host } from './host.ts';
import { guard, overlay, remote, sandbox, wanted } from './wanted.ts';

const BRIDGED = ['arptables', 'iptables', 'ip6tables'].map((table) => `net.bridge.bridge-nf-call-${table}`);
const DROP = `table inet theirs {
  chain forward { type filter hook forward priority 0; policy drop; }
  chain input { type filter hook input priority 0; policy drop; ct state established accept; ct state new,untracked accept; }
}
`;

/** Two namespaces on a bridge of somebody else's in the host's own namespace. */
async function plainBridge(host: Host): Promise<void> {
  await host.run('ip', 'link', 'add', 'br-theirs', 'type', 'bridge');
  await host.run('ip', 'link', 'set', 'br-theirs', 'up');
  for (const name of ['left', 'right']) {
    await host.run('ip', 'netns', 'add', name);
    const peer = ['type', 'veth', 'peer', 'name', 'eth0', 'netns', name];
    await host.run('ip', 'link', 'add', name, 'master', 'br-theirs', ...peer);
    await host.run('ip', 'link', 'set', name, 'up');
    const address = name === 'left' ? '10.44.0.1/24' : '10.44.0.2/24';
    await host.run('ip', '-n', name, 'address', 'add', address, 'dev', 'eth0');
    await host.run('ip', '-n', name, 'link', 'set', 'eth0', 'up');
  }
}

test('a host that forwards nothing, bridged frames included, carries overlays all the same', async (t) => {
  await using a = await Host.start();
  await using b = await Host.start();
  await connect(a, b);
  await plainBridge(a);
  await a.run('sysctl', '-w', 'net.ipv4.ip_forward=1');
  assert.ok(await a.pings('left', '10.44.0.2'), 'a plain bridge, to begin with');

  for (const host of [a, b]) await host.run('nft', DROP);
  const { exitCode } = await a.try('sysctl', '-w', ...BRIDGED.map((name) => `${name}=1`));
  if (exitCode === 0) assert.equal(await a.pings('left', '10.44.0.2'), false, 'a plain bridge, under br_netfilter');
  else
    t.diagnostic(
      'this kernel has no br_netfilter: bridged frames pass no firewall here, so only routed ones are shown',
    );

  await b.set(
    wanted({
      overlays: [overlay(4097, 'b', [remote(4097, 1, 'a'), remote(4097, 3, 'a')])],
      sandboxes: [sandbox('two', 2, [4097])],
      guard: guard('b', [4097]),
    }),
  );
  await a.set(
    wanted({
      overlays: [overlay(4097, 'a', [remote(4097, 2, 'b')])],
      sandboxes: [sandbox('one', 1, [4097]), sandbox('three', 3, [4097])],
      guard: guard('a', [4097]),
    }),
  );
  assert.ok(await a.pings('weft-one', '10.0.0.2'), 'to another host');
  assert.ok(await b.pings('weft-two', '10.0.0.3'), 'from there');
  assert.ok(await a.pings('weft-one', '10.0.0.3'), 'to another sandbox of this host');
  assert.ok(await a.pings('weft-one', '10.0.0.2', '-s', '1422', '-M', 'do'), 'a full packet');
  // `theirs` asks for the state of connections, so there is a table of them.
  await a.run('ping', '-c1', '-W1', '10.99.0.2');
  const tracked = await a.run('cat', '/proc/net/nf_conntrack');
  assert.match(tracked, /icmp .*dst=10\.99\.0\.2/);
  assert.doesNotMatch(tracked, /dport=4789/, 'frames of ours fill it up');
  if (exitCode === 0) {
    // Where the overlays are, too: should its firewall be asked, it has no rule but ours.
    await a.run('ip', 'netns', 'exec', 'weft', 'sysctl', '-w', ...BRIDGED.map((name) => `${name}=1`));
    assert.ok(await a.pings('weft-one', '10.0.0.2'), 'to another host, under br_netfilter of its own');
    assert.ok(await a.pings('weft-one', '10.0.0.3'), 'to another sandbox, under br_netfilter of its own');
  }
  assert.ok((await a.run('nft', 'list', 'ruleset')).includes('theirs'), 'what is theirs is there as it was');
});
