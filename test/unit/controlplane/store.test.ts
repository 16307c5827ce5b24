import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openStore } from '../../../controlplane/store.ts';
import { withFolder } from './helpers.ts';

test('values come back as they were, entries in order and only those of the prefix', () =>
  withFolder(async (folder) => {
    const store = openStore(folder);
    const value = { text: 'ü', bytes: Buffer.from([0, 255]), list: [1, null, true], large: 2 ** 40 };
    await store.commit([
      { key: ['a', 'x', 10], value: 3 },
      { key: ['a', 'x', 2], value: 2 },
      { key: ['a', 'x'], value: 1 },
      { key: ['a', 'xy'], value: 4 },
      { key: ['b'], value },
      { key: ['ab'], value: 0 },
    ]);
    const read = (prefix: string[]) => [...store.entries(prefix)].map(([key, each]) => [key.join(), each]);
    assert.deepEqual(read(['a']), [
      ['a,x', 1],
      ['a,x,2', 2],
      ['a,x,10', 3],
      ['a,xy', 4],
    ]);
    assert.deepEqual(read(['a', 'x']).length, 3);
    assert.deepEqual(read(['b']), [['b', value]]);
    assert.deepEqual(read(['c']), []);
    assert.deepEqual(store.get(['b']), value);
    assert.equal(store.get(['c']), undefined);
    await store.commit([{ key: ['b'], value: null }]);
    assert.equal(store.get(['b']), undefined);
    await store.close();
    const again = openStore(folder);
    assert.equal(again.get(['a', 'x', 10]), 3);
    await again.close();
  }));

test('a commit whose value cannot be encoded changes nothing', () =>
  withFolder(async (folder) => {
    const store = openStore(folder);
    const circular: { self?: unknown } = {};
    circular.self = circular;
    const writes = [
      { key: ['a'], value: 1 },
      { key: ['b'], value: circular },
    ];
    await assert.rejects(store.commit(writes));
    assert.equal(store.get(['a']), undefined);
    await store.close();
  }));

test('commits take effect in the order of the calls', () =>
  withFolder(async (folder) => {
    const store = openStore(folder);
    await Promise.all([...Array(50).keys()].map((value) => store.commit([{ key: ['n'], value }])));
    assert.equal(store.get(['n']), 49);
    await store.close();
  }));

test('only the owner may look: it holds private keys', () =>
  withFolder(async (parent) => {
    const folder = join(parent, 'state');
    const store = openStore(folder);
    await store.commit([{ key: ['a'], value: 1 }]);
    const mode = async (path: string) => (await stat(path)).mode & 0o777;
    assert.equal(await mode(folder), 0o700);
    for (const file of ['data.mdb', 'lock.mdb']) assert.equal(await mode(join(folder, file)), 0o600, file);
    await store.close();
  }));

test('a file in the way is an error', () =>
  withFolder(async (parent) => {
    const path = join(parent, 'state');
    await writeFile(path, 'not a folder');
    assert.throws(() => openStore(path));
  }));

test('kill -9 while committing: whatever was acknowledged is there, and no commit by halves', () =>
  withFolder(async (folder) => {
    const script = fileURLToPath(new URL('store-child.ts', import.meta.url));
    for (let round = 0; round < 3; round += 1) {
      const child = spawn(process.execPath, ['--import', 'tsx', script, folder], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const exited = once(child, 'exit');
      let acknowledged = -1;
      for await (const line of createInterface({ input: child.stdout })) {
        acknowledged = Number(line);
        if (acknowledged % 100 >= 20 + round * 7) child.kill('SIGKILL');
      }
      await exited;
      const store = openStore(folder);
      const [left, right] = [store.get(['left']), store.get(['right'])];
      assert.equal(left, right);
      assert.ok(Number(left) >= acknowledged, `${String(left)} on disk, ${acknowledged} acknowledged`);
      assert.equal([...store.entries(['n'])].length, Number(left) + 1);
      await store.close();
    }
  }));
