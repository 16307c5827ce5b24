import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeId } from '../../../controlplane/ids.ts';
import { Dialer } from '../../../controlplane/mesh/dialer.ts';
import { keyFrom } from '../../sim/identities.ts';
import { VirtualTime } from '../../sim/time.ts';
import { FakeTransport, quietLog, virtualEnvironment } from './helpers.ts';

const [low = keyFrom('a').nodeId, middle = low, high = low] = ['a', 'b', 'c']
  .map((label) => keyFrom(label).nodeId)
  .sort();
const connection = { direction: 'outbound' as const, address: '192.0.2.1:7946', sinceMs: 0 };

function make(self: NodeId, random: () => number = () => 0.5) {
  const time = new VirtualTime();
  const transport = new FakeTransport();
  const environment = virtualEnvironment(time, random);
  const dialer = new Dialer({ self, transport, environment, log: quietLog });
  return { time, transport, environment, dialer };
}

const addressesOf = (...peers: NodeId[]) => new Map(peers.map((peer) => [peer, ['192.0.2.1:7946']]));

/** Virtual times of the dials within `durationMs`. */
async function dials({ time, transport }: ReturnType<typeof make>, durationMs: number): Promise<number[]> {
  const at: number[] = [];
  const startedMs = time.now();
  for (let ms = 0; ms < durationMs; ms += 1) {
    const before = transport.dialled.length;
    await time.run(1);
    if (transport.dialled.length > before) at.push(time.now() - startedMs);
  }
  return at;
}

test('the pause between dials doubles from 250 ms up to 3 s, and to 30 s for who is away for ten minutes', async () => {
  const made = make(low);
  made.dialer.set(addressesOf(high));
  const at = await dials(made, 20_000);
  const pauses = at.slice(1).map((ms, i) => ms - (at[i] ?? 0));
  const wanted = [250, 500, 1_000, 2_000, 3_000, 3_000, 3_000];
  for (const [i, pause] of wanted.entries())
    assert.ok(Math.abs((pauses[i] ?? 0) - pause) <= 1, `pause ${i} is ${pauses[i]}`);
  const state = made.dialer.states().get(high);
  assert.equal(state?.attempts, at.length);
  assert.equal(state?.lastError, 'refused');
  await made.time.run(600_000);
  const [first = 0, second = 0] = await dials(made, 61_000);
  assert.ok(Math.abs(second - first - 30_000) <= 1, `${second - first}`);
  made.dialer.stop();
});

test('who went away a moment ago is dialled every three seconds though the clock is set ahead a day, and is shown by it', async () => {
  const made = make(low);
  made.dialer.set(addressesOf(high));
  await made.time.run(20_000);
  const dayMs = 86_400_000;
  made.environment.now = () => made.time.now() + dayMs;
  const before = made.transport.dialled.length;
  await made.time.run(10_000);
  const dialled = made.transport.dialled.length - before;
  assert.ok(dialled >= 3, `${dialled}`);
  const state = made.dialer.states().get(high);
  assert.equal(state?.sinceMs, made.environment.now() - 30_000);
  assert.ok((state?.nextRetryMs ?? 0) > made.environment.now());
  made.dialer.stop();
});

test('who is heard of as alive, or has another address, is dialled at once, and with the first pauses', async () => {
  const made = make(low);
  made.dialer.set(addressesOf(high));
  await made.time.run(60_000);
  for (const news of [
    () => made.dialer.heard(high),
    () => made.dialer.set(new Map([[high, ['192.0.2.9:7946', '192.0.2.1:7946']]])),
  ]) {
    news();
    const [first = 99, second = 0] = await dials(made, 1_000);
    assert.ok(first <= 1 && Math.abs(second - first - 250) <= 1, `${first}, ${second}`);
    await made.time.run(60_000);
  }
  const tried = made.transport.dialledAt.slice(-4).map(([address]) => address);
  assert.deepEqual(new Set(tried), new Set(['192.0.2.9:7946', '192.0.2.1:7946']));
  assert.notEqual(tried[0], tried[1]);
  made.dialer.stop();
});

