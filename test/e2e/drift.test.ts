import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { DriftReply } from '../../agent/api/schema.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

describe('drift', () => {
  const stage = useLab({ hosts: 2 });
  const inWeft = (...command: [string, ...string[]]) => {
    const [program, ...args] = command;
    return stage.lab.host(1).execIn('/run/netns/weft', program, args);
  };

  it('is repaired at once, and then there is none', async () => {
    const host = stage.lab.host(1);
    await host.weftJson('network', 'create', 'shop');
    for (const each of stage.lab.hosts) await each.createSandbox({ Name: 'web', Networks: ['shop'] });
    await settled(stage.lab);
    const { VNI: vni } = await host.api.call('networkInspect', { ref: 'shop' });
    await inWeft('ip', 'link', 'del', `wx${vni}`);
    await eventually('the repair to be counted', async () => {
      const { Kernel: kernel } = await host.api.call('status');
      return (kernel.Repairs > 0 && kernel.State === 'ok') || undefined;
    });
    assert.match(host.agentLog, new RegExp(`repaired drift: overlay/${vni}: missing`));
    const run = await host.weft('drift');
    assert.deepEqual([run.exitCode, run.stdout, run.stderr], [0, 'No drift.\n', '']);
    await settled(stage.lab);
  });

  it('is listed and left where it is only observed, until it is to be fixed', async () => {
    const host = stage.lab.host(1);
    await host.stopAgent();
    await host.startAgent({ config: { drift: 'observe' } });
    await settled(stage.lab);
    const { VNI: vni } = await host.api.call('networkInspect', { ref: 'shop' });
    assert.equal((await host.weft('drift')).stdout, 'No drift.\n');
    await inWeft('ip', 'link', 'set', `wb${vni}`, 'down');
    await inWeft('ip', 'link', 'add', 'br-theirs', 'type', 'bridge');
    await eventually('the drift to be seen', async () => {
      const { Kernel: kernel } = await host.api.call('status');
      return kernel.State === 'pending' || undefined;
    });
    const { stdout } = await host.weft('drift');
    assert.match(stdout, /^OBJECT +WHAT +SINCE\n/);
    assert.match(stdout, new RegExp(`^overlay/${vni} +wrong: wb${vni}: is down +\\S.* ago$`, 'm'));
    assert.match(stdout, /^foreign\/br-theirs +foreign: a bridge device that is not ours +\S.* ago$/m);
    const { stdout: still } = await inWeft('ip', '-o', 'link', 'show', `wb${vni}`);
    assert.doesNotMatch(still, /[<,]UP[,>]/);

    const fixed = await host.weftJson<DriftReply>('drift', '--fix');
    assert.deepEqual([fixed.Mode, fixed.Repaired, fixed.More], ['observe', 1, 0]);
    assert.deepEqual(
      fixed.Items.map(({ Object: object, What: what }) => [object, what]),
      [['foreign/br-theirs', 'foreign']],
    );
    await inWeft('ip', 'link', 'del', 'br-theirs');
    await settled(stage.lab);
  });
});
