import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitingName } from '../../../dataplane/names.ts';
import { must, parseNetnsPath } from '../../../dataplane/values.ts';
import { eventually } from '../../lab/process.ts';
import { allOk, inside, stepsOfSweep } from './checks.ts';
import { connect, Host } from './host.ts';
import { ask, CLIENT, holdConnection, NOBODY, startServer, VIPS, vipState, vipsOf } from './vips.ts';
import { endpointId } from './wanted.ts';

const HERE = { a: [1, 2, CLIENT], b: [3, 4] } as const;
const ALL = [1, 2, 3, 4];
const OWN = { 4: `10.0.0.${CLIENT}`, 6: `fd00::${CLIENT}` } as const;
const families = [4, 6] as const;

const table = async (host: Host, netns: string): Promise<string> =>
  (await host.run(...inside(netns, 'nft', 'list', 'ruleset'))).trim();

test('connections to a virtual address are led to endpoints by turns', async (t) => {
  await using a = await Host.start();
  await using b = await Host.start();
  await connect(a, b);
  const set = async (backends: readonly number[]): Promise<void> => {
    const vips = vipsOf(backends);
    await Promise.all([a.set(vipState('a', HERE, vips)), b.set(vipState('b', HERE, vips))]);
    await Promise.all([allOk(a), allOk(b)]);
  };
  await set(ALL);
  await Promise.all([...[1, 2, CLIENT].map((n) => startServer(a, n)), ...[3, 4].map((n) => startServer(b, n))]);

  for (const family of families) {
    for (const protocol of ['tcp', 'udp'] as const) {
      await t.test(
        `${protocol}, IPv${family}: each of both hosts as often as the others, and sees the client`,
        async () => {
          const answers = await ask(a, protocol, VIPS[family], 40);
          assert.deepEqual(
            Object.keys(answers).sort(),
            ALL.map((n) => `${n} ${OWN[family]}`),
          );
          // The last packet of a connection that was forgotten meanwhile takes a turn, too.
          for (const count of Object.values(answers)) assert.ok(Math.abs(count - 10) <= 2, JSON.stringify(answers));
        },
      );
    }
    await t.test(`IPv${family}: echo requests are answered, too, and none where nobody serves`, async () => {
      assert.ok(await a.pings(`weft-box${CLIENT}`, VIPS[family]));
      assert.deepEqual(await ask(a, 'tcp', NOBODY[family], 3), { ECONNREFUSED: 3 });
      assert.deepEqual(await ask(a, 'udp', NOBODY[family], 3), { EPERM: 3 });
    });
    await t.test(`IPv${family}: an endpoint that asks for itself is answered by itself`, async () => {
      await set([CLIENT]);
      for (const protocol of ['tcp', 'udp'] as const) {
        assert.deepEqual(await ask(a, protocol, VIPS[family], 4), { [`${CLIENT} ${OWN[family]}`]: 4 });
      }
      await set(ALL);
    });
  }
  await t.test('marks of packets stay as they are', async () => {
    const client = `weft-box${CLIENT}`;
    await a.run(...inside(client, 'nft', 'add table inet own'));
    await a.run(...inside(client, 'nft', 'add chain inet own marks { type filter hook output priority mangle; }'));
    await a.run(...inside(client, 'nft', 'add rule inet own marks meta mark set 7'));
    await a.run(...inside(client, 'nft', 'add chain inet own seen { type filter hook postrouting priority 0; }'));
    await a.run(...inside(client, 'nft', 'add rule inet own seen ip daddr 10.0.0.1-10.0.0.4 meta mark != 7 drop'));
    assert.equal(Object.keys(await ask(a, 'tcp', VIPS[4], 8)).length, 4);
    await a.run(...inside(client, 'nft', 'delete table inet own'));
    assert.equal(await stepsOfSweep(a), 0);
  });
  await t.test('a connection outlives that its endpoint is none any more, a restart and repairs', async () => {
    const used = async (): Promise<number> => {
      const text = await a.run('cat', '/run/echoes');
      assert.notEqual(text, 'broken');
      return Number(text);
    };
    const stillUsed = async (): Promise<void> => {
      const before = await used();
      await eventually('the connection to be used', async () => (await used()) > before + 1);
    };
    const pid = await holdConnection(a, VIPS[4], '/run/echoes');
    for (const backends of [[4], [], [1], ALL]) {
      const before = (await a.stats()).steps;
      await set(backends);
      // All sandboxes of the host: elements, and no new table.
      assert.equal((await a.stats()).steps - before, HERE.a.length);
      await stillUsed();
      const asked = await ask(a, 'tcp', VIPS[4], 4);
      const expected = backends.map((n) => [`${n} ${OWN[4]}`, 4 / backends.length]);
      assert.deepEqual(asked, backends.length === 0 ? { ECONNREFUSED: 4 } : Object.fromEntries(expected));
    }
    await a.restart();
    await a.set(vipState('a', HERE, vipsOf(ALL)));
    assert.equal((await a.stats()).steps, 0, (await a.log()).join('\n'));
    assert.equal(await stepsOfSweep(a), 0);
    await stillUsed();
    await a.end(pid);
  });
  await t.test('who has asked before there was anybody is served once there is', async () => {
    await set([]);
    assert.deepEqual(await ask(a, 'udp', VIPS[4], 2, { from: 5353, atOnce: 1 }), { EPERM: 2 });
    await set([3]);
    assert.deepEqual(await ask(a, 'udp', VIPS[4], 2, { from: 5353, atOnce: 1 }), { [`3 ${OWN[4]}`]: 2 });
    await set(ALL);
  });
  await t.test('what somebody changes is put right, as soon as it is heard', async () => {
    const client = `weft-box${CLIENT}`;
    const isRight = async (): Promise<boolean> => {
      const answers = await ask(a, 'tcp', VIPS[4], 8);
      return Object.keys(answers).length === 4 && (await a.drift()).length === 0;
    };
    for (const change of ['flush map inet weft_vip slots4', 'delete table inet weft_vip']) {
      const { repairs } = await a.stats();
      await a.run(...inside(client, 'nft', change));
      await eventually('a repair', async () => (await a.stats()).repairs > repairs);
      await eventually('all of it', isRight);
    }
  });
  await t.test(
    'its table is listed again once somebody has changed anything of nftables there, and not before',
    async () => {
      const netns = `weft-box${CLIENT}`;
      const change = inside(netns, 'nft', `delete element inet weft_vip vips4 { ${VIPS[4]} }`);
      const listings = await a.listings(
        vipState('a', HERE, vipsOf(ALL)),
        `/run/netns/${netns}`,
        'inet weft_vip',
        change,
      );
      // The first may have been made while nftables had counted a change, and not made it yet.
      assert.deepEqual(
        listings.map(({ anew }) => anew),
        [true, false, false, true],
      );
      assert.deepEqual(
        listings.map(({ elements }) => elements['vips4']),
        [2, 2, 2, 1],
      );
      await a.set(vipState('a', HERE, vipsOf(ALL)));
      await allOk(a);
    },
  );
  await t.test('nothing is left where there is no virtual address', async () => {
    const steps = a.set(vipState('a', HERE, null));
    await steps;
    await allOk(a);
    for (const n of HERE.a) assert.equal(await table(a, `weft-box${n}`), '');
    assert.equal(await stepsOfSweep(a), 0);
  });
});

