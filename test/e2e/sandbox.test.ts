import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Sandbox } from '../../agent/api/schema.ts';
import { LabSandbox } from '../lab/host.ts';
import { settled, useLab } from '../lab/suite.ts';

describe('sandboxes', () => {
  const stage = useLab({ hosts: 3 });

  it('get no address twice, with 50 made at once on three hosts', async () => {
    await stage.lab.host(1).weftJson('network', 'create', 'busy');
    await settled(stage.lab);
    const made = await Promise.all(
      Array.from({ length: 50 }, (_, at) =>
        stage.lab.host((at % 3) + 1).api.call('sandboxCreate', {
          body: { Name: `s${at}`, Networks: ['busy'] },
          timeoutMs: 60_000,
        }),
      ),
    );
    const endpoints = made.flatMap((sandbox) => sandbox.Networks);
    assert.equal(endpoints.length, 50);
    assert.equal(new Set(endpoints.map((endpoint) => endpoint.IPv4Address)).size, 50);
    assert.equal(new Set(endpoints.map((endpoint) => endpoint.MacAddress)).size, 50);
    await settled(stage.lab);
    for (const host of stage.lab.hosts) {
      const known = await host.api.call('endpointList', { query: { network: 'busy' } });
      assert.equal(new Set(known.map((endpoint) => endpoint.IPv4Address)).size, 50, host.name);
    }
    const ends = [0, 1, 2].map((at) => made[at]).filter((sandbox): sandbox is Sandbox => sandbox !== undefined);
    const boxes = ends.map((sandbox, at) => new LabSandbox(stage.lab.host(at + 1), sandbox));
    for (const from of boxes) {
      for (const to of boxes) assert.equal((await from.ping(to.address('busy'))).received, 3);
    }
    for (const host of stage.lab.hosts) {
      const names = made.filter((_, at) => (at % 3) + 1 === host.index).map((sandbox) => sandbox.Name);
      assert.equal((await host.weft('sandbox', 'rm', ...names)).exitCode, 0);
    }
    await settled(stage.lab);
    assert.deepEqual(await stage.lab.host(1).api.call('endpointList', { query: { network: 'busy' } }), []);
  });

  it('are adopted by the path of a namespace, which outlives them', async () => {
    const [one, two] = [stage.lab.host(1), stage.lab.host(2)];
    await one.exec('ip', ['netns', 'add', 'mine']);
    const created = await one.weftJson<Sandbox>(
      'sandbox',
      'create',
      '--network',
      'busy',
      '--netns',
      '/run/netns/mine',
      'a',
    );
    assert.deepEqual([created.Adopted, created.NetnsPath], [true, '/run/netns/mine']);
    const other = await two.createSandbox({ Name: 'b', Networks: ['busy'] });
    await settled(stage.lab);
    assert.equal((await new LabSandbox(one, created).ping(other.address('busy'))).received, 3);
    assert.equal((await one.weft('sandbox', 'rm', 'a')).exitCode, 0);
    const links = await one.execIn('/run/netns/mine', 'ip', ['-j', 'link', 'show']);
    assert.deepEqual(
      (JSON.parse(links.stdout) as { ifname: string }[]).map((link) => link.ifname),
      ['lo'],
    );
    await one.exec('ip', ['netns', 'delete', 'mine']);
    await two.api.call('sandboxRemove', { ref: 'b' });
  });

  it('are adopted by the id of a process', async () => {
    const [one, two] = [stage.lab.host(1), stage.lab.host(2)];
    const owner = await one.spawn('unshare', ['--net', 'bash', '-c', 'echo here; exec sleep 600']);
    await owner.says(/here/);
    const created = await one.weftJson<Sandbox>(
      'sandbox',
      'create',
      '--network',
      'busy',
      '--pid',
      `${owner.innerPid}`,
      'p',
    );
    assert.equal(created.Adopted, true);
    const other = await two.createSandbox({ Name: 'q', Networks: ['busy'] });
    await settled(stage.lab);
    const byPid = `/proc/${owner.innerPid}/ns/net`;
    const ping = await one.execIn(byPid, 'ping', ['-c1', '-W1', other.address('busy')], { check: false });
    assert.equal(ping.exitCode, 0, ping.stdout);
    assert.equal((await one.weft('sandbox', 'rm', 'p')).exitCode, 0);
    await owner.end('SIGKILL');
    const nobody = await one.weft('sandbox', 'create', '--pid', '4194000', 'r');
    assert.equal(nobody.exitCode, 1);
    assert.match(nobody.stderr, /4194000/);
    await two.api.call('sandboxRemove', { ref: 'q' });
  });

  it('run commands with their own exit code', async () => {
    const one = stage.lab.host(1);
    await one.weftJson('sandbox', 'create', '--network', 'busy', 'x');
    assert.equal((await one.weft('sandbox', 'exec', 'x', '--', 'bash', '-c', 'exit 41')).exitCode, 41);
    assert.equal((await one.weft('sandbox', 'exec', 'x', '--', 'no-such-program')).exitCode, 127);
    const inside = await one.weft('sandbox', 'exec', 'x', 'ip', '-4', 'address', 'show');
    assert.match(inside.stdout, /inet 10\./);
    assert.equal((await one.weft('sandbox', 'rm', 'x')).exitCode, 0);
  });

  it('can be connected and disconnected while they live', async () => {
    const one = stage.lab.host(1);
    await one.weftJson('network', 'create', 'second');
    const sandbox = await one.createSandbox({ Name: 'y', Networks: ['busy'] });
    await settled(stage.lab);
    const before = await one.kernel();
    assert.equal((await one.weft('network', 'connect', 'second', 'y')).exitCode, 0);
    const both = await one.sandbox('y');
    assert.equal(both.info.Networks.length, 2);
    assert.match(
      (await both.exec('ip', ['-4', 'address', 'show'])).stdout,
      new RegExp(`inet ${both.address('second')}/`),
    );
    assert.equal((await one.weft('network', 'disconnect', 'second', 'y')).exitCode, 0);
    await settled(stage.lab);
    assert.deepEqual((await one.kernel()).weft, before.weft);
    assert.equal((await sandbox.ping(sandbox.info.Gateway?.Gateway ?? '')).received, 3);
    assert.equal((await one.weft('sandbox', 'rm', 'y')).exitCode, 0);
  });

  it('failed_connect_removed_the_sandbox: a sandbox outlives a connect that fails', async () => {
    const host = stage.lab.host(1);
    await host.weftJson('network', 'create', '--subnet', '10.88.0.0/29', 'narrow');
    for (const number of [1, 2, 3, 4, 5])
      await host.weftJson('sandbox', 'create', '--network', 'narrow', `full-${number}`);
    await host.weftJson('sandbox', 'create', 'lonely');
    const refused = await host.weft('network', 'connect', 'narrow', 'lonely');
    assert.equal(refused.exitCode, 1);
    assert.match(refused.stderr, /network narrow \(10\.88\.0\.0\/29\) has nothing free/);
    const lonely = await host.sandbox('lonely');
    assert.equal((await lonely.exec('true')).exitCode, 0);
    for (const name of ['full-1', 'full-2', 'full-3', 'full-4', 'full-5', 'lonely']) {
      assert.equal((await host.weft('sandbox', 'rm', name)).exitCode, 0, name);
    }
  });

  it('two_creates_of_one_name: only one of them succeeds', async () => {
    const { api } = stage.lab.host(2);
    const both = await Promise.allSettled([1, 2].map(() => api.call('sandboxCreate', { body: { Name: 'twin' } })));
    assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    await api.call('sandboxRemove', { ref: 'twin' });
  });

  it('second_agent_took_the_kernel_down: another agent on the host is refused before it touches anything', async () => {
    const host = stage.lab.host(1);
    const before = await host.kernel();
    const second = await host.weft('agent', '--state-dir', '/var/lib/other', '--socket', '/run/other.sock');
    assert.equal(second.exitCode, 1);
    assert.match(second.stderr, /another agent is using \/run\/weft/);
    assert.deepEqual(await host.kernel(), before);
  });
});
