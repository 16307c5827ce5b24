import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { exec } from '../../lab/process.ts';
import { bundleOf } from './bundle.ts';

const EVERY_WAY = process.env['EVERY_WAY'] !== undefined;
const LIMIT_MS = EVERY_WAY ? 600_000 : 120_000;
const tool = (name: string): string => fileURLToPath(new URL(`tools/${name}`, import.meta.url));

test('each call of the real kernel fails once: it ends as wanted, and loses nothing that stays', async (t) => {
  using bundle = await bundleOf(new URL('tools/failing.ts', import.meta.url), {
    'rtnetlink/libc.ts': tool('failing-libc.ts'),
    'apply/run.ts': tool('failing-run.ts'),
  });
  const namespaces = ['--net', '--mount', '--propagation', 'private'];
  const inside = ['sh', '-c', 'mount -t tmpfs tmpfs /run && exec "$@"', 'sh'];
  const program = [process.execPath, '--enable-source-maps', bundle.path, ...(EVERY_WAY ? ['all'] : [])];
  const { stdout } = await exec('unshare', [...namespaces, ...inside, ...program], { timeoutMs: LIMIT_MS });
  const { runs, calls, failed } = JSON.parse(stdout) as { runs: number; calls: number[]; failed: string[] };
  t.diagnostic(`${runs} changes, of ${calls.join(' and ')} calls`);
  assert.deepEqual(failed, []);
  assert.ok(Math.min(...calls) > 20, `${calls.join(' and ')} calls`);
});
