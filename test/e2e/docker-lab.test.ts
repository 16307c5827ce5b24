import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Docker } from '../lab/docker.ts';
import type { Host } from '../lab/host.ts';
import { Lab } from '../lab/lab.ts';
import { eventually, within } from '../lab/process.ts';
import { cgroupDirectories, labDirectory, processesOf, sweep } from '../lab/sweep.ts';

const PLUGIN = fileURLToPath(new URL('../lab/tools/plugin.mjs', import.meta.url));

const HOLD = fileURLToPath(new URL('../lab/tools/hold-docker.ts', import.meta.url));

/** Which network namespace a path of the host stands for, as a program sees it that runs where the agent runs. */
async function namespaceAt(host: Host, path: string): Promise<string> {
  return (await host.execIn(path, 'readlink', ['/proc/self/ns/net'])).stdout.trim();
}

describe('Docker in the lab', { timeout: 120_000 }, () => {
  let lab: Lab;
  let dockers: readonly Docker[];
  const docker = (index: number): Docker => dockers[index - 1] as Docker;
  before(async () => {
    lab = await Lab.create({ hosts: 2 });
    dockers = await Promise.all([Docker.start(lab.host(1), { args: ['--live-restore'] }), Docker.start(lab.host(2))]);
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  it('runs a container on each host, and each daemon knows its own', async () => {
    const ids = await Promise.all(
      dockers.map((each) => each.run(['--name', 'web', '--hostname', `at-${each.host.name}`])),
    );
    for (const [at, each] of dockers.entries()) {
      const { stdout } = await each.exec(['ps', '--no-trunc', '--format', '{{.ID}} {{.Names}}']);
      assert.equal(stdout.trim(), `${ids[at]} web`);
      assert.equal((await each.execIn('web', 'hostname')).stdout.trim(), `at-${each.host.name}`);
    }
    assert.equal(new Set(ids).size, 2);
  });

  it('has a network as on a machine, in the network namespace of the host', async () => {
    for (const each of dockers) {
      const { NetworkSettings: settings } = await each.inspect('web');
      const address = settings.Networks['bridge']?.IPAddress ?? '';
      assert.match((await each.host.exec('ping', ['-c1', '-W2', address])).stdout, / 1 received/);
      assert.match(
        (await each.execIn('web', 'ping', ['-c1', '-W2', lab.host(3 - each.host.index).address])).stdout,
        / 1 received/,
      );
    }
  });

  it('shows the network namespace of a container by its path to what runs beside the agent', async () => {
    for (const each of dockers) {
      const { NetworkSettings: settings, State: state } = await each.inspect('web');
      assert.match(settings.SandboxKey, /^\/var\/run\/docker\/netns\/[0-9a-f]+$/);
      const inside = (await each.execIn('web', 'readlink', ['/proc/self/ns/net'])).stdout.trim();
      assert.equal(await namespaceAt(each.host, settings.SandboxKey), inside);
      const { stdout } = await each.host.execIn(settings.SandboxKey, 'ip', ['-brief', '-4', 'address']);
      assert.match(stdout, new RegExp(` ${settings.Networks['bridge']?.IPAddress}/16`));
      // The pid that Docker tells is one of the host's own.
      assert.equal((await each.host.exec('readlink', [`/proc/${state.Pid}/ns/net`])).stdout.trim(), inside);
    }
  });

  it('finds the plugins that a program of the host offers, and the host its socket', async () => {
    const host = lab.host(1);
    assert.equal((await host.exec('ls', ['-A', '/run/docker/plugins'])).stdout, '');
    assert.equal((await host.exec('stat', ['-c', '%F', '/var/run/docker.sock'])).stdout.trim(), 'socket');
    assert.equal(existsSync(docker(1).socketPath), true);
    const plugin = await host.spawn(process.execPath, [PLUGIN, '/run/docker/plugins/lab.sock']);
    await plugin.says(/listening/);
    await docker(1).exec(['network', 'create', '--driver', 'lab', '--subnet', '10.77.0.0/24', 'mesh']);
    assert.match(plugin.text, /NetworkDriver\.CreateNetwork/);
    await docker(1).exec(['network', 'rm', 'mesh']);
    await plugin.end('SIGTERM');
  });

  it('restarts, and with live-restore a container goes on', async () => {
    const before = await docker(1).inspect('web');
    const pid = docker(1).pid;
    await docker(1).restart();
    assert.notEqual(docker(1).pid, pid);
    const after = await docker(1).inspect('web');
    assert.deepEqual([after.State.Pid, after.State.Running], [before.State.Pid, true]);
    assert.equal(after.NetworkSettings.SandboxKey, before.NetworkSettings.SandboxKey);
    assert.equal((await docker(1).execIn('web', 'hostname')).stdout.trim(), 'at-host1');

    await docker(1).restart({ signal: 'SIGKILL' });
    assert.equal((await docker(1).inspect('web')).State.Pid, before.State.Pid);
  });

  it('restarts, and without live-restore the container has ended', async () => {
    await docker(2).restart();
    assert.equal((await docker(2).inspect('web')).State.Status, 'exited');
    await docker(2).exec(['start', 'web']);
    assert.equal((await docker(2).execIn('web', 'hostname')).stdout.trim(), 'at-host2');
  });

  it('says why a daemon did not come up', async () => {
    await using other = await Lab.create({ hosts: 1 });
    await assert.rejects(
      Docker.start(other.host(1), { args: ['--no-such-flag'] }),
      /dockerd on host1 ended with exit code [\s\S]*unknown flag: --no-such-flag/,
    );
  });

  it('keeps all of it from the machine, and leaves nothing', async () => {
    assert.equal(existsSync(join(labDirectory(lab.id), 'host1', 'docker', 'overlay2')), true);
    assert.notDeepEqual(cgroupDirectories(lab.id), []);
    assert.ok(processesOf(lab.id).length > 6);
    const containers = await Promise.all(dockers.map(async (each) => (await each.inspect('web')).Id));
    await docker(2).stop();
    assert.equal(docker(2).running, false);
    // As it is when a test fails: one still runs, with a container.
    await lab[Symbol.asyncDispose]();
    assert.deepEqual(processesOf(lab.id), []);
    assert.deepEqual(cgroupDirectories(lab.id), []);
    assert.equal(existsSync(labDirectory(lab.id)), false);
    for (const place of ['/run/docker', '/var/run/docker/netns', '/var/lib/docker/containers'].filter(existsSync)) {
      for (const name of readdirSync(place))
        assert.ok(!containers.some((id) => name.startsWith(id)), `${place}/${name}`);
    }
  });

  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    it(`ends with its process by ${signal}, its containers too`, async () => {
      const owner = spawn(process.execPath, ['--import', 'tsx', HOLD], { stdio: ['ignore', 'pipe', 'inherit'] });
      const exited = once(owner, 'exit');
      const [line] = (await within(once(owner.stdout.setEncoding('utf8'), 'data'), 30_000, 'a container')) as [string];
      const id = line.trim();
      assert.notDeepEqual(cgroupDirectories(id), []);
      owner.kill(signal);
      await within(exited, 10_000, 'its end');
      await eventually('its processes to be gone', () => processesOf(id).length === 0);
      if (signal === 'SIGKILL') assert.equal(sweep().includes(id), true);
      assert.deepEqual(cgroupDirectories(id), []);
      assert.equal(existsSync(labDirectory(id)), false);
    });
  }
});
