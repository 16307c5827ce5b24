// Goes back and forth between two wanted states on the real kernel; each time another call fails, until all have.
// Argument `all`: in each way.
import { mkdirSync } from 'node:fs';
import { execa } from 'execa';
import { DataPlane } from '../../../../dataplane/dataplane.ts';
import type { Desired, GatePort } from '../../../../dataplane/desired.ts';
import { EventDecoder } from '../../../../dataplane/drift/events.ts';
import type { Log } from '../../../../dataplane/log.ts';
import { OVERLAY_NETNS } from '../../../../dataplane/names.ts';
import { Watch } from '../../../../dataplane/rtnetlink/watch.ts';
import { untouchable } from '../crash-states.ts';
import { gatePort, gatePort6 } from '../mesh.ts';
import { vipsOf } from '../vips.ts';
import {
  BRIDGE,
  bridged,
  GATEWAY,
  gateOf,
  guard,
  overlay,
  remote,
  remote6,
  returning,
  returning6,
  sandbox,
  wanted,
  withHostLeg,
  withIpv6,
} from '../wanted.ts';
import { arm, counted, WAYS, type Way } from './failing-calls.ts';

const LIMIT_MS = 10_000;

const box = sandbox('one', 1, [4097], true);
const gate = (ports: readonly GatePort[]) => gateOf(sandbox('gate', 9, [4097], true), ports);
const published = [{ protocol: 'tcp', hostIp: null, hostPort: 8080, port: 80 }] as const;
const states = [
  wanted({
    overlays: [overlay(4097, 'a', [remote(4097, 5, 'b'), remote(4097, 6, 'b'), remote(4097, 7, 'b')])],
    sandboxes: [
      { ...returning(box, [9, 10]), vips: vipsOf([1, 2]) },
      sandbox('two', 2, [4097]),
      gate([gatePort('tcp', [1, 2])]),
    ],
    bridges: [GATEWAY],
    guard: guard('a', [4097]),
  }),
  wanted({
    overlays: [
      { ...overlay(4097, 'a', [remote(4097, 5, 'b'), remote(4097, 6, 'a'), remote6(4097, 8, 'b')]), mtu: 1400 },
      overlay(4098, 'a', [remote(4098, 5, 'b')]),
    ],
    sandboxes: [
      { ...returning6(bridged(withIpv6(box), 1), [9, 11]), vips: vipsOf([2, 3, 4]) },
      { ...withIpv6(sandbox('three', 3, [4098])), vips: vipsOf([1]) },
      withHostLeg(
        withIpv6(gate([gatePort6('tcp', [2, 3, 4]), gatePort('udp', [1], { source: 'snat' })])),
        9,
        published,
      ),
    ],
    bridges: [GATEWAY, BRIDGE],
    guard: { ...guard('a', [4097, 4098]), vteps: [] },
  }),
] as const;

const quiet = (): void => undefined;
const log: Log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
mkdirSync('/run/netns', { recursive: true });
await execa('ip', ['link', 'set', 'lo', 'up']);
await execa('ip', ['address', 'add', '10.99.0.1/32', 'dev', 'lo']);

const watch = new Watch();
const decoder = new EventDecoder(OVERLAY_NETNS);

/** What has gone from the overlays' namespace since the last call. */
function gone(): string[] {
  const names: string[] = [];
  for (let done = false; !done; ) {
    const heard = watch.read((_, message, nft) => {
      for (const event of decoder.decode(message, nft)) {
        if (event.kind === 'device' && event.device === null) names.push(event.name);
        if (event.kind === 'fdb' && event.vtep === null) names.push(`${event.device} ${event.mac}`);
        if (event.kind === 'neighbour' && event.entry === null) names.push(`${event.device} ${event.ip}`);
      }
    });
    if (heard.lost.length > 0) throw new Error('the watch lost something');
    done = heard.done;
  }
  return names;
}

const plane = new DataPlane({ log, runDir: '/run/weft', sweepMs: 3_600_000, retryMinMs: 1, retryMaxMs: 1 });
plane.start(new AbortController().signal);

async function reach(desired: Desired): Promise<void> {
  await plane.settled(plane.set(desired, { prune: true }));
  const notOk = (): string[] =>
    [...plane.status()].flatMap(([object, each]) => (each.state === 'ok' ? [] : [`${object}: ${each.why}`]));
  const deadlineMs = performance.now() + LIMIT_MS;
  while (notOk().length > 0) {
    if (performance.now() > deadlineMs) throw new Error(notOk().join('; '));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Goes to the other state while that call fails. @returns how many calls it took */
async function go(
  to: 0 | 1,
  at: number,
  how: Way,
): Promise<{ readonly calls: number; readonly left: readonly string[] }> {
  const [from, desired] = [states[1 - to], states[to]];
  if (!from || !desired) throw new Error('there are two states');
  gone();
  arm({ at, how });
  await reach(desired);
  const calls = counted();
  arm(null);
  const kept = [...untouchable(desired)].filter((each) => untouchable(from).has(each));
  const left = gone();
  const lost = left.filter((each) => kept.includes(each));
  if (lost.length > 0) throw new Error(`gone, though wanted before and after: ${lost.join(', ')}`);
  const drift = (await plane.drift()).map(({ object, why }) => `${object}: ${why}`);
  if (drift.length > 0) throw new Error(`not as wanted: ${drift.join('; ')}`);
  return { calls, left };
}

await reach(states[0]);
watch.open(OVERLAY_NETNS, 'overlays');
await decoder.listNames();
// A first time there and back takes more calls: the data plane learns what devices are called.
const calls = [0, 0];
for (const to of [1, 0, 1, 0] as const) {
  const { calls: took, left } = await go(to, 0, 'EPERM');
  calls[to] = took;
  // That a loss would be seen: what state 1 does not want has to be heard going.
  const unwanted = `wx4097 ${remote(4097, 7, 'b').mac}`;
  if (to === 1 && !left.includes(unwanted)) throw new Error(`the watch has not heard ${unwanted} go`);
}
let runs = 0;
const failed: string[] = [];
const ways = Object.keys(WAYS) as Way[];
// Each call in one way, and the ways take turns, unless all are asked for.
const all = process.argv.includes('all');
const first = Math.floor(Math.random() * ways.length);
for (let at = 1; at <= Math.max(...calls); at++) {
  for (const how of all ? ways : ways.slice((at + first) % ways.length).slice(0, 1)) {
    for (const to of [1, 0] as const) {
      runs++;
      await go(to, at, how).catch(async (error: unknown) => {
        arm(null);
        const why = error instanceof Error ? error.message : String(error);
        failed.push(`call ${at} of ${calls[to]} on the way to ${to} fails with ${how}: ${why}`);
        await reach(states[to]);
      });
    }
  }
}
process.stdout.write(`${JSON.stringify({ runs, calls, failed })}\n`);
process.exit();
