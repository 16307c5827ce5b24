import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Desired, DesiredSandbox, Handed } from '../../../dataplane/desired.ts';
import { waitingName } from '../../../dataplane/names.ts';
import { must, parseNetnsPath } from '../../../dataplane/values.ts';
import { eventually } from '../../lab/process.ts';
import { allOk, inside } from './checks.ts';
import { Host } from './host.ts';
import { endpointId, macOf, overlay, sandbox, wanted } from './wanted.ts';

const id = endpointId(4097, 2);
const waitsAs = waitingName(id);
const port = `wv${id.slice(0, 12)}`;

/** A sandbox that somebody else makes as /run/netns/theirs, with a leg that is handed over. */
function theirs(handed: Handed): DesiredSandbox {
  const { overlayLegs, ...box } = sandbox('theirs', 2, [4097]);
  const netns = must(parseNetnsPath('/run/netns/theirs'));
  return { ...box, netns, owned: false, awaited: true, overlayLegs: overlayLegs.map((leg) => ({ ...leg, handed })) };
}

const withTheirs = (taken: boolean, mtu = 1450): Desired =>
  wanted({
    overlays: [{ ...overlay(4097, 'a'), mtu }],
    sandboxes: [sandbox('one', 1, [4097]), theirs({ waitsAs, taken })].map((box) => ({
      ...box,
      overlayLegs: box.overlayLegs.map((leg) => ({ ...leg, mtu })),
    })),
  });

test('a leg that is handed over waits on the host, is taken in by somebody else, and keeps its MTU', async (t) => {
  await using host = await Host.start();
  await host.run('ip', 'address', 'add', '10.99.0.1/32', 'dev', 'lo');

  await t.test('it waits where there is no namespace yet, and that is no fault', async () => {
    await host.set(withTheirs(false));
    await allOk(host);
    const [link] = JSON.parse(await host.run('ip', '-j', 'link', 'show', waitsAs)) as {
      address: string;
      mtu: number;
    }[];
    assert.deepEqual([link?.address, link?.mtu], [macOf(4097, 2), 1450]);
  });

  await t.test('who takes it gives it name and address, and reaches the others', async () => {
    await host.run('ip', 'netns', 'add', 'theirs');
    await host.run('ip', 'link', 'set', waitsAs, 'netns', 'theirs', 'name', 'eth7');
    await host.run('ip', '-n', 'theirs', 'address', 'add', '10.0.0.2/16', 'dev', 'eth7');
    await host.run('ip', '-n', 'theirs', 'link', 'set', 'eth7', 'up');
    await host.set(withTheirs(true));
    assert.ok(await host.pings('theirs', '10.0.0.1'));
    await host.sweep();
    await allOk(host);
    assert.deepEqual(await host.drift(), []);
  });

  await t.test('its MTU follows that of the network at both ends', async () => {
    await host.set(withTheirs(true, 1300));
    const mtuOf = async (netns: string, name: string): Promise<number | undefined> =>
      (JSON.parse(await host.run('ip', '-n', netns, '-j', 'link', 'show', name)) as { mtu: number }[])[0]?.mtu;
    assert.deepEqual([await mtuOf('theirs', 'eth7'), await mtuOf('weft', port)], [1300, 1300]);
  });

  await t.test('an agent that starts again finds nothing to do', async () => {
    await host.restart();
    const before = await host.stats();
    await host.set(withTheirs(true, 1300));
    await allOk(host);
    assert.equal((await host.stats()).steps, before.steps);
  });

  await t.test('once it has gone with its namespace, it is not made again, and named', async () => {
    await host.run('ip', 'netns', 'del', 'theirs');
    const status = await eventually('the loss to be seen', async () => {
      const found = (await host.status())[`endpoint/${id}`];
      return found?.state === 'failed' ? found : undefined;
    });
    assert.match(JSON.stringify(status), /has to be started anew/);
    assert.equal((await host.try(...inside('weft', 'ip', 'link', 'show', port))).exitCode, 1);
  });

  await t.test('who asks for another one gets it, and what nobody wants any more goes', async () => {
    await host.set(withTheirs(false, 1300));
    // What has failed is tried again a moment later.
    await allOk(host);
    await host.run('ip', 'link', 'show', waitsAs);
    await host.set(wanted({ overlays: [overlay(4097, 'a')], sandboxes: [sandbox('one', 1, [4097])] }));
    assert.equal((await host.try('ip', 'link', 'show', waitsAs)).exitCode, 1);
    await allOk(host);
  });
});
