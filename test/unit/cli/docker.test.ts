import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { FakeAgent } from './fake-agent.ts';
import { failing, ok } from './harness.ts';
import { replies } from './replies.ts';

let agent: FakeAgent;
let directory = '';
let file = '';
before(async () => {
  agent = await FakeAgent.start();
});
after(() => agent[Symbol.asyncDispose]());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weft-docker-'));
  file = join(directory, 'daemon.json');
  // The canned one has the network's address.
  gatewayAt('172.18.0.1/16');
});
afterEach(() => rm(directory, { recursive: true }));

const gatewayAt = (Subnet: string): unknown =>
  agent.answers.set('status', {
    status: 200,
    body: { ...replies.status, GatewayBridge: { Name: 'docker_gwbridge', Subnet } },
  });
const setup = (...more: string[]): Promise<string> => ok(agent, ['docker', 'setup', '--file', file, ...more]);
const text = (): Promise<string> => readFile(file, 'utf8');

test('weft docker setup: shows the change, makes it, and says what to do next; --undo leaves no trace', async () => {
  const original = '{\n    "debug": true\n}\n';
  await writeFile(file, original);
  await chmod(file, 0o640);
  const shown = await setup('--yes');
  assert.ok(
    shown.startsWith(
      `--- ${file}\n+++ ${file}\n@@ -1,3 +1,4 @@\n {\n-    "debug": true\n+    "debug": true,\n+    "dns": ["172.18.0.1"]\n }\n`,
    ),
    shown,
  );
  assert.match(shown, /\n {4}systemctl restart docker\n/);
  assert.equal(await text(), '{\n    "debug": true,\n    "dns": ["172.18.0.1"]\n}\n');
  assert.equal((await stat(file)).mode & 0o777, 0o640);
  assert.deepEqual(await readdir(directory), ['daemon.json', 'daemon.json.weft']);
  assert.equal(await setup(), `Nothing to do in ${file}.\n`);
  await setup('--undo', '--yes');
  assert.equal(await text(), original);
  assert.deepEqual(await readdir(directory), ['daemon.json']);
  assert.equal(await setup('--undo'), `Nothing to do in ${file}.\n`);
});

test('without a file one is made, and gone again; --dry-run makes none', async () => {
  assert.match(
    await setup('--dry-run'),
    /^--- \/dev\/null\n.*\n@@ -0,0 \+1,3 @@\n\+\{\n\+ {2}"dns": \["172\.18\.0\.1"\]\n\+\}\n$/,
  );
  assert.deepEqual(await readdir(directory), []);
  await setup('--yes');
  assert.equal((await stat(file)).mode & 0o777, 0o644);
  await setup('--undo', '--yes');
  assert.deepEqual(await readdir(directory), []);
});

test('undoing needs no agent, and finds the address of before', async () => {
  await writeFile(file, '{"dns": ["192.0.2.1"]}');
  await setup('--yes');
  gatewayAt('172.19.0.1/16');
  await setup('--yes');
  assert.equal(await text(), '{"dns": ["172.19.0.1", "192.0.2.1"]}');
  agent.refuse('status', 500, 'internal', 'not now');
  await setup('--undo', '--yes');
  assert.equal(await text(), '{"dns": ["192.0.2.1"]}');
});

test('--json: one document', async () => {
  const document = JSON.parse(await setup('--yes', '--json'));
  assert.deepEqual(
    { ...document, Diff: '' },
    { File: file, Address: '172.18.0.1', DryRun: false, Changed: true, Diff: '' },
  );
});

test('a person at a terminal is asked; nobody else can be', async () => {
  const asked = (stdin: string): ReturnType<typeof failing> =>
    failing(agent, ['docker', 'setup', '--file', file], { terminal: true, stdin });
  for (const answer of ['n\n', '\n', '', 'yesterday\n']) {
    const { code, stderr } = await asked(answer);
    assert.deepEqual([code, stderr], [1, `Write this to ${file}? [y/N] weft: nothing was changed\n`]);
  }
  const { code, stderr } = await failing(agent, ['docker', 'setup', '--file', file]);
  assert.equal(code, 2);
  assert.match(stderr, /no terminal to ask at\nsay --yes/);
  assert.deepEqual(await readdir(directory), []);
  assert.equal((await asked('y\n')).code, 0);
  assert.equal((await asked('n\n')).code, 0, 'nothing to do, nothing to ask');
});

test('what cannot be used is refused, and left as it is', async () => {
  const refusal = async (): Promise<string> => {
    const { code, stderr } = await failing(agent, ['docker', 'setup', '--yes', '--file', file]);
    assert.equal(code, 1);
    return stderr;
  };
  await writeFile(file, '[]');
  assert.match(await refusal(), /daemon\.json cannot be used: it is no JSON object\nnothing was changed/);
  await writeFile(file, Buffer.from([0x22, 0xff, 0x22]));
  assert.match(await refusal(), /it is not UTF-8/);
  await rm(file);
  await symlink(join(directory, 'nowhere'), file);
  assert.match(await refusal(), /it is a symlink that leads nowhere/);
  assert.deepEqual(await readdir(directory), ['daemon.json']);
  agent.answers.set('status', { status: 200, body: { ...replies.status, GatewayBridge: null } });
  assert.match(await refusal(), /in no cluster/);
  file = join(directory, 'none', 'daemon.json');
  gatewayAt('172.18.0.1/16');
  assert.match(await refusal(), /there is no directory/);
  file = directory;
  assert.match(await refusal(), /it is no regular file/);
});

test('a symlink stays one: what it leads to is changed', async () => {
  const real = join(directory, 'real.json');
  await writeFile(real, '{}');
  await symlink('real.json', file);
  await setup('--yes');
  assert.deepEqual(await readdir(directory), ['daemon.json', 'real.json', 'real.json.weft']);
  assert.match(await readFile(real, 'utf8'), /172\.18\.0\.1/);
  await setup('--undo', '--yes');
  assert.equal(await readFile(real, 'utf8'), '{}');
});
