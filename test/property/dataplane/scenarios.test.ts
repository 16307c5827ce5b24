import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { DataPlane } from '../../../dataplane/dataplane.ts';
import type { Desired } from '../../../dataplane/desired.ts';
import { diff } from '../../../dataplane/diff/diff.ts';
import type { Log } from '../../../dataplane/log.ts';
import { emptyObserved } from '../../../dataplane/observe/observed.ts';
import { desiredState, options, reach } from './kernel.ts';
import { type Fault, faults, ModelKernel } from './model-kernel.ts';
import { type Act, heldIn, plainly, scenarios, tellings } from './scenarios.ts';

// The real loop on a kernel that is a model, of which any one call may fail.

const quiet: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
/** Turns of the event loop; one retry takes a few. */
const TURNS_MAX = 1000;

function startOn(kernel: ModelKernel): DataPlane {
  const plane = new DataPlane({
    ...{ log: quiet, runDir: '/nonexistent', kernel },
    ...{ sweepMs: 3_600_000, retryMinMs: 0, retryMaxMs: 0 },
  });
  plane.start(new AbortController().signal);
  return plane;
}

/** Until all that is wanted is there, by the loop's own retries. */
async function followed(plane: DataPlane): Promise<void> {
  for (let turn = 0; turn < TURNS_MAX; turn++) {
    await plane.settled();
    if ([...plane.status().values()].every(({ state }) => state === 'ok')) return;
    await nextTurn();
  }
  assert.fail(JSON.stringify([...plane.status()].filter(([, { state }]) => state !== 'ok')));
}

/** What a kernel that has only ever been asked for this has. */
const reached = remembered((desired: Desired) => {
  const kernel = emptyObserved();
  reach(kernel, desired);
  return { held: heldIn(kernel), whole: plainly(kernel) };
});

function remembered<K extends object, V>(make: (key: K) => V): (key: K) => V {
  const known = new WeakMap<K, V>();
  return (key) => {
    const value = known.get(key) ?? make(key);
    known.set(key, value);
    return value;
  };
}

/** Plays it to its end. @returns how many calls that took */
async function play(acts: readonly Act[], fault: ModelKernel['fault']): Promise<number> {
  const kernel = new ModelKernel();
  kernel.fault = fault;
  let plane = startOn(kernel);
  try {
    let before: Desired | null = null;
    for (const { states, restart } of acts) {
      if (restart) {
        await plane[Symbol.asyncDispose]();
        plane = startOn(kernel);
      }
      const concerned = before === null ? states : [before, ...states];
      const [first = [], ...others] = concerned.map((state) => reached(state).held);
      const kept = before === null ? [] : first.filter((held) => others.every((each) => each.includes(held)));
      const lost: string[] = [];
      kernel.onLoss = (step) => {
        const now = new Set(heldIn(kernel.state));
        for (const held of kept) if (!now.has(held)) lost.push(`${step.object}: ${step.why} (${step.kind}): ${held}`);
      };
      const { steps } = kernel;
      for (const state of states) plane.set(state, { prune: true });
      await followed(plane);
      assert.deepEqual(lost, [], 'what was wanted before and after was taken away');
      const last = states.at(-1);
      assert.ok(last);
      if (before !== null && states.length === 1 && fault === null && same(before, last)) {
        assert.equal(kernel.steps, steps, 'what is there already takes no step');
      }
      before = last;
    }
    assert.ok(before);
    const { calls } = kernel;
    kernel.fault = null;
    // By the kernel itself, and by what the data plane believes of it.
    assert.deepEqual(plainly(kernel.state), reached(before).whole);
    assert.deepEqual(diff(before, await kernel.observe(before), options), { steps: [], conflicts: [] });
    assert.deepEqual(await plane.drift(), []);
    const { steps } = kernel;
    await plane.sweep();
    assert.equal(kernel.steps, steps);
    return calls;
  } finally {
    await plane[Symbol.asyncDispose]();
  }
}

const same = (left: Desired, right: Desired): boolean => JSON.stringify(left) === JSON.stringify(right);

const ways = Object.keys(faults) as Fault[];

for (const [story, scenario] of Object.entries(scenarios)) {
  for (const [telling, tell] of Object.entries(tellings)) {
    test(`${story}, ${telling}: each call fails once`, async () => {
      const acts = tell(scenario);
      const calls = await play(acts, null);
      for (let at = 1; at <= calls; at++) {
        // In each way as it is told first; told otherwise, the ways take turns.
        for (const how of telling === 'told' ? ways : ways.slice(at % ways.length).slice(0, 1)) {
          await play(acts, { at, how }).catch((cause: unknown) => {
            throw new Error(`call ${at} of ${calls} fails with ${how}: ${String(cause)}`, { cause });
          });
        }
      }
    });
  }
}

test('any states, told in any way, with any one call that fails', async () => {
  const telling = fc.constantFrom(...Object.values(tellings));
  const states = fc.array(desiredState, { minLength: 2, maxLength: 4 });
  const how = fc.constantFrom(...ways);
  await fc.assert(
    fc.asyncProperty(states, telling, how, fc.integer({ min: 1, max: 80 }), async (scenario, tell, fails, at) => {
      await play(tell(scenario), { at, how: fails });
    }),
    { numRuns: 300, includeErrorInReport: true },
  );
});
