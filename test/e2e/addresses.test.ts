import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Network, NetworkUpdateReply, Sandbox, Status } from '../../agent/api/schema.ts';
import type { Host } from '../lab/host.ts';
import { settled, useLab } from '../lab/suite.ts';

const failure = async (host: Host, ...args: string[]): Promise<{ code: string; message: string }> => {
  const { exitCode, stdout, stderr } = await host.weft(...args, '--json');
  assert.equal(exitCode, 1, stdout + stderr);
  const { error } = JSON.parse(stdout === '' ? stderr : stdout) as { error: { code: string; message: string } };
  return error;
};

describe('addresses of a network', () => {
  const stage = useLab({ hosts: 2 });
  const create = (host: Host, name: string, ...args: string[]): Promise<Sandbox> =>
    host.weftJson<Sandbox>('sandbox', 'create', '--network', 'small', ...args, name);

  it('can be asked for by name, and are named with who has them when they are not free', async () => {
    const [one, two] = [stage.lab.host(1), stage.lab.host(2)];
    const plan = ['--subnet', '10.77.0.0/29', '--aux-address', 'router=10.77.0.6'];
    await one.weftJson('network', 'create', ...plan, 'small');
    await settled(stage.lab);
    const fixed = await create(two, 'fixed', '--ip', '10.77.0.4');
    assert.equal(fixed.Networks[0]?.IPv4Address, '10.77.0.4/29');
    await settled(stage.lab);
    const wanting = (ip: string) => failure(one, 'sandbox', 'create', '--network', 'small', '--ip', ip, 'other');
    const taken = await wanting('10.77.0.4');
    assert.equal(taken.code, 'address_in_use');
    assert.match(taken.message, new RegExp(`10\\.77\\.0\\.4 .*endpoint fixed on ${two.name}`));
    for (const [ip, code, why] of [
      ['10.77.0.1', 'address_reserved', /the gateway/],
      ['10.77.0.6', 'address_reserved', /router/],
      ['10.77.0.7', 'address_reserved', /broadcast/],
      ['10.78.0.4', 'invalid_address', /10\.77\.0\.0\/29/],
    ] as const) {
      const refused = await wanting(ip);
      assert.equal(refused.code, code, refused.message);
      assert.match(refused.message, why);
    }
  });

  it('that a node has none of, cut off, are named with who has them', async () => {
    const [one, two] = [stage.lab.host(1), stage.lab.host(2)];
    await two.linkDown();
    try {
      const refused = await failure(two, 'sandbox', 'create', '--network', 'small', 'alone');
      assert.equal(refused.code, 'no_owner_reachable', refused.message);
      assert.match(refused.message, new RegExp(`owns no free part of network small .*${one.name}`));
    } finally {
      await two.linkUp();
    }
    await settled(stage.lab);
  });

  it('are counted, and a warning comes before there are none left', async () => {
    const one = stage.lab.host(1);
    const [before] = await one.weftJson<Network[]>('network', 'inspect', 'small');
    assert.deepEqual(before?.Capacity[0], {
      ...{ Subnet: '10.77.0.0/29', Total: 4, Used: 1, Resting: 0, FreeHere: 3, FreeElsewhere: [] },
      FreeElsewhere: [
        { NodeID: before?.Capacity[0]?.FreeElsewhere[0]?.NodeID, Hostname: stage.lab.host(2).name, Free: 0 },
      ],
    });
    for (const name of ['a', 'b', 'c']) await create(one, name);
    const { Warnings: warnings } = await one.weftJson<Status>('status');
    assert.ok(
      warnings.some((line) => /network small has 0 of 4 addresses left/.test(line)),
      warnings.join('\n'),
    );
    const refused = await failure(one, 'sandbox', 'create', '--network', 'small', 'd');
    assert.equal(refused.code, 'exhausted', refused.message);
  });

  it('come from another subnet when the first is full, and reach each other', async () => {
    const [one, two] = [stage.lab.host(1), stage.lab.host(2)];
    const added = await one.weftJson<NetworkUpdateReply>('network', 'update', '--subnet-add', '10.77.1.0/29', 'small');
    assert.equal(added.Subnet, '10.77.1.0/29');
    await settled(stage.lab);
    const wide = await create(two, 'wide');
    assert.match(wide.Networks[0]?.IPv4Address ?? '', /^10\.77\.1\.\d\/29$/);
    const near = await create(one, 'near');
    assert.match(near.Networks[0]?.IPv4Address ?? '', /^10\.77\.1\.\d\/29$/);
    await settled(stage.lab);
    const [a, fixed, far] = [await one.sandbox('a'), await two.sandbox('fixed'), await two.sandbox('wide')];
    for (const from of [a, fixed]) {
      assert.ok((await from.ping(far.address('small'))).received > 0, `${from.name} reaches ${far.name}`);
      assert.ok((await far.ping(from.address('small'))).received > 0, `${far.name} reaches ${from.name}`);
    }
    assert.ok((await a.ping((await one.sandbox('near')).address('small'))).received > 0, 'on one host too');
  });

  it('rest when they were freed', async () => {
    const one = stage.lab.host(1);
    const address = (await one.sandbox('b')).address('small');
    await one.weftJson('sandbox', 'rm', 'b');
    const refused = await failure(one, 'sandbox', 'create', '--network', 'small', '--ip', address, 'b');
    assert.equal(refused.code, 'address_resting', refused.message);
    assert.match(refused.message, /free again in \d+ s/);
  });
});
