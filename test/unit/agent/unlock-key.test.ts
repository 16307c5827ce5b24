import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { credentialName, unlockKey } from '../../../agent/daemon/unlock-key.ts';

const folder = mkdtempSync(join(tmpdir(), 'weft-unlock-'));
after(() => rmSync(folder, { recursive: true }));

test('the key is made once, for root alone, and is the same ever after', () => {
  const file = join(folder, 'made.key');
  const key = unlockKey(file, {});
  assert.equal(key.length, 32);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.deepEqual(unlockKey(file, {}), key);
  chmodSync(file, 0o640);
  assert.throws(() => unlockKey(file, {}), /others than root may read .*chmod 600/);
});

test('a credential of the unit comes before the file', () => {
  const credentials = join(folder, 'credentials');
  mkdirSync(credentials);
  const file = join(folder, 'beside.key');
  const own = unlockKey(file, { CREDENTIALS_DIRECTORY: credentials });
  writeFileSync(join(credentials, credentialName), `${'ab'.repeat(32)}\n`);
  assert.deepEqual(unlockKey(file, { CREDENTIALS_DIRECTORY: credentials }), Buffer.alloc(32, 0xab));
  assert.deepEqual(unlockKey(file, {}), own);
});

test('what is no key is refused, and not replaced', () => {
  const file = join(folder, 'bad.key');
  for (const text of ['', 'short', `${'zz'.repeat(32)}`, 'ab'.repeat(33)]) {
    writeFileSync(file, text, { mode: 0o600 });
    assert.throws(() => unlockKey(file, {}), /is no unlock key: want 64 hex digits/);
    assert.equal(readFileSync(file, 'utf8'), text);
  }
});
