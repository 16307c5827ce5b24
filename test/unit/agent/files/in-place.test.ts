import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { writeInPlace } from '../../../../agent/files/in-place.ts';

const folder = mkdtempSync(join(tmpdir(), 'weft-in-place-'));
after(() => rmSync(folder, { recursive: true }));

test('property: a file holds each text in turn, as one inode that all may read', () => {
  const path = join(folder, 'file');
  const umask = process.umask(0o077);
  try {
    writeInPlace(path, '');
    const { ino } = statSync(path);
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'grapheme', maxLength: 50 }), { minLength: 1 }), (texts) => {
        for (const text of texts) {
          writeInPlace(path, text);
          assert.equal(readFileSync(path, 'utf8'), Buffer.from(text).toString());
          const stat = statSync(path);
          assert.deepEqual([stat.ino, stat.mode & 0o777], [ino, 0o644]);
        }
      }),
    );
  } finally {
    process.umask(umask);
  }
});

test('a text that is there already is not written again', () => {
  const path = join(folder, 'same');
  writeInPlace(path, 'text\n');
  const { mtimeNs } = statSync(path, { bigint: true });
  writeInPlace(path, 'text\n');
  assert.equal(statSync(path, { bigint: true }).mtimeNs, mtimeNs);
});

test('a file that somebody made large is cut; a link and a directory are left alone', () => {
  const path = join(folder, 'large');
  writeFileSync(path, Buffer.alloc(3 * 1024 * 1024, 'x'));
  writeInPlace(path, 'small\n');
  assert.equal(readFileSync(path, 'utf8'), 'small\n');
  symlinkSync(path, join(folder, 'link'));
  assert.throws(() => writeInPlace(join(folder, 'link'), 'other\n'), { code: 'ELOOP' });
  assert.throws(() => writeInPlace(folder, 'other\n'), { code: 'EISDIR' });
  assert.equal(readFileSync(path, 'utf8'), 'small\n');
});
