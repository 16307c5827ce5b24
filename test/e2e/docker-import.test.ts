import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Network } from '../../agent/api/schema.ts';
import { WEFT } from '../lab/agent.ts';
import { Docker } from '../lab/docker.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';
import { formSwarm } from '../lab/swarm.ts';

// Those of the Swarm are its own.
const config = { 'gossip-port': 17_946, 'join-port': 12_377 };

/** Networks of the Swarm, as arguments to `docker network create -d overlay`; see `carried` for what becomes of them. */
const networks: { readonly [name: string]: readonly string[] } = {
  plain: [],
  full: [
    ...['--attachable', '--subnet', '10.60.0.0/24', '--gateway', '10.60.0.9', '--ip-range', '10.60.0.128/25'],
    ...['--opt', 'com.docker.network.driver.mtu=1400'],
    ...['--label', 'com.docker.stack.namespace=shop', '--label', "motto=it's $HOME; a\nb"],
  ],
  inner: ['--internal'],
  two: ['--subnet', '10.61.0.0/24', '--subnet', '10.62.0.0/24', '--gateway', '10.62.0.7'],
  six: ['--ipv6', '--subnet', '10.63.0.0/24', '--subnet', 'fd00:63::/64'],
  options: ['--opt', 'com.docker.network.driver.overlay.vxlanid_list=5000', '--opt', 'foo=bar'],
  secret: ['--opt', 'encrypted'],
  tiny: ['--subnet', '10.64.0.0/30'],
  unmade: ['--subnet', '10.60.0.0/24'],
};
const cannot = ['secret', 'tiny', 'unmade', 'wire'];
const can = Object.keys(networks).filter((name) => !cannot.includes(name));

/** What of a network is to be as it was in the Swarm. */
const kept = ({ Internal, EnableIPv6, IPAM, Options, Labels }: Network) => ({
  Internal,
  EnableIPv6,
  Subnets: IPAM.Config.map(({ Subnet, Gateway, IPRange }) => [Subnet, Gateway, IPRange]),
  Options,
  Labels,
});
type NetworkSummary = ReturnType<typeof kept>;

