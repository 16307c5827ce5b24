import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { HostResolverFollower } from '../../../agent/daemon/host-resolver.ts';
import { quietLog } from '../controlplane/helpers.ts';

const folder = mkdtempSync(join(tmpdir(), 'weft-host-resolver-'));
after(() => rmSync(folder, { recursive: true }));
const etc = join(folder, 'etc', 'resolv.conf');
const upstream = join(folder, 'resolve', 'resolv.conf');
beforeEach(() => {
  for (const name of ['etc', 'resolve', 'manager']) {
    rmSync(join(folder, name), { recursive: true, force: true });
    mkdirSync(join(folder, name));
  }
});

/** A follower, and how to wait for what it finds; the poll would take longer than these wait. */
function follow() {
  const found: string[] = [];
  let wake = (): void => {};
  const follower = new HostResolverFollower({
    paths: { etc, upstream },
    log: quietLog,
    changed: ({ resolver }) => {
      found.push(resolver.servers.join(' '));
      wake();
    },
  });
  follower.start();
  const says = async (servers: string): Promise<void> => {
    const signal = AbortSignal.timeout(3_000);
    while (found.at(-1) !== servers) {
      await new Promise<void>((resolve, reject) => {
        wake = resolve;
        signal.addEventListener('abort', () => reject(new Error(`found ${JSON.stringify(found)}`)), { once: true });
      });
    }
  };
  return { found, follower, says };
}

const put = (path: string, server: string): void => writeFileSync(path, `nameserver ${server}\n`);

test('a file that is written, replaced, removed and there again is followed', async () => {
  put(etc, '192.0.2.1');
  const { follower, found, says } = follow();
  using _ = follower;
  assert.deepEqual(found, ['192.0.2.1']);
  put(etc, '192.0.2.2');
  await says('192.0.2.2');
  put(`${etc}.new`, '192.0.2.3');
  renameSync(`${etc}.new`, etc);
  await says('192.0.2.3');
  rmSync(etc);
  await says('');
  put(etc, '192.0.2.4');
  await says('192.0.2.4');
});

test('so is a link, where it leads, and where it leads next', async () => {
  const target = join(folder, 'manager', 'resolv.conf');
  put(target, '192.0.2.1');
  symlinkSync('../manager/resolv.conf', etc);
  const { follower, found, says } = follow();
  using _ = follower;
  assert.deepEqual(found, ['192.0.2.1']);
  put(target, '192.0.2.2');
  await says('192.0.2.2');
  const other = join(folder, 'resolve', 'other');
  put(other, '192.0.2.3');
  symlinkSync(other, `${etc}.new`);
  renameSync(`${etc}.new`, etc);
  await says('192.0.2.3');
  put(other, '192.0.2.4');
  await says('192.0.2.4');
  // Neither a loop nor a link to nowhere ends it.
  rmSync(etc);
  symlinkSync('resolv.conf', etc);
  await says('192.0.2.4');
  rmSync(etc);
  put(etc, '192.0.2.5');
  await says('192.0.2.5');
});

test('the upstreams behind a stub are followed, also in a directory that was made anew', async () => {
  put(etc, '127.0.0.53');
  put(upstream, '192.0.2.1');
  const { follower, found, says } = follow();
  using _ = follower;
  assert.deepEqual(found, ['192.0.2.1']);
  put(upstream, '192.0.2.2');
  await says('192.0.2.2');
  rmSync(join(folder, 'resolve'), { recursive: true });
  await says('');
  mkdirSync(join(folder, 'resolve'));
  put(upstream, '192.0.2.3');
  // Nothing says that a directory is there again; the file that is watched does, here.
  put(etc, '127.0.0.54');
  await says('192.0.2.3');
  put(upstream, '192.0.2.4');
  await says('192.0.2.4');
});

test('a file that is too large or no file is not followed, and that is said until it is good again', async () => {
  put(etc, '192.0.2.1');
  const { follower, found, says } = follow();
  using _ = follower;
  writeFileSync(`${etc}.new`, `nameserver 192.0.2.2\n${'#'.repeat(70_000)}`);
  renameSync(`${etc}.new`, etc);
  put(join(folder, 'etc', 'hosts'), 'nothing that is looked at');
  await eventually(() => /larger than 65536 bytes/.test(follower.problem));
  assert.deepEqual(found, ['192.0.2.1']);
  put(etc, '192.0.2.3');
  await says('192.0.2.3');
  assert.equal(follower.problem, '');
});

async function eventually(probe: () => boolean): Promise<void> {
  const deadline = performance.now() + 3_000;
  while (!probe()) {
    assert.ok(performance.now() < deadline, 'it did not come to be so');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
