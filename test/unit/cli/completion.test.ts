import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { FakeAgent } from './fake-agent.ts';
import { child, ok, root, weft } from './harness.ts';

let agent: FakeAgent;
before(async () => {
  agent = await FakeAgent.start();
});
after(() => agent[Symbol.asyncDispose]());
beforeEach(() => {
  agent.seen.length = 0;
  agent.answers.clear();
});

async function complete(...words: string[]): Promise<string[]> {
  const shown = await ok(agent, ['__complete', '--', ...words]);
  return shown.split('\n').flatMap((line) => (line === '' ? [] : [line.split('\t')[0] ?? '']));
}

test('commands, from the tree itself, without the hidden one', async () => {
  assert.deepEqual(await complete('n'), ['node', 'network']);
  assert.deepEqual(await complete('network', ''), ['create', 'ls', 'inspect', 'update', 'rm', 'connect', 'disconnect']);
  assert.ok(!(await complete('')).includes('__complete'));
  assert.deepEqual(await complete('__'), []);
});

test('options: of the command, not those used up, repeatable ones again', async () => {
  assert.deepEqual(await complete('leave', '--'), ['--force', '--dry-run', '--json', '--host', '--help']);
  assert.deepEqual(await complete('leave', '-f', '--f'), []);
  assert.deepEqual(await complete('sandbox', 'create', '--network', 'a', '--netw'), ['--network', '--network-alias']);
});

test('choices of operands and option values', async () => {
  assert.deepEqual(await complete('join-token', ''), ['worker', 'manager']);
  assert.deepEqual(await complete('completion', 'z'), ['zsh']);
  assert.deepEqual(await complete('agent', '--log-format', ''), ['json', 'pretty']);
  assert.deepEqual(await complete('agent', '--log-format=p'), ['--log-format=pretty']);
});

test('names that the agent knows', async () => {
  assert.deepEqual(await complete('network', 'inspect', ''), ['ingress', 'frontend']);
  assert.deepEqual(await complete('network', 'rm', 'ingress', 'f'), ['frontend']);
  assert.deepEqual(await complete('network', 'connect', '--alias', 'x', 'frontend', ''), ['web']);
  assert.deepEqual(await complete('network', 'connect', 'frontend', 'web', ''), []);
  assert.deepEqual(await complete('node', 'rm', ''), ['alpha', 'beta']);
  assert.deepEqual(await complete('unpublish', ''), ['web']);
  assert.deepEqual(await complete('unpublish', 'web', ''), []);
  assert.deepEqual(await complete('publish', '--source', ''), ['keep', 'snat', 'local']);
  assert.deepEqual(await complete('sandbox', 'create', '--network', 'fr'), ['frontend']);
  assert.deepEqual(await complete('endpoint', 'ls', '--node=b'), ['--node=beta']);
  // As bash breaks it.
  assert.deepEqual(await complete('endpoint', 'ls', '--node', '=', 'b'), ['beta']);
  assert.deepEqual(await complete('endpoint', 'ls', '--node', '='), ['alpha', 'beta']);
  assert.deepEqual(await complete('network', 'create', ''), []);
});

test('files where files belong', async () => {
  assert.deepEqual(await complete('join', '--token-file', ''), [':file']);
  assert.deepEqual(await complete('docker', 'setup', '--undo', '--file', ''), [':file']);
  assert.deepEqual(await complete('-H', '/ru'), [':file']);
  assert.deepEqual(await complete('sandbox', 'exec', 'web', '--', 'i'), [':file']);
});

test('the socket on the line is the one asked', async () => {
  const { socketPath } = agent;
  const elsewhere = { env: { WEFT_HOST: '/nowhere' } };
  const shown = await weft(['__complete', '--', '-H', socketPath, 'network', 'rm', 'f'], elsewhere);
  assert.deepEqual(shown, { code: 0, stdout: 'frontend\toverlay\n', stderr: '' });
});

test('an agent that is not there, refuses or hangs has no names, and nothing is said', async () => {
  const nothing = { code: 0, stdout: '', stderr: '' };
  const words = ['__complete', '--', 'network', 'rm', ''];
  assert.deepEqual(await weft(words, { env: { WEFT_HOST: '/nowhere' } }), nothing);
  assert.deepEqual(await weft(words, { env: { WEFT_HOST: 'tcp://x' } }), nothing);
  agent.refuse('networkList', 500, 'internal', 'no');
  assert.deepEqual(await weft(words, { env: { WEFT_HOST: agent.socketPath } }), nothing);
  agent.answers.set('networkList', 'hang');
  assert.deepEqual(await weft(words, { env: { WEFT_HOST: agent.socketPath } }), nothing);
});

test('each shell has a script that calls us', async () => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    const script = await ok(agent, ['completion', shell]);
    assert.match(script, /__complete -- /);
    assert.deepEqual(JSON.parse(await ok(agent, ['completion', shell, '--json'])), { Shell: shell, Script: script });
  }
});

test('bash completes with it', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'weft-cli-'));
  const program = join(directory, 'weft');
  const main = join(root, 'agent/main.ts');
  await writeFile(
    program,
    `#!/bin/sh\nexec '${process.execPath}' --import '${import.meta.resolve('tsx')}' '${main}' "$@"\n`,
    {
      mode: 0o755,
    },
  );
  const line = async (...words: string[]) => {
    const script = `source <(weft completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _weft; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const env = { PATH: `${directory}:${process.env['PATH']}`, WEFT_HOST: agent.socketPath };
    const { stdout, stderr } = await child(['bash', '-c', script, 'bash', 'weft', ...words], { env });
    assert.equal(stderr, '');
    return stdout.trim().split('\n');
  };
  assert.deepEqual(await line('netw'), ['network']);
  assert.deepEqual(await line('network', 'rm', ''), ['ingress', 'frontend']);
  assert.deepEqual(await line('endpoint', 'ls', '--network', '=', 'fr'), ['frontend']);
  await rm(directory, { recursive: true });
});
