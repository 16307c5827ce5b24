import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inside, packets, received } from './checks.ts';
import { connect, Host } from './host.ts';
import { macOf, overlay, remote, sandbox, wanted, withIpv6 } from './wanted.ts';

const FLOOD = [process.execPath, '--import', 'tsx', fileURLToPath(new URL('./flood.ts', import.meta.url)), '200'];

/** Whom `from` takes to be at the address, by its own neighbour table. */
async function believed(host: Host, from: string, address: string): Promise<string> {
  const [entry] = JSON.parse(await host.run('ip', '-n', from, '-j', 'neigh', 'show', address)) as { lladdr?: string }[];
  return entry?.lladdr ?? '';
}

// Container 1 is the victim, 3 the thief and 4 its neighbour on one host, 2 is on the other.
test('a container that claims another’s address draws nobody’s traffic', async (t) => {
  await using a = await Host.start();
  await using b = await Host.start();
  await connect(a, b);
  // What the thief does to its own interface would be repaired at once.
  await a.restart(null, 'observe');
  const boxes = ['victim', 'thief', 'neighbour'].map((name, i) => withIpv6(sandbox(name, [1, 3, 4][i] ?? 0, [4097])));
  await a.set(wanted({ overlays: [overlay(4097, 'a', [remote(4097, 2, 'b')])], sandboxes: boxes }));
  const remotes = [1, 3, 4].map((n) => remote(4097, n, 'a'));
  await b.set(wanted({ overlays: [overlay(4097, 'b', remotes)], sandboxes: [sandbox('two', 2, [4097])] }));
  const [victim, thief] = [macOf(4097, 1), macOf(4097, 3)];
  const all = [
    ['10.0.0.1', '10.0.0.4', '32'],
    ['fd00::1', 'fd00::4', '128'],
  ] as const;
  for (const [address] of all) assert.ok(await a.pings('weft-neighbour', address));

  const steal = async ([address, other, length]: (typeof all)[number]): Promise<void> => {
    await a.run('ip', '-n', 'weft-thief', 'address', 'add', `${address}/${length}`, 'dev', 'eth0', 'nodad');
    await a.run('ip', '-n', 'weft-thief', 'neigh', 'flush', 'dev', 'eth0');
    await a.pings('weft-thief', other, '-I', address);
    await a.run('ip', '-n', 'weft-thief', 'address', 'del', `${address}/${length}`, 'dev', 'eth0');
  };
  for (const claim of all) {
    await t.test(`${claim[0]}, by asking for its neighbour under it`, async () => {
      await steal(claim);
      assert.equal(await believed(a, 'weft-neighbour', claim[0]), victim);
      assert.ok(await a.pings('weft-neighbour', claim[0]));
    });
  }
  await t.test('its MAC', async () => {
    await a.run('ip', '-n', 'weft-thief', 'link', 'set', 'eth0', 'address', victim);
    await a.pings('weft-thief', '10.0.0.2');
    const before = [await received(a, 'weft-victim'), await received(a, 'weft-thief')] as const;
    for (const [host, netns] of [
      [b, 'weft-two'],
      [a, 'weft-neighbour'],
    ] as const) {
      assert.ok(await host.pings(netns, '10.0.0.1', '-c', '5', '-i', '0.01'), netns);
    }
    assert.ok((await received(a, 'weft-victim')) - before[0] >= 10);
    assert.ok((await received(a, 'weft-thief')) - before[1] < 5);
    await a.run('ip', '-n', 'weft-thief', 'link', 'set', 'eth0', 'address', thief);
  });
  await t.test('a flood of questions stays on its host', async () => {
    const sent = async () => (await packets(a, '-s', '-j', 'link', 'show', 'u0')).tx.packets;
    const before = await sent();
    await a.run(...inside('weft-thief', ...FLOOD));
    assert.ok((await sent()) - before < 50);
    assert.ok(await b.pings('weft-two', '10.0.0.1'));
    assert.ok(await a.pings('weft-neighbour', '10.0.0.1'));
  });
  for (const claim of all) {
    await t.test(`without the guard of the ports ${claim[0]} would be stolen`, async () => {
      await a.run(...inside('weft', 'nft', 'flush', 'ruleset'));
      await steal(claim);
      assert.equal(await believed(a, 'weft-neighbour', claim[0]), thief);
    });
  }
});
