import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { InitReply, Status } from '../../agent/api/schema.ts';
import type { Host, LabSandbox } from '../lab/host.ts';
import { noWarnings, settled, useLab } from '../lab/suite.ts';

/** Gives a host another underlay address, as DHCP or an administrator would. */
async function move(host: Host, to: string): Promise<void> {
  await host.exec('ip', ['address', 'flush', 'dev', 'eth0', 'scope', 'global']);
  await host.exec('ip', ['address', 'add', `${to}/24`, 'dev', 'eth0']);
}

describe('a host that gets another address', () => {
  const stage = useLab({ hosts: 3, cluster: false });
  const boxes: LabSandbox[] = [];

  before(async () => {
    const [one, two, three] = stage.lab.hosts;
    assert.ok(one && two && three);
    await stage.lab.startAgents();
    const init = await one.weftJson<InitReply>('init');
    await two.weftJson('join', '--token', init.JoinTokens.Worker, init.JoinAddr);
    await three.weftJson('join', '--advertise-addr', three.address, '--token', init.JoinTokens.Manager, init.JoinAddr);
    await one.weftJson('network', 'create', 'frontend');
    await settled(stage.lab);
    for (const host of stage.lab.hosts) {
      boxes.push(await host.createSandbox({ Name: `box-${host.index}`, Networks: ['frontend'] }));
    }
    await settled(stage.lab);
  });

  /** All tables and kernels have it at the new address, nobody at the old one, and everybody reaches everybody. */
  async function moved(host: Host, from: string, to: string): Promise<void> {
    await settled(stage.lab);
    const { NodeID: id } = await host.weftJson<Status>('status');
    for (const each of stage.lab.hosts) {
      const node = (await each.api.call('nodeList')).find(({ ID }) => ID === id);
      assert.equal(node?.DataPathAddr, to, each.name);
      const dump = JSON.stringify((await each.kernel()).weft);
      assert.ok(!dump.includes(`${from}"`) && dump.includes(`${to}"`), `${each.name}: ${dump}`);
    }
    for (const box of boxes) {
      for (const other of boxes) {
        const { received } = await box.ping(other.address('frontend'), { count: 2, intervalMs: 50 });
        assert.equal(received, 2, `${box.name} to ${other.name}`);
      }
    }
  }

  it('takes it at the next start, where it had found the old one itself', async () => {
    const host = stage.lab.host(2);
    await move(host, '10.99.0.52');
    await host.stopAgent();
    await host.startAgent();
    await moved(host, '10.99.0.2', '10.99.0.52');
    assert.deepEqual((await host.weftJson<Status>('status')).GossipAddrs, ['10.99.0.52:7946']);
    await noWarnings(host);
  });

  it('takes what its configuration says where it was told the old one, a manager too', async () => {
    const host = stage.lab.host(3);
    await move(host, '10.99.0.53');
    await host.stopAgent();
    await host.startAgent({ config: { 'advertise-addr': '10.99.0.53' } });
    await moved(host, '10.99.0.3', '10.99.0.53');
    const init = await host.weftJson<{ JoinAddr: string }>('join-token', 'worker');
    assert.equal(init.JoinAddr, '10.99.0.53:2377');
  });

  it('and another one at once with a second host, whose peers know neither', async () => {
    const [one, two] = [stage.lab.host(1), stage.lab.host(2)];
    await Promise.all([one.killAgent(), two.killAgent()]);
    await Promise.all([move(one, '10.99.0.61'), move(two, '10.99.0.62')]);
    await Promise.all([one.startAgent(), two.startAgent()]);
    await moved(one, '10.99.0.1', '10.99.0.61');
    await moved(two, '10.99.0.52', '10.99.0.62');
  });
});
