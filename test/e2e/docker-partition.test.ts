import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Network } from '../../agent/api/schema.ts';
import { vniOption } from '../../agent/docker/protocol.ts';
import { converged } from '../lab/cluster.ts';
import { Docker } from '../lab/docker.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

const patient = { timeoutMs: 60_000 };

describe('a network of one name made in both halves of a partition, with Docker', { timeout: 150_000 }, () => {
  const stage = useLab({ hosts: 3, cluster: { managers: 3 } });
  let dockers: readonly Docker[] = [];
  const docker = (index: number): Docker => dockers[index - 1] as Docker;
  const host = (index: number): Host => stage.lab.host(index);
  before(async () => {
    dockers = await Promise.all(stage.lab.hosts.map((each) => Docker.start(each)));
    await Promise.all(dockers.map((each) => each.importImage()));
  });
  after(() => Promise.all(dockers.map((each) => each[Symbol.asyncDispose]())));

  /** Those of the cluster, the older first. */
  const networks = async (index: number): Promise<Network[]> => {
    const all = await host(index).api.call('networkList');
    const found = all.filter(({ Name }) => Name === 'same');
    return found.sort((one, other) => Date.parse(one.Created) - Date.parse(other.Created));
  };
  /** VNI of the cluster's network that a Docker has under that name; '' for none. */
  const inDocker = async (index: number): Promise<string> => {
    const format = `{{index .Options "${vniOption}"}}`;
    return (await docker(index).exec(['network', 'inspect', '-f', format, 'same'], { check: false })).stdout.trim();
  };
  const has = (indexes: readonly number[], wanted: () => Promise<number | null | undefined>): Promise<true> =>
    eventually(
      `Docker on ${indexes} to have the network`,
      async (): Promise<true> => {
        const vni = (await wanted()) ?? 'none';
        const found = await Promise.all(indexes.map(inDocker));
        if (found.every((each) => each === String(vni))) return true;
        throw new Error(`they have ${found.join(', ') || 'none'}, and not ${vni}`);
      },
      patient,
    );
  const addressOf = async (index: number, container: string): Promise<string> =>
    (await docker(index).inspect(container)).NetworkSettings.Networks['same']?.IPAddress ?? '';
  const warnings = async (index: number): Promise<string> => (await host(index).api.call('status')).Warnings.join('\n');
  const warned = (indexes: readonly number[]): Promise<boolean[]> =>
    Promise.all(indexes.map(async (index) => /two networks have the name same/.test(await warnings(index))));
  const ping = (index: number, container: string, address: string) =>
    docker(index).execIn(container, 'ping', ['-c1', '-W2', address]);

  it('both halves make one, and use it', async () => {
    // So that each half has numbers to give.
    for (const index of [1, 3]) await host(index).weft('network', 'create', `of-host${index}`);
    await converged(host(1));
    await stage.lab.partition([host(1), host(2)], [host(3)]);
    await docker(1).exec(['network', 'create', '-d', 'weft', 'same']);
    await has([1, 2], async () => (await networks(1))[0]?.VNI);
    const made = await host(3).weft('network', 'create', 'same');
    assert.equal(made.exitCode, 0, made.stderr);
    await has([3], async () => (await networks(3))[0]?.VNI);
    for (const index of [1, 2, 3]) await docker(index).run(['--network', 'same', '--name', `on${index}`]);
    await settled(stage.lab, [host(1), host(2)]);
    await ping(2, 'on2', await addressOf(1, 'on1'));
  });

  it('healed, both are there and named on all hosts; nothing is merged, and what runs goes on', async () => {
    const before = await Promise.all([1, 2, 3].map((index) => addressOf(index, `on${index}`)));
    await stage.lab.heal();
    await eventually(
      'all hosts to name both',
      async () => (await warned([1, 2, 3])).every(Boolean) || undefined,
      patient,
    );
    await settled(stage.lab);
    const [older, younger, ...more] = await networks(2);
    assert.ok(older && younger && more.length === 0);
    assert.notEqual(older.VNI, younger.VNI);
    assert.notEqual(older.IPAM.Config[0]?.Subnet, younger.IPAM.Config[0]?.Subnet);
    await has([1, 2], async () => older.VNI);
    assert.deepEqual(await Promise.all([1, 2, 3].map((index) => addressOf(index, `on${index}`))), before);
    await ping(1, 'on1', before[1] ?? '');
    const lost = await docker(3).execIn('on3', 'ping', ['-c1', '-W1', before[0] ?? ''], { check: false });
    assert.notEqual(lost.exitCode, 0, 'they are two networks');
    assert.equal((await host(3).api.call('networkInspect', { ref: 'same' })).Id, older.Id);
    const refused = await host(3).weft('network', 'rm', 'same');
    assert.equal(refused.exitCode, 1);
    assert.match(refused.stderr, /2 networks of the cluster have the name same/);
    // Docker keeps what is in use, and that is said where it is so.
    assert.equal(await inDocker(3), String(younger.VNI));
    await eventually(
      'host3 to say why its Docker has the other',
      async () => /has active endpoints/.test(await warnings(3)),
      patient,
    );
  });

  it('the older has the name in a Docker as soon as nobody is on the other there', async () => {
    const [older, younger] = await networks(3);
    assert.ok(older && younger);
    await docker(3).exec(['rm', '-f', 'on3']);
    await has([3], async () => older.VNI);
    await docker(3).run(['--network', 'same', '--name', 'again']);
    await settled(stage.lab);
    await ping(3, 'again', await addressOf(1, 'on1'));
    const removed = await host(1).weft('network', 'rm', younger.Id);
    assert.equal(removed.exitCode, 0, removed.stderr);
    await eventually(
      'nobody to name two',
      async () => (await warned([1, 2, 3])).every((each) => !each) || undefined,
      patient,
    );
    await has([1, 2, 3], async () => older.VNI);
  });
});
