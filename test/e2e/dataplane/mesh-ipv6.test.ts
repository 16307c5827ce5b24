import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../lab/process.ts';
import { allOk, inside, stepsOfSweep } from './checks.ts';
import { Host } from './host.ts';
import {
  ask,
  CLIENT_HOSTS6,
  CLIENTS,
  CLIENTS6,
  gatePort6,
  holdConnection,
  type Mesh,
  meshState,
  startMesh,
} from './mesh.ts';
import { wanted } from './wanted.ts';

const BACKENDS = [1, 2, 3, 4];
const both: Mesh = {
  ipv6: true,
  here: { a: [1, 2], b: [3, 4] },
  ports: [gatePort6('tcp', BACKENDS), gatePort6('udp', BACKENDS)],
};

const seen = (client: string): string[] => BACKENDS.map((n) => `${n} ${client}`);
const sorted = (answers: Record<string, number>): string[] => Object.keys(answers).sort();
const numbersIn = (answers: Record<string, number>): number[] =>
  Object.keys(answers)
    .map((each) => Number(each.split(' ')[0]))
    .sort();
const sysctl = async (host: Host, name: string): Promise<string> => (await host.run('sysctl', '-n', name)).trim();

/** How often the connection was used by now, which has to go on. */
async function stillUsed(host: Host): Promise<void> {
  const echoes = async (): Promise<number> => Number(await host.run('cat', '/run/echoes'));
  const before = await echoes();
  await eventually('the connection to be used', async () => (await echoes()) > before + 1);
}

/** Sends as much as does not fit into any buffer, and gets it back. */
const REFLECT = `
const size = 4_000_000;
let got = 0;
const socket = require('node:net').connect(8080, process.argv[1], () => socket.write(Buffer.alloc(size)));
socket.setTimeout(3000, () => { console.log('silence after ' + got); process.exit(); });
socket.on('data', (data) => { got += data.length; if (got > size) { console.log('all'); process.exit(); } });
`;

/** What becomes of connections and datagrams to where no route of IPv6 leads. */
const ASTRAY = `
const to = '2001:db8:ffff::1';
const tcp = () => new Promise((resolve) => {
  const socket = require('node:net').connect({ host: to, port: 80, timeout: 3000 });
  socket.on('error', ({ code }) => resolve(code));
  socket.on('timeout', () => resolve('silence'));
});
const udp = () => new Promise((resolve) => {
  const socket = require('node:dgram').createSocket('udp6');
  socket.send('who', 53, to, (error) => resolve(error ? error.code : 'sent'));
});
Promise.all([tcp(), udp()]).then((codes) => { console.log(codes.join()); process.exit(); });
`;

