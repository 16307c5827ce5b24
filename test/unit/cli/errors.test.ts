import assert from 'node:assert/strict';
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { build } from 'esbuild';
import { FakeAgent } from './fake-agent.ts';
import { child, failing, root, weft } from './harness.ts';
import { ids } from './replies.ts';

let agent: FakeAgent;
before(async () => {
  agent = await FakeAgent.start();
});
after(() => agent[Symbol.asyncDispose]());
beforeEach(() => {
  agent.seen.length = 0;
  agent.answers.clear();
});

test('1: the agent refused; message, then what to do', async () => {
  agent.refuse('networkCreate', 409, 'network_exists', 'network frontend exists', 'Take another name.');
  assert.deepEqual(await failing(agent, ['network', 'create', 'frontend']), {
    code: 1,
    stdout: '',
    stderr: 'weft: network frontend exists\nTake another name.\n',
  });
  assert.deepEqual(await failing(agent, ['network', 'create', 'frontend', '--json']), {
    code: 1,
    stdout: '',
    stderr: '{"error":{"code":"network_exists","message":"network frontend exists","hint":"Take another name."}}\n',
  });
  agent.refuse('status', 500, 'internal', 'two\nlines \x1b[2J');
  assert.equal((await failing(agent, ['status'])).stderr, 'weft: two lines ?[2J\n');
});

test('1: of many operands the good ones are done and told', async () => {
  agent.answers.set('networkRemove', ({ path }) =>
    path.endsWith('/bad')
      ? { status: 404, body: { code: 'network_not_found', message: 'no network bad' } }
      : { status: 200, body: {} },
  );
  assert.deepEqual(await failing(agent, ['network', 'rm', 'a', 'bad', 'b']), {
    code: 1,
    stdout: 'a\nb\n',
    stderr: 'weft: no network bad\n',
  });
  const json = await failing(agent, ['network', 'rm', 'a', 'bad', 'b', '--json']);
  assert.deepEqual([json.code, JSON.parse(json.stdout)], [1, ['a', 'b']]);
  assert.equal(JSON.parse(json.stderr).error.code, 'network_not_found');

  agent.refuse('nodeInspect', 404, 'node_not_found', 'no node x');
  assert.deepEqual(await failing(agent, ['node', 'inspect', 'x']), {
    code: 1,
    stdout: '[]\n',
    stderr: 'weft: no node x\n',
  });
});

test('1: what answers is not an agent, or goes away', async () => {
  agent.answers.set('status', { status: 200, body: '<html>' });
  assert.match((await failing(agent, ['status'])).stderr, /did not answer with JSON/);
  agent.answers.set('status', { status: 200, body: '7' });
  assert.match((await failing(agent, ['status'])).stderr, /did not answer with JSON/);
  agent.answers.set('status', { status: 502, body: '<html>' });
  assert.match((await failing(agent, ['status'])).stderr, /answered HTTP 502 without saying why/);
  agent.answers.set('status', 'cut');
  const cut = await failing(agent, ['status']);
  assert.equal(cut.code, 1);
  assert.match(cut.stderr, /closed the connection before it had answered\nLook at the agent/);
});

test('1: an operand that cannot be a name is not sent', async () => {
  for (const ref of ['', '.', '..']) {
    const outcome = await failing(agent, ['network', 'inspect', ref]);
    assert.deepEqual([outcome.code, agent.seen.length], [1, 0]);
    assert.match(outcome.stderr, /is not a name, an id or the start of an id/);
  }
});

