import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Network } from '../../agent/api/schema.ts';
import { answerIn, ask } from '../lab/answers.ts';
import type { Host, LabSandbox } from '../lab/host.ts';
import { OUTSIDE } from '../lab/lab.ts';
import { eventually } from '../lab/process.ts';
import { useLab } from '../lab/suite.ts';
import { createSandbox, reaches, refusal } from '../lab/verbs.ts';

describe('bridge networks, on a host in no cluster', () => {
  const stage = useLab({ hosts: 2, cluster: false });
  const one = (): Host => stage.lab.host(1);
  const two = (): Host => stage.lab.host(2);

  it('have a subnet of their own, and sandboxes that reach each other and the outside', async () => {
    await stage.lab.startAgents();
    await one().weftJson('network', 'create', '-d', 'bridge', 'lan');
    const [network] = JSON.parse((await one().weft('network', 'inspect', 'lan')).stdout) as Network[];
    assert.deepEqual([network?.Driver, network?.Scope, network?.VNI], ['bridge', 'local', null]);
    assert.equal(network?.IPAM.Config[0]?.Subnet, '172.17.0.0/16');
    const [a, b] = [
      await createSandbox(one(), '--network', 'lan', 'a'),
      await createSandbox(one(), '--network', 'lan', 'b'),
    ];
    assert.equal(await reaches(a, b.address('lan')), true);
    assert.equal(await reaches(a, OUTSIDE.address), true);
    assert.match((await one().weft('network', 'ls')).stdout, /lan +bridge +local +172\.17\.0\.0\/16 +- +2/);
    const own = await one().weft('network', 'create', '-d', 'bridge', '--subnet', '10.99.0.0/25', 'bad');
    assert.match(own.stderr, /10\.99\.0\.0\/25 shares addresses with 10\.99\.0\.0\/24/);
    assert.match(await refusal(one(), 'network', 'rm', 'lan'), /network lan has 2 active endpoints/);
    assert.match(await refusal(one(), 'network', 'create', '-d', 'bridge', 'lan'), /lan already exists/);
    assert.match(
      await refusal(one(), 'network', 'create', '-d', 'bridge', '-o', 'icc=1', 'x'),
      /option icc is not known/,
    );
  });

  it('publish ports: to others, to the host and its loopback, to their own sandboxes', async () => {
    const web = await createSandbox(
      one(),
      '--network',
      'lan',
      '-p',
      '8080:80',
      '-p',
      '127.0.0.1:5353:80/udp',
      '-p',
      '80',
      'web',
    );
    const free = Number(web.info.Ports['80/tcp']?.find(({ HostPort: port }) => port !== '8080')?.HostPort);
    assert.ok(free >= 1024, JSON.stringify(web.info.Ports));
    assert.match((await one().weft('sandbox', 'ls')).stdout, /0\.0\.0\.0:8080->80\/tcp/);
    const answering = await answerIn(web, 80);
    const { address } = one();
    assert.equal(await ask(two(), address, 8080), `web ${two().address}`);
    assert.equal(await ask(two(), address, free), `web ${two().address}`);
    assert.equal(await ask(two(), address, 5353, 'udp'), '', 'of the loopback alone');
    assert.match(await ask(one(), address, 8080), /^web /);
    assert.match(await ask(one(), '127.0.0.1', 8080), /^web /);
    assert.match(await ask(one(), '127.0.0.1', 5353, 'udp'), /^web /);
    assert.match(await ask(await one().sandbox('a'), address, 8080), /^web /, 'of the same bridge');
    assert.match(await ask(web, address, 8080), /^web /, 'itself');
    // Directly to the sandbox nobody comes, whatever way is made.
    await two().exec('ip', ['route', 'add', '172.17.0.0/16', 'via', address]);
    assert.equal(await ask(two(), web.address('lan'), 80), '');
    // With route_localnet on, the host's own loopback is still the host's.
    const secret = await one().spawn(process.execPath, ['-e', SECRET]);
    await secret.says(/^listening$/m);
    assert.match(await ask(one(), '127.0.0.1', 9999), /secret/);
    await web.exec('ip', ['route', 'add', '127.0.0.0/8', 'via', '172.17.0.1', 'table', '7']);
    await web.exec('ip', ['rule', 'add', 'to', '127.0.0.0/8', 'lookup', '7', 'pref', '0']);
    await web.exec('ip', ['rule', 'add', 'lookup', 'local', 'pref', '1']);
    await web.exec('ip', ['rule', 'del', 'pref', '0', 'lookup', 'local']);
    await web.exec('sysctl', ['-w', 'net.ipv4.conf.all.route_localnet=1']);
    assert.equal(await ask(web, '127.0.0.1', 9999), '');
    assert.match(
      await refusal(one(), 'sandbox', 'create', '--network', 'lan', '-p', '8080:1', 'x'),
      /taken by sandbox web/,
    );
    assert.match(
      await refusal(one(), 'sandbox', 'create', '--network', 'lan', '-p', '9999:1', 'x'),
      /port 9999\/tcp of this host is taken by node \(pid \d+\)/,
    );
    await secret.end('SIGKILL');
    // Nothing listens there yet.
    assert.match(
      await refusal(one(), 'sandbox', 'create', '--network', 'lan', '-p', '4789:1/udp', 'x'),
      /port 4789\/udp of this host is taken by this node for VXLAN/,
    );

    await one().killAgent();
    assert.equal(await ask(two(), address, 8080), `web ${two().address}`, 'without an agent');
    await one().startAgent();
    const { Items: drift } = await one().weftJson<{ Items: unknown[] }>('drift');
    assert.deepEqual(drift, []);
    assert.equal((await one().api.call('status')).Kernel.Repairs, 0);
    await one().exec('nft', ['delete', 'table', 'inet', 'weft']);
    await one().exec('ip', ['link', 'del', `wn${(await lan(one())).Id.slice(0, 12)}`]);
    await eventually('the port to be published again', async () =>
      (await ask(two(), address, 8080)).startsWith('web ') ? true : undefined,
    );
    await answering.end('SIGKILL');
    assert.equal((await one().weft('sandbox', 'rm', 'web')).exitCode, 0);
    assert.doesNotMatch((await one().exec('nft', ['list', 'ruleset'])).stdout, /dnat ip to/);
  });

  it('are named in the status of a host that drops what is forwarded, until it accepts it', async () => {
    assert.deepEqual((await one().api.call('status')).Warnings, []);
    const chain = 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }';
    await one().exec('nft', ['-f', '-'], { input: `add table ip filter\n${chain}\n` });
    // The host is looked at every ten seconds, and at the start of an agent.
    assert.equal(await one().stopAgent(), 0);
    await one().startAgent();
    const warning = await eventually('the warning', async () => {
      const { Warnings: warnings } = await one().api.call('status');
      return warnings.find((line) => line.includes('ip filter FORWARD'));
    });
    assert.match(warning, /sandboxes reach the outside by wn[0-9a-f]{12}/);
    await one().exec('nft', ['delete', 'table', 'ip', 'filter']);
  });

  it('can keep their sandboxes apart, and from the outside', async () => {
    const icc = 'com.docker.network.bridge.enable_icc=false';
    await one().weftJson('network', 'create', '-d', 'bridge', '-o', icc, 'apart');
    const [c, d] = [
      await createSandbox(one(), '--network', 'apart', 'c'),
      await createSandbox(one(), '--network', 'apart', 'd'),
    ];
    assert.equal(await reaches(c, d.address('apart')), false);
    assert.equal(await reaches(c, OUTSIDE.address), true);
    assert.equal(await reaches(c, (await one().sandbox('a')).address('lan')), false, 'nor from bridge to bridge');
    await one().weftJson('network', 'create', '-d', 'bridge', '--internal', 'vault');
    const [e, f] = [
      await createSandbox(one(), '--network', 'vault', 'e'),
      await createSandbox(one(), '--network', 'vault', 'f'),
    ];
    assert.equal(await reaches(e, f.address('vault')), true);
    assert.equal((await e.exec('ip', ['route', 'show', 'default'])).stdout, '');
    assert.match(
      await refusal(one(), 'sandbox', 'create', '--network', 'vault', '-p', '81:1', 'x'),
      /none of its networks leads out/,
    );
    assert.equal((await one().weft('sandbox', 'rm', 'c', 'd', 'e', 'f')).exitCode, 0);
    assert.equal((await one().weft('network', 'rm', 'apart', 'vault')).exitCode, 0);
  });

  it('none and host: loopback only, and the namespace of the host', async () => {
    const alone = await createSandbox(one(), '--network', 'none', 'alone');
    assert.equal(await reaches(alone, '127.0.0.1'), true);
    assert.equal((await alone.exec('ip', ['-o', 'link'])).stdout.trim().split('\n').length, 1);
    assert.match(await refusal(one(), 'network', 'connect', 'lan', 'alone'), /on network none is on no other/);
    const shared = await createSandbox(one(), '--network', 'host', 'shared');
    assert.match((await shared.exec('ip', ['address'])).stdout, new RegExp(`inet ${one().address}/`));
    assert.equal((await one().weft('sandbox', 'exec', 'shared', 'true')).exitCode, 0);
    assert.match(await refusal(one(), 'network', 'connect', 'lan', 'shared'), /shares the host's namespace/);
    assert.match(await refusal(one(), 'network', 'connect', 'host', 'a'), /shares the host's namespace/);
    assert.match(
      await refusal(one(), 'sandbox', 'create', '--network', 'host', '-p', '80', 'x'),
      /port of the host already/,
    );
    assert.match(
      await refusal(one(), 'sandbox', 'create', '--network', 'host', '--network', 'lan', 'x'),
      /can only be the one/,
    );
    assert.match(await refusal(one(), 'network', 'rm', 'host'), /pre-defined/);
    assert.equal((await one().weft('sandbox', 'rm', 'alone', 'shared')).exitCode, 0);
    assert.equal(await reaches(await one().sandbox('a'), OUTSIDE.address), true);
  });

  it('and overlays on one sandbox: its way out stays while anything leads out', async () => {
    assert.match(await refusal(one(), 'init', '--gwbridge-subnet', '10.99.0.0/25'), /collides with 10\.99\.0\.0\/24/);
    assert.equal((await one().weft('init', '--gwbridge-subnet', '172.31.0.0/16')).exitCode, 0);
    const busy = await refusal(one(), 'network', 'create', 'lan');
    assert.match(busy, /network with name lan already exists: one of this host/);
    for (const name of ['red', 'blue']) await one().weftJson('network', 'create', name);
    for (const [port, holder] of [
      ['4789:1/udp', /taken by this node for VXLAN/],
      ['7946:1', /taken by this node for gossip/],
    ] as const) {
      assert.match(await refusal(one(), 'sandbox', 'create', '--network', 'lan', '-p', port, 'x'), holder);
    }
    const gateway = async (sandbox: LabSandbox): Promise<string> =>
      (await sandbox.exec('ip', ['route', 'show', 'default'])).stdout;
    const mixed = await createSandbox(one(), '--network', 'red', '-p', '8081:80', 'mixed');
    const answering = await answerIn(mixed, 80);
    assert.match(await gateway(mixed), /via 172\.31\.0\.1 /);
    assert.equal(await ask(two(), one().address, 8081), `mixed ${two().address}`, 'published through docker_gwbridge');
    const background = await mixed.backgroundPing(OUTSIDE.address, { count: 100_000 });
    for (const verb of [
      ['connect', 'lan'],
      ['connect', 'blue'],
      ['disconnect', 'red'],
    ]) {
      assert.equal((await one().weft('network', ...verb, 'mixed')).exitCode, 0, verb.join(' '));
      assert.match(await gateway(mixed), /via 172\.31\.0\.1 /, verb.join(' '));
    }
    assert.deepEqual((await background.stopAndCount()).missing, []);
    // The last network of the cluster takes docker_gwbridge along, and the bridge network leads out, also to the port.
    assert.equal((await one().weft('network', 'disconnect', 'blue', 'mixed')).exitCode, 0);
    assert.match(await gateway(mixed), /via 172\.17\.0\.1 /);
    assert.equal(await reaches(mixed, OUTSIDE.address), true);
    assert.equal(await ask(two(), one().address, 8081), `mixed ${two().address}`);
    assert.equal((await one().weft('network', 'connect', 'red', 'mixed')).exitCode, 0);
    assert.match(await gateway(mixed), /via 172\.17\.0\.1 /, 'and goes on doing so');
    assert.equal((await one().weft('network', 'disconnect', 'lan', 'mixed')).exitCode, 0);
    assert.match(await gateway(mixed), /via 172\.31\.0\.1 /);
    assert.equal(await ask(two(), one().address, 8081), `mixed ${two().address}`);
    await answering.end('SIGKILL');
  });

  it('stay, with their sandboxes, when the host leaves its cluster', async () => {
    const a = await one().sandbox('a');
    const background = await a.backgroundPing(OUTSIDE.address, { count: 100_000 });
    assert.match(await refusal(one(), 'leave'), /1 sandboxes on this node would lose their networks: mixed/);
    assert.equal((await one().weft('leave', '--force')).exitCode, 0);
    assert.deepEqual((await background.stopAndCount()).missing, []);
    assert.deepEqual(
      (await one().api.call('sandboxList')).map(({ Name: name }) => name),
      ['a', 'b'],
    );
    const devices = (await one().exec('ip', ['-o', 'link'])).stdout;
    assert.doesNotMatch(devices, /docker_gwbridge/);
    assert.match(devices, /wn[0-9a-f]{12}/);
    assert.doesNotMatch((await one().exec('ip', ['netns'])).stdout, /^weft$/m);
    assert.equal((await one().weft('sandbox', 'rm', 'a', 'b')).exitCode, 0);
    assert.equal((await one().weft('network', 'rm', 'lan')).exitCode, 0);
    assert.doesNotMatch((await one().exec('ip', ['-o', 'link'])).stdout, /w[ngbxv][0-9a-f]{6}/);
    assert.equal((await one().exec('nft', ['list', 'ruleset'])).stdout, '');
  });
});

const SECRET = `require('net').createServer((s) => s.end('secret')).listen(9999, '127.0.0.1', () => console.log('listening'))`;
const lan = (host: Host): Promise<Network> => host.api.call('networkInspect', { ref: 'lan' });
