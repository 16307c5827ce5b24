import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { ask } from '../lab/answers.ts';
import type { Host } from '../lab/host.ts';
import { Podman, withoutPodman } from '../lab/podman.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

const capabilities = { portMappings: true, ips: true, mac: true, aliases: true };

describe('Podman, by CNI, on two hosts', { skip: await withoutPodman() }, () => {
  const stage = useLab({ hosts: 2 });
  const one = (): Host => stage.lab.host(1);
  const two = (): Host => stage.lab.host(2);
  let podmen: Podman[] = [];
  const podman = (at: 1 | 2): Podman => podmen[at - 1] as Podman;
  const sandboxes = async (host: Host) =>
    (await host.api.call('sandboxList')).filter(({ Name: name }) => name.startsWith('cni-'));

  before(async () => {
    await one().weftJson('network', 'create', '--subnet', '10.78.0.0/24', 'front');
    await one().weftJson('network', 'create', '--internal', 'back');
    await settled(stage.lab);
    const networks = { front: { capabilities }, hidden: { network: 'back', capabilities } };
    podmen = await Promise.all([one(), two()].map((host) => Podman.on(host, networks)));
  });

  it('runs containers that reach each other, with what Podman is asked for', async () => {
    await Promise.all([
      podman(1).run('--name', 'web', '--network', 'front', '-p', '8080:80'),
      podman(2).run('--name', 'db', '--network', 'front', '--ip', '10.78.0.200', '--mac-address', '02:00:00:78:00:02'),
    ]);
    await settled(stage.lab);
    const web = await podman(1).address('web', 'front');
    assert.equal(await podman(2).address('db', 'front'), '10.78.0.200');
    assert.match(await podman(1).execIn('web', 'ping', '-c1', '-W2', '10.78.0.200'), / 0% packet loss/);
    assert.match(await podman(2).execIn('db', 'ping', '-c1', '-W2', web), / 0% packet loss/);
    assert.match(await podman(2).execIn('db', 'ip', 'link', 'show', 'eth0'), /02:00:00:78:00:02/);
    assert.match(
      await podman(1).execIn('web', 'ping', '-c1', '-W2', 'db'),
      /^PING db \(10\.78\.0\.200\).* 0% packet loss/s,
    );
    assert.match(await podman(2).execIn('db', 'ping', '-c1', '-W2', 'web'), / 0% packet loss/);
    const known = await one().api.call('endpointList', { query: { network: 'front' } });
    assert.deepEqual(known.map(({ Aliases: [name] }) => name).sort(), ['db', 'web']);
    await podman(1).exec(['exec', '--detach', 'web', 'nc', '-l', '-p', '80', '-e', 'echo', 'here']);
    await eventually('the port to be answered', async () => /^here/.test(await ask(two(), one().address, 8080)));
  });

  it('puts a container on two networks, and on one more while it runs', async () => {
    await podman(1).run('--name', 'both', '--network', 'front', '--network', 'hidden');
    await podman(2).exec(['network', 'connect', '--alias', 'store', 'hidden', 'db']);
    await settled(stage.lab);
    const db = await podman(2).address('db', 'hidden');
    assert.match(await podman(1).execIn('both', 'ping', '-c1', '-W2', db), / 0% packet loss/);
    assert.match(await podman(1).execIn('both', 'nslookup', '-type=a', 'store'), new RegExp(`Address: ${db}$`, 'm'));
    assert.match(await podman(1).execIn('both', 'ping', '-c1', '-W2', '10.78.0.200'), / 0% packet loss/);
    const [store] = await two().api.call('endpointList', { query: { network: 'back', node: 'host2' } });
    assert.ok(store?.Aliases.includes('store'), JSON.stringify(store));
    await podman(2).exec(['network', 'disconnect', 'hidden', 'db']);
    assert.deepEqual(
      (await sandboxes(two())).map(({ Networks: on }) => on.map(({ Network: name }) => name)),
      [['front']],
    );
  });

  it('restarts, stops and removes them, also after one was killed, and leaves nothing', async () => {
    await podman(1).exec(['restart', 'web']);
    await settled(stage.lab);
    assert.match(await podman(1).execIn('web', 'ping', '-c1', '-W2', '10.78.0.200'), / 0% packet loss/);
    await podman(2).run('--name', 'other', '--network', 'front');
    await podman(2).exec(['kill', 'other']);
    await podman(2).exec(['wait', 'other']);
    await podman(2).exec(['start', 'other']);
    await settled(stage.lab);
    const other = await podman(2).address('other', 'front');
    assert.match(await podman(1).execIn('web', 'ping', '-c1', '-W2', other), / 0% packet loss/);
    const refused = await podman(1).exec(['run', '--rm', '--network', 'front', '--ip', '10.78.0.200', 'lab'], {
      check: false,
    });
    assert.notEqual(refused.exitCode, 0);
    assert.match(refused.stderr, /10\.78\.0\.200/);
    for (const at of [1, 2] as const) await podman(at).removeAll();
    for (const host of [one(), two()]) assert.deepEqual(await sandboxes(host), []);
    await settled(stage.lab);
    for (const network of ['front', 'back']) {
      assert.deepEqual(await one().api.call('endpointList', { query: { network } }), []);
    }
  });
});
