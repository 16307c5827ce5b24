import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeDatagram, encodeReply, encodeRequest } from '../../../dataplane/path/datagram.ts';
import { HostProbe } from '../../../dataplane/path/probe.ts';
import { PathProber } from '../../../dataplane/path/prober.ts';
import { UdpProbe } from '../../../dataplane/path/udp.ts';
import type { ProbeTarget, ProbeWay } from '../../../dataplane/path/way.ts';
import { must, parseIp } from '../../../dataplane/values.ts';
import { eventually } from '../../lab/process.ts';

const log = { debug() {}, info() {}, warn() {}, error() {} };
const nonce = Buffer.alloc(16, 7);

test('datagrams are read back, and anything else is none', () => {
  for (const bytes of [22, 100, 8972]) {
    assert.deepEqual(decodeDatagram(encodeRequest(nonce, bytes)), { type: 'request', nonce });
  }
  const reply = encodeReply(nonce);
  assert.deepEqual(decodeDatagram(reply), { type: 'reply', nonce });
  assert.ok(reply.length < encodeRequest(nonce, 22).length, 'nothing is amplified');
  const request = encodeRequest(nonce, 40);
  for (let at = 0; at < 5; at += 1) {
    const wrong = Buffer.from(request);
    wrong[at] = 9;
    assert.equal(decodeDatagram(wrong), null);
  }
  request[39] = 1;
  assert.equal(decodeDatagram(request), null, 'what fills it up is zeros');
  assert.equal(decodeDatagram(Buffer.concat([reply, Buffer.alloc(1)])), null);
  for (let length = 0; length < reply.length; length += 1)
    assert.equal(decodeDatagram(reply.subarray(0, length)), null);
});

/** Two on this host, each at a loopback address of its own, at a port that both can have. */
function twoProbes(mayAsk: (address: string) => boolean): { one: UdpProbe; two: UdpProbe; port: number } {
  for (let port = 20_000 + (process.pid % 20_000); ; port += 1) {
    const [one, two] = ['127.0.5.1', '127.0.5.2'].map(
      (ip) => new UdpProbe({ log, address: must(parseIp(ip)), port, mayAsk }),
    ) as [UdpProbe, UdpProbe];
    try {
      one.open();
      two.open();
      return { one, two, port };
    } catch (error) {
      one[Symbol.dispose]();
      two[Symbol.dispose]();
      if (!/Address already in use|errno 98/.test((error as Error).message)) throw error;
    }
  }
}

const heardFrom = (way: ProbeWay, target: ProbeTarget, bytes: number, waitMs = 2_000): Promise<string> =>
  new Promise((resolve) => {
    const timer = setTimeout(() => resolve('silence'), waitMs);
    const end = way.send(target, bytes, (what) => {
      clearTimeout(timer);
      end();
      resolve(what);
    });
  });

test('over UDP members are answered, outsiders are not, and what the device does not take is refused here', async () => {
  const { one, two, port } = twoProbes((address) => address === '127.0.5.1');
  using _one = one;
  using _two = two;
  assert.equal(await heardFrom(one, { address: '127.0.5.2', port }, 1500), 'answer');
  assert.equal(await heardFrom(one, { address: '127.0.5.2', port }, 65_000), 'answer');
  assert.equal(await heardFrom(two, { address: '127.0.5.1', port }, 1500, 200), 'silence');
  // IPv4 ends at 65,535.
  assert.notEqual(await heardFrom(one, { address: '127.0.5.2', port }, 65_536, 200), 'answer');
});

test("the port is another one's: that is an error of open, and nothing is sent", () => {
  const { one, two, port } = twoProbes(() => true);
  using _one = one;
  using _two = two;
  using third = new UdpProbe({ log, address: must(parseIp('127.0.5.1')), port, mayAsk: () => true });
  assert.throws(() => third.open(), /bind UDP 127\.0\.5\.1 port/);
  assert.equal(third.isOpen, false);
  third.send({ address: '127.0.5.2', port }, 100, () => assert.fail())();
});

test('ICMP echoes of any size come back from this host, and none of more than an IP packet', async () => {
  const probe = new HostProbe(log);
  await probe.load();
  for (const bytes of [128, 1500, 9000]) {
    assert.equal(await heardFrom(probe, { address: '127.0.0.1', port: 0 }, bytes), 'answer');
  }
});

