import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Network } from '../../agent/api/schema.ts';
import type { Host, LabSandbox } from '../lab/host.ts';
import { settled, useLab } from '../lab/suite.ts';
import { transfers } from '../lab/transfers.ts';

const PROBE = { count: 2, intervalMs: 30, waitMs: 700 };

const reaches = async (from: LabSandbox, address: string): Promise<boolean> =>
  (await from.ping(address, PROBE)).received > 0;

const COUNTER = 'weft_test';

/**
 * Counts what a host sends through VXLAN for one network, by the packet inside: the VNI stands 12 bytes behind the start of
 * UDP's header, the inner Ethernet header 16 (RFC 768, RFC 7348), IPv6 after that (RFC 8200), ICMPv6 last (RFC 4443, RFC 4861).
 * What the agents test the path with goes over the ingress network, and is not counted.
 */
async function countVxlan(host: Host, vni: number, { mac }: { mac: string }): Promise<void> {
  const of = `udp dport 4789 @th,96,24 ${vni}`;
  const icmp6 = '@th,224,16 0x86dd @th,288,8 58 @th,560,8';
  const to = `0x${mac.replaceAll(':', '')}`;
  const rules = [
    `${of} counter comment "all"`,
    `${of} ${icmp6} 133-137 counter comment "discovery"`,
    `${of} @th,128,48 ${to} ${icmp6} 128 counter comment "echo"`,
  ];
  const table = `table inet ${COUNTER}`;
  const hook = 'type filter hook output priority 0; policy accept';
  await host.exec('nft', [`${table}; delete ${table}; ${table} { chain out { ${hook}; ${rules.join('; ')}; }; }`]);
}

/** Packets since `countVxlan`, by what they carried. */
async function vxlanSent(host: Host): Promise<Record<string, number>> {
  const { stdout } = await host.exec('nft', ['list', 'table', 'inet', COUNTER]);
  const counts = stdout.matchAll(/counter packets (\d+) .*comment "(\w+)"/g);
  return Object.fromEntries([...counts].map(([, count, of]) => [of, Number(count)]));
}

