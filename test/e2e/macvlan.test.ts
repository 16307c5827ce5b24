import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Host } from '../lab/host.ts';
import { OUTSIDE } from '../lab/lab.ts';
import { eventually } from '../lab/process.ts';
import { useLab } from '../lab/suite.ts';
import { createSandbox, reaches, refusal } from '../lab/verbs.ts';

const SUBNET = ['--subnet', '10.99.0.0/24', '--gateway', '10.99.0.254', '--ip-range', '10.99.0.192/27'];

describe('macvlan networks', () => {
  const stage = useLab({ hosts: 2, cluster: false });
  const one = (): Host => stage.lab.host(1);

  it('put sandboxes on the wire of their parent, beside its hosts', async () => {
    await one().startAgent();
    await one().weftJson('network', 'create', '-d', 'macvlan', '-o', 'parent=eth0', ...SUBNET, 'wire');
    const [a, b] = [
      await createSandbox(one(), '--network', 'wire', 'a'),
      await createSandbox(one(), '--network', 'wire', 'b'),
    ];
    assert.equal(await reaches(a, b.address('wire')), true);
    assert.equal(await reaches(a, stage.lab.host(2).address), true, 'another host');
    assert.equal(await reaches(a, OUTSIDE.address), true, 'by the gateway');
    const link = (await a.exec('ip', ['-d', 'link', 'show', 'eth0'])).stdout;
    assert.match(link, /macvlan mode bridge/);
    const { Items: drift } = await one().weftJson<{ Items: unknown[] }>('drift');
    assert.deepEqual(drift, []);
  });

  it('outlive the agent, and what others change is repaired', async () => {
    const a = await one().sandbox('a');
    await one().killAgent();
    assert.equal(await reaches(a, stage.lab.host(2).address), true);
    await one().startAgent();
    assert.equal((await one().api.call('status')).Kernel.Repairs, 0);
    for (const change of [
      ['link', 'set', 'eth0', 'down'],
      ['address', 'flush', 'dev', 'eth0'],
      ['link', 'set', 'eth0', 'address', '02:00:00:00:00:77'],
      ['link', 'set', 'eth0', 'alias', 'theirs'],
      ['route', 'del', 'default'],
      ['link', 'del', 'eth0'],
    ]) {
      await a.exec('ip', change);
      await eventually(`the repair of ip ${change.join(' ')}`, async () => {
        const { Items: drift } = await one().weftJson<{ Items: unknown[] }>('drift');
        return (drift.length === 0 && (await reaches(a, OUTSIDE.address))) || undefined;
      });
    }
  });

  it('private mode keeps sandboxes of one parent apart', async () => {
    assert.match(
      await refusal(one(), 'network', 'create', '-d', 'macvlan', '-o', 'parent=eth0', 'again'),
      /network wire is on parent interface eth0 already/,
    );
    assert.equal((await one().weft('sandbox', 'rm', 'a', 'b')).exitCode, 0);
    assert.equal((await one().weft('network', 'rm', 'wire')).exitCode, 0);
    const options = ['-o', 'parent=eth0', '-o', 'macvlan_mode=private'];
    await one().weftJson('network', 'create', '-d', 'macvlan', ...options, ...SUBNET, 'apart');
    const [c, d] = [
      await createSandbox(one(), '--network', 'apart', 'c'),
      await createSandbox(one(), '--network', 'apart', 'd'),
    ];
    assert.equal(await reaches(c, d.address('apart')), false);
    assert.equal(await reaches(c, stage.lab.host(2).address), true);
  });

  it('come and go in namespaces that were adopted, beside a bridge network', async () => {
    await one().exec('ip', ['netns', 'add', 'mine']);
    await one().weftJson('network', 'create', '-d', 'bridge', 'lan');
    const e = await createSandbox(one(), '--network', 'lan', '--netns', '/run/netns/mine', 'e');
    assert.equal((await one().weft('network', 'connect', 'apart', 'e')).exitCode, 0);
    assert.equal(await reaches(e, stage.lab.host(2).address), true);
    assert.match((await e.exec('ip', ['route', 'show', 'default'])).stdout, /via 172\.17\.0\.1 dev eth0/);
    assert.equal((await one().weft('network', 'disconnect', 'lan', 'e')).exitCode, 0);
    assert.match((await e.exec('ip', ['route', 'show', 'default'])).stdout, /via 10\.99\.0\.254 dev eth1/);
    assert.equal(await reaches(e, OUTSIDE.address), true);
    assert.equal((await one().weft('sandbox', 'rm', 'e')).exitCode, 0);
    const links = await one().execIn('/run/netns/mine', 'ip', ['-o', 'link']);
    assert.doesNotMatch(links.stdout, /eth/);
  });

  it('say what they cannot do', async () => {
    const make = (...options: string[]): Promise<string> =>
      refusal(one(), 'network', 'create', '-d', 'macvlan', ...options, 'x');
    assert.match(await make('-o', 'parent=nowhere'), /no device nowhere on this host/);
    assert.match(await make('-o', 'macvlan_mode=mesh'), /want one of bridge, private, vepa, passthru/);
    assert.match(
      await refusal(one(), 'sandbox', 'create', '--network', 'apart', '-p', '80', 'x'),
      /network apart carries its default route, and its driver \(macvlan\) publishes none/,
    );
    // What this kernel can make, it has to make; what it cannot, it has to say.
    for (const [kind, options, word] of [
      ['vlan', ['-o', 'parent=eth0.20'], /no VLANs \(802\.1Q\)/],
      ['dummy', ['--internal'], /dummy device, which this kernel cannot make/],
    ] as const) {
      const link =
        kind === 'vlan' ? ['link', 'eth0', 'name', 'try0', 'type', 'vlan', 'id', '21'] : ['try0', 'type', 'dummy'];
      const { exitCode } = await one().exec('ip', ['link', 'add', ...link], { check: false });
      if (exitCode !== 0) assert.match(await make(...options), word);
      else {
        await one().exec('ip', ['link', 'del', 'try0']);
        await one().weftJson('network', 'create', '-d', 'macvlan', ...options, `of-${kind}`);
        const [f, g] = [
          await createSandbox(one(), '--network', `of-${kind}`),
          await createSandbox(one(), '--network', `of-${kind}`),
        ];
        assert.equal(await reaches(f, g.address(`of-${kind}`)), true);
      }
    }
  });
});
