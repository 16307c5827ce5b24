import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { JoinTokenReply, Node, Status } from '../../agent/api/schema.ts';
import { converged, join } from '../lab/cluster.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

const status = (host: Host): Promise<Status> => host.weftJson<Status>('status');

async function fails(host: Host, ...args: string[]): Promise<string> {
  const { exitCode, stderr } = await host.weft(...args);
  assert.notEqual(exitCode, 0, `${host.name}: weft ${args.join(' ')} did not fail`);
  return stderr;
}

/** `weft node ls` on a host: name, role and how a manager stands. */
async function roles(host: Host): Promise<string[]> {
  const nodes = await host.weftJson<Node[]>('node', 'ls');
  return nodes.map((node) => `${node.Hostname} ${node.Role} ${node.ManagerStatus}`.trim()).sort();
}

async function becomes(host: Host, role: string): Promise<void> {
  await eventually(`${host.name} to be a ${role}`, async () => {
    const { Role, JoinAddr, Warnings } = await status(host);
    if (Role === role && (JoinAddr !== '') === (role === 'manager')) return true;
    throw new Error(`role ${Role}, joins at ${JoinAddr || 'nowhere'}, warnings: ${Warnings.join('; ')}`);
  });
}

describe('a node that is promoted', () => {
  const stage = useLab({ hosts: 3, cluster: false });

  it('gets certificate, CA key, tokens and listener without a restart, and does what a manager does', async () => {
    const [one, two, three] = [stage.lab.host(1), stage.lab.host(2), stage.lab.host(3)];
    await stage.lab.startAgents();
    const { JoinTokens: tokens, JoinAddr: address } = await one.weftJson<{
      JoinTokens: { Worker: string };
      JoinAddr: string;
    }>('init', '--advertise-addr', one.address);
    await join(two, tokens.Worker, address);
    await fails(two, 'network', 'create', 'too-early');
    assert.equal(
      (await one.weft('node', 'promote', 'host2')).stdout,
      'Node host2 promoted to a manager in the cluster.\n',
    );
    await becomes(two, 'manager');
    assert.equal((await one.weft('node', 'promote', 'host2')).stdout, 'Node host2 is already a manager.\n');
    await two.weftJson('network', 'create', 'mine');
    await converged(one);
    assert.deepEqual(await roles(one), ['host1 manager reachable', 'host2 manager reachable']);
    assert.ok((await one.api.call('networkList')).some(({ Name }) => Name === 'mine'));
    // The first manager goes; the cluster still takes joins.
    assert.equal((await one.weft('leave')).exitCode, 0);
    const limits = ['--uses', '1', '--expires', '1h'];
    const { Token: token, JoinAddr: there } = await two.weftJson<JoinTokenReply>('token', 'create', ...limits);
    await join(three, token, there);
    assert.match(await fails(one, 'join', '--token', token, there), /used as often as it may be/);
    await eventually('host3 to know who is who', async () => {
      assert.deepEqual(await roles(three), ['host2 manager reachable', 'host3 worker']);
      return true;
    });
  });

  it('and demoted is a worker for all at once, keeps no CA key, and its networks stay', async () => {
    const [two, three] = [stage.lab.host(2), stage.lab.host(3)];
    assert.match(await fails(two, 'node', 'demote', 'host2'), /last manager/);
    assert.match(await fails(three, 'node', 'promote', 'host3'), /only a manager/);
    await two.weftJson('node', 'promote', 'host3');
    await becomes(three, 'manager');
    await three.weftJson('node', 'demote', 'host2');
    await becomes(two, 'worker');
    assert.match(await fails(two, 'network', 'create', 'too-late'), /not a manager/);
    assert.match(await fails(two, 'join-token', 'worker'), /not a manager/);
    await settled(stage.lab, [two, three]);
    assert.deepEqual(await roles(two), ['host2 worker', 'host3 manager reachable']);
    for (const host of [two, three]) {
      const networks = (await host.api.call('networkList')).map(({ Name }) => Name);
      assert.deepEqual(networks.sort(), ['host', 'ingress', 'mine', 'none'], host.name);
    }
    // Also after a restart, and what it was is what it can become again.
    await two.stopAgent();
    await two.startAgent();
    await becomes(two, 'worker');
    await three.weftJson('node', 'promote', 'host2');
    await becomes(two, 'manager');
    await two.weftJson('node', 'demote', 'host3');
    await becomes(three, 'worker');
    await two.weftJson('network', 'rm', 'mine');
  });
});

describe('a node that is removed', () => {
  const stage = useLab({ hosts: 3, cluster: { managers: 2 } });

  it('while it runs is cut off at once by all: its connections, its FDB and neighbour entries', async () => {
    const [one, two, three] = [stage.lab.host(1), stage.lab.host(2), stage.lab.host(3)];
    await one.weftJson('network', 'create', 'frontend');
    for (const host of stage.lab.hosts) await host.createSandbox({ Name: host.name, Networks: ['frontend'] });
    await settled(stage.lab);
    const { NodeID: gone } = await status(three);
    assert.match(await fails(one, 'node', 'rm', 'host3'), /not down/);
    await one.weftJson('node', 'rm', '--force', 'host3');
    for (const host of [one, two]) {
      await eventually(`${host.name} to have nothing of host3 left`, async () => {
        const { Peers } = await status(host);
        assert.ok(!Peers.some(({ ID }) => ID === gone));
        assert.ok(!(await host.kernel()).weft?.fdb.some((line) => line.includes(three.address)));
        return true;
      });
    }
    await settled(stage.lab, [one, two]);
    await eventually('host3 to know', async () => {
      const { State, Warnings } = await status(three);
      if (State === 'inactive' && /removed from its cluster.*weft join/.test(Warnings.join())) return true;
      throw new Error(`${State}: ${Warnings.join('; ')}`);
    });
  });

  it('while it is down is told so when it dials again, and stays out', async () => {
    const [one, two] = [stage.lab.host(1), stage.lab.host(2)];
    await two.killAgent();
    await one.weftJson('node', 'rm', '--force', 'host2');
    await two.startAgent();
    await eventually('host2 to know', async () => {
      const { State, Warnings } = await status(two);
      if (State === 'inactive' && /removed from its cluster.*weft join/.test(Warnings.join())) return true;
      throw new Error(`${State}: ${Warnings.join('; ')}`);
    });
    assert.deepEqual(await roles(one), ['host1 manager reachable']);
    // The last manager leaves only when it is meant.
    assert.match(await fails(one, 'leave'), /last manager|sandboxes/);
    await one.weftJson('sandbox', 'rm', 'host1');
    assert.match(await fails(one, 'leave'), /last manager.*\n.*--force/);
    assert.equal((await one.weft('leave', '--force')).exitCode, 0);
  });
});
