import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../lab/process.ts';
import { allOk, inside, stepsOfSweep } from './checks.ts';
import { Host } from './host.ts';
import { ask, CLIENT_HOSTS, CLIENTS, gatePort, holdConnection, type Mesh, meshState, startMesh } from './mesh.ts';
import { wanted } from './wanted.ts';

const BACKENDS = [1, 2, 3, 4];
const both: Mesh = {
  here: { a: [1, 2], b: [3, 4] },
  ports: [gatePort('tcp', BACKENDS), gatePort('udp', BACKENDS)],
};

/** How often the connection was used by now; fails when it has broken. */
async function echoes(host: Host): Promise<number> {
  const text = await host.run('cat', '/run/echoes');
  assert.notEqual(text, 'broken');
  return Number(text);
}

const sorted = (answers: Record<string, number>): string[] => Object.keys(answers).sort();

async function stillUsed(host: Host): Promise<void> {
  const before = await echoes(host);
  await eventually('the connection to be used', async () => (await echoes(host)) > before + 1);
}

test('connections to published ports are spread, and backends see the client', async (t) => {
  await using a = await Host.start();
  await using b = await Host.start();
  const set = await startMesh(a, b, both);
  const hosts = { a, b } as const;

  for (const protocol of ['tcp', 'udp'] as const) {
    await t.test(`${protocol}: each backend sees the client, through each gate, through both at once`, async () => {
      const [throughA, throughB] = await Promise.all([ask(a, 'a', protocol, 40), ask(b, 'b', protocol, 40)]);
      assert.deepEqual(
        sorted(throughA),
        BACKENDS.map((n) => `${n} ${CLIENTS.a}`),
      );
      assert.deepEqual(
        sorted(throughB),
        BACKENDS.map((n) => `${n} ${CLIENTS.b}`),
      );
    });
  }
  await t.test('strict filters of the reverse path let clients in', async () => {
    const namespaces = ['weft-gate', 'weft-web1', 'weft-web2'];
    const setAll = async (value: number): Promise<void> => {
      for (const netns of namespaces) {
        for (const device of ['all', 'eth0', 'eth1']) {
          await a.run(...inside(netns, 'sysctl', '-w', `net.ipv4.conf.${device}.rp_filter=${value}`));
        }
      }
    };
    await setAll(1);
    for (const protocol of ['tcp', 'udp'] as const) {
      assert.deepEqual(
        sorted(await ask(a, 'a', protocol, 40)),
        BACKENDS.map((n) => `${n} ${CLIENTS.a}`),
      );
    }
    await setAll(0);
  });
  await t.test('processes of the host reach them, too', async () => {
    for (const to of ['127.0.0.1', '192.0.2.1', '10.99.0.1']) {
      const answers = await ask(a, 'a', 'tcp', 8, { netns: null, to });
      assert.deepEqual(
        Object.keys(answers)
          .map((each) => Number(each.split(' ')[0]))
          .sort(),
        BACKENDS,
        JSON.stringify(answers),
      );
    }
  });
  await t.test('3,000 connections are spread within a tenth of even', async () => {
    const answers = await ask(a, 'a', 'tcp', 3000, { atOnce: 32 });
    for (const n of BACKENDS) {
      const got = answers[`${n} ${CLIENTS.a}`] ?? 0;
      assert.ok(Math.abs(got - 750) <= 75, JSON.stringify(answers));
    }
  });
  await t.test('a connection outlives a change of backends, a restart and repairs', async () => {
    const pid = await holdConnection(a, CLIENT_HOSTS.a, '/run/echoes');
    await stillUsed(a);
    const one: Mesh = { ...both, ports: both.ports.map((port) => ({ ...port, backends: port.backends.slice(-1) })) };
    await set(one);
    assert.deepEqual(await ask(a, 'a', 'tcp', 5), { [`4 ${CLIENTS.a}`]: 5 });
    await stillUsed(a);
    await set({ ...both, ports: both.ports.map((port) => ({ ...port, backends: [] })) });
    assert.deepEqual(await ask(a, 'a', 'tcp', 3), { ECONNREFUSED: 3 });
    assert.deepEqual(await ask(a, 'a', 'udp', 3, { from: 5353, atOnce: 1 }), { ECONNREFUSED: 3 });
    await stillUsed(a);
    await set(both);
    // Who has asked before there was anybody is served now.
    const late = Object.entries(await ask(a, 'a', 'udp', 3, { from: 5353, atOnce: 1 }));
    assert.match(String(late), /^[1-4] 192\.0\.2\.2,3$/);
    for (const on of ['a', 'b'] as const) {
      await hosts[on].restart();
      await hosts[on].set(meshState(on, both));
      assert.equal((await hosts[on].stats()).steps, 0, (await hosts[on].log()).join('\n'));
      assert.equal(await stepsOfSweep(hosts[on]), 0);
    }
    await stillUsed(a);
    await a.end(pid);
  });
  await t.test('the gate is no router between its networks', async () => {
    await a.run(...inside('weft-web1', 'ip', 'route', 'add', '203.0.113.0/24', 'via', '10.0.0.200'));
    await a.run('ip', 'address', 'add', '203.0.113.1/32', 'dev', 'c0');
    assert.equal(await a.pings('weft-web1', '203.0.113.1'), false);
    await a.run(...inside('weft-web1', 'ip', 'route', 'del', '203.0.113.0/24'));
    assert.ok(await a.pings('weft-web1', '203.0.113.1'), 'by its own way out');
  });
  await t.test('with the address of the gate', async () => {
    await set({ ...both, ports: [gatePort('tcp', BACKENDS, { source: 'snat' })] });
    const answers = await ask(b, 'b', 'tcp', 8);
    assert.deepEqual(
      Object.keys(answers).sort(),
      BACKENDS.map((n) => `${n} 10.0.0.201`),
    );
    // The last packet of a connection that was forgotten meanwhile takes a turn, too.
    for (const count of Object.values(answers)) assert.ok(Math.abs(count - 2) <= 1, JSON.stringify(answers));
  });
  await t.test('a client is led to the same backend again, and elsewhere once that has gone', async () => {
    const sticky = (backends: readonly number[]): Mesh => ({
      ...both,
      ports: [gatePort('tcp', backends, { affinityMs: 600_000 }), gatePort('udp', backends)],
    });
    await set(sticky(BACKENDS));
    const first = Object.keys(await ask(a, 'a', 'tcp', 1)).map((each) => Number(each.split(' ')[0]));
    assert.deepEqual(await ask(a, 'a', 'tcp', 20), { [`${first[0]} ${CLIENTS.a}`]: 20 });
    const udp = await ask(a, 'a', 'udp', 20);
    assert.equal(Object.keys(udp).length, 4, JSON.stringify(udp));
    await set(sticky(BACKENDS.filter((n) => n !== first[0])));
    const second = await ask(a, 'a', 'tcp', 20, { atOnce: 1 });
    assert.equal(Object.keys(second).length, 1, JSON.stringify(second));
    assert.equal(second[`${first[0]} ${CLIENTS.a}`], undefined);
    await set(sticky(BACKENDS));
    assert.deepEqual(await ask(a, 'a', 'tcp', 20), second);
  });
  await t.test('nothing is left when it is not wanted any more', async () => {
    const { sandboxes, ...rest } = meshState('a', both);
    const bare = sandboxes.map(({ gate: _gate, returns: _returns, ...box }) => box);
    await a.set({ ...rest, sandboxes: bare });
    await allOk(a);
    for (const netns of ['weft-gate', 'weft-web1']) {
      assert.equal((await a.run(...inside(netns, 'nft', 'list', 'ruleset'))).trim(), '');
      assert.doesNotMatch(await a.run('ip', '-n', netns, 'rule'), /fwmark/);
      assert.doesNotMatch(await a.run('ip', '-n', netns, 'route', 'show', 'table', 'all'), /table 14\d{8}/);
    }
    assert.equal(await stepsOfSweep(a), 0);
    await a.set(wanted({}));
  });
});
