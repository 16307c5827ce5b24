import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Docker } from '../lab/docker.ts';
import { booksAgree } from '../lab/docker-books.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { useLab } from '../lab/suite.ts';

describe('a host with Docker that is started anew', { timeout: 150_000 }, () => {
  const stage = useLab({ hosts: 2, cluster: { managers: 2 } });
  let dockers: readonly Docker[] = [];
  const docker = (index: number): Docker => dockers[index - 1] as Docker;
  const host = (index: number): Host => stage.lab.host(index);
  before(async () => {
    dockers = await Promise.all(stage.lab.hosts.map((each) => Docker.start(each)));
    await Promise.all(dockers.map((each) => each.importImage()));
    await host(1).weft('network', 'create', 'frontend');
    for (const each of dockers) await hasNetwork(each);
    await docker(1).run(['--network', 'frontend', '--name', 'always', '--restart', 'always']);
    await docker(1).run(['--network', 'frontend', '--name', 'once']);
    await docker(2).run(['--network', 'frontend', '--name', 'peer']);
    await booksAgree(stage.lab, dockers);
  });
  after(() => Promise.all(dockers.map((each) => each[Symbol.asyncDispose]())));

  const hasNetwork = (of: Docker): Promise<unknown> =>
    eventually(
      `frontend in Docker on ${of.host.name}`,
      async () => (await of.exec(['network', 'inspect', 'frontend'], { check: false })).exitCode === 0,
    );
  /** `always` is back and reached from the other host, `once` has ended, and nothing else is left of them. */
  const asBefore = async (): Promise<void> => {
    await eventually('the container that is always wanted', async () => (await statusOf('always')) === 'running');
    assert.equal(await statusOf('once'), 'exited');
    await booksAgree(stage.lab, dockers);
    const { Networks } = (await docker(1).inspect('always')).NetworkSettings;
    await docker(2).execIn('peer', 'ping', ['-c1', '-W2', Networks['frontend']?.IPAddress ?? '']);
    await docker(1).exec(['start', 'once']);
    await booksAgree(stage.lab, dockers);
  };
  const statusOf = async (name: string): Promise<string> => (await docker(1).inspect(name)).State.Status;

  it('agent first', async () => {
    await stage.lab.reboot(host(1));
    await host(1).startAgent();
    await docker(1).up();
    await asBefore();
  });

  it('Docker first, which asks for its driver before there is an agent', async () => {
    await stage.lab.reboot(host(1));
    const written = docker(1).log.length;
    const up = docker(1).up();
    await eventually('Docker to miss it', () => /Unable to \w+.*plugin/.test(docker(1).log.slice(written)));
    await host(1).startAgent();
    await up;
    await asBefore();
  });

  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    it(`Docker alone, ended by ${signal}, without live-restore`, async () => {
      await docker(1).restart({ signal });
      await asBefore();
    });
  }
});