describe('IPv6 inside networks', () => {
  const stage = useLab({ hosts: 2 });
  const make = (host: number, name: string, networks: string[]): Promise<LabSandbox> =>
    stage.lab.host(host).createSandbox({ Name: name, Networks: networks });
  const box = (host: number, name: string): Promise<LabSandbox> => stage.lab.host(host).sandbox(name);

  it('a dual-stack network has a subnet of each family, known on all hosts', async () => {
    const [one, two] = stage.lab.hosts;
    assert.equal((await one?.weft('network', 'create', '--ipv6', 'dual'))?.exitCode, 0);
    await settled(stage.lab);
    const [network] = (await two?.weftJson<Network[]>('network', 'inspect', 'dual')) ?? [];
    assert.deepEqual([network?.EnableIPv4, network?.EnableIPv6], [true, true]);
    const [four, six] = network?.IPAM.Config ?? [];
    assert.match(four?.Subnet ?? '', /^10\..*\/24$/);
    assert.match(six?.Subnet ?? '', /^fd[0-9a-f:]+\/64$/);
  });

  it('its sandboxes reach each other by both, on one host and across, with the first packet', async () => {
    const a = await make(1, 'a', ['dual']);
    const b = await make(1, 'b', ['dual']);
    const c = await make(2, 'c', ['dual']);
    await settled(stage.lab);
    for (const [from, to] of [
      [a, b],
      [a, c],
      [c, a],
      [c, b],
    ] as const) {
      for (const address of [to.address('dual'), to.address6('dual')]) {
        const { received } = await from.ping(address, { count: 1, waitMs: 700 });
        assert.equal(received, 1, `${from.name} to ${to.name} at ${address}`);
      }
    }
  });

  it('TCP goes over both', async () => {
    const [a, c] = [await box(1, 'a'), await box(2, 'c')];
    for (const address of [c.address('dual'), c.address6('dual')]) assert.ok(await transfers(a, c, address), address);
  });

  it('no neighbour discovery crosses the underlay: what is asked is answered here, or not at all', async () => {
    const host = stage.lab.host(1);
    const [a, b, c] = [await box(1, 'a'), await box(1, 'b'), await box(2, 'c')];
    await a.exec('ip', ['neigh', 'flush', 'all']);
    const [network] = await host.weftJson<Network[]>('network', 'inspect', 'dual');
    await countVxlan(host, network?.VNI ?? 0, { mac: c.info.Networks[0]?.MacAddress ?? '' });
    assert.equal((await host.weft('self-test')).exitCode, 0, 'which is not of this network, and not counted');
    const nobody = c.address6('dual').replace(/[0-9a-f]*$/, 'ffff');
    for (const address of [nobody, b.address6('dual'), 'ff02::1%eth0', 'ff02::1:ff00:1%eth0'])
      await a.ping(address, PROBE);
    const { received } = await a.ping(c.address6('dual'), { count: 4, intervalMs: 20 });
    assert.equal(received, 4);
    assert.deepEqual(await vxlanSent(host), { all: 4, discovery: 0, echo: 4 }, 'only the echoes leave');
  });

  it('an endpoint shows both addresses, everywhere', async () => {
    const c = await box(2, 'c');
    const host = stage.lab.host(1);
    const endpoint = (await host.api.call('endpointList', { query: { network: 'dual' } })).find(
      ({ Name }) => Name === 'c',
    );
    assert.deepEqual(
      [endpoint?.IPv4Address, endpoint?.IPv6Address],
      [`${c.address('dual')}/24`, `${c.address6('dual')}/64`],
    );
    const [network] = await stage.lab.host(2).weftJson<Network[]>('network', 'inspect', 'dual');
    const [container] = Object.values(network?.Containers ?? {});
    assert.equal(container?.IPv6Address, endpoint?.IPv6Address);
    const hosts = (await c.exec('cat', [c.info.HostsPath])).stdout;
    for (const address of [c.address('dual'), c.address6('dual')])
      assert.ok(hosts.includes(`\n${address}\tc\n`), hosts);
    const [leg] = c.info.Networks;
    const shown = (await c.exec('ip', ['-6', 'address', 'show', 'dev', leg?.Interface ?? ''])).stdout;
    assert.match(shown, new RegExp(`inet6 ${c.address6('dual')}/64 scope global nodad`));
  });

  it('an address can be asked for, and belongs to one', async () => {
    const [a] = [await box(1, 'a')];
    const wanted = a.address6('dual').replace(/[0-9a-f]*$/, '77');
    const two = stage.lab.host(2);
    const made = await two.createSandbox({ Name: 'seven', Networks: ['dual'], GlobalIPv6Address: wanted });
    assert.equal(made.address6('dual'), wanted);
    const again = await stage.lab.host(1).weft('sandbox', 'create', '--network', 'dual', '--ip6', wanted, 'eight');
    assert.equal(again.exitCode, 1, again.stdout);
    assert.match(again.stderr, new RegExp(wanted));
    for (const [flag, address] of [
      ['--ip', wanted],
      ['--ip6', '10.0.0.9'],
    ] as const) {
      const refused = await two.weft('sandbox', 'create', '--network', 'dual', flag, address, 'nine');
      assert.equal(refused.exitCode, 1);
      assert.match(refused.stderr, /is no IPv[46] address/);
    }
    await settled(stage.lab);
    assert.ok(await reaches(a, wanted));
  });

  it('a network without IPv4', async () => {
    const one = stage.lab.host(1);
    const create = ['network', 'create', '--ipv6', '--ipv4=false', '--subnet', 'fd00:0:0:66::/64', 'six'];
    assert.equal((await one.weft(...create)).exitCode, 0);
    await settled(stage.lab);
    const [a, c] = [await make(1, 'six-a', ['six']), await make(2, 'six-c', ['six'])];
    await settled(stage.lab);
    assert.deepEqual([a.info.Networks[0]?.IPv4Address, a.address6('six').startsWith('fd00:0:0:66::')], ['', true]);
    assert.ok(await reaches(a, c.address6('six')));
    assert.ok(await transfers(c, a, a.address6('six')));
    const leg = a.info.Networks[0]?.Interface ?? '';
    assert.equal((await a.exec('ip', ['-4', 'address', 'show', 'dev', leg])).stdout, '');
    assert.ok(a.info.Gateway, 'it has its way out through docker_gwbridge, as any network that is not internal');
    assert.ok(await reaches(a, a.info.Gateway.Gateway));
    const further = await one.weft('network', 'update', '--subnet-add', 'fd00:0:0:67::/64', 'six');
    assert.equal(further.exitCode, 0, further.stderr);
    await settled(stage.lab);
    const routes = (await c.exec('ip', ['-6', 'route', 'show', 'fd00:0:0:67::/64'])).stdout;
    assert.match(routes, new RegExp(`dev ${c.info.Networks[0]?.Interface}`));
  });

  it('a namespace in which IPv6 was switched off gets it on its leg, and reaches itself', async () => {
    const host = stage.lab.host(2);
    await host.exec('ip', ['netns', 'add', 'theirs']);
    await host.execIn('/run/netns/theirs', 'sysctl', ['-w', 'net.ipv6.conf.all.disable_ipv6=1']);
    await host.execIn('/run/netns/theirs', 'sysctl', ['-w', 'net.ipv6.conf.default.disable_ipv6=1']);
    const adopted = await host.createSandbox({ Name: 'theirs', Networks: ['dual'], NetnsPath: '/run/netns/theirs' });
    await settled(stage.lab);
    for (const to of [adopted, await box(1, 'a')]) assert.ok(await reaches(adopted, to.address6('dual')), to.name);
    const leg = adopted.info.Networks[0]?.Interface ?? '';
    const heeds = await adopted.exec('sysctl', ['-n', `net.ipv6.conf.${leg}.accept_ra`]);
    assert.equal(heeds.stdout.trim(), '0');
  });

  it('a network without IPv6 carries none', async () => {
    const one = stage.lab.host(1);
    await one.weftJson('network', 'create', 'plain');
    await settled(stage.lab);
    const plain = await make(1, 'plain', ['plain']);
    assert.equal(plain.info.Networks[0]?.IPv6Address, '');
    for (const name of ['eth0', 'eth1'])
      assert.equal((await plain.exec('ip', ['-6', 'address', 'show', 'dev', name])).stdout, '', name);
    // A device with a smaller MTU than IPv6 needs has no setting for it.
    await one.weftJson('network', 'create', '-o', 'mtu=1000', 'narrow');
    assert.equal((await make(1, 'narrow', ['narrow'])).info.Networks[0]?.Status, 'ok');
    const refused = await one.weft('network', 'create', '--subnet', 'fd00:1::/64', 'nothing');
    assert.equal(refused.exitCode, 1);
    assert.match(refused.stderr, /--ipv6/);
  });

  it('an agent that starts again goes on with what is there', async () => {
    const host = stage.lab.host(2);
    const before = await host.kernel();
    const ping = await (await box(1, 'a')).backgroundPing((await box(2, 'c')).address6('dual'), { count: 100_000 });
    await host.stopAgent();
    await host.startAgent();
    await settled(stage.lab);
    assert.deepEqual((await ping.stopAndCount()).missing, []);
    assert.deepEqual(await host.kernel(), before);
    assert.equal((await host.api.call('status')).Kernel.Repairs, 0);
  });
});