test('a member that answers knocks again is dialled at once, and what began in its silence is given up', async () => {
  for (const self of [low, high]) {
    const made = make(self);
    const given: AbortSignal[] = [];
    made.transport.dial = (peer, _, signal) => {
      made.transport.dialled.push(peer);
      given.push(signal);
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    };
    made.transport.knocked = 'silent';
    made.dialer.set(addressesOf(middle));
    await made.time.run(2_000);
    assert.equal(given.length, 1, 'a dial that nobody answers goes on');
    made.transport.knocked = 'accepted';
    await made.time.run(700);
    assert.equal(given.length, 2);
    assert.deepEqual([given[0]?.aborted, given[1]?.aborted], [true, false]);
    await made.time.run(2_000);
    assert.equal(given.length, 2, 'one that answers all the time is not dialled for that');
    made.dialer.stop();
  }
});

test('those who ask for a dial to the same peer at the same time share it', async () => {
  const made = make(low);
  const both = [1, 2].map(() => made.dialer.dial(high, ['192.0.2.1:7946']));
  await Promise.allSettled(both);
  assert.equal(made.transport.dialled.length, 1);
  await assert.rejects(made.dialer.dial(high, ['192.0.2.1:7946']), /refused/);
  assert.equal(made.transport.dialled.length, 2);
});

test('pauses are spread by a quarter either way', async () => {
  for (const [random, pause] of [
    [0, 188],
    [0.999, 313],
  ] as const) {
    const made = make(low, () => random);
    made.dialer.set(addressesOf(high));
    const [first = 0, second = 0] = await dials(made, 1_000);
    assert.ok(Math.abs(second - first - pause) <= 1, `${second - first}`);
    made.dialer.stop();
  }
});

test('a connection ends the dialling, its loss begins it anew and without the old back-off', async () => {
  const made = make(low);
  const { dialer, transport, time } = made;
  dialer.set(addressesOf(high));
  await dials(made, 10_000);
  transport.open.set(high, connection);
  dialer.connected(high);
  assert.equal(dialer.states().size, 0);
  const before = transport.dialled.length;
  await time.run(60_000);
  assert.equal(transport.dialled.length, before);
  transport.open.delete(high);
  dialer.disconnected(high);
  const at = await dials(made, 1_000);
  assert.ok(Math.abs((at[1] ?? 0) - (at[0] ?? 0) - 250) <= 1);
  assert.ok((at[0] ?? 99) <= 1);
  dialer.stop();
});

test('why the last dial failed, and when, is known also once the member is connected', async () => {
  const { dialer, transport, time, environment } = make(low);
  assert.equal(dialer.lastFailure(high), null);
  dialer.set(addressesOf(high));
  await time.run(100);
  transport.open.set(high, connection);
  dialer.connected(high);
  await time.run(5_000);
  environment.now = () => time.now() + 86_400_000;
  assert.deepEqual(dialer.lastFailure(high), { error: 'refused', atMs: environment.now() - 5_100 });
  for (let i = 0; i < 1_024; i += 1) {
    await assert.rejects(dialer.dial(`other ${i}` as NodeId, ['192.0.2.1:7946']));
  }
  assert.equal(dialer.lastFailure(high), null, 'the oldest makes room');
  dialer.stop();
});

test('of two running nodes the greater id lets the other go first; at its own start nobody waits', async () => {
  const starting = make(high);
  starting.dialer.set(addressesOf(low));
  assert.ok(((await dials(starting, 1_500))[0] ?? 99) <= 1);
  starting.dialer.set(addressesOf(low, middle));
  const heard = starting.transport.dialled.indexOf(middle);
  assert.equal(heard, -1);
  await starting.time.run(990);
  assert.ok(!starting.transport.dialled.includes(middle));
  await starting.time.run(20);
  assert.ok(starting.transport.dialled.includes(middle));
  starting.dialer.stop();
});

test('a member that is gone is not dialled, nor anybody after stop', async () => {
  const made = make(low);
  made.dialer.set(addressesOf(middle, high));
  await made.time.run(10);
  made.dialer.set(addressesOf(high));
  made.transport.dialled.length = 0;
  await made.time.run(5_000);
  assert.ok(!made.transport.dialled.includes(middle) && made.transport.dialled.includes(high));
  made.dialer.stop();
  made.transport.dialled.length = 0;
  made.dialer.set(addressesOf(middle, high));
  await made.time.run(60_000);
  assert.deepEqual(made.transport.dialled, []);
  assert.equal(made.dialer.states().size, 0);
});
