import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { allOk, inside, received } from './checks.ts';
import { connect, Host } from './host.ts';
import { GATEWAY, guard, macOf, overlay, PORT, remote, sandbox, wanted } from './wanted.ts';

const INJECT = [process.execPath, '--import', 'tsx', fileURLToPath(new URL('./inject.ts', import.meta.url))];

/** How many of `count` forged frames for container 1 on host a come through. */
async function through(
  a: Host,
  sender: Host,
  from: string,
  count: number,
  before: readonly string[] = [],
): Promise<number> {
  const seen = await received(a, 'weft-one');
  const frames = [from, '10.99.0.1', String(PORT), '4097', macOf(4097, 1), '10.0.0.1', String(count)];
  await sender.run(...before, ...INJECT, ...frames);
  // What came behind the frames was taken behind them: an echo that is answered says that all were looked at.
  assert.ok(await sender.pings('weft-two', '10.0.0.1'));
  return (await received(a, 'weft-one')) - seen - 1;
}

test('frames from who is no member reach no container', async (t) => {
  await using a = await Host.start();
  await using b = await Host.start();
  await connect(a, b);
  await b.run('ip', 'address', 'add', '10.99.0.66/24', 'dev', 'u0');
  const onA = wanted({
    overlays: [overlay(4097, 'a', [remote(4097, 2, 'b')])],
    sandboxes: [sandbox('one', 1, [4097])],
    bridges: [GATEWAY],
    guard: guard('a', [4097]),
  });
  await a.set(onA);
  const onB = wanted({
    overlays: [overlay(4097, 'b', [remote(4097, 1, 'a')])],
    sandboxes: [sandbox('two', 2, [4097], true)],
    bridges: [GATEWAY],
    guard: guard('b', [4097]),
  });
  await b.set(onB);
  assert.ok(await b.pings('weft-two', '10.0.0.1'));

  await t.test('a forged frame that comes from a member would', async () => {
    assert.equal(await through(a, b, '10.99.0.2', 10), 10);
  });
  await t.test('none of 10,000 from another address does', async () => {
    assert.equal(await through(a, b, '10.99.0.66', 10_000), 0);
  });
  await t.test('nor after the rules were flushed and put back', async () => {
    await a.log();
    await a.run('nft', 'flush', 'ruleset');
    await a.line(/^repaired drift: .*nft table inet weft_guard missing/);
    await allOk(a);
    assert.equal(await through(a, b, '10.99.0.66', 1000), 0);
  });
  for (const [what, ...before] of [
    ['a container of a member, which masquerade makes look like its host', ...inside('weft-two')],
    ['a user of a member', 'setpriv', '--reuid', '65534', '--clear-groups'],
  ] as const) {
    await t.test(`nor from ${what}, unless the member lets it out`, async () => {
      assert.equal(await through(a, b, '-', 1000, before), 0);
      await b.set({ ...onB, guard: null });
      assert.equal(await through(a, b, '-', 10, before), 10);
      await b.set(onB);
    });
  }
  await t.test('a host that has left is an outsider, one that comes is none', async () => {
    await a.set({ ...onA, guard: { port: PORT, vteps: [], vnis: onA.guard?.vnis ?? [] } });
    assert.equal(await b.pings('weft-two', '10.0.0.1'), false);
    await a.set(onA);
    assert.ok(await b.pings('weft-two', '10.0.0.1'));
  });
});
