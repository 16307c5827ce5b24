import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { FakeAgent } from './fake-agent.ts';
import { child, root } from './harness.ts';
import { sandbox } from './replies.ts';

const weft = [process.execPath, '--import', import.meta.resolve('tsx'), join(root, 'agent/main.ts')];

// The canned sandbox is the namespace of the process itself, so that entering it changes nothing here.
describe('sandbox exec', { skip: process.getuid?.() !== 0 && 'needs root' }, () => {
  let agent: FakeAgent;
  before(async () => {
    agent = await FakeAgent.start();
  });
  after(() => agent[Symbol.asyncDispose]());
  beforeEach(() => agent.answers.clear());
  const exec = (...argv: string[]) =>
    child([...weft, 'sandbox', 'exec', ...argv], { env: { WEFT_HOST: agent.socketPath } });

  test("passes on the command's output and code", async () => {
    const shell = 'echo out; echo err >&2; exit 42';
    assert.deepEqual(await exec('web', '--', 'sh', '-c', shell), { code: 42, stdout: 'out\n', stderr: 'err\n' });
  });

  test("leaves the command's options to the command, with and without --", async () => {
    const print = ['printf', '%s,', '--json', '-H', '--', '-h'];
    assert.equal((await exec('web', ...print)).stdout, '--json,-H,--,-h,');
    assert.equal((await exec('web', '--', ...print)).stdout, '--json,-H,--,-h,');
  });

  test("shows the command the sandbox's own files, and leaves the host's as they are", async () => {
    const directory = mkdtempSync(join(tmpdir(), 'weft-exec-'));
    try {
      const HostsPath = join(directory, 'hosts');
      writeFileSync(HostsPath, '10.0.1.2\tweb\n');
      const answer = { ...sandbox, HostsPath, ResolvConfPath: join(directory, 'gone') };
      agent.answers.set('sandboxInspect', { status: 200, body: answer });
      const [hosts, resolvConf] = ['/etc/hosts', '/etc/resolv.conf'].map((path) => readFileSync(path, 'utf8'));
      const shown = await exec('web', '--', 'cat', '/etc/hosts', '/etc/resolv.conf');
      assert.deepEqual(shown, { code: 0, stdout: `10.0.1.2\tweb\n${resolvConf}`, stderr: '' });
      assert.equal(readFileSync('/etc/hosts', 'utf8'), hosts);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test('127 for a command that is not there, 126 for one that cannot be executed', async () => {
    assert.equal((await exec('web', '--', '/no/such/command')).code, 127);
    assert.equal((await exec('web', '--', '/etc/passwd')).code, 126);
  });

  test('passes signals on, and a death by signal is 128 and its number', async () => {
    const options = { env: { WEFT_HOST: agent.socketPath } };
    const trap = "trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let sent = false;
    const told = await child([...weft, 'sandbox', 'exec', 'web', '--', 'sh', '-c', trap], {
      ...options,
      onStdout: (text, kill) => {
        if (sent || !text.includes('ready')) return;
        sent = true;
        kill('SIGTERM');
      },
    });
    assert.deepEqual([told.code, told.stdout], [5, 'ready\ntold\n']);
    assert.equal((await exec('web', '--', 'sh', '-c', 'kill -KILL $$')).code, 137);
  });

  test('a sandbox that is not there is a refusal like any other', async () => {
    agent.refuse('sandboxInspect', 404, 'sandbox_not_found', 'no sandbox web on this host');
    assert.deepEqual(await exec('web', '--', 'true'), {
      code: 1,
      stdout: '',
      stderr: 'weft: no sandbox web on this host\n',
    });
  });
});
