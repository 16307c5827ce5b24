import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { releaseMapped } from '../../../agent/daemon/libc.ts';
import { openStore } from '../../../controlplane/store.ts';

test('a store that was read gives its memory back, and reads the same again', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-mapped-'));
  try {
    const released: string[] = [];
    const store = openStore(folder, (file) => released.push(file));
    const rows = Array.from({ length: 10_000 }, (_, at) => ({ key: ['row', at], value: `${at}`.repeat(50) }));
    await store.commit(rows);
    const read = (): unknown[] => [...store.entries(['row'])].map(([, value]) => value);
    assert.equal(read().length, rows.length);
    assert.deepEqual(new Set(released), new Set([join(folder, 'data.mdb')]));
    const beforeKb = residentKb(released[0] ?? '');
    releaseMapped(released[0] ?? '');
    assert.ok(beforeKb > 1_000 && residentKb(released[0] ?? '') < beforeKb / 10);
    assert.deepEqual(
      read(),
      rows.map(({ value }) => value),
    );
    await store.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** Of the mappings of a file (proc(5), /proc/PID/smaps). */
function residentKb(file: string): number {
  const parts = readFileSync('/proc/self/smaps', 'latin1').split(/^(?=\w+-\w+ )/m);
  const ours = parts.filter((part) => part.split('\n', 1)[0]?.endsWith(` ${file}`));
  return ours.reduce((sum, part) => sum + Number(/^Rss:\s+(\d+)/m.exec(part)?.[1] ?? 0), 0);
}
