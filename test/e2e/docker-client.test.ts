import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { DockerClient, type NetworkSpec } from '../../agent/docker/client.ts';
import { DockerError, type DockerErrorCode, isNotFound } from '../../agent/docker/errors.ts';
import type { UnreadableEvent } from '../../agent/docker/events.ts';
import type { DockerEvent } from '../../agent/docker/shapes.ts';
import { Docker } from '../lab/docker.ts';
import { Lab } from '../lab/lab.ts';
import { within } from '../lab/process.ts';

const fails = (promise: Promise<unknown>, code: DockerErrorCode, status: number, message: RegExp): Promise<void> =>
  assert.rejects(promise, (error: unknown) => {
    assert.ok(error instanceof DockerError, String(error));
    assert.deepEqual([error.code, error.status], [code, status], error.message);
    assert.match(error.message, message);
    return true;
  });

const brief = (event: DockerEvent | UnreadableEvent): string =>
  event.type === 'unreadable' ? event.reason : `${event.type} ${event.action}`;

/** Events up to the one that is `last`. */
async function until(events: AsyncIterable<DockerEvent | UnreadableEvent>, last: string) {
  const seen: (DockerEvent | UnreadableEvent)[] = [];
  const read = async (): Promise<void> => {
    for await (const event of events) {
      seen.push(event);
      if (brief(event) === last) return;
    }
  };
  await within(read(), 20_000, last, () => seen.map(brief).join(', '));
  return seen.filter((event) => event.type !== 'unreadable');
}

