import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Node, Peer } from '../../agent/api/schema.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

// The longest patience of an agent is fifteen seconds, and all of it stretches on a busy machine.
const patient = { timeoutMs: 60_000 };

/** What a host thinks of another one, `weft node ls` and `weft status` together. */
async function seen(by: Host, of: Host): Promise<{ node: Node; peer: Peer }> {
  const node = (await by.api.call('nodeList')).find(({ Hostname }) => Hostname === of.name);
  const peer = (await by.api.call('status')).Peers.find(({ Hostname }) => Hostname === of.name);
  assert.ok(node && peer, `${by.name} knows ${of.name}`);
  return { node, peer };
}

/** Waits until each of the hosts shows the other one with that status, and for one of these reasons. */
async function shown(by: readonly Host[], of: Host, status: Node['Status'], why: RegExp): Promise<void> {
  for (const host of by) {
    const shows = async (): Promise<true> => {
      const { node, peer } = await seen(host, of);
      if (node.Status === status && why.test(node.StatusMessage)) return true;
      throw new Error(JSON.stringify({ node, peer }));
    };
    await eventually(`${host.name} to show ${of.name} as ${status}`, shows, patient);
  }
}

describe('liveness', () => {
  const stage = useLab({ hosts: 3 });
  const hosts = (): readonly [Host, Host, Host] => [stage.lab.host(1), stage.lab.host(2), stage.lab.host(3)];

  it('is shown: who is connected how, and how far away', async () => {
    const [one, two, three] = hosts();
    await one.api.call('networkCreate', { body: { Name: 'frontend' } });
    await settled(stage.lab);
    await shown([one], three, 'ready', /^$/);
    await eventually('a round trip', async () => {
      const { peer } = await seen(one, two);
      return peer.RTTMilliseconds === null ? undefined : peer;
    });
    const { stdout } = await one.weft('status');
    assert.match(stdout, /^PEER +STATUS +SINCE +CONNECTION +FOR +ADDRESS +RTT/m);
    assert.match(stdout, /^host2 +alive .*(inbound|outbound) .*10\.99\.0\.2:\d+ +[\d.]+ ms/m);
  });

  it('an agent that is killed is down on all others, and its host is not: the data path stays', async () => {
    const [one, two, three] = hosts();
    const from = await one.createSandbox({ Name: 'from', Networks: ['frontend'] });
    const to = await three.createSandbox({ Name: 'to', Networks: ['frontend'] });
    await settled(stage.lab);
    const ping = await from.backgroundPing(to.address('frontend'), { count: 100_000, intervalMs: 20 });
    await three.killAgent();
    await shown([one, two], three, 'down', /^agent down$/);
    assert.match((await one.weft('node', 'ls')).stdout, /^\S+ +host3 +Down \(agent down\)/m);
    assert.match((await one.weft('status')).stdout, /^host3 +suspended \(agent down\)/m);
    await three.startAgent();
    await shown([one, two], three, 'ready', /^$/);
    const { sent, received } = await ping.stop();
    assert.ok(sent - received <= 1, `${sent} sent, ${received} received`);
  });

  it('an agent that stands still is not down while its host answers, and is back as soon as it moves again', async () => {
    const [one, two, three] = hosts();
    const told: string[] = [];
    three.agent.signal('SIGSTOP');
    try {
      const suspected = async (): Promise<true | undefined> => {
        for (const host of [one, two]) {
          const { node, peer } = await seen(host, three);
          told.push(node.Status);
          if (peer.Status === 'suspect') return true;
        }
        return undefined;
      };
      await eventually('somebody to suspect it', suspected, patient);
    } finally {
      three.agent.signal('SIGCONT');
    }
    assert.ok(
      told.every((status) => status === 'ready'),
      told.join(),
    );
    for (const host of [one, two]) {
      await eventually(
        `${host.name} to trust host3 again`,
        async () => {
          const { node, peer } = await seen(host, three);
          assert.equal(node.Status, 'ready');
          return peer.Status === 'alive' || undefined;
        },
        patient,
      );
    }
  });

  it('an agent that never moves again is down when patience ends', async () => {
    const [one, two, three] = hosts();
    three.agent.signal('SIGSTOP');
    try {
      await shown([one, two], three, 'down', /^agent down$/);
    } finally {
      three.agent.signal('SIGCONT');
    }
    await shown([one, two], three, 'ready', /^$/);
  });

  it('a host that is cut off is down, on both sides, and ready when the cut has healed', async () => {
    const [one, two, three] = hosts();
    await stage.lab.partition([one, two], [three]);
    await shown([one, two], three, 'down', /^(host down|unreachable)$/);
    await shown([three], one, 'down', /^unreachable$|^host down$/);
    await stage.lab.heal();
    for (const host of [one, two]) {
      await eventually(
        `${host.name} to have host3 back`,
        async () => {
          const { node } = await seen(host, three);
          return node.Status === 'ready' || node.StatusMessage === 'flapping' || undefined;
        },
        patient,
      );
    }
    await settled(stage.lab);
  });

  it('only what is down is removed without force', async () => {
    const [one, two, three] = hosts();
    await shown([one], three, 'ready', /^$/);
    const refused = await one.weft('node', 'rm', 'host3');
    assert.notEqual(refused.exitCode, 0);
    assert.match(refused.stderr, /not down/);
    await three.stopAgent();
    await shown([one, two], three, 'down', /^(agent down|flapping)$/);
    assert.equal((await one.weft('node', 'rm', 'host3')).exitCode, 0);
  });
});
