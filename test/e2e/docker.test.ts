import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Endpoint, Network, Status } from '../../agent/api/schema.ts';
import { Docker, IMAGE } from '../lab/docker.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

describe('Docker on networks of the cluster', { timeout: 200_000 }, () => {
  const stage = useLab({ hosts: 3, cluster: { managers: 3 } });
  let dockers: readonly Docker[] = [];
  const docker = (index: number): Docker => dockers[index - 1] as Docker;
  const host = (index: number): Host => stage.lab.host(index);
  before(async () => {
    dockers = await Promise.all(stage.lab.hosts.map((each) => Docker.start(each, { args: ['--live-restore'] })));
    await Promise.all(dockers.map((each) => each.importImage()));
  });
  after(() => Promise.all(dockers.map((each) => each[Symbol.asyncDispose]())));

  /** Names of Docker's networks, by driver. */
  const networksOf = async (of: Docker): Promise<Record<string, string>> => {
    const { stdout } = await of.exec(['network', 'ls', '--format', '{{.Name}} {{.Driver}}']);
    return Object.fromEntries(
      stdout
        .trim()
        .split('\n')
        .map((line) => line.split(' ') as [string, string]),
    );
  };
  const everywhere = (what: string, holds: (networks: Record<string, string>) => boolean): Promise<unknown> =>
    eventually(what, async () => (await Promise.all(dockers.map(networksOf))).every(holds));
  const addressOf = async (of: Docker, container: string, network: string): Promise<string> =>
    (await of.inspect(container)).NetworkSettings.Networks[network]?.IPAddress ?? '';
  const pings = async (of: Docker, container: string, address: string): Promise<boolean> =>
    (await of.execIn(container, 'ping', ['-c2', '-i0.2', '-W2', address], { check: false })).exitCode === 0;
  const endpointsOn = async (at: Host, network: string): Promise<Endpoint[]> =>
    at.api.call('endpointList', { query: { network } });

  it('every Docker has the networks of the cluster, ingress and docker_gwbridge', async () => {
    await everywhere(
      'ingress in all Dockers',
      ({ ingress, docker_gwbridge: gateway }) => ingress === 'weft' && gateway === 'bridge',
    );
    await host(1).weft('network', 'create', 'frontend');
    await everywhere('frontend in all Dockers', ({ frontend }) => frontend === 'weft');
  });

  it('containers of different hosts reach each other, both ways and with large packets', async () => {
    await docker(1).run(['--network', 'frontend', '--name', 'db', '--network-alias', 'database', '--hostname', 'db-1']);
    await docker(2).run(['--network', 'frontend', '--name', 'app']);
    await settled(stage.lab);
    const [db, app] = [await addressOf(docker(1), 'db', 'frontend'), await addressOf(docker(2), 'app', 'frontend')];
    assert.notEqual(db, app);
    assert.ok(await pings(docker(1), 'db', app));
    assert.ok(await pings(docker(2), 'app', db));
    const large = await docker(2).execIn('app', 'ping', ['-c1', '-W2', '-M', 'do', '-s', '1422', db], { check: false });
    assert.equal(large.exitCode, 0, large.stderr);
  });

  it('they have a way out through docker_gwbridge, as with an overlay of Docker', async () => {
    const route = (await docker(1).execIn('db', 'ip', ['route', 'show', 'default'])).stdout;
    const { Networks } = (await docker(1).inspect('db')).NetworkSettings;
    assert.ok(await pings(docker(1), 'db', route.split(' ')[2] ?? ''), route);
    assert.deepEqual(Object.keys(Networks), ['frontend']);
    assert.ok(await pings(docker(1), 'db', host(2).address), 'the underlay, behind masquerade');
  });

  it('a container starts while docker_gwbridge is being made, by us and not by Docker at the same time', async () => {
    for (let round = 0; round < 8; round += 1) {
      await docker(3).exec(['network', 'rm', 'docker_gwbridge']);
      await docker(3).exec(['run', '--rm', '--network', 'frontend', IMAGE, 'true']);
      await eventually('docker_gwbridge', async () => 'docker_gwbridge' in (await networksOf(docker(3))));
    }
    const { Warnings: warnings } = await host(3).weftJson<Status>('status');
    assert.deepEqual(warnings, []);
  });

  it('their names and aliases are known on all hosts, and follow a rename', async () => {
    const namesOn = async (at: Host): Promise<string[]> =>
      (await endpointsOn(at, 'frontend'))
        .map(({ Name, Aliases }) => [Name, ...Aliases.filter(isGiven)].join(' '))
        .sort();
    // Docker has the short id of a container as an alias, and as its hostname.
    const isGiven = (alias: string): boolean => !/^[0-9a-f]{12}$/.test(alias);
    await eventually('the names on host 3', async () => (await namesOn(host(3))).join() === 'app,db database db-1');
    await docker(2).exec(['rename', 'app', 'web']);
    await eventually('the new name', async () => (await namesOn(host(1))).join() === 'db database db-1,web');
    await docker(2).exec(['rename', 'web', 'app']);
    await eventually('the old name', async () => (await namesOn(host(1))).join() === 'app,db database db-1');
  });

  it("names resolve across hosts by the agent's resolver, for who is on the network and nobody else", async () => {
    const gateway = (await docker(2).execIn('app', 'ip', ['route', 'show', 'default'])).stdout.split(' ')[2] ?? '';
    await docker(2).run(['--network', 'frontend', '--name', 'asker', '--dns', gateway]);
    await docker(2).run(['--name', 'stranger', '--dns', gateway]);
    const db = await addressOf(docker(1), 'db', 'frontend');
    const found = async (container: string, name: string): Promise<string> =>
      (await docker(2).execIn(container, 'nslookup', [name], { check: false })).stdout;
    for (const name of ['db', 'database', 'db-1', 'db.frontend', 'tasks.database'])
      await eventually(`${name} to resolve`, async () => (await found('asker', name)).includes(`Address: ${db}`));
    assert.doesNotMatch(await found('stranger', 'database'), new RegExp(db));
    assert.match(
      (await docker(2).execIn('asker', 'ping', ['-c1', '-W2', 'database'])).stdout,
      /1 packets received|1 received/,
    );
    await docker(2).exec(['rm', '-f', 'asker', 'stranger']);
  });

  it('a container on two networks is on both, and who is on one of them does not reach the other', async () => {
    await host(2).weft('network', 'create', '--internal', 'backend');
    await everywhere('backend in all Dockers', ({ backend }) => backend === 'weft');
    await docker(3).run(['--network', 'backend', '--name', 'store']);
    await docker(1).exec(['network', 'connect', 'backend', 'db']);
    await settled(stage.lab);
    const store = await addressOf(docker(3), 'store', 'backend');
    assert.ok(await pings(docker(1), 'db', store));
    assert.ok(!(await pings(docker(2), 'app', store)));
    assert.equal((await docker(3).execIn('store', 'ip', ['route', 'show', 'default'])).stdout, '', 'internal');
    await docker(1).exec(['network', 'disconnect', 'backend', 'db']);
    await settled(stage.lab);
    assert.deepEqual((await endpointsOn(host(2), 'backend')).length, 1);
  });

  it('an address and a MAC that are asked for are given, once', async () => {
    const [network] = await host(1).weftJson<Network[]>('network', 'inspect', 'frontend');
    const wanted = (network?.IPAM.Config[0]?.Subnet ?? '').replace('.0/24', '.77');
    const mac = '02:42:00:00:00:77';
    const asked = ['--network', 'frontend', '--ip', wanted, '--mac-address', mac];
    await docker(2).run([...asked, '--name', 'fixed']);
    const { Networks } = (await docker(2).inspect('fixed')).NetworkSettings;
    assert.deepEqual([Networks['frontend']?.IPAddress, Networks['frontend']?.MacAddress], [wanted, mac]);
    const again = await docker(3).exec(['run', '--rm', ...asked, 'lab:latest', 'true'], { check: false });
    assert.notEqual(again.exitCode, 0);
    assert.match(again.stderr, /weft: .*77.*choose another address/);
    // Right away, when the address was in use a moment ago; with the MAC that others have in their ARP caches.
    await docker(1).run(['--network', 'frontend', '--ip', wanted.replace('.77', '.78'), '--name', 'known']);
    const of = async (): Promise<unknown[]> => {
      const { IPAddress, MacAddress } = (await docker(1).inspect('known')).NetworkSettings.Networks['frontend'] ?? {};
      return [IPAddress, MacAddress];
    };
    await settled(stage.lab);
    assert.ok(await pings(docker(2), 'app', wanted.replace('.77', '.78')));
    const before = await of();
    await docker(1).exec(['restart', '-t', '0', 'known']);
    assert.deepEqual(await of(), before);
    await settled(stage.lab);
    assert.ok(await pings(docker(2), 'app', wanted.replace('.77', '.78')));
    await docker(1).exec(['rm', '-f', 'known']);
    await docker(2).exec(['rm', '-f', 'fixed']);
    await settled(stage.lab);
  });

  it('what is in use is not removed: refused, or made again where Docker asks nobody', async () => {
    const inUse = await docker(1).exec(['network', 'rm', 'frontend'], { check: false });
    assert.match(inUse.stderr, /has active endpoints/);
    const inWeft = await host(3).weft('network', 'rm', 'frontend');
    assert.match(inWeft.stderr, /network frontend has active endpoints: 2 on host1, host2/);
    await docker(3).exec(['network', 'rm', 'frontend'], { check: false });
    await everywhere('frontend still there', ({ frontend }) => frontend === 'weft');
    assert.ok(await pings(docker(1), 'db', await addressOf(docker(2), 'app', 'frontend')));
  });

  it('a container that is stopped is gone everywhere, and comes back', async () => {
    await docker(2).exec(['stop', '-t', '0', 'app']);
    await settled(stage.lab);
    assert.equal((await endpointsOn(host(1), 'frontend')).length, 1);
    await docker(2).exec(['start', 'app']);
    await settled(stage.lab);
    assert.ok(await pings(docker(1), 'db', await addressOf(docker(2), 'app', 'frontend')));
    for (const verb of ['pause', 'unpause', 'kill', 'start']) await docker(2).exec([verb, 'app']);
    await settled(stage.lab);
    assert.ok(await pings(docker(2), 'app', await addressOf(docker(1), 'db', 'frontend')));
  });

  it('an agent that is killed and starts again changes nothing for them, and takes new ones', async () => {
    const app = await addressOf(docker(2), 'app', 'frontend');
    await host(1).killAgent();
    assert.ok(await pings(docker(1), 'db', app), 'without an agent');
    await host(1).startAgent();
    await settled(stage.lab);
    assert.ok(await pings(docker(1), 'db', app));
    await docker(1).run(['--network', 'frontend', '--name', 'late']);
    await settled(stage.lab);
    assert.ok(await pings(docker(2), 'app', await addressOf(docker(1), 'late', 'frontend')));
    await docker(1).exec(['rm', '-f', 'late']);
    await eventually(
      'its kernel to be as wanted',
      async () => (await host(1).api.call('status')).Kernel.State === 'ok',
    );
  });

  it('a Docker that is started again keeps its containers (live-restore), and their addresses', async () => {
    const [db, app] = [await addressOf(docker(1), 'db', 'frontend'), await addressOf(docker(2), 'app', 'frontend')];
    await docker(1).restart();
    assert.equal(await addressOf(docker(1), 'db', 'frontend'), db);
    assert.ok(await pings(docker(1), 'db', app));
    await docker(1).exec(['rm', '-f', 'db']);
    await settled(stage.lab);
    assert.equal((await endpointsOn(host(2), 'frontend')).length, 1);
  });

  it('a network that is made in one Docker is in all of them, and in the cluster', async () => {
    await docker(2).exec(['network', 'create', '-d', 'weft', '--label', 'team=a', 'made']);
    await docker(3).exec(['network', 'create', '-d', 'weft', '--subnet', '10.200.7.0/24', 'chosen']);
    const subnetsOf = async (name: string): Promise<string[]> => {
      const [network] = await host(1).weftJson<Network[]>('network', 'inspect', name);
      return network?.IPAM.Config.map(({ Subnet }) => Subnet) ?? [];
    };
    await everywhere('both everywhere', ({ made, chosen }) => made === 'weft' && chosen === 'weft');
    const mirrored = async (
      of: Docker,
      name: string,
    ): Promise<{ driver: string; subnets: string[]; labels: object }> => {
      const [network] = JSON.parse((await of.exec(['network', 'inspect', name])).stdout);
      const subnets = network.IPAM.Config.map(({ Subnet }: { Subnet: string }) => Subnet);
      return { driver: network.IPAM.Driver, subnets, labels: network.Labels };
    };
    await eventually("the cluster's own in the Docker where it was made", async () =>
      (await Promise.all([mirrored(docker(2), 'made'), mirrored(docker(3), 'chosen')])).every(
        ({ driver }) => driver === 'weft',
      ),
    );
    const wanted = { driver: 'weft', subnets: await subnetsOf('made'), labels: { team: 'a' } };
    for (const each of dockers) assert.deepEqual(await mirrored(each, 'made'), wanted);
    assert.match(wanted.subnets.join(), /^10\.\d+\.\d+\.0\/24$/, 'not what Docker chose for itself');
    assert.deepEqual(await subnetsOf('chosen'), ['10.200.7.0/24']);
    await docker(1).run(['--network', 'made', '--name', 'one']);
    await docker(2).run(['--network', 'made', '--name', 'two']);
    await settled(stage.lab);
    assert.ok(await pings(docker(1), 'one', await addressOf(docker(2), 'two', 'made')));
    const secret = await docker(1).exec(['network', 'create', '-d', 'weft', '-o', 'encrypted', 'secret'], {
      check: false,
    });
    assert.match(secret.stderr, /weft: network option encrypted: what goes between hosts is not encrypted yet/);
    await docker(1).exec(['rm', '-f', 'one']);
    await docker(2).exec(['rm', '-f', 'two']);
    for (const name of ['made', 'chosen']) await host(1).weft('network', 'rm', name);
    await everywhere('both gone', ({ made, chosen }) => made === undefined && chosen === undefined);
  });

  it('a network that Docker removes is gone everywhere; none is left behind', async () => {
    await docker(2).exec(['rm', '-f', 'app']);
    await docker(3).exec(['rm', '-f', 'store']);
    await settled(stage.lab);
    await docker(2).exec(['network', 'rm', 'frontend']);
    await host(1).weft('network', 'rm', 'backend');
    await everywhere(
      'both gone',
      (networks) => networks['frontend'] === undefined && networks['backend'] === undefined,
    );
    for (const each of stage.lab.hosts) {
      const { Warnings: warnings } = await each.weftJson<Status>('status');
      assert.deepEqual(warnings, []);
      const links = (await each.exec('ip', ['-brief', 'link'])).stdout;
      assert.doesNotMatch(links, /^wj/m);
      assert.deepEqual((await each.weftJson<{ Items: unknown[] }>('drift')).Items, []);
    }
  });
});
