// Measures entries of one VXLAN device in a network and mount namespace of its own, beside a C program that does the same
// (entries.c). Arguments: what (fdb, dump or reconcile), path of the program, entries, samples. Prints one line of JSON.
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { keepHeapSmall } from '../../../agent/daemon/heap.ts';
import { ipv4ToNumber, numberToIpv4 } from '../../../controlplane/addresses.ts';
import { DataPlane } from '../../../dataplane/dataplane.ts';
import type { Desired, RemoteEndpoint } from '../../../dataplane/desired.ts';
import { OVERLAY_NETNS } from '../../../dataplane/names.ts';
import { decodeNeighbour, type EntryWrite, encodeNeighbourDump } from '../../../dataplane/rtnetlink/neighbours.ts';
import { NetlinkSocket } from '../../../dataplane/rtnetlink/socket.ts';
import { AF_BRIDGE, AF_INET } from '../../../dataplane/rtnetlink/wire.ts';
import { must, parseIp, parseMac, parseVni } from '../../../dataplane/values.ts';
import { macOf } from './mac.ts';
import { stallOf, stallOfNothing } from './stalls.ts';

export interface EntriesResult {
  /** Milliseconds of each sample, ours and the C program's; ours of `dump` are decoded, of `reconcile` whole passes. */
  readonly ours: number[];
  readonly peer: number[];
  /** Microseconds of writes of one entry each. */
  readonly single: number[];
  /** The longest that the event loop was kept, milliseconds; and by turns of a millisecond that do nothing, for two seconds. */
  readonly stallMs: number;
  readonly stallOfNothingMs: number;
}

type Timings = Omit<EntriesResult, 'stallMs' | 'stallOfNothingMs'>;

const [what = '', program = '', entriesText = '', samplesText = ''] = process.argv.slice(2);
const [entries, samples] = [Number(entriesText), Number(samplesText)];
const device = 'wx4097';
const singles = 2_000;
const first = ipv4ToNumber('10.64.0.0') + 256;

const vtep = (index: number): string => numberToIpv4(ipv4ToNumber('10.99.0.1') + (index % 200));

let stallMs = 0;

/** Looks at the event loop while work goes on. */
async function watched(work: () => Promise<void>): Promise<void> {
  stallMs = Math.max(stallMs, await stallOf(work));
}

async function makeDevice(): Promise<number> {
  await execa('ip', ['-n', 'weft', 'link', 'del', device], { reject: false });
  const attributes = ['type', 'vxlan', 'id', '4097', 'dstport', '4789', 'local', '127.0.0.1', 'nolearning', 'proxy'];
  await execa('ip', ['link', 'add', device, 'netns', 'weft', ...attributes]);
  await execa('ip', ['-n', 'weft', 'link', 'set', device, 'up']);
  using socket = NetlinkSocket.open(OVERLAY_NETNS);
  return socket.link(device).ifindex;
}

/** @returns milliseconds that the C program took, by its own clock */
async function inC(...args: string[]): Promise<number> {
  const { stdout } = await execa('nsenter', [`--net=${OVERLAY_NETNS}`, '--', program, ...args]);
  return Number(stdout.split(' ')[0]) / 1e6;
}

async function ourWrite(ifindex: number): Promise<number> {
  const writes = Array.from(
    { length: entries },
    (_, index): EntryWrite => ({ op: 'fdb-put', ifindex, mac: macOf(index), vtep: vtep(index) }),
  );
  using socket = NetlinkSocket.open(OVERLAY_NETNS);
  // The collector is done with what was made for this.
  await delay(200);
  const startMs = performance.now();
  const failures = await socket.write(writes);
  if (failures.length > 0) throw failures[0]?.error;
  return performance.now() - startMs;
}

async function fdb(): Promise<Timings> {
  const result = { ours: [] as number[], peer: [] as number[], single: [] as number[] };
  for (let at = 0; at < samples; at += 1) {
    result.peer.push(await inC('write', String(await makeDevice()), String(entries)));
    result.ours.push(await ourWrite(await makeDevice()));
  }
  const ifindex = await makeDevice();
  using socket = NetlinkSocket.open(OVERLAY_NETNS);
  for (let index = 0; index < singles; index += 1) {
    const startMs = performance.now();
    await socket.write([{ op: 'fdb-put', ifindex, mac: macOf(index), vtep: vtep(index) }]);
    result.single.push((performance.now() - startMs) * 1000);
  }
  return result;
}

/** Lists all entries that the C program lists, and decodes them into what a pass would compare. */
async function ourDump(): Promise<number> {
  using socket = NetlinkSocket.open(OVERLAY_NETNS);
  const found = new Map<string, string>();
  const startMs = performance.now();
  for (const family of [AF_BRIDGE, AF_INET]) {
    await socket.dump(
      'neighbours',
      (writer, seq) => encodeNeighbourDump(writer, seq, family),
      (message) => {
        const entry = decodeNeighbour(message);
        if (entry?.kind === 'fdb') found.set(entry.mac, entry.vtep);
        return null;
      },
    );
  }
  const tookMs = performance.now() - startMs;
  if (found.size !== entries) throw new Error(`listed ${found.size} of ${entries} entries`);
  return tookMs;
}

async function dump(): Promise<Timings> {
  await ourWrite(await makeDevice());
  const result = { ours: [] as number[], peer: [] as number[], single: [] };
  for (let at = 0; at < samples; at += 1) {
    result.peer.push(await inC('dump'));
    await watched(async () => void result.ours.push(await ourDump()));
  }
  return result;
}

async function reconcile(): Promise<Timings> {
  const quiet = (): void => {};
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
  await using plane = new DataPlane({ log, runDir: '/run/weft', sweepMs: 3_600_000 });
  plane.start(new AbortController().signal);
  const remotes = Array.from(
    { length: entries },
    (_, index): RemoteEndpoint => ({
      ip: must(parseIp(numberToIpv4(first + index))),
      mac: must(parseMac(macOf(index))),
      vtep: must(parseIp(vtep(index))),
    }),
  );
  const overlay = {
    vni: must(parseVni(4097)),
    vtep: must(parseIp('127.0.0.1')),
    port: 4789,
    mtu: 1450,
    softwareChecksums: false,
    remotes,
  };
  const desired: Desired = {
    overlays: [overlay],
    sandboxes: [],
    bridges: [],
    parents: [],
    guard: null,
    agentPorts: [],
  };
  await watched(() => plane.settled(plane.set(desired, { prune: true })));
  for (const [object, status] of plane.status()) {
    if (status.state !== 'ok') throw new Error(`${object}: ${JSON.stringify(status)}`);
  }
  const result = { ours: [] as number[], peer: [] as number[], single: [] };
  for (let at = 0; at < samples; at += 1) {
    result.peer.push(await inC('dump'));
    const { steps } = plane.stats;
    await watched(() => plane.sweep());
    if (plane.stats.steps !== steps) throw new Error('a pass with nothing to do did something');
    result.ours.push(plane.stats.lastPassMs);
  }
  return result;
}

// As an agent has it.
keepHeapSmall();
if (what !== 'reconcile') await execa('ip', ['netns', 'add', 'weft']);
const measure = { fdb, dump, reconcile }[what];
if (measure === undefined) throw new Error(`nothing to measure by the name of ${what}`);
const measured = await measure();
const stallOfNothingMs = await stallOfNothing(2_000);
process.stdout.write(`${JSON.stringify({ ...measured, stallMs, stallOfNothingMs } satisfies EntriesResult)}\n`);
