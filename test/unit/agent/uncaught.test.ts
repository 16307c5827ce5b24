import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

const urlOf = (file: string): string => new URL(`../../../agent/daemon/${file}`, import.meta.url).href;

for (const [origin, bug] of [
  ['uncaughtException', "setTimeout(() => { throw new Error('a bug'); })"],
  ['unhandledRejection', "void Promise.reject(new Error('a bug'))"],
] as const) {
  test(`an error that nobody catches ends the agent with a line in its log: ${origin}`, () => {
    const script = `
      import { makeLog } from '${urlOf('log.ts')}';
      import { endWhenUncaught } from '${urlOf('uncaught.ts')}';
      endWhenUncaught(makeLog({ logLevel: 'info', logFormat: 'json' }));
      ${bug};
      setTimeout(() => {}, 60_000);`;
    const args = ['--import', 'tsx', '--input-type=module', '-e', script];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    const line = JSON.parse(stderr) as { [key: string]: unknown };
    assert.equal(status, 1);
    assert.deepEqual([line['level'], line['origin']], [60, origin]);
    assert.match(JSON.stringify(line['err']), /a bug/);
  });
}
