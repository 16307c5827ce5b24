import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Network, Status } from '../../agent/api/schema.ts';
import { Docker } from '../lab/docker.ts';
import type { Host } from '../lab/host.ts';
import { eventually, type Output } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

/** Of `docker network inspect`. */
interface DockerNetwork {
  readonly Id: string;
  readonly Internal: boolean;
  readonly Labels: Record<string, string>;
  readonly Options: Record<string, string>;
  readonly IPAM: {
    readonly Driver: string;
    readonly Config: { Subnet: string; IPRange?: string; Gateway?: string; AuxiliaryAddresses?: object }[];
  };
}

const MTU = 'com.docker.network.driver.mtu';

describe("Docker's options, on networks of the cluster", { timeout: 150_000 }, () => {
  const stage = useLab({ hosts: 2, cluster: { managers: 2 } });
  let dockers: readonly Docker[] = [];
  const docker = (index: number): Docker => dockers[index - 1] as Docker;
  const host = (index: number): Host => stage.lab.host(index);
  before(async () => {
    dockers = await Promise.all(stage.lab.hosts.map((each) => Docker.start(each)));
    await Promise.all(dockers.map((each) => each.importImage()));
  });
  after(() => Promise.all(dockers.map((each) => each[Symbol.asyncDispose]())));

  const inspect = async (of: Docker, name: string): Promise<DockerNetwork | undefined> => {
    const { stdout } = await of.exec(['network', 'inspect', name], { check: false });
    return (JSON.parse(stdout) as DockerNetwork[])[0];
  };
  const mirrored = (of: Docker, name: string): Promise<DockerNetwork> =>
    eventually(`${name} in Docker on ${of.host.name}`, async () => {
      const found = await inspect(of, name);
      return found?.IPAM.Driver === 'weft' ? found : undefined;
    });
  const network = async (name: string): Promise<Network> =>
    eventually(`${name} in the cluster`, async () =>
      (await host(2).api.call('networkList')).find(({ Name }) => Name === name),
    );
  const endpoint = async (of: Docker, container: string, on: string) => {
    const [found] = JSON.parse((await of.exec(['container', 'inspect', container])).stdout);
    return found.NetworkSettings.Networks[on] as {
      IPAddress: string;
      GlobalIPv6Address: string;
      MacAddress: string;
    };
  };
  const pings = async (of: Docker, container: string, address: string): Promise<boolean> =>
    (await of.execIn(container, 'ping', ['-c2', '-i0.2', '-W2', address], { check: false })).exitCode === 0;
  const refused = (of: Docker, ...args: string[]): Promise<Output> => of.exec(args, { check: false });

  it('of a network: subnets, gateway, range, auxiliary addresses, IPv6, MTU, labels; with our addresses it keeps its id', async () => {
    const { stdout } = await docker(1).exec([
      ...['network', 'create', '--driver', 'weft', '--ipam-driver', 'weft', '--attachable', '--ipv6'],
      ...['--subnet', '10.60.0.0/24', '--gateway', '10.60.0.254', '--ip-range', '10.60.0.128/25'],
      ...['--aux-address', 'router=10.60.0.129', '--subnet', 'fd00:60::/64'],
      ...['--label', 'tier=data', '--opt', `${MTU}=1300`, 'full'],
    ]);
    // At once, as a script or Compose would.
    await docker(1).run(['--network', stdout.trim(), '--name', 'one']);
    const { IPAM, EnableIPv6, Labels, Options, Attachable } = await network('full');
    const wanted = {
      Subnet: '10.60.0.0/24',
      Gateway: '10.60.0.254',
      IPRange: '10.60.0.128/25',
      AuxiliaryAddresses: { router: '10.60.0.129' },
    };
    const [four, six] = IPAM.Config;
    assert.deepEqual({ ...four, ...wanted }, four);
    assert.equal(six?.Subnet, 'fd00:60::/64');
    assert.deepEqual([EnableIPv6, Attachable, Labels, Options[MTU]], [true, true, { tier: 'data' }, '1300']);
    const there = await mirrored(docker(2), 'full');
    assert.deepEqual(there.Labels, { tier: 'data' });
    assert.deepEqual({ ...there.IPAM.Config[0], ...wanted }, there.IPAM.Config[0]);
    assert.equal(there.Options[MTU], '1300');
    await docker(2).run(['--network', 'full', '--name', 'two']);
    await settled(stage.lab);
    assert.equal((await inspect(docker(1), 'full'))?.Id, stdout.trim());
    const [one, two] = [await endpoint(docker(1), 'one', 'full'), await endpoint(docker(2), 'two', 'full')];
    for (const { IPAddress, GlobalIPv6Address } of [one, two]) {
      const last = Number(IPAddress.split('.')[3]);
      assert.ok(last >= 128 && last !== 129 && last !== 254, IPAddress);
      assert.match(GlobalIPv6Address, /^fd00:60::/);
    }
    assert.ok(await pings(docker(1), 'one', two.IPAddress));
    assert.ok(await pings(docker(2), 'two', one.GlobalIPv6Address));
    assert.match((await docker(2).execIn('two', 'ip', ['link', 'show', 'eth0'])).stdout, /mtu 1300/);
  });

  it('the same without --ipam-driver, when the network is made again', async () => {
    const args = ['--subnet', '10.61.0.0/24', '--gateway', '10.61.0.9', '--ip-range', '10.61.0.64/26', '--internal'];
    await docker(2).exec(['network', 'create', '--driver', 'weft', ...args, '--aux-address', 'a=10.61.0.64', 'plain']);
    for (const each of dockers) {
      const { Internal, IPAM } = await mirrored(each, 'plain');
      const wanted = { Subnet: '10.61.0.0/24', Gateway: '10.61.0.9', IPRange: '10.61.0.64/26' };
      assert.deepEqual([Internal, IPAM.Config], [true, [{ ...wanted, AuxiliaryAddresses: { a: '10.61.0.64' } }]]);
    }
  });

  it('an IPv6 subnet that nobody named is the one that the cluster chooses', async () => {
    const create = ['network', 'create', '--driver', 'weft', '--ipam-driver', 'weft', '--ipv6', 'any'];
    const id = (await docker(1).exec(create)).stdout.trim();
    const [four, six] = (await network('any')).IPAM.Config.map(({ Subnet }) => Subnet);
    for (const each of dockers) {
      const { IPAM } = await mirrored(each, 'any');
      assert.deepEqual(
        IPAM.Config.map(({ Subnet }) => Subnet),
        [four, six],
      );
    }
    assert.equal((await inspect(docker(1), 'any'))?.Id, id);
    assert.match(`${four},${six}`, /^10\.\d+\.\d+\.0\/24,fd[0-9a-f:]+::\/64$/);
  });

  it('what cannot be is refused in words, and leaves nothing', async () => {
    const create = ['network', 'create', '--driver', 'weft', '--ipam-driver', 'weft'];
    for (const [args, words] of [
      [['--opt', 'encrypted'], /weft: network option encrypted: what goes between hosts is not encrypted yet/],
      [['--opt', 'com.docker.network.driver.overlay.vxlanid_list=77'], /weft: no network of the cluster has VNI 77/],
      [['--opt', `${MTU}=10`], /weft: .*mtu=10: want/],
      [['--subnet', '10.62.0.0/30'], /weft: 10\.62\.0\.0\/30 cannot be a network's subnet/],
    ] as const) {
      const { exitCode, stderr } = await refused(docker(1), ...create, ...args, 'wrong');
      assert.notEqual(exitCode, 0, args.join(' '));
      assert.match(stderr, words);
    }
    const { stderr } = await refused(
      docker(1),
      'run',
      '--rm',
      '--network',
      'full',
      '--ip',
      '10.60.0.129',
      'lab',
      'true',
    );
    assert.match(stderr, /weft: .*10\.60\.0\.129/);
    const networks = (await host(1).api.call('networkList')).map(({ Name }) => Name);
    assert.ok(!networks.includes('wrong'), networks.join());
    assert.equal(await inspect(docker(1), 'wrong'), undefined);
  });

  it('of a container: addresses, MAC, aliases, host name, DNS, search domains, links', async () => {
    await docker(2).run([
      ...['--network', 'full', '--ip', '10.60.0.77', '--ip6', 'fd00:60::77', '--mac-address', '02:42:00:00:60:77'],
      ...['--network-alias', 'chosen', '--hostname', 'seventy-seven', '--name', 'fixed'],
    ]);
    const { IPAddress, GlobalIPv6Address, MacAddress } = await endpoint(docker(2), 'fixed', 'full');
    assert.deepEqual([IPAddress, GlobalIPv6Address, MacAddress], ['10.60.0.77', 'fd00:60::77', '02:42:00:00:60:77']);
    const gateway = (await docker(2).execIn('two', 'ip', ['route', 'show', 'default'])).stdout.split(' ')[2] ?? '';
    await docker(2).run([
      ...['--network', 'full', '--name', 'asker', '--link', 'two:linked'],
      ...['--dns', gateway, '--dns-search', 'full', '--dns-opt', 'ndots:2'],
    ]);
    const conf = (await docker(2).execIn('asker', 'cat', ['/etc/resolv.conf'])).stdout;
    for (const line of [/^search full$/m, /^nameserver 127\.0\.0\.11$/m, /^options (.* )?ndots:2\b/m])
      assert.match(conf, line);
    await settled(stage.lab);
    const resolves = (name: string, address: string): Promise<unknown> =>
      eventually(`${name} to resolve`, async () =>
        (await docker(2).execIn('asker', 'nslookup', [name], { check: false })).stdout.includes(`Address: ${address}`),
      );
    const one = await endpoint(docker(1), 'one', 'full');
    await resolves('linked', (await endpoint(docker(2), 'two', 'full')).IPAddress);
    for (const name of ['chosen', 'seventy-seven', 'fixed']) await resolves(name, '10.60.0.77');
    await resolves('one', one.IPAddress);
    await resolves('one', one.GlobalIPv6Address);
    const taken = await refused(
      docker(1),
      ...['run', '--rm', '--network', 'full', '--mac-address', MacAddress, 'lab', 'true'],
    );
    assert.match(taken.stderr, /weft: 02:42:00:00:60:77 is the MAC address of fixed on network full: ask for another/);
    await docker(2).exec(['rm', '-f', 'fixed', 'asker']);
  });

  it('`-p` publishes on this host through docker_gwbridge', async () => {
    await docker(1).run(
      ['--network', 'full', '--publish', '18080:80', '--name', 'web'],
      ['busybox', 'nc', '-ll', '-p', '80', '-e', 'echo', 'served'],
    );
    const { stdout } = await docker(1).exec(['port', 'web']);
    assert.match(stdout, /80\/tcp -> 0\.0\.0\.0:18080/);
    // The container runs before its program listens.
    const answer = async (): Promise<string> =>
      (await host(2).exec('busybox', ['nc', '-w', '2', host(1).address, '18080'], { input: '', check: false })).stdout;
    await eventually('the port to be answered', async () => (await answer()) === 'served\n');
    await docker(1).exec(['rm', '-f', 'web']);
  });

  it('a network is connected with an address and an alias, and disconnected', async () => {
    await docker(1).run(['--name', 'guest']);
    await docker(1).exec(['network', 'connect', '--ip', '10.60.0.88', '--alias', 'visitor', 'full', 'guest']);
    await settled(stage.lab);
    assert.ok(await pings(docker(2), 'two', '10.60.0.88'));
    const known = async (): Promise<string[]> =>
      (await host(2).api.call('endpointList', { query: { network: 'full' } })).map(({ Name }) => Name).sort();
    await eventually('its name', async () => (await known()).join() === 'guest,one,two');
    await docker(1).exec(['network', 'disconnect', 'full', 'guest']);
    await settled(stage.lab);
    assert.deepEqual(await known(), ['one', 'two']);
    assert.ok(!(await pings(docker(2), 'two', '10.60.0.88')));
  });

  it('`network prune` takes away what nobody uses anywhere, and nothing else for long', async () => {
    await docker(1).exec(['rm', '-f', 'one']);
    await settled(stage.lab);
    await docker(1).exec(['network', 'prune', '--force']);
    await eventually('plain gone everywhere', async () => {
      const lists = await Promise.all(dockers.map((each) => each.exec(['network', 'ls', '--format', '{{.Name}}'])));
      return lists.every(({ stdout }) => !stdout.split('\n').includes('plain'));
    });
    for (const name of ['full', 'ingress']) await mirrored(docker(1), name);
    await docker(1).run(['--network', 'full', '--name', 'one']);
    await settled(stage.lab);
    assert.ok(await pings(docker(1), 'one', (await endpoint(docker(2), 'two', 'full')).IPAddress));
    for (const each of stage.lab.hosts) {
      const { Warnings: warnings } = await each.weftJson<Status>('status');
      assert.deepEqual(warnings, []);
    }
  });
});