const misuse: [argv: string[], stderr: RegExp][] = [
  [['netwrk'], /^weft: unknown command 'netwrk'\nDid you mean network\? See `weft --help`\.\n$/],
  [['network', 'nope'], /^weft: unknown command 'nope'\nSee `weft network --help`\.\n$/],
  [['network', 'ls', '--nope'], /^weft: unknown option '--nope'\n.*See `weft network ls --help`\.\n$/],
  [['--nope'], /^weft: unknown option '--nope'\n/],
  [['network', 'inspect'], /^weft: missing required argument 'network'\n/],
  [['status', 'x'], /^weft: too many arguments/],
  [['join-token', 'boss'], /Allowed choices are worker, manager\.\n/],
  [['join', 'm'], /^weft: a join token is needed: --token or --token-file\n/],
  [['join', '--token', 'a', '--token-file', 'b', 'm'], /exclude each other/],
  [['join', '--token-file', '-', 'm'], /the join token in - is empty/],
  [['wait'], /required option '--converged' not specified/],
  [['wait', '--converged', '--timeout', '-1'], /Want a number of seconds/],
  [['wait', '--converged', '--timeout', '3601'], /Want a number of seconds/],
  [['init', '--data-path-port', '0'], /Want a whole number from 1 to 65535\./],
  [['init', '--data-path-port', '1e3'], /Want a whole number/],
  [['network', 'create', '-o', 'novalue', 'n'], /Want KEY=VALUE\./],
  [['network', 'create', '--label', '=x', 'n'], /Want KEY=VALUE\./],
  [['network', 'create', '--gateway', '10.0.0.1', 'n'], /--gateway needs --subnet/],
  [
    ['network', 'create', '--subnet', '10.0.0.0/24', '--subnet', '10.0.1.0/24', 'n'],
    /--subnet is given twice for IPv4/,
  ],
  [['network', 'create', '--subnet', '10.0.0.0/24', '--gateway', 'fd00::1', 'n'], /--gateway needs --subnet for IPv6/],
  [['network', 'create', '--ipv4=no', 'n'], /unknown option '--ipv4=no'/],
  [['network', 'ls', '--filter', 'colour=red'], /Want KEY=VALUE with one of the keys driver, id, label, name, scope\./],
  [['sandbox', 'create', '--netns', '/x', '--pid', '1'], /exclude each other/],
  [['sandbox', 'exec', 'web'], /missing required argument 'command'/],
  [['sandbox', 'exec', 'web', '--'], /a command is needed|missing required argument 'command'/],
  [['status', '-H', 'tcp://192.0.2.1:2375'], /--host "tcp:.*want the path of a unix socket/],
  [['status', '-H', `/${'x'.repeat(120)}`], /at most 107 bytes/],
  [['agent', '--log-format', 'xml'], /Allowed choices are json, pretty\./],
];

for (const [argv, stderr] of misuse) {
  test(`2: weft ${argv.join(' ').slice(0, 60)}`, async () => {
    const outcome = await failing(agent, argv);
    assert.deepEqual([outcome.code, outcome.stdout, agent.seen.length], [2, '', 0]);
    assert.match(outcome.stderr, stderr);
    const json = await failing(agent, ['--json', ...argv]);
    assert.deepEqual([json.code, JSON.parse(json.stderr).error.code], [2, 'usage']);
  });
}

test('2: a noun or nothing alone shows its help, on stderr', async () => {
  for (const argv of [[], ['network'], ['sandbox'], ['node'], ['endpoint']]) {
    const outcome = await weft(argv);
    assert.deepEqual([outcome.code, outcome.stdout], [2, '']);
    assert.match(outcome.stderr, /^Usage: weft/);
  }
});

test('3: no agent is one line that says how to start it', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'weft-cli-'));
  const missing = join(directory, 'weft.sock');
  const line = `weft: no agent is running at ${missing}: start it with \`systemctl start weft\` or \`weft agent\`\n`;
  const expected = { code: 3, stdout: '', stderr: line };
  assert.deepEqual(await weft(['-H', missing, 'status']), expected);
  assert.deepEqual(await weft(['status'], { env: { WEFT_HOST: missing } }), expected);
  // A file that is no socket, and a socket that its process left behind, are no agent either.
  await writeFile(missing, '');
  assert.deepEqual(await weft(['-H', missing, 'status']), expected);
  const json = await weft(['-H', missing, 'status', '--json']);
  assert.equal(JSON.parse(json.stderr).error.code, 'no_agent');
  // With nobody to ask, one line is enough for any number of operands.
  assert.equal((await weft(['-H', missing, 'network', 'rm', 'a', 'b', 'c'])).stderr, line);
  const shown = await weft(['-H', missing, 'version']);
  assert.equal(shown.code, 0);
  assert.match(shown.stdout, /\nAgent: not reachable: no agent is running at /);
  const document = JSON.parse((await weft(['-H', missing, 'version', '--json'])).stdout);
  assert.equal(document.Agent, null);
  await rm(directory, { recursive: true });
});

test('3: no permission is one line that says who has it', {
  skip: process.getuid?.() !== 0 && 'needs root',
}, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'weft-cli-'));
  const socketPath = join(directory, 'weft.sock');
  const server = createServer(() => {});
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  // The other user may enter the directory and not the socket, as with 0660 root:weft; and must be able to read us.
  await chmod(directory, 0o755);
  await chmod(socketPath, 0o660);
  const bundle = join(directory, 'bin');
  await mkdir(bundle);
  await chown(bundle, 65534, 65534);
  await build({
    entryPoints: { weft: join(root, 'agent/main.ts') },
    outdir: bundle,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['*/daemon/main.ts', '*/daemon/libc.ts', '*/daemon/cleanup.ts'],
    define: { WEFT_VERSION: '"9.9.9"' },
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
    logLevel: 'error',
  });
  const command = [process.execPath, join(bundle, 'weft.mjs')];
  assert.deepEqual(await child([...command, 'status'], { uid: 65534, env: { WEFT_HOST: socketPath } }), {
    code: 3,
    stdout: '',
    stderr: `weft: no permission for ${socketPath}: run as root or as a member of group weft\n`,
  });
  assert.equal((await child([...command, '--version'])).stdout, 'weft version 9.9.9\n');
  await rm(directory, { recursive: true });
});

test('4: the cluster did not converge; who lags', async () => {
  const reply = {
    Converged: false,
    ElapsedMs: 2000,
    Nodes: [
      { ID: ids.alpha, Hostname: 'alpha', Lag: '', Suspended: false },
      { ID: ids.beta, Hostname: 'beta', Lag: '3 records behind', Suspended: false },
    ],
  };
  agent.answers.set('wait', { status: 200, body: reply });
  assert.deepEqual(await failing(agent, ['wait', '--converged', '--timeout', '2']), {
    code: 4,
    stdout: '',
    stderr: 'weft: not converged after 2 s: beta (3 records behind)\n',
  });
  const json = await failing(agent, ['wait', '--converged', '--json']);
  assert.deepEqual([json.code, JSON.parse(json.stdout)], [4, reply]);
});