test('a container that somebody else made is led once it has its leg, and left bare', async (t) => {
  await using host = await Host.start();
  await host.run('ip', 'address', 'add', '10.99.0.1/32', 'dev', 'lo');
  const waitsAs = waitingName(endpointId(4097, CLIENT));
  const netns = must(parseNetnsPath('/run/netns/theirs'));
  const state = (taken: boolean, isServed = true) =>
    vipState('a', { a: [1, 2, CLIENT], b: [] }, isServed ? vipsOf([1, 2]) : null, (box) => {
      if (box.id !== `box${CLIENT}`) return box;
      const overlayLegs = box.overlayLegs.map((leg) => ({ ...leg, handed: { waitsAs, taken } }));
      return { ...box, id: 'theirs', netns, owned: false, awaited: true, overlayLegs };
    });
  const take = async (): Promise<void> => {
    await host.run('ip', 'link', 'set', waitsAs, 'netns', 'theirs', 'name', 'eth7');
    await host.run('ip', '-n', 'theirs', 'address', 'add', `10.0.0.${CLIENT}/16`, 'dev', 'eth7');
    for (const device of ['lo', 'eth7']) await host.run('ip', '-n', 'theirs', 'link', 'set', device, 'up');
  };
  await host.set(state(false));
  await allOk(host);
  await Promise.all([1, 2].map((n) => startServer(host, n)));
  await host.set(state(true));
  assert.match(JSON.stringify((await host.status())['vips/theirs']), /the leg with MAC .* does not exist/);
  await host.run('ip', 'netns', 'add', 'theirs');
  await take();
  await allOk(host);

  const expected = { [`1 ${OWN[4]}`]: 3, [`2 ${OWN[4]}`]: 3 };
  await t.test('its connections are spread', async () => {
    assert.deepEqual(await ask(host, 'tcp', VIPS[4], 6, { netns: 'theirs' }), expected);
    assert.equal(await stepsOfSweep(host), 0);
    assert.deepEqual(await host.drift(), []);
  });
  await t.test('an agent that starts again finds nothing to do', async () => {
    await host.restart();
    await host.set(state(true));
    await allOk(host);
    assert.equal((await host.stats()).steps, 0);
  });
  await t.test('nothing is left in it when no service has one any more', async () => {
    await host.set(state(true, false));
    assert.equal(await table(host, 'theirs'), '');
    await host.set(state(true));
    assert.notEqual(await table(host, 'theirs'), '');
  });
  await t.test('nor by a clean-up that knows of nothing', async () => {
    await host.cleanUp();
    assert.equal(await table(host, 'theirs'), '');
  });
});
