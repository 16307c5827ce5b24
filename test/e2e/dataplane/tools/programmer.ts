// Programs what is wanted in a round, as an agent that has just started, and is killed while it does, or when it is done.
import { DataPlane } from '../../../../dataplane/dataplane.ts';
import type { Log } from '../../../../dataplane/log.ts';
import { roundState } from '../crash-states.ts';

export interface Go {
  readonly seed: number;
  readonly round: number;
}

export type Said =
  | { readonly what: 'ready' | 'programming' }
  | { readonly what: 'done'; readonly tookMs: number; readonly notOk: readonly string[]; readonly steps: number }
  | { readonly what: 'drift'; readonly found: readonly string[] };

const say = (said: Said): void => void process.send?.(said);
const quiet = (): void => undefined;
const log: Log = { debug: quiet, info: quiet, warn: quiet, error: quiet };

process.on('disconnect', () => process.exit());
process.once('message', async ({ seed, round }: Go) => {
  const desired = roundState(seed, round);
  await using plane = new DataPlane({ log, runDir: '/run/weft', sweepMs: 3_600_000, retryMinMs: 20, retryMaxMs: 200 });
  plane.start(new AbortController().signal);
  say({ what: 'programming' });
  const startMs = performance.now();
  await plane.settled(plane.set(desired, { prune: true }));
  const tookMs = performance.now() - startMs;
  const notOk = [...plane.status()].flatMap(([object, status]) =>
    status.state === 'ok' ? [] : [`${object}: ${status.why}`],
  );
  say({ what: 'done', tookMs, notOk, steps: plane.stats.steps });
  say({ what: 'drift', found: (await plane.drift()).map(({ object, why }) => `${object}: ${why}`) });
});
say({ what: 'ready' });
