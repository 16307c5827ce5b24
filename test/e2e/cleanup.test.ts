import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { LabSandbox } from '../lab/host.ts';
import { diffKernel, type KernelDump } from '../lab/kernel.ts';
import { settled, useLab } from '../lab/suite.ts';

interface CleanupReply {
  readonly DryRun: boolean;
  readonly Commands: readonly string[];
  readonly Left: readonly string[];
}

describe('weft cleanup', () => {
  const stage = useLab({ hosts: 2, cluster: false });
  let bare: KernelDump;
  let full: KernelDump;
  let other: LabSandbox;

  it('has nothing to do on a host that never had an agent', async () => {
    const host = stage.lab.host(1);
    bare = await host.kernel();
    assert.deepEqual(await host.weftJson<CleanupReply>('cleanup'), { DryRun: false, Commands: [], Left: [] });
    assert.equal((await host.weft('cleanup', '--dry-run')).stdout, "There is nothing of Weft's on this host.\n");
  });

  it('leaves a host alone that has an agent', async () => {
    const host = stage.lab.host(1);
    await stage.lab.cluster();
    await host.weftJson('network', 'create', 'shop');
    await host.createSandbox({ Name: 'web', Networks: ['shop'] });
    other = await stage.lab.host(2).createSandbox({ Name: 'web', Networks: ['shop'] });
    await settled(stage.lab);
    const run = await host.weft('cleanup');
    assert.equal(run.exitCode, 1);
    assert.match(run.stderr, /^weft: an agent is running on this host[^\n]*\nstop it first \(`systemctl stop weft`\)/);
  });

  it('says what it would do, and does not', async () => {
    const host = stage.lab.host(1);
    full = await host.kernel();
    await host.stopAgent();
    const { stdout } = await host.weft('cleanup', '--dry-run');
    const lines = stdout.trimEnd().split('\n');
    for (const wanted of [
      'ip netns del weft',
      'rm -r /etc/netns/weft-',
      'nft delete table inet weft',
      'link del dev wx',
    ]) {
      assert.ok(
        lines.some((line) => line.includes(wanted)),
        `${wanted} in ${stdout}`,
      );
    }
    assert.deepEqual(diffKernel(full, await host.kernel()), []);
  });

  it('removes all of it, and leaves what is not ours', async () => {
    const host = stage.lab.host(1);
    await host.exec('ip', ['link', 'add', 'theirs', 'type', 'bridge']);
    await host.exec('nft', ['add rule inet weft_user forward ip saddr 192.0.2.1 drop']);
    const reply = await host.weftJson<CleanupReply>('cleanup');
    assert.ok(!reply.DryRun && reply.Commands.length > 5, JSON.stringify(reply));
    assert.deepEqual(reply.Left, [
      'nft table inet weft_user is not as it was made and stays: `nft delete table inet weft_user` removes it',
    ]);
    await host.exec('nft', ['delete table inet weft_user']);
    await host.exec('ip', ['link', 'del', 'theirs']);
    assert.deepEqual(diffKernel(bare, await host.kernel()), []);
    assert.equal((await host.exec('find', ['/etc/netns', '-name', 'weft-*'])).stdout, '');
    assert.deepEqual((await host.weftJson<CleanupReply>('cleanup')).Commands, []);
  });

  it('is undone by a start of the agent, which has its state still', async () => {
    const host = stage.lab.host(1);
    await host.startAgent();
    await settled(stage.lab);
    const web = await host.sandbox('web');
    assert.equal((await other.ping(web.address('shop'), { count: 3 })).received, 3);
  });
});