test('published ports over IPv6: backends see the client', async (t) => {
  await using a = await Host.start();
  await using b = await Host.start();
  const set = await startMesh(a, b, both);
  const ask6 = (protocol: 'tcp' | 'udp', count: number, more: { from?: number; atOnce?: number } = {}) =>
    ask(a, 'a', protocol, count, { to: CLIENT_HOSTS6.a, ...more });

  for (const protocol of ['tcp', 'udp'] as const) {
    await t.test(`${protocol}: each backend sees the client, through each gate, through both at once`, async () => {
      const [throughA, throughB] = await Promise.all([
        ask6(protocol, 40),
        ask(b, 'b', protocol, 40, { to: CLIENT_HOSTS6.b }),
      ]);
      assert.deepEqual(sorted(throughA), seen(CLIENTS6.a));
      assert.deepEqual(sorted(throughB), seen(CLIENTS6.b));
    });
    await t.test(`${protocol}: and over IPv4 as before`, async () => {
      assert.deepEqual(sorted(await ask(a, 'a', protocol, 40)), seen(CLIENTS.a));
    });
    await t.test(`${protocol}: processes of the host reach them, also by ::1`, async () => {
      for (const to of ['::1', CLIENT_HOSTS6.a, 'fdaa:bbcc:dd00::1']) {
        const answers = await ask(a, 'a', protocol, 8, { netns: null, to });
        assert.deepEqual(numbersIn(answers), BACKENDS, `${to}: ${JSON.stringify(answers)}`);
      }
    });
  }
  await t.test('large segments find their way, also where the path takes less', async () => {
    const reflect = () => a.run(...inside('client', process.execPath, '-e', REFLECT, CLIENT_HOSTS6.a));
    // A cable drops without a word what is longer than its far end takes: the client keeps to that, and asks for more.
    const route = ['-n', 'client', 'route', 'add', CLIENT_HOSTS6.a, 'dev', 'eth0', 'advmss', '1440', 'mtu', '1280'];
    await a.run('ip', ...route);
    for (const mtu of ['1500', '1280']) {
      await a.run('ip', 'link', 'set', 'c0', 'mtu', mtu);
      // One for each backend, here and on the other host.
      for (const _ of BACKENDS) assert.equal((await reflect()).trim(), 'all', `${mtu} bytes`);
    }
    await a.run('ip', 'link', 'set', 'c0', 'mtu', '1500');
    await a.run('ip', ...route.with(3, 'del'));
  });
  await t.test('a backend has no IPv6 but that, and is told at once', async () => {
    const codes = await a.run(...inside('weft-web1', process.execPath, '-e', ASTRAY));
    assert.equal(codes.trim(), 'ECONNREFUSED,EPERM');
    assert.deepEqual(await ask(a, 'a', 'tcp', 1, { netns: 'weft-web1', to: CLIENT_HOSTS6.a }), { ECONNREFUSED: 1 });
  });
  await t.test('a connection outlives a change of backends, a restart and repairs', async () => {
    const pid = await holdConnection(a, CLIENT_HOSTS6.a, '/run/echoes');
    await stillUsed(a);
    await set({ ...both, ports: [gatePort6('tcp', [4]), gatePort6('udp', [4])] });
    assert.deepEqual(await ask6('tcp', 5), { [`4 ${CLIENTS6.a}`]: 5 });
    await stillUsed(a);
    await set({ ...both, ports: [gatePort6('tcp', []), gatePort6('udp', [])] });
    assert.deepEqual(await ask6('tcp', 3), { ECONNREFUSED: 3 });
    assert.deepEqual(await ask6('udp', 3, { from: 5353, atOnce: 1 }), { ECONNREFUSED: 3 });
    await stillUsed(a);
    await set(both);
    // Who has asked before there was anybody is served now.
    assert.match(String(Object.entries(await ask6('udp', 3, { from: 5353, atOnce: 1 }))), /^[1-4] 2001:db8:a::2,3$/);
    for (const [host, on] of [
      [a, 'a'],
      [b, 'b'],
    ] as const) {
      await host.restart();
      await host.set(meshState(on, both));
      assert.equal((await host.stats()).steps, 0, (await host.log()).join('\n'));
      assert.equal(await stepsOfSweep(host), 0);
      assert.deepEqual(await host.drift(), []);
    }
    await stillUsed(a);
    await a.end(pid);
  });
  await t.test('the gate is no router between its networks', async () => {
    await a.run(...inside('weft-web1', 'ip', 'route', 'add', '2001:db8:a::/64', 'via', 'fd00::c8'));
    assert.equal(await a.pings('weft-web1', CLIENTS6.a), false);
    assert.equal(await a.pings('weft-web1', 'fdaa:bbcc:dd00::1'), false);
    await a.run(...inside('weft-web1', 'ip', 'route', 'del', '2001:db8:a::/64'));
  });
  await t.test('with the address of the gate', async () => {
    await set({ ...both, ports: [gatePort6('tcp', BACKENDS, { source: 'snat' })] });
    const answers = await ask(b, 'b', 'tcp', 8, { to: CLIENT_HOSTS6.b });
    assert.deepEqual(
      Object.keys(answers).sort(),
      BACKENDS.map((n) => `${n} fd00::c9`),
    );
    // The last packet of a connection that was forgotten meanwhile takes a turn, too.
    for (const count of Object.values(answers)) assert.ok(Math.abs(count - 2) <= 1, JSON.stringify(answers));
  });
  await t.test('a client is led to the same backend again, and elsewhere once that has gone', async () => {
    const sticky = (backends: readonly number[]): Mesh => ({
      ...both,
      ports: [gatePort6('tcp', backends, { affinityMs: 600_000 }), gatePort6('udp', backends)],
    });
    await set(sticky(BACKENDS));
    const [first] = numbersIn(await ask6('tcp', 1));
    assert.deepEqual(await ask6('tcp', 20), { [`${first} ${CLIENTS6.a}`]: 20 });
    assert.equal(Object.keys(await ask6('udp', 20)).length, 4);
    await set(sticky(BACKENDS.filter((n) => n !== first)));
    const second = await ask6('tcp', 20, { atOnce: 1 });
    assert.equal(Object.keys(second).length, 1, JSON.stringify(second));
    assert.equal(second[`${first} ${CLIENTS6.a}`], undefined);
    await set(sticky(BACKENDS));
    assert.deepEqual(await ask6('tcp', 20), second);
  });
  await t.test('nothing is left when it is not wanted any more', async () => {
    const { sandboxes, ...rest } = meshState('a', both);
    const bare = sandboxes.map(({ gate: _gate, returns: _returns, hostLeg: _hostLeg, ...box }) => box);
    await a.set({ ...rest, sandboxes: bare });
    await allOk(a);
    for (const netns of ['weft-gate', 'weft-web1']) {
      assert.equal((await a.run(...inside(netns, 'nft', 'list', 'ruleset'))).trim(), '');
      assert.doesNotMatch(await a.run('ip', '-6', '-n', netns, 'rule'), /fwmark|57570/);
      assert.doesNotMatch(await a.run('ip', '-6', '-n', netns, 'route', 'show', 'table', 'all'), /table 14\d{8}/);
    }
    assert.doesNotMatch(await a.run('ip', '-6', 'address'), /fdaa:/);
    assert.doesNotMatch(await a.run('ip', '-6', 'route', 'show', 'table', 'local'), /::1 dev w/);
    assert.equal(await sysctl(a, 'net.ipv6.conf.all.forwarding'), '0');
    assert.equal(await sysctl(a, 'net.ipv6.conf.u0.accept_ra'), '1');
    assert.equal(await stepsOfSweep(a), 0);
    await a.set(wanted({}));
    assert.deepEqual(await ask(a, 'a', 'tcp', 1, { netns: null, to: '::1' }), { ECONNREFUSED: 1 });
  });
});
