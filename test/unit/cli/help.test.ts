import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Command } from 'commander';
import { once } from '../../../agent/cli/parse.ts';
import { buildProgram } from '../../../agent/cli/program.ts';
import { Session } from '../../../agent/cli/session.ts';
import { version } from '../../../agent/version.ts';
import { weft } from './harness.ts';

const silent = { write: () => {} };
const program = buildProgram(
  new Session({
    env: {},
    stdin: (async function* () {})(),
    stdout: silent,
    stderr: silent,
    now: () => 0,
    runAgent: () => Promise.resolve(0),
  }),
);

function* walk(command: Command, path: readonly string[] = []): Generator<[string[], Command]> {
  yield [[...path], command];
  for (const child of command.createHelp().visibleCommands(command)) {
    if (child.name() !== 'help') yield* walk(child, [...path, child.name()]);
  }
}

for (const [path, command] of walk(program)) {
  test(`weft ${path.join(' ')} --help`, async () => {
    const { code, stdout, stderr } = await weft([...path, '--help']);
    assert.deepEqual([code, stderr], [0, '']);
    const own = ['weft', ...path].join(' ');
    assert.ok(stdout.includes(`\nExamples:\n  $ `), 'has an example');
    assert.ok(stdout.split('\nExamples:\n')[1]?.includes(own), 'the example shows the command itself');
    assert.match(stdout, /--json/);
    assert.match(stdout, /-H, --host <path>/);
    assert.equal((await weft([...path, '-h'])).stdout, stdout);
    assert.notEqual(command.summary(), '');
    for (const option of command.options) {
      assert.notEqual(option.description, '', option.flags);
      assert.ok(
        option.parseArg !== once || option.defaultValue === undefined,
        `${option.flags}: a default is one already`,
      );
    }
  });
}

test('weft --help tells the exit codes', async () => {
  const { stdout } = await weft(['--help']);
  assert.match(stdout, /\nExit codes:\n {2}0 {2}done\n {2}1 {2}the agent refused/);
  assert.equal((await weft(['help'])).stdout, stdout);
});

test('weft --version', async () => {
  assert.deepEqual(await weft(['--version']), { code: 0, stdout: `weft version ${version}\n`, stderr: '' });
});
