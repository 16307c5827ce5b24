import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { DryRunReply, ReloadReply } from '../../agent/api/schema.ts';
import type { Host } from '../lab/host.ts';
import { diffKernel, type KernelDump } from '../lab/kernel.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

describe('--dry-run', () => {
  const stage = useLab({ hosts: 2, cluster: false });
  let bare: KernelDump;

  /** What it prints; nothing of the host or the tables may differ after it. */
  async function looked(host: Host, ...words: string[]): Promise<string> {
    const before = await host.kernel();
    const names = async (): Promise<unknown[]> =>
      (await host.api.call('networkList')).map(({ Name, Capacity }) => [Name, Capacity]);
    const networks = await names();
    const endpoints = await host.api.call('endpointList');
    const run = await host.weft(...words, '--dry-run');
    assert.equal(run.exitCode, 0, run.stderr);
    assert.deepEqual(diffKernel(before, await host.kernel()), []);
    assert.deepEqual(await names(), networks);
    assert.deepEqual(await host.api.call('endpointList'), endpoints);
    return run.stdout;
  }

  it('of network create: the guard for an overlay, a bridge for a network of this host', async () => {
    const [one, two] = [stage.lab.host(1), stage.lab.host(2)];
    bare = await one.kernel();
    await stage.lab.cluster();
    await settled(stage.lab);
    assert.match(await looked(one, 'network', 'create', 'shop'), /^nft add element inet weft_guard vnis '\{ \d+ \}'$/m);
    const local = await looked(one, 'network', 'create', '-d', 'bridge', 'yard');
    assert.match(local, /^ip link add name \S+ address \S+ type bridge/m);
    assert.match(local, /masquerade/);
    const refused = await one.weft('network', 'create', '--dry-run', 'ingress');
    assert.deepEqual([refused.exitCode, /already exists/.test(refused.stderr)], [1, true]);
    await one.weftJson('network', 'create', 'shop');
    await one.createSandbox({ Name: 'web', Networks: [] });
    await two.createSandbox({ Name: 'db', Networks: ['shop'] });
    await settled(stage.lab);
  });

  it('of network connect: devices, address and the entries of who is there already', async () => {
    const one = stage.lab.host(1);
    const shown = await looked(one, 'network', 'connect', 'shop', 'web');
    const { VNI: vni } = await one.api.call('networkInspect', { ref: 'shop' });
    for (const line of [
      new RegExp(`^ip link add name wx${vni} netns /run/netns/weft .* type vxlan id ${vni} dstport 4789`, 'm'),
      /^ip link add name wv\S+ netns \/run\/netns\/weft .* type veth peer name eth0 netns \/run\/netns\/weft-/m,
      /^nsenter --net=\/run\/netns\/weft bridge fdb replace \S+ dev wx\d+ dst 10\.99\.0\.2 self permanent$/m,
      /^nsenter --net=\/run\/netns\/weft-\S+ ip address replace 10\.\S+ dev eth0$/m,
      /^nsenter --net=\/run\/netns\/weft-\S+ ip route replace default via /m,
    ]) {
      assert.match(shown, line);
    }
    await one.api.call('networkConnect', { ref: 'shop', body: { Sandbox: 'web' } });
    await settled(stage.lab);
    const again = await one.weft('network', 'connect', '--dry-run', 'shop', 'web');
    assert.match(again.stderr, /already on network shop/);
  });

  it('of network rm: refused while it is in use', async () => {
    const one = stage.lab.host(1);
    const refused = await one.weft('network', 'rm', '--dry-run', 'shop');
    assert.deepEqual([refused.exitCode, /active endpoints/.test(refused.stderr)], [1, true]);
    await one.weftJson('network', 'create', 'spare');
    await settled(stage.lab);
    assert.match(await looked(one, 'network', 'rm', 'spare'), /^nft delete element inet weft_guard vnis/m);
  });

  it('of leave: run by hand where no agent is, it leaves nothing', async () => {
    const one = stage.lab.host(1);
    const refused = await one.weft('leave', '--dry-run');
    assert.match(refused.stderr, /would lose their networks: web/);
    await looked(one, 'leave', '--force');
    const { Commands: commands } = await one.weftJson<DryRunReply>('leave', '--force', '--dry-run');
    await one.stopAgent();
    for (const command of commands) await one.exec('sh', ['-ec', command]);
    assert.deepEqual(diffKernel(bare, await one.kernel()), []);
    assert.equal((await one.exec('find', ['/etc/netns', '-name', 'weft-*'])).stdout, '');
    await one.startAgent();
    await settled(stage.lab);
  });

  it('of reload: which keys, and what they change; then it is done', async () => {
    const one = stage.lab.host(1);
    await one.stopAgent();
    await one.startAgent({ config: { drift: 'observe' } });
    await settled(stage.lab);
    const { VNI: vni } = await one.api.call('networkInspect', { ref: 'shop' });
    await one.execIn('/run/netns/weft', 'ip', ['link', 'set', `wb${vni}`, 'down']);
    await eventually('the drift to be seen', async () => {
      const { Kernel: kernel } = await one.api.call('status');
      return kernel.State === 'pending' || undefined;
    });
    one.writeConfig({ drift: 'repair', 'dns-opts': ['ndots:2'], 'gossip-port': 7950 });
    const shown = await looked(one, 'reload');
    assert.match(shown, /^drift +"observe" +"repair" +now$/m);
    assert.match(shown, /^gossip-port +7946 +7950 +at the next start$/m);
    assert.match(shown, new RegExp(`^nsenter --net=/run/netns/weft ip link set dev wb${vni} up$`, 'm'));
    assert.match(shown, /^tee \/etc\/netns\/weft-\S+\/resolv\.conf <<'END'$/m);
    const { Changed: changed } = await one.weftJson<ReloadReply>('reload');
    assert.equal(changed.length, 3);
    await settled(stage.lab);
    const { ResolvConfPath: path } = await one.api.call('sandboxInspect', { ref: 'web' });
    await eventually('the option to be there', async () => {
      const { stdout } = await one.exec('cat', [path]);
      return stdout.includes('options ndots:2') || undefined;
    });
  });

  it('a configuration that cannot be used changes nothing; SIGHUP reads one that can', async () => {
    const one = stage.lab.host(1);
    one.writeConfig({ drift: 'sometimes' });
    const refused = await one.weft('reload');
    assert.deepEqual([refused.exitCode, /drift/.test(refused.stderr)], [1, true]);
    assert.equal((await one.api.call('drift')).Mode, 'repair');
    one.writeConfig({ drift: 'observe' });
    one.agent.signal('SIGHUP');
    await eventually('the other mode', async () => (await one.api.call('drift')).Mode === 'observe' || undefined);
  });
});
