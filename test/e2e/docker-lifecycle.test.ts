import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { DockerClient } from '../../agent/docker/client.ts';
import { Containers } from '../../agent/docker/containers.ts';
import { DockerEndpoints } from '../../agent/docker/endpoints.ts';
import { clusterTopic } from '../../controlplane/tables/record.ts';
import { Docker } from '../lab/docker.ts';
import { booksAgree } from '../lab/docker-books.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';
import { identityOf } from '../sim/identities.ts';
import { makeCluster, memoryStore, quietLog } from '../unit/controlplane/helpers.ts';

describe('Docker and the agent come and go', { timeout: 150_000 }, () => {
  const stage = useLab({ hosts: 2, cluster: { managers: 2 } });
  const dockers: Docker[] = [];
  const docker = (index: number): Docker => dockers[index - 1] as Docker;
  const host = (index: number): Host => stage.lab.host(index);
  before(async () => {
    await host(1).weft('network', 'create', 'frontend');
  });
  after(() => Promise.all(dockers.map((each) => each[Symbol.asyncDispose]())));

  const has = (of: Docker, name: string): Promise<unknown> =>
    eventually(`${name} in Docker on ${of.host.name}`, async () => {
      const { stdout } = await of.exec(['network', 'ls', '--filter', 'driver=weft', '--format', '{{.Name}}']);
      return stdout.split('\n').includes(name);
    });
  const addressOf = async (of: Docker, container: string, network: string, family: 4 | 6 = 4): Promise<string> => {
    const [found] = JSON.parse((await of.exec(['container', 'inspect', container])).stdout);
    const endpoint = found.NetworkSettings.Networks[network];
    return (family === 4 ? endpoint.IPAddress : endpoint.GlobalIPv6Address) as string;
  };
  const pings = async (of: Docker, container: string, address: string): Promise<boolean> =>
    (await of.execIn(container, 'ping', ['-c2', '-i0.2', '-W2', address], { check: false })).exitCode === 0;

  it('a Docker that starts after the agent has the networks of the cluster', async () => {
    for (const each of stage.lab.hosts) dockers.push(await Docker.start(each, { args: ['--live-restore'] }));
    for (const each of dockers) await has(each, 'frontend');
    await docker(1).run(['--network', 'frontend', '--name', 'one']);
    await docker(2).run(['--network', 'frontend', '--name', 'two']);
    await settled(stage.lab);
    assert.ok(await pings(docker(1), 'one', await addressOf(docker(2), 'two', 'frontend')));
  });

  it('an agent that starts again leaves the networks of Docker as they are', async () => {
    const idsOf = async (): Promise<string[]> =>
      (await docker(1).exec(['network', 'ls', '--no-trunc', '--format', '{{.Name}} {{.ID}}'])).stdout
        .trim()
        .split('\n');
    await host(1).weft('network', 'create', 'unused');
    await has(docker(1), 'unused');
    const before = await idsOf();
    await host(1).stopAgent();
    await host(1).startAgent();
    await host(1).weft('network', 'create', 'after');
    await has(docker(1), 'after');
    assert.deepEqual((await idsOf()).filter((line) => !line.startsWith('after ')).sort(), before.sort());
    for (const name of ['unused', 'after']) await host(1).weft('network', 'rm', name);
    await booksAgree(stage.lab, dockers);
  });

  it('networks that change while Docker is down are right when it is back', async () => {
    await docker(2).down();
    await host(1).weft('network', 'create', 'later');
    await host(1).weft('network', 'create', 'gone');
    await has(docker(1), 'gone');
    await host(1).weft('network', 'rm', 'gone');
    await docker(2).up();
    await has(docker(2), 'later');
    assert.ok(await pings(docker(2), 'two', await addressOf(docker(1), 'one', 'frontend')), 'live-restore');
    await booksAgree(stage.lab, dockers);
  });

  it('a Docker that was killed with its containers running goes on with them', async () => {
    await docker(1).restart({ signal: 'SIGKILL' });
    assert.ok(await pings(docker(1), 'one', await addressOf(docker(2), 'two', 'frontend')));
    await docker(1).exec(['restart', '-t', '0', 'one']);
    await booksAgree(stage.lab, dockers);
    assert.ok(await pings(docker(2), 'two', await addressOf(docker(1), 'one', 'frontend')));
  });

  it('a container can be started while the agent is away for a moment: Docker waits for it', async () => {
    await host(1).stopAgent();
    const started = docker(1).run(['--network', 'frontend', '--name', 'patient']);
    await host(1).startAgent();
    await started;
    await settled(stage.lab);
    assert.ok(await pings(docker(2), 'two', await addressOf(docker(1), 'patient', 'frontend')));
    await docker(1).exec(['rm', '-f', 'patient']);
    await booksAgree(stage.lab, dockers);
  });

  it('a host that drops what is forwarded, as Docker makes it do, forwards between containers and lets them out', async () => {
    await host(1).exec('iptables', ['-P', 'FORWARD', 'DROP']);
    await docker(1).run(['--network', 'frontend', '--name', 'behind']);
    await settled(stage.lab);
    assert.ok(await pings(docker(1), 'behind', await addressOf(docker(2), 'two', 'frontend')));
    assert.ok(await pings(docker(2), 'two', await addressOf(docker(1), 'behind', 'frontend')));
    assert.ok(await pings(docker(1), 'behind', host(2).address), 'through docker_gwbridge');
    assert.match((await host(1).exec('iptables', ['-S', 'FORWARD'])).stdout, /^-P FORWARD DROP$/m);
    await docker(1).exec(['rm', '-f', 'behind']);
    await host(1).exec('iptables', ['-P', 'FORWARD', 'ACCEPT']);
  });

  it('IPv4 and IPv6 on one network', async () => {
    await host(1).weft('network', 'create', '--ipv6', 'dual');
    for (const each of dockers) await has(each, 'dual');
    await docker(1).run(['--network', 'dual', '--name', 'six-1']);
    await docker(2).run(['--network', 'dual', '--name', 'six-2']);
    await settled(stage.lab);
    for (const family of [4, 6] as const) {
      const address = await addressOf(docker(2), 'six-2', 'dual', family);
      assert.notEqual(address, '');
      assert.ok(await pings(docker(1), 'six-1', address), address);
    }
    await docker(1).exec(['rm', '-f', 'six-1']);
    await docker(2).exec(['rm', '-f', 'six-2']);
  });

  it('an endpoint, and an address, that Docker has lost without a word are given back', async () => {
    const { cluster } = makeCluster(await identityOf(0, 'manager'), memoryStore());
    await cluster.start();
    const settings = { root: cluster.self, pools: ['10.0.0.0/8'], subnetBits: 24, dataPathPort: 4789 };
    await cluster.tables.put(clusterTopic, 'cluster', { ...settings, stamp: [...cluster.clock.next()] });
    const spec = { internal: false, attachable: true, ingress: false, options: {}, labels: {} };
    const network = await cluster.networks.create({ ...spec, name: 'lost' });
    const done = async (): Promise<void> => {};
    const common = { store: memoryStore(), cluster: () => cluster, changed: () => {} };
    const endpoints = new DockerEndpoints({ ...common, applied: done });
    const dockerNetwork = 'd'.repeat(64);
    await endpoints.addNetwork({ id: dockerNetwork, networkId: network.id });
    const ip = await endpoints.takeAddress(network, null, 4);
    await endpoints.takeAddress(network, null, 4);
    await endpoints.create({ id: 'e'.repeat(64), dockerNetwork, ip, ip6: null, mac: null });
    await endpoints.join('e'.repeat(64), '/run/docker/netns/0123456789ab');
    assert.equal(cluster.view.endpointsOf(network.id).size, 1);
    // This Docker has containers, and none of these.
    const client = new DockerClient({ socketPath: docker(1).socketPath });
    const log = quietLog as never;
    let looks = 0;
    const patient = new Containers({
      ...{ client, endpoints, log },
      // A second look begins when the first has ended.
      changed: () => {
        looks += 1;
        patient.wake(0);
      },
    });
    const hasty = new Containers({ client, endpoints, log, changed: () => {}, graceMs: -1 });
    try {
      patient.wake(0);
      await eventually('a look at Docker', () => looks > 1);
      assert.equal(endpoints.list().length, 1, 'what is new is left to Docker');
      hasty.wake(0);
      await eventually('nothing to be left', () => endpoints.addressesOn(network.id).length === 0);
      assert.deepEqual(endpoints.list(), []);
      assert.equal(cluster.view.endpointsOf(network.id).size, 0);
    } finally {
      patient.stop();
      hasty.stop();
      await cluster.stop();
    }
  });

  it('a Docker that was wiped has the networks again, and they work', async () => {
    await docker(2).exec(['rm', '-f', 'two']);
    await docker(2).down();
    await host(2).exec('sh', ['-c', 'rm -rf /var/lib/docker/*']);
    await docker(2).up();
    await has(docker(2), 'frontend');
    await docker(2).importImage({ again: true });
    await docker(2).run(['--network', 'frontend', '--name', 'two']);
    await settled(stage.lab);
    assert.ok(await pings(docker(1), 'one', await addressOf(docker(2), 'two', 'frontend')));
  });

  it('a node that leaves takes its networks out of Docker', async () => {
    await docker(2).exec(['rm', '-f', 'two']);
    await host(2).weft('leave', '--force');
    await eventually('no network of the cluster', async () => {
      const { stdout } = await docker(2).exec(['network', 'ls', '--filter', 'driver=weft', '--quiet']);
      return stdout === '';
    });
    const refused = await docker(2).exec(['network', 'create', '-d', 'weft', 'x'], { check: false });
    assert.match(refused.stderr, /weft: this node is not part of a cluster: run `weft init`/);
  });
});