describe('weft import swarm', { timeout: 150_000 }, () => {
  const stage = useLab({
    hosts: 2,
    cluster: { managers: 2, agent: { config }, initArgs: ['--data-path-port', '14789'] },
  });
  let dockers: readonly Docker[] = [];
  const docker = (index: number): Docker => dockers[index - 1] as Docker;
  const host = (index: number): Host => stage.lab.host(index);
  before(async () => {
    dockers = await Promise.all(stage.lab.hosts.map((each) => Docker.start(each)));
    await Promise.all(dockers.map((each) => each.importImage()));
    // Before the Swarm comes with its own.
    for (const index of [1, 2])
      await eventually('ingress in Docker', async () => (await inDocker(index, 'ingress')) === 'weft');
  });
  after(() => Promise.all(dockers.map((each) => each[Symbol.asyncDispose]())));

  const importing = (index: number, ...args: string[]) => host(index).weft('import', 'swarm', ...args);
  const names = async (): Promise<string[]> => (await host(1).api.call('networkList')).map(({ Name }) => Name).sort();
  const inDocker = async (index: number, name: string): Promise<string> =>
    (await docker(index).exec(['network', 'inspect', '-f', '{{.Driver}}', name], { check: false })).stdout.trim();

  it('says where there is no Docker, and one that is in no Swarm', async () => {
    const none = await importing(1);
    assert.deepEqual([none.exitCode, none.stdout], [1, '']);
    assert.match(none.stderr, /^weft: Docker at \/var\/run\/docker\.sock: it is in no Swarm\n.*--docker-socket/);
    const nowhere = await importing(1, '--docker-socket', '/run/none.sock');
    assert.deepEqual([nowhere.exitCode, nowhere.stdout], [1, '']);
    assert.match(nowhere.stderr, /Docker does not run at \/run\/none\.sock: start it/);
  });

  it('on a manager it prints all networks, and makes none', async () => {
    await formSwarm([docker(1), docker(2)]);
    for (const [name, flags] of Object.entries(networks))
      await docker(1).exec(['network', 'create', '-d', 'overlay', ...flags, name]);
    await docker(1).exec(['network', 'create', '--config-only', '-o', 'parent=eth0', 'settings']);
    const wire = ['-d', 'macvlan', '--scope', 'swarm', '--config-from', 'settings', 'wire'];
    await docker(1).exec(['network', 'create', ...wire]);
    // The Swarm gives a network its addresses a moment after.
    await eventually('addresses of the last network', async () =>
      (await docker(1).exec(['network', 'inspect', '-f', '{{.IPAM.Config}}', 'tiny'])).stdout.includes('10.64.0.0/30'),
    );

    const there = await names();
    const { stdout, stderr, exitCode } = await importing(1);
    assert.deepEqual([exitCode, stderr], [0, ''], stderr);
    const lines = stdout.split('\n');
    for (const name of can)
      assert.ok(lines.some((line) => line.startsWith('weft network create ') && line.endsWith(` ${name}`)));
    // Docker's command puts two subnets in any order (cli/command/network/create.go: those of a map).
    assert.match(
      stdout,
      /^weft network update --subnet-add (10\.61\.0\.0\/24 --gateway 10\.61\.0\.1|10\.62\.0\.0\/24 --gateway 10\.62\.0\.7) two$/m,
    );
    for (const [name, why] of Object.entries({ secret: 'it is encrypted', tiny: '10.64.0.0/30', wire: 'settings' }))
      assert.ok(
        lines.some((line) => line.startsWith(`# ${name} cannot be made: `) && line.includes(why)),
        name,
      );
    for (const name of ['ingress', 'docker_gwbridge']) assert.ok(lines.some((line) => line.startsWith(`# ${name}: `)));
    assert.ok(!stdout.includes('5000') && stdout.includes('# options: left out: option foo=bar'));
    assert.deepEqual(await names(), there);
  });

  it('what it prints is a script', async () => {
    const { stdout } = await importing(1, 'full', 'inner');
    const script = `weft() { '${process.execPath}' '${WEFT}' "$@"; }\n${stdout}`;
    await host(1).exec('bash', ['-euc', script]);
    const [full] = await host(1).weftJson<Network[]>('network', 'inspect', 'full');
    assert.equal(full?.Labels['motto'], "it's $HOME; a\nb");
  });

  it('--create makes the others, goes on after those that cannot be, and can be run again', async () => {
    const first = await importing(1, '--create');
    assert.equal(first.exitCode, 1, first.stderr);
    assert.match(first.stdout, /^plain: made$/m);
    assert.match(first.stdout, /^inner is there already$/m);
    assert.match(first.stdout, /^4 made, 4 there already, 4 cannot be made$/m);
    for (const name of cannot) assert.match(first.stderr, new RegExp(`^weft: ${name} cannot be made: `, 'm'));
    await settled(stage.lab);
    const all = await host(2).weftJson<Network[]>('network', 'inspect', ...can);
    const made = new Map(all.map((network) => [network.Name, kept(network)]));
    const of = (name: string): NetworkSummary | undefined => made.get(name);
    assert.deepEqual(of('full'), {
      ...{ Internal: false, EnableIPv6: false, Subnets: [['10.60.0.0/24', '10.60.0.9', '10.60.0.128/25']] },
      Options: { 'com.docker.network.driver.mtu': '1400' },
      Labels: { 'com.docker.stack.namespace': 'shop', motto: "it's $HOME; a\nb" },
    });
    const two = [
      ['10.61.0.0/24', '10.61.0.1', undefined],
      ['10.62.0.0/24', '10.62.0.7', undefined],
    ];
    // Docker gives a gateway to the subnet that it is in.
    assert.deepEqual(of('two')?.Subnets.toSorted(), two);
    assert.equal(of('inner')?.Internal, true);
    assert.deepEqual(of('options')?.Options, {});
    assert.deepEqual(
      [of('six')?.EnableIPv6, of('six')?.Subnets.map(([subnet]) => subnet)],
      [true, ['10.63.0.0/24', 'fd00:63::/64']],
    );

    const { Id: before } = await host(1).api.call('networkInspect', { ref: 'plain' });
    const again = await importing(1, '--create', ...can);
    assert.deepEqual([again.exitCode, again.stderr], [0, '']);
    assert.match(again.stdout, /^6 there already$/m);
    assert.equal((await host(1).api.call('networkInspect', { ref: 'plain' })).Id, before);
    const prefixed = await importing(1, '--create', '--prefix', 'new-', 'plain');
    assert.equal(prefixed.exitCode, 0, prefixed.stderr);
    await eventually('new-plain in Docker, beside plain', async () => (await inDocker(1, 'new-plain')) === 'weft');
  });

  it('on a worker of the Swarm it says that it sees a part', async () => {
    const { stdout, stderr, exitCode } = await importing(2);
    assert.equal(exitCode, 0);
    assert.match(stderr, /it is a worker of the Swarm, and knows only the networks that are in use there/);
    assert.doesNotMatch(stdout, /weft network create/);
  });

  it('the network that a Docker keeps out is there once the one of the Swarm is removed', async () => {
    assert.equal(await inDocker(1, 'plain'), 'overlay');
    const warnings = async (): Promise<string> => (await host(1).api.call('status')).Warnings.join('\n');
    const wanted = [/another network plain \(driver overlay\)/, /a second network ingress \(driver overlay\)/];
    await eventually('both to be warned of', async () => {
      const said = await warnings();
      if (wanted.every((each) => each.test(said))) return true;
      throw new Error(said);
    });
    await docker(1).exec(['network', 'rm', 'plain']);
    await eventually('plain in both Dockers', async () =>
      (await Promise.all([inDocker(1, 'plain'), inDocker(2, 'plain')])).every((driver) => driver === 'weft'),
    );
    await docker(1).run(['--network', 'plain', '--name', 'db']);
    await docker(2).run(['--network', 'plain', '--name', 'app']);
    await settled(stage.lab);
    const { Networks } = (await docker(1).inspect('db')).NetworkSettings;
    await docker(2).execIn('app', 'ping', ['-c1', '-W2', Networks['plain']?.IPAddress ?? '']);
    await Promise.all(dockers.map((each) => each.exec(['swarm', 'leave', '--force'])));
    await eventually('ingress in both Dockers, and nothing to warn of', async () => {
      const drivers = await Promise.all([inDocker(1, 'ingress'), inDocker(2, 'ingress')]);
      return drivers.every((driver) => driver === 'weft') && !/(another|second) network/.test(await warnings());
    });
  });
});
