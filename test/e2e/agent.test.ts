import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Status } from '../../agent/api/schema.ts';
import { AgentExit } from '../lab/agent.ts';
import { useLab } from '../lab/suite.ts';

describe('the agent as a process', () => {
  const stage = useLab({ hosts: 2, cluster: false });

  it('names a setting that it does not know', async () => {
    await assert.rejects(stage.lab.host(1).startAgent({ config: { 'gosip-port': 7946 } }), (error: unknown) => {
      assert.ok(error instanceof AgentExit);
      assert.notEqual(error.exitCode, 0);
      assert.match(error.log, /gosip-port/);
      assert.doesNotMatch(error.log, /\n\s+at /);
      return true;
    });
    await stage.lab.host(1).exec('rm', ['/etc/weft/agent.yaml']);
  });

  it('names a config file that is not there', async () => {
    const run = await stage.lab.host(1).weft('agent', '--config', '/etc/weft/nowhere.yaml');
    assert.notEqual(run.exitCode, 0);
    assert.match(run.stderr, /\/etc\/weft\/nowhere\.yaml/);
  });

  it('is told by one line that it is missing', async () => {
    const run = await stage.lab.host(1).weft('status');
    assert.equal(run.exitCode, 3);
    assert.match(run.stderr, /^weft: no agent[^\n]*\n$/);
  });

  it('guards its socket: for root and its group, nobody else', async () => {
    const host = stage.lab.host(1);
    await host.startAgent();
    const { stdout } = await host.exec('stat', ['-c', '%a %U', '/run/weft/weft.sock']);
    assert.equal(stdout.trim(), '660 root');
    const second = await host.weft('agent');
    assert.notEqual(second.exitCode, 0, 'a second agent on the same host');
    assert.equal((await host.weftJson<Status>('status')).State, 'inactive');
  });

  it('does nothing to the kernel before it is in a cluster', async () => {
    const kernel = await stage.lab.host(1).kernel();
    assert.deepEqual([kernel.weft?.links ?? [], kernel.sandboxes, kernel.nft], [[], {}, []]);
    assert.deepEqual(
      kernel.host.links.map((link) => link.name),
      ['eth0'],
    );
  });

  it('takes another subnet for docker_gwbridge when 172.18.0.0/16 is taken', async () => {
    const [one, two] = [stage.lab.host(1), stage.lab.host(2)];
    await one.exec('ip', ['route', 'add', '172.18.40.0/24', 'via', '10.99.0.254']);
    await one.weftJson('init', '--advertise-addr', one.address);
    await two.startAgent();
    await two.weftJson('init', '--advertise-addr', two.address);
    const subnet = async (host: typeof one): Promise<string> => {
      const { stdout } = await host.exec('ip', ['-j', '-4', 'address', 'show', 'docker_gwbridge']);
      const [link] = JSON.parse(stdout) as { addr_info: { local: string; prefixlen: number }[] }[];
      return `${link?.addr_info[0]?.local}/${link?.addr_info[0]?.prefixlen}`;
    };
    // The sandbox that each node has on ingress brings the bridge up.
    assert.equal(await subnet(two), '172.18.0.1/16');
    assert.equal(await subnet(one), '172.19.0.1/16');
    assert.match((await one.exec('ip', ['route', 'get', '172.18.40.1'])).stdout, /via 10\.99\.0\.254/);
  });

  it('stops on SIGINT too', async () => {
    assert.equal(await stage.lab.host(2).agent.end('SIGINT', 10_000), 0);
  });
});
