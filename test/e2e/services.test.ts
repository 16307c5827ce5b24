import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { DryRunReply, Endpoint, Service, Status } from '../../agent/api/schema.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';
import { createSandbox, refusal } from '../lab/verbs.ts';

const inspect = async (host: Host, name: string): Promise<Service> => {
  const [service] = await host.weftJson<Service[]>('service', 'inspect', name);
  assert.ok(service !== undefined);
  return service;
};
const list = (host: Host): Promise<Service[]> => host.weftJson<Service[]>('service', 'ls');

describe('services', () => {
  const stage = useLab({ hosts: 2 });

  it('published on a manager are on all nodes, with their endpoints and what takes connections for them', async () => {
    const { lab } = stage;
    const [one, two] = [lab.host(1), lab.host(2)];
    await one.weftJson('network', 'create', 'frontend');
    await settled(lab);
    const web = await createSandbox(two, '--network', 'frontend', '--network-alias', 'web', 'box');
    await settled(lab);
    const dry = await one.weftJson<DryRunReply>('publish', '--dry-run', 'web', '8080:80');
    assert.deepEqual([dry.Conflicts, await list(one)], [[], []]);
    const published = await one.weftJson<Service>(
      'publish',
      '--affinity',
      '10m',
      'web',
      '8080:80',
      '8000-8003:90-93/udp',
    );
    assert.deepEqual(
      published.Ports.map(({ Protocol, PublishedPort, TargetPort, Count }) => [
        Protocol,
        PublishedPort,
        TargetPort,
        Count,
      ]),
      [
        ['tcp', 8080, 80, 1],
        ['udp', 8000, 90, 4],
      ],
    );
    assert.deepEqual([published.Network, published.Source, published.AffinityMs], ['frontend', 'keep', 600_000]);
    for (const host of [one, two]) {
      await eventually(`${host.name} to show the endpoint as one that takes connections`, async () => {
        const { Endpoints: endpoints } = await inspect(host, 'web');
        const [endpoint, ...more] = endpoints ?? [];
        assert.deepEqual([endpoint?.Name, endpoint?.Node, more], ['box', two.name, []]);
        assert.equal(endpoint?.IPv4Address.split('/')[0], web.address('frontend'));
        return endpoint?.Backend === true && endpoint.Ready;
      });
    }
    const { stdout } = await two.weft('service', 'ls');
    assert.match(
      stdout,
      /^web +frontend +dnsrr +1\/1 +0\/0 +\*:8080->80\/tcp, \*:8000-8003->90-93\/udp +keep +10 minutes +- +-$/m,
    );
  });

  it('are refused where somebody has the port, with who and what to do, and by nodes that are no managers', async () => {
    const { lab } = stage;
    const [one, two] = [lab.host(1), lab.host(2)];
    await one.weftJson('network', 'create', 'backend');
    await one.weftJson('network', 'create', '--internal', 'inner');
    await one.weftJson('network', 'create', '-d', 'bridge', 'lan');
    await settled(lab);
    for (const [words, why] of [
      [
        '--network backend api 8080:80',
        /port 8080\/tcp is published already, by service web on network frontend\n.*`weft unpublish --network frontend web 8080\/tcp`/,
      ],
      ['--network backend api 8002-8010:80-88/udp', /port 8000-8003\/udp is published already, by service web/],
      ['web 8080:81', /leads to 80 already/],
      ['--mode host web 8080:80', /port 8080\/tcp of service web is published in mode ingress already/],
      ['web 7940-7950:80-90', /port 7946\/tcp is the cluster's own, for gossip/],
      ['web 4789:80/udp', /for VXLAN/],
      ['--network ingress web 81:81', /has no services of its own/],
      ['--network inner web 81:81', /is internal/],
      ['--network lan web 81:81', /of this host alone/],
      ['--network nowhere web 81:81', /network nowhere not found/],
      ['nobody 81:81', /nothing is called nobody on any network yet\n.*--network/],
    ] as const)
      assert.match(await refusal(one, 'publish', ...words.split(' ')), why);
    assert.match(await refusal(two, 'publish', 'web', '81:81'), /not a manager.*\n.*`weft node ls`/);
    assert.match(await refusal(two, 'unpublish', 'web'), /not a manager/);
    assert.match(await refusal(one, 'unpublish', 'web', '8081'), /port 8081\/tcp is none of service web/);
    assert.match(await refusal(one, 'unpublish', 'nobody'), /service nobody not found/);
    assert.equal((await list(two)).length, 1);
  });

  it('of one name on two networks are told apart by the network', async () => {
    const { lab } = stage;
    const [one, two] = [lab.host(1), lab.host(2)];
    await one.weftJson('publish', '--network', 'backend', 'web', '8081:80');
    await createSandbox(two, '--network', 'backend', 'web');
    await settled(lab);
    assert.match(
      await refusal(one, 'publish', 'web', '8082:80'),
      /on each of the networks backend, frontend\n.*--network/,
    );
    assert.match(await refusal(two, 'service', 'inspect', 'web'), /services web on the networks backend, frontend/);
    assert.deepEqual(
      (await list(two)).map(({ Network: network }) => network),
      ['backend', 'frontend'],
    );
    await one.weftJson('unpublish', '--network', 'backend', 'web');
    await two.weftJson('sandbox', 'rm', 'web');
    await settled(lab);
    assert.equal((await list(two)).length, 1);
  });

  it('are taken back port by port, and at last with what took connections for them', async () => {
    const { lab } = stage;
    const [one, two] = [lab.host(1), lab.host(2)];
    await one.weftJson('unpublish', 'web', '8080', '8001-8002/udp');
    await settled(lab);
    assert.deepEqual(
      (await inspect(two, 'web')).Ports.map(({ PublishedPort, TargetPort, Count }) => [
        PublishedPort,
        TargetPort,
        Count,
      ]),
      [
        [8000, 90, 1],
        [8003, 93, 1],
      ],
    );
    await one.weftJson('unpublish', 'web');
    await settled(lab);
    assert.deepEqual(await list(two), []);
    await eventually('no leg on ingress but those of the nodes', async () => {
      const legs = await one.weftJson<Endpoint[]>('endpoint', 'ls', '--network', 'ingress');
      return legs.length === 2;
    });
    const { Warnings: warnings } = await two.weftJson<Status>('status');
    assert.deepEqual(warnings, []);
  });
});
