import { Worker } from 'node:worker_threads';
import { Prng } from '../sim/prng.ts';

/** How far an input got: not past the first look, as far as a later check, or all the way. */
export type Fate = 'refused' | 'read' | 'taken';

/** One decoder, with inputs made from valid ones. */
export interface Target {
  readonly name: string;
  /** Share of all inputs, against the others' weights; costly decoders take fewer. */
  readonly weight: number;
  /** Inputs as an honest sender makes them: in this order, each is taken. */
  readonly valid: readonly unknown[];
  /** Makes another input from those; the same random numbers make the same one. */
  readonly make: (random: Prng) => unknown;
  /** Hands it to the decoder, and checks what came of it. Throws what the decoder may not throw. */
  readonly take: (input: never) => Fate | Promise<Fate>;
  /** Why next to nothing but a valid input gets past the first look. */
  readonly exact?: string;
}

/** An input on which a decoder did what it must not do. */
export interface Finding {
  readonly target: string;
  readonly index: number;
  readonly what: string;
}

export interface FuzzResult {
  readonly inputs: number;
  /** By target: how many inputs it was given, and how many of them it did not refuse at its first look. */
  readonly fates: ReadonlyMap<string, { readonly given: number; readonly past: number }>;
  readonly findings: readonly Finding[];
  readonly slowestMs: number;
  readonly slowest: string;
  /** Of the resident set, from the warm-up to the end. */
  readonly grownBytes: number;
}

/** One input is read in well under a millisecond; a loaded machine may stop a process for long. */
const slowMs = 3_000;
/** A decoder that is in a loop never returns, so another thread looks on. */
const hangMs = 20_000;
/** Tables, caches and offenders are bounded by far less. */
const maxGrowthBytes = 400 * 1024 * 1024;
const maxFindings = 20;
const warmUp = 2_000;

/** The input of that number; what a run found is made again by this. */
export function inputOf(target: Target, seed: string, index: number): unknown {
  return target.make(new Prng(`${seed} ${target.name} ${index}`));
}

/** Hands `inputs` inputs to the targets by turns. Never throws for what a target does. */
export async function fuzz(targets: readonly Target[], seed: string, inputs: number): Promise<FuzzResult> {
  const shared = new Int32Array(new SharedArrayBuffer(8));
  const watchdog = new Worker(new URL('watchdog.mjs', import.meta.url), {
    workerData: { shared, hangMs, seed, names: targets.map(({ name }) => name) },
  });
  watchdog.unref();
  const order = targets.flatMap((target, at) => Array.from({ length: target.weight }, () => at));
  const counts = targets.map(() => 0);
  const past = targets.map(() => 0);
  const findings: Finding[] = [];
  let [slowestMs, slowest, baseBytes] = [0, '', 0];
  try {
    for (let done = 0; done < inputs && findings.length < maxFindings; done++) {
      const at = order[done % order.length] ?? 0;
      const target = targets[at];
      if (target === undefined) break;
      const index = counts[at] ?? 0;
      counts[at] = index + 1;
      shared[0] = at;
      shared[1] = index;
      const startMs = performance.now();
      const { fate, wrong } = await attempt(target, seed, index);
      const tookMs = performance.now() - startMs;
      if (tookMs > slowestMs) [slowestMs, slowest] = [tookMs, `${target.name} ${index}`];
      if (wrong !== null) findings.push({ target: target.name, index, what: wrong });
      if (fate !== 'refused') past[at] = (past[at] ?? 0) + 1;
      if (tookMs > slowMs) findings.push({ target: target.name, index, what: `took ${Math.round(tookMs)} ms` });
      if (done === warmUp) baseBytes = process.memoryUsage().rss;
      // What a decoder leaves for later, promises above all, gets its turn.
      if (done % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    await watchdog.terminate();
  }
  const grownBytes = baseBytes === 0 ? 0 : process.memoryUsage().rss - baseBytes;
  if (grownBytes > maxGrowthBytes) findings.push({ target: 'all', index: 0, what: `grew by ${grownBytes} bytes` });
  const fates = new Map(targets.map(({ name }, at) => [name, { given: counts[at] ?? 0, past: past[at] ?? 0 }]));
  return { inputs: counts.reduce((sum, count) => sum + count, 0), fates, findings, slowestMs, slowest, grownBytes };
}

/** @returns how far the input got, or what went wrong */
export async function attempt(
  target: Target,
  seed: string,
  index: number,
): Promise<{ readonly fate: Fate; readonly wrong: string | null }> {
  try {
    return { fate: await target.take(inputOf(target, seed, index) as never), wrong: null };
  } catch (error) {
    return { fate: 'refused', wrong: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}