describe("the client of Docker's API", { timeout: 120_000 }, () => {
  let lab: Lab;
  let docker: Docker;
  let client: DockerClient;
  before(async () => {
    lab = await Lab.create({ hosts: 1 });
    docker = await Docker.start(lab.host(1));
    client = new DockerClient({ socketPath: docker.socketPath });
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  const create = (name: string, more: Partial<NetworkSpec> = {}): Promise<string> =>
    client.createNetwork({ name, driver: 'bridge', ...more });

  it('knows which Docker it talks to', async () => {
    await client.ping();
    const { version, apiVersion } = await client.version();
    const info = await client.info();
    assert.equal(info.serverVersion, version);
    assert.match(apiVersion, /^1\.\d+$/);
    assert.deepEqual([info.name, info.liveRestore, info.swarm.state], ['host1', false, 'inactive']);
  });

  it('makes, lists, shows and removes networks', async () => {
    const id = await create('red', {
      ipam: { pools: [{ subnet: '10.71.0.0/24', gateway: '10.71.0.9' }] },
      internal: true,
      labels: { 'com.example.of': 'tests' },
      options: { 'com.docker.network.driver.mtu': '1400' },
    });
    const listed = await client.networks({ driver: ['bridge'], label: ['com.example.of=tests'] });
    assert.deepEqual(listed, [
      {
        id,
        name: 'red',
        driver: 'bridge',
        scope: 'local',
        ipv6: false,
        internal: true,
        attachable: false,
        ingress: false,
        configFrom: '',
        ipam: {
          driver: 'default',
          options: new Map(),
          pools: [{ subnet: '10.71.0.0/24', ipRange: '', gateway: '10.71.0.9', auxiliary: new Map() }],
        },
        options: new Map([['com.docker.network.driver.mtu', '1400']]),
        labels: new Map([['com.example.of', 'tests']]),
        containers: new Map(),
      },
    ]);
    assert.deepEqual(await client.network('red'), listed[0]);
    assert.deepEqual((await client.networks()).map(({ name }) => name).sort(), ['bridge', 'host', 'none', 'red']);
    assert.deepEqual(await client.networks({ driver: ['weft'] }), []);
    await client.removeNetwork(id);
    await assert.rejects(client.network('red'), isNotFound);
  });

  it('tells what Docker refuses, in its words', async () => {
    await create('blue');
    await fails(create('blue'), 'refused', 409, /^create network blue: network with name blue already exists$/);
    const pool = { ipam: { pools: [{ subnet: '10.71.0.0/33' }] } };
    await assert.rejects(
      create('green', pool),
      /^DockerError: create network green: .*invalid (CIDR address|subnet):? 10\.71\.0\.0\/33/s,
    );
    await fails(client.removeNetwork('none'), 'refused', 403, /none is a pre-defined network/);
    await fails(client.removeNetwork('green'), 'refused', 404, /network green not found/);
    await docker.run(['--name', 'user', '--network', 'blue']);
    await fails(client.removeNetwork('blue'), 'refused', 403, /^remove network blue: .*has active endpoints/);
    await docker.exec(['rm', '--force', 'user']);
    await client.removeNetwork('blue');
  });

  it('shows a container with its names, labels, networks and network namespace', async () => {
    const [red, blue] = [await create('red'), await create('blue')];
    const id = await docker.run([
      ...['--name', 'web', '--hostname', 'www', '--domainname', 'example.com', '--label', 'a=b', '--label', 'c='],
      ...['--network', 'red', '--network-alias', 'one', '--network-alias', 'two'],
    ]);
    await docker.exec(['network', 'connect', '--alias', 'three', 'blue', 'web']);
    const shown = await client.container('web');
    const by = await docker.inspect('web');
    assert.deepEqual(
      [shown.id, shown.name, shown.hostname, shown.domainname, shown.state, shown.running, shown.health],
      [id, 'web', 'www', 'example.com', 'running', true, 'none'],
    );
    const labels = new Map([
      ['a', 'b'],
      ['c', ''],
    ]);
    assert.deepEqual(shown.labels, labels);
    assert.equal(shown.sandboxKey, by.NetworkSettings.SandboxKey);
    assert.equal(shown.pid, by.State.Pid);
    assert.deepEqual([...shown.networks.keys()].sort(), ['blue', 'red']);
    for (const [name, network, aliases] of [
      ['red', red, ['one', 'two']],
      ['blue', blue, ['three']],
    ] as const) {
      const endpoint = shown.networks.get(name);
      const { EndpointID: endpointId, IPAddress: ipv4, MacAddress: mac } = by.NetworkSettings.Networks[name] ?? {};
      assert.deepEqual(
        [endpoint?.networkId, endpoint?.endpointId, endpoint?.ipv4, endpoint?.mac],
        [network, endpointId, ipv4, mac],
      );
      assert.deepEqual(
        aliases.filter((alias) => !endpoint?.aliases.includes(alias)),
        [],
      );
      assert.equal((await client.network(name)).containers.get(id)?.ipv4, `${ipv4}/${endpoint?.ipv4Bits}`);
    }

    const [listed, ...others] = await client.containers({ network: [red] });
    assert.deepEqual(others, []);
    assert.deepEqual([listed?.id, listed?.name, listed?.state, listed?.labels], [id, 'web', 'running', labels]);
    assert.equal(listed?.networks.get('red')?.endpointId, shown.networks.get('red')?.endpointId);
    await docker.exec(['stop', 'web']);
    assert.deepEqual(await client.containers(), []);
    assert.deepEqual(
      (await client.containers({}, { all: true })).map(({ name, state }) => [name, state]),
      [['web', 'exited']],
    );
    const stopped = await client.container(id.slice(0, 12));
    assert.deepEqual([stopped.running, stopped.pid, stopped.networks.get('red')?.endpointId], [false, 0, '']);
    await docker.exec(['rm', 'web']);
    await fails(client.container('web'), 'refused', 404, /No such container: web/);
    for (const name of ['red', 'blue']) await client.removeNetwork(name);
  });

  it('hears what happens, in order, and what had happened since a moment', async () => {
    await using ending = aborting();
    const before = Date.now();
    const events = await client.events({ signal: ending.signal });
    const network = await create('red');
    const id = await docker.run([
      '--name',
      'web',
      '--network',
      'red',
      '--label',
      'a=b',
      '--health-cmd',
      'true',
      '--health-interval',
      '100ms',
    ]);
    const started = await until(events, 'container health_status: healthy');
    const named = (action: string) => started.find((event) => event.action === action);
    const order = ['create', 'connect', 'start', 'health_status: healthy'].map((action) =>
      started.findLastIndex((event) => event.action === action),
    );
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
    );
    assert.ok(!order.includes(-1), started.map(brief).join(', '));
    assert.equal(named('start')?.id, id);
    assert.equal(named('start')?.attributes.get('a'), 'b');
    assert.deepEqual([named('connect')?.id, named('connect')?.attributes.get('container')], [network, id]);
    assert.equal((await client.container('web')).health, 'healthy');

    const again = await client.events({ signal: ending.signal, sinceMs: before });
    // What was just before may come, too.
    const ours = (heard: readonly DockerEvent[]): string[] => {
      const all = heard.map(brief);
      return all.slice(all.indexOf('network create'), all.indexOf('container start') + 1);
    };
    assert.deepEqual(ours(await until(again, 'container start')), ours(started));
    const since = named('start')?.atMs ?? 0;
    const networksOnly = await client.events({ signal: ending.signal, sinceMs: since, types: ['network'] });
    const live = await client.events({ signal: ending.signal });
    await docker.exec(['kill', 'web']);
    const types = (await until(networksOnly, 'network disconnect')).map(({ type }) => type);
    assert.deepEqual([...new Set(types)], ['network']);
    const ended = await until(live, 'network disconnect');
    assert.equal(ended.find(({ action }) => action === 'die')?.id, id);
    await docker.exec(['rm', 'web']);
    await client.removeNetwork('red');
  });

  it('ends the events with an error when Docker restarts, and finds it again', async () => {
    await using ending = aborting();
    const events = await client.events({ signal: ending.signal });
    const heard = until(events, 'nothing that happens');
    await Promise.all([
      fails(heard, 'ended', 0, /^events: Docker at .* closed the stream: it was stopped or started anew$/),
      docker.down(),
    ]);
    await fails(client.info(), 'not_running', 0, /Docker does not run at .*: start it with `systemctl start docker`/);
    await fails(client.events({ signal: ending.signal }), 'not_running', 0, /Docker does not run/);
    await docker.up();
    assert.equal((await client.info()).name, 'host1');

    const more = until(await client.events({ signal: ending.signal }), 'nothing that happens');
    await Promise.all([fails(more, 'ended', 0, /closed the stream/), docker.restart({ signal: 'SIGKILL' })]);
    await client.ping();
  });
});

/** Aborted at the end of a block, so that streams end with it. */
function aborting(): AbortController & AsyncDisposable {
  const controller = new AbortController();
  return Object.assign(controller, {
    [Symbol.asyncDispose]: async () => controller.abort(),
  });
}
