import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Desired } from '../../../dataplane/desired.ts';
import { waitingName } from '../../../dataplane/names.ts';
import { must, parseNetnsPath } from '../../../dataplane/values.ts';
import { eventually } from '../../lab/process.ts';
import { allOk, inside, stepsOfSweep } from './checks.ts';
import { Host } from './host.ts';
import {
  addClient,
  ask,
  CLIENT_HOSTS6,
  CLIENTS,
  CLIENTS6,
  GATES,
  gatePort,
  gatePort6,
  meshState,
  startServer,
} from './mesh.ts';
import { endpointId, returning, returning6, sandbox, withIpv6 } from './wanted.ts';

const PROTOCOLS = ['tcp', 'udp'] as const;
const waitsAs = waitingName(endpointId(4097, 2));

/** A gate, and a container of Docker's, say, that is a backend once it has taken its leg in. */
function state(of: 'handed' | 'taken' | 'unpublished' | 'gone'): Desired {
  const mesh = meshState('a', { here: { a: [], b: [] }, ports: [gatePort('tcp', [2]), gatePort('udp', [2])] });
  if (of === 'gone') return mesh;
  const { overlayLegs, ...box } = sandbox('theirs', 2, [4097]);
  const handed = { waitsAs, taken: of !== 'handed' };
  const legs = overlayLegs.map((leg) => ({ ...leg, handed }));
  const netns = must(parseNetnsPath('/run/netns/theirs'));
  const theirs = { ...box, netns, owned: false, awaited: true, overlayLegs: legs } as const;
  const sandboxes = [...mesh.sandboxes, of === 'unpublished' ? theirs : returning(theirs, [GATES.a])];
  return { ...mesh, sandboxes };
}

/** Nothing of ours but the leg is in the container. */
async function isBare(host: Host): Promise<boolean> {
  const rules = await host.run('ip', '-n', 'theirs', 'rule');
  return (await host.run(...inside('theirs', 'nft', 'list', 'ruleset'))) === '' && !rules.includes('fwmark');
}

test('a container that somebody else made is a backend once it has its leg', async (t) => {
  await using host = await Host.start();
  await host.run('ip', 'address', 'add', '10.99.0.1/32', 'dev', 'lo');
  await host.set(state('handed'));
  await allOk(host);
  await addClient(host, 'a');
  await host.run('ip', 'netns', 'add', 'theirs');
  await host.run('ip', 'link', 'add', 'd0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', 'theirs');
  await host.run('ip', 'link', 'set', 'd0', 'master', 'docker_gwbridge', 'up');
  await host.run('ip', '-n', 'theirs', 'address', 'add', '172.18.5.5/16', 'dev', 'eth0');
  for (const device of ['lo', 'eth0']) await host.run('ip', '-n', 'theirs', 'link', 'set', device, 'up');
  await host.run('ip', '-n', 'theirs', 'route', 'add', 'default', 'via', '172.18.0.1');
  await startServer(host, 2, 'theirs');

  await t.test('its leg is heard of when it comes, and found by its MAC', async () => {
    await host.set(state('taken'));
    assert.match(JSON.stringify((await host.status())['returns/theirs']), /the leg with MAC .* does not exist/);
    await host.run('ip', 'link', 'set', waitsAs, 'netns', 'theirs', 'name', 'eth7');
    await host.run('ip', '-n', 'theirs', 'address', 'add', '10.0.0.2/16', 'dev', 'eth7');
    await host.run('ip', '-n', 'theirs', 'link', 'set', 'eth7', 'up');
    await allOk(host);
    await eventually('the way back', async () => !(await isBare(host)));
    for (const protocol of ['tcp', 'udp'] as const) {
      assert.deepEqual(await ask(host, 'a', protocol, 5), { [`2 ${CLIENTS.a}`]: 5 });
    }
    assert.equal(await stepsOfSweep(host), 0);
    assert.deepEqual(await host.drift(), []);
  });
  await t.test('an agent that starts again finds nothing to do', async () => {
    await host.restart();
    await host.set(state('taken'));
    await allOk(host);
    assert.equal((await host.stats()).steps, 0);
  });
  for (const of of ['unpublished', 'gone'] as const) {
    await t.test(`nothing is left in it when it is ${of}`, async () => {
      await host.set(state(of));
      assert.ok(await isBare(host));
      await allOk(host);
      if (of === 'unpublished') await host.set(state('taken'));
    });
  }
  await t.test('nor by a clean-up that knows of nothing', async () => {
    await host.set(state('handed'));
    await host.run('ip', 'link', 'set', waitsAs, 'netns', 'theirs', 'name', 'eth7');
    await host.run('ip', '-n', 'theirs', 'address', 'add', '10.0.0.2/16', 'dev', 'eth7');
    await host.run('ip', '-n', 'theirs', 'link', 'set', 'eth7', 'up');
    await host.set(state('taken'));
    await allOk(host);
    assert.equal(await isBare(host), false);
    await host.cleanUp();
    assert.ok(await isBare(host));
  });
});

