import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const quickstart = fileURLToPath(new URL('../../deploy/quickstart', import.meta.url));

interface Result {
  readonly ok: boolean;
  readonly seconds: number;
  readonly installed: readonly string[];
  readonly checks: readonly { name: string; ok: boolean; value: number; unit: string; detail: string }[];
}

describe('deploy/quickstart', () => {
  it('holds in every check, and says so in one JSON object', () => {
    const run = spawnSync(quickstart, ['--json'], {
      encoding: 'utf8',
      timeout: 120_000,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const result = JSON.parse(run.stdout) as Result;
    assert.deepEqual(
      result.checks.filter((check) => !check.ok),
      [],
      run.stderr.slice(-4000),
    );
    assert.deepEqual([result.ok, run.status, result.installed], [true, 0, []]);
    assert.ok(result.checks.length > 40, `${result.checks.length} checks`);
    assert.equal(run.stdout.trim().split('\n').length, 1);
    assert.equal(new Set(result.checks.map((check) => check.name)).size, result.checks.length, 'names are unique');
  });
});