/** A path in memory: takes packets up to a size, both ways of asking, while its end lives. */
function pathOf(state: { mtu: number; up?: boolean; icmp?: boolean; udp?: boolean; perSecond?: number }): {
  ways: ProbeWay[];
  sent: number[];
} {
  const sent: number[] = [];
  let tokens = 3;
  let filledAtMs = performance.now();
  const mayAnswer = (perSecond: number): boolean => {
    tokens = Math.min(3, tokens + ((performance.now() - filledAtMs) / 1000) * perSecond);
    filledAtMs = performance.now();
    if (tokens < 1) return false;
    tokens -= 1;
    return true;
  };
  const way = (name: 'icmp' | 'udp'): ProbeWay => ({
    name,
    send(_, bytes, heard) {
      sent.push(bytes);
      if (state.up === false || state[name] === false || bytes > state.mtu) return () => {};
      if (state.perSecond !== undefined && !mayAnswer(state.perSecond)) return () => {};
      const timer = setTimeout(() => heard('answer'), 1);
      return () => clearTimeout(timer);
    },
  });
  return { ways: [way('icmp'), way('udp')], sent };
}

async function following(state: Parameters<typeof pathOf>[0], known: number | null = null) {
  const { ways, sent } = pathOf(state);
  const changes: (number | null)[] = [];
  const prober = new PathProber({
    ...{ log, ways, intervalMs: 20, sentBytes: () => null },
    changed: () => changes.push(prober.path('peer')?.mtu ?? null),
  });
  prober.set(new Map([['peer', { address: '192.0.2.2', port: 7946 }]]), () => known);
  const until = (mtu: number): Promise<unknown> =>
    eventually(`a path of ${mtu}`, async () => prober.path('peer')?.mtu === mtu || undefined, { timeoutMs: 30_000 });
  return { prober, changes, sent, until };
}

test('a path is measured, followed down at once and up when it was found twice, and confirmed by one packet at rest', async () => {
  const state = { mtu: 1500 };
  const { prober, changes, sent, until } = await following(state);
  using _ = prober;
  await until(1500);
  assert.equal(prober.path('peer')?.way, 'udp');
  const before = sent.length;
  await eventually('a look at rest', async () => sent.length > before || undefined);
  assert.deepEqual(sent.slice(before, before + 1), [1500]);
  state.mtu = 1392;
  await until(1392);
  state.mtu = 1500;
  await until(1500);
  assert.deepEqual(changes, [1500, 1392, 1500]);
});

test('who does not answer keeps the MTU of the path that was known, also from an earlier run', async () => {
  const state = { mtu: 1500, up: false };
  const { prober, changes, until } = await following(state, 1400);
  using _ = prober;
  const isSilent = async (): Promise<true | undefined> => prober.path('peer')?.silent || undefined;
  await eventually('silence', isSilent, { timeoutMs: 30_000 });
  assert.deepEqual(changes, [1400]);
  state.up = true;
  prober.look('peer');
  await until(1500);
  state.up = false;
  prober.look('peer');
  await eventually('silence', isSilent, { timeoutMs: 30_000 });
  assert.equal(prober.path('peer')?.mtu, 1500);
});

test('one way of asking is enough, and the device is the limit', async () => {
  for (const way of ['icmp', 'udp'] as const) {
    const state = { mtu: 9000, icmp: way === 'icmp', udp: way === 'udp' };
    const { prober, until } = await following(state);
    using _ = prober;
    await until(1500);
    assert.equal(prober.path('peer')?.way, way);
    prober.setDeviceMtu(1400);
    assert.equal(prober.path('peer')?.mtu, 1400);
    prober.setDeviceMtu(9000);
    await until(9000);
  }
});

test('paths are looked at more often while the host sends, and a hint brings a look forward', async () => {
  const counted = (sentBytes: () => number) => {
    const { ways, sent } = pathOf({ mtu: 1500 });
    const prober = new PathProber({ log, ways, intervalMs: 60, sentBytes, changed: () => {} });
    prober.set(new Map([['peer', { address: '192.0.2.2', port: 7946 }]]));
    return { prober, sent };
  };
  let bytes = 0;
  const rest = counted(() => 0);
  const busy = counted(() => {
    bytes += 10_000_000;
    return bytes;
  });
  const hinted = counted(() => 0);
  const hint = setInterval(() => hinted.prober.hint('peer'), 10);
  using _rest = rest.prober;
  using _busy = busy.prober;
  using _hinted = hinted.prober;
  const least = 30;
  await eventually('many looks', async () => (busy.sent.length > least && hinted.sent.length > least) || undefined, {
    timeoutMs: 60_000,
  });
  clearInterval(hint);
  assert.ok(rest.sent.length < least, `${rest.sent.length} at rest`);
});

test('where only so many are answered a second, and no more, the path is found all the same', async () => {
  const state = { mtu: 1400, udp: false, perSecond: 9 };
  const { prober, changes, until } = await following(state);
  using _ = prober;
  await until(1400);
  assert.deepEqual(changes, [1400]);
});
