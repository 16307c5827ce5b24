import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Docker } from '../lab/docker.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

const FILE = '/etc/docker/daemon.json';
/** As somebody might have written it. */
const ORIGINAL = '{\n    "live-restore": true,\n    "labels": [ "rack=a1" ],\n    "max-concurrent-downloads": 2\n}\n';

describe("the agent as Docker's default resolver", { timeout: 150_000 }, () => {
  const stage = useLab({ hosts: 2, cluster: { managers: 2 } });
  let dockers: readonly Docker[] = [];
  const docker = (index: number): Docker => dockers[index - 1] as Docker;
  const host = (index: number): Host => stage.lab.host(index);
  before(async () => {
    dockers = await Promise.all([Docker.start(host(1), { args: ['--dns', '192.0.2.53'] }), Docker.start(host(2))]);
    await Promise.all(dockers.map((each) => each.importImage()));
  });
  after(() => Promise.all(dockers.map((each) => each[Symbol.asyncDispose]())));

  const read = async (): Promise<string> => (await host(2).exec('cat', [FILE])).stdout;
  const files = async (): Promise<string[]> =>
    (await host(2).exec('ls', ['-A', '/etc/docker'])).stdout.trim().split('\n');
  const write = (text: string): Promise<unknown> =>
    host(2).exec('node', ['-e', 'require("fs").writeFileSync(process.argv[1], process.argv[2])', FILE, text]);
  const found = async (container: string, name: string): Promise<string> =>
    (await docker(2).execIn(container, 'nslookup', [name], { check: false })).stdout;

  it('names do not resolve across hosts as Docker comes', async () => {
    await host(1).weft('network', 'create', 'frontend');
    await eventually('frontend in both Dockers', async () =>
      (await Promise.all(dockers.map((each) => each.exec(['network', 'ls', '--format', '{{.Name}}'])))).every(
        ({ stdout }) => stdout.split('\n').includes('frontend'),
      ),
    );
    await docker(1).run(['--network', 'frontend', '--name', 'db', '--network-alias', 'database']);
    await docker(2).run(['--network', 'frontend', '--name', 'before']);
    await settled(stage.lab);
    assert.doesNotMatch(await found('before', 'db'), /Name:\s+db/);
    await docker(2).exec(['rm', '-f', 'before']);
  });

  it('after `weft docker setup` and a restart they do, without --dns', async () => {
    await write(ORIGINAL);
    const dry = await host(2).weft('docker', 'setup', '--dry-run');
    assert.match(dry.stdout, /^\+ {4}"dns": \["[\d.]+"\]$/m);
    assert.equal(await read(), ORIGINAL);
    const unasked = await host(2).weft('docker', 'setup');
    assert.equal(unasked.exitCode, 2, unasked.stderr);

    const { stdout, stderr, exitCode } = await host(2).weft('docker', 'setup', '--yes');
    assert.equal(exitCode, 0, stderr);
    assert.match(stdout, /systemctl restart docker/);
    await docker(2).restart();
    await docker(2).run(['--network', 'frontend', '--name', 'app']);
    await settled(stage.lab);
    const { Networks } = (await docker(1).inspect('db')).NetworkSettings;
    const address = Networks['frontend']?.IPAddress ?? '';
    for (const name of ['db', 'database', 'db.frontend'])
      await eventually(`${name} to resolve`, async () => (await found('app', name)).includes(`Address: ${address}`));
    await docker(2).execIn('app', 'ping', ['-c1', '-W2', 'database']);
    const again = await host(2).weft('docker', 'setup');
    assert.deepEqual([again.exitCode, again.stdout], [0, `Nothing to do in ${FILE}.\n`]);
  });

  it('`--undo` leaves the file as it was, byte for byte, also without an agent', async () => {
    await host(2).killAgent();
    const { exitCode, stderr } = await host(2).weft('docker', 'setup', '--undo', '--yes');
    assert.equal(exitCode, 0, stderr);
    assert.equal(await read(), ORIGINAL);
    assert.ok(!(await files()).some((name) => name.includes('weft')));
    await host(2).startAgent();
    await docker(2).restart();
    await docker(2).exec(['rm', '-f', 'app']);
    await docker(1).exec(['rm', '-f', 'db']);
  });

  it('who leaves the cluster and has not undone it is told', async () => {
    await host(2).weft('docker', 'setup', '--yes');
    const left = await host(2).weft('leave');
    assert.deepEqual([left.exitCode, left.stdout], [0, 'Node left the cluster.\n'], left.stderr);
    assert.match(left.stderr, /still told to ask the agent.*\n.*`weft docker setup --undo/);
    await host(2).weft('docker', 'setup', '--undo', '--yes');
    assert.equal(await read(), ORIGINAL);
  });

  it('a dockerd that has --dns on its command line would not start with both: refused', async () => {
    const { exitCode, stderr } = await host(1).weft('docker', 'setup', '--yes');
    assert.equal(exitCode, 1);
    assert.match(stderr, /dockerd was started with --dns/);
    assert.notEqual((await host(1).exec('cat', [FILE], { check: false })).exitCode, 0);
  });
});
