// Measures what a host with many networks, or many sandboxes on one, costs the data plane: the real one, in namespaces of its
// own. Arguments: what (networks or sandboxes), how many. Prints one line of JSON.
import { readdirSync } from 'node:fs';
import { execa } from 'execa';
import { keepHeapSmall } from '../../../agent/daemon/heap.ts';
import { DataPlane } from '../../../dataplane/dataplane.ts';
import type { Desired } from '../../../dataplane/desired.ts';
import { guard, overlay, remote, sandbox, wanted } from '../../e2e/dataplane/wanted.ts';
import { stallOf } from './stalls.ts';

export interface HostsResult {
  /** Of each network, or each lot of sandboxes, that was added: milliseconds until it was in the kernel. */
  readonly addedMs: number[];
  /** Processor time that the kernel took for it, milliseconds. */
  readonly kernelMs: number[];
  /** A pass with nothing to do, with all of them there. */
  readonly sweepMs: number[];
  /** The longest that the event loop was kept, milliseconds. */
  readonly stallMs: { readonly adding: number; readonly sweeping: number };
  /** Of this process, with all of them there. */
  readonly descriptors: number;
}

const [what = '', countText = ''] = process.argv.slice(2);
const count = Number(countText);
const SWEEPS = 5;
/** Of each network, on other hosts. */
const REMOTES = 10;
/** Sandboxes that are wanted in one step. */
const LOT = 50;
const FIRST_VNI = 4096;

const quiet = (): void => {};
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };

const network = (vni: number) =>
  overlay(
    vni,
    'a',
    Array.from({ length: REMOTES }, (_, at) => remote(vni, at + 100, 'b')),
  );

/** One network more each time; the first comes with the namespace. */
function networks(): Desired[] {
  const vnis = Array.from({ length: count }, (_, at) => FIRST_VNI + at);
  const all = vnis.map(network);
  return [1, ...vnis.map((_, at) => at + 1)].map((some) =>
    wanted({ overlays: all.slice(0, some), sandboxes: [sandbox('one', 1, [FIRST_VNI])], guard: guard('a', vnis) }),
  );
}

/** One lot of sandboxes more each time, all on one network. */
function sandboxes(): Desired[] {
  const all = Array.from({ length: count }, (_, at) => sandbox(`box${at}`, at + 1000, [FIRST_VNI]));
  const lots = Array.from({ length: Math.ceil(count / LOT) + 1 }, (_, lot) => lot * LOT);
  return lots.map((some) =>
    wanted({ overlays: [network(FIRST_VNI)], sandboxes: all.slice(0, some), guard: guard('a', [FIRST_VNI]) }),
  );
}

const kinds: Readonly<Record<string, () => Desired[]>> = { networks, sandboxes };
const [first, ...others] = kinds[what]?.() ?? [];
if (first === undefined) throw new Error(`nothing to measure by the name of ${what}`);
keepHeapSmall();
await execa('ip', ['address', 'add', '10.99.0.1/32', 'dev', 'lo']);
await using plane = new DataPlane({ log, runDir: '/run/weft', sweepMs: 3_600_000 });
plane.start(new AbortController().signal);

async function reach(desired: Desired): Promise<void> {
  await plane.settled(plane.set(desired, { prune: true }));
  for (const [object, status] of plane.status()) {
    if (status.state !== 'ok') throw new Error(`${object}: ${status.why}`);
  }
}

await reach(first);
const addedMs: number[] = [];
const kernelMs: number[] = [];
const adding = await stallOf(async () => {
  for (const desired of others) {
    const before = process.resourceUsage().systemCPUTime;
    const startMs = performance.now();
    await reach(desired);
    addedMs.push(performance.now() - startMs);
    kernelMs.push((process.resourceUsage().systemCPUTime - before) / 1000);
  }
});
const sweepMs: number[] = [];
const sweeping = await stallOf(async () => {
  for (let at = 0; at < SWEEPS; at++) {
    const { steps } = plane.stats;
    await plane.sweep();
    if (plane.stats.steps !== steps) throw new Error('a pass with nothing to do did something');
    sweepMs.push(plane.stats.lastPassMs);
  }
});
const descriptors = readdirSync('/proc/self/fd').length;
process.stdout.write(
  `${JSON.stringify({ addedMs, kernelMs, sweepMs, stallMs: { adding, sweeping }, descriptors } satisfies HostsResult)}\n`,
);