test('one with an IPv6 of its own answers clients of that family by the gate, too', async () => {
  await using host = await Host.start();
  await host.run('ip', 'address', 'add', '10.99.0.1/32', 'dev', 'lo');
  const mesh = meshState('a', {
    ipv6: true,
    here: { a: [], b: [] },
    ports: PROTOCOLS.map((each) => gatePort6(each, [2])),
  });
  const { overlayLegs, ...box } = withIpv6(sandbox('theirs', 2, [4097]));
  const netns = must(parseNetnsPath('/run/netns/theirs'));
  const set = (taken: boolean): Promise<number> => {
    const legs = overlayLegs.map((leg) => ({ ...leg, handed: { waitsAs, taken } }));
    const theirs = { ...box, netns, owned: false, awaited: true, overlayLegs: legs } as const;
    return host.set({ ...mesh, sandboxes: [...mesh.sandboxes, returning6(theirs, [GATES.a])] });
  };
  await host.run('ip', 'netns', 'add', 'theirs');
  await set(false);
  const inTheirs = (...command: string[]) => host.run('ip', '-n', 'theirs', ...command);
  await addClient(host, 'a');
  // Docker's own network has IPv6, and a router there.
  await host.run('ip', 'link', 'add', 'd0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', 'theirs');
  await host.run('ip', 'link', 'set', 'd0', 'up');
  await host.run('ip', 'address', 'add', '2001:db8:d::1/64', 'dev', 'd0', 'nodad');
  await inTheirs('address', 'add', '2001:db8:d::5/64', 'dev', 'eth0', 'nodad');
  for (const device of ['lo', 'eth0']) await inTheirs('link', 'set', device, 'up');
  await inTheirs('route', 'add', 'default', 'via', '2001:db8:d::1');
  await host.run('ip', 'link', 'set', waitsAs, 'netns', 'theirs', 'name', 'eth7');
  await host.run(...inside('theirs', 'sysctl', '-w', 'net.ipv6.conf.eth7.accept_dad=0'));
  for (const address of ['10.0.0.2/16', 'fd00::2/64']) await inTheirs('address', 'add', address, 'dev', 'eth7');
  await inTheirs('link', 'set', 'eth7', 'up');
  await startServer(host, 2, 'theirs');
  await set(true);
  await allOk(host);
  for (const protocol of PROTOCOLS) {
    assert.deepEqual(await ask(host, 'a', protocol, 5, { to: CLIENT_HOSTS6.a }), { [`2 ${CLIENTS6.a}`]: 5 }, protocol);
  }
  // The kernel says nothing of what it does by itself that would not be as it is known.
  assert.equal(await stepsOfSweep(host), 0);
  await inTheirs('route', 'del', 'default', 'via', '2001:db8:d::1');
  for (const protocol of PROTOCOLS) {
    await eventually(`${protocol} by the leg`, async () => {
      assert.deepEqual(await ask(host, 'a', protocol, 5, { to: CLIENT_HOSTS6.a }), { [`2 ${CLIENTS6.a}`]: 5 });
      return true;
    });
  }
  await host.cleanUp();
  assert.ok(await isBare(host));
  assert.doesNotMatch(await inTheirs('-6', 'rule'), /57570/);
});
