import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { InitReply, JoinTokenReply, Status } from '../../agent/api/schema.ts';
import { converged } from '../lab/cluster.ts';
import type { Host } from '../lab/host.ts';
import { useLab } from '../lab/suite.ts';

// Host 1 has the cluster, host 2 tries to join it, host 3 has a cluster of its own.
describe('joining', () => {
  const stage = useLab({ hosts: 3, cluster: false });
  const said = new Map<string, string>();
  let init: InitReply;
  let stranger: InitReply;

  before(async () => {
    await stage.lab.startAgents();
    const [one, , three] = stage.lab.hosts;
    assert.ok(one && three);
    init = await one.weftJson<InitReply>('init', '--advertise-addr', one.address);
    stranger = await three.weftJson<InitReply>('init', '--advertise-addr', three.address);
  });

  async function refused(how: string, host: Host, token: string, address: string): Promise<void> {
    const before = await host.weftJson<Status>('status');
    const { exitCode, stdout, stderr } = await host.weft('join', '--token', token, address);
    assert.notEqual(exitCode, 0, `${how}: joined`);
    assert.equal(stdout, '');
    assert.match(stderr, /^weft: /, how);
    assert.doesNotMatch(stderr, /\n\s+at /, `${how}: a stack trace`);
    said.set(how, stderr.trim());
    const status = await host.weftJson<Status>('status');
    assert.deepEqual([status.State, status.ClusterID], [before.State, before.ClusterID], `${how}: half-joined`);
  }

  it('refuses a wrong token', async () => {
    // The right cluster and a secret that is not its own.
    const [prefix, version, digest] = init.JoinTokens.Worker.split('-');
    const secret = stranger.JoinTokens.Worker.split('-')[3];
    await refused('wrong', stage.lab.host(2), [prefix, version, digest, secret].join('-'), init.JoinAddr);
  });

  it('refuses a truncated token', async () => {
    await refused('truncated', stage.lab.host(2), init.JoinTokens.Worker.slice(0, -7), init.JoinAddr);
  });

  it('refuses the token of another cluster', async () => {
    await refused('wrong CA', stage.lab.host(2), stranger.JoinTokens.Worker, init.JoinAddr);
  });

  it('says that a manager cannot be reached, whether it is silent or refuses', async () => {
    await refused('unreachable', stage.lab.host(2), init.JoinTokens.Worker, '10.99.0.77:2377');
    const nobody = `${stage.lab.host(3).address}:9`;
    await refused('closed port', stage.lab.host(2), init.JoinTokens.Worker, nobody);
    said.delete('closed port');
  });

  it('refuses a token that was rotated', async () => {
    const old = init.JoinTokens.Worker;
    const { Token: token } = await stage.lab.host(1).weftJson<JoinTokenReply>('join-token', '--rotate', 'worker');
    assert.notEqual(token, old);
    await refused('rotated', stage.lab.host(2), old, init.JoinAddr);
    // To the manager both are just not the current one; it can tell no more without keeping old ones.
    said.delete('rotated');
  });

  it('works after all of that, with the token of now', async () => {
    const token = (await stage.lab.host(1).weft('join-token', '-q', 'worker')).stdout.trim();
    const joined = await stage.lab.host(2).weft('join', '--token', token, init.JoinAddr);
    assert.equal(joined.exitCode, 0, joined.stderr);
    await converged(stage.lab.host(1));
    const nodes = await stage.lab.host(1).api.call('nodeList');
    const roles = nodes.map((node) => `${node.Hostname} ${node.Role} ${node.Status}`).sort();
    assert.deepEqual(roles, ['host1 manager ready', 'host2 worker ready']);
  });

  it('refuses to join twice, and to init where there is a cluster', async () => {
    const token = (await stage.lab.host(1).weft('join-token', '-q', 'worker')).stdout.trim();
    await refused('twice', stage.lab.host(2), token, init.JoinAddr);
    await refused('in another', stage.lab.host(3), token, init.JoinAddr);
    said.delete('in another');
    assert.notEqual((await stage.lab.host(2).weft('init')).exitCode, 0);
  });

  it('had its own words for each', () => {
    assert.equal(said.size, 5);
    assert.equal(new Set(said.values()).size, said.size, [...said].map(([how, text]) => `${how}: ${text}`).join('\n'));
  });

  it('gives the role that the token is for', async () => {
    assert.equal((await stage.lab.host(3).weft('leave', '--force')).exitCode, 0);
    // Once it has left it is no member any more, also after a restart.
    await stage.lab.host(3).stopAgent();
    await stage.lab.host(3).startAgent();
    assert.equal((await stage.lab.host(3).api.call('status')).State, 'inactive');
    const token = (await stage.lab.host(1).weft('join-token', '-q', 'manager')).stdout.trim();
    const reply = await stage.lab.host(3).weftJson<{ Role: string }>('join', '--token', token, init.JoinAddr);
    assert.equal(reply.Role, 'manager');
    // A manager is one that others can join by.
    const { JoinAddr: address } = await stage.lab.host(3).weftJson<JoinTokenReply>('join-token', 'worker');
    assert.match(address, new RegExp(`^${stage.lab.host(3).address.replaceAll('.', '\\.')}:`));
  });
});
