import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allOk, stepsOfSweep } from './checks.ts';
import { connect, Host } from './host.ts';
import {
  addClient,
  ask,
  CLIENT_HOSTS6,
  CLIENTS,
  CLIENTS6,
  gatePort6,
  type Mesh,
  meshState,
  startServer,
} from './mesh.ts';

const BACKENDS = [1, 2, 3, 4];
const both: Mesh = {
  ipv6: true,
  here: { a: [1, 2], b: [3, 4] },
  ports: [gatePort6('tcp', BACKENDS), gatePort6('udp', BACKENDS)],
};

const seen = (client: string): string[] => BACKENDS.map((n) => `${n} ${client}`);
const sorted = (answers: Record<string, number>): string[] => Object.keys(answers).sort();

test('published ports over IPv6: backends see the client', async (t) => {
  await using a = await Host.start();
  await using b = await Host.start();
  await connect(a, b);
  const set = async (mesh: Mesh): Promise<void> => {
    await Promise.all([a.set(meshState('a', mesh)), b.set(meshState('b', mesh))]);
    await Promise.all([allOk(a), allOk(b)]);
  };
  await set(both);
  await Promise.all([addClient(a, 'a'), addClient(b, 'b')]);
  await Promise.all([1, 2].map((n) => startServer(a, n)));
  await Promise.all([3, 4].map((n) => startServer(b, n)));

  for (const protocol of ['tcp', 'udp'] as const) {
    await t.test(`${protocol}: each backend sees the client, through each gate, through both at once`, async () => {
      const [throughA, throughB] = await Promise.all([
        ask(a, 'a', protocol, 40, { to: CLIENT_HOSTS6.a }),
        ask(b, 'b', protocol, 40, { to: CLIENT_HOSTS6.b }),
      ]);
      assert.deepEqual(sorted(throughA), seen(CLIENTS6.a));
      assert.deepEqual(sorted(throughB), seen(CLIENTS6.b));
    });
    await t.test(`${protocol}: and over IPv4 as before`, async () => {
      assert.deepEqual(sorted(await ask(a, 'a', protocol, 40)), seen(CLIENTS.a));
    });
  }
  await t.test('processes of the host reach them, by ::1, too', async () => {
    for (const protocol of ['tcp', 'udp'] as const) {
      for (const to of ['::1', CLIENT_HOSTS6.a]) {
        const answers = await ask(a, 'a', protocol, 8, { netns: null, to });
        const numbers = Object.keys(answers).map((each) => Number(each.split(' ')[0]));
        assert.deepEqual(numbers.sort(), BACKENDS, JSON.stringify(answers));
      }
    }
    assert.deepEqual(await a.drift(), []);
    assert.equal(await stepsOfSweep(a), 0, (await a.log()).join('\n'));
  });
});
