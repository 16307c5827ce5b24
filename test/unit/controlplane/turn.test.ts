import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Turn } from '../../../controlplane/tables/turn.ts';
import { VirtualTime } from '../../sim/time.ts';

const patienceMs = 500;

function setUp() {
  const time = new VirtualTime();
  const now = (): number => time.now();
  const timer = (delayMs: number, task: () => void): (() => void) => time.after(delayMs, task);
  const turn = new Turn({ now, monotonicMs: now, timer, random: () => 0.5 }, patienceMs);
  const events: string[] = [];
  /** Takes so long, and shows every so often that it goes on. */
  const work = (name: string, forMs: number, signEveryMs = Number.POSITIVE_INFINITY): Promise<void> =>
    turn.run(async (alive) => {
      events.push(`${name} begins`);
      for (let passed = 0; passed < forMs; ) {
        const stepMs = Math.min(signEveryMs, forMs - passed);
        await time.sleep(stepMs);
        passed += stepMs;
        alive();
      }
      events.push(`${name} ends`);
    });
  return { time, turn, events, work };
}

describe('a turn', () => {
  it('is had by one at a time, in the order in which they came', async () => {
    const { time, events, work } = setUp();
    const done = Promise.all([work('a', 100), work('b', 100), work('c', 100)]);
    await time.run(301);
    await done;
    assert.deepEqual(events, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
  });

  it('is kept as long as there are signs of life', async () => {
    const { time, events, work } = setUp();
    const done = Promise.all([work('a', 2_000, 400), work('b', 100)]);
    await time.run(2_101);
    await done;
    assert.deepEqual(events, ['a begins', 'a ends', 'b begins', 'b ends']);
  });

  it('is lost by who is silent, which goes on all the same and takes it from nobody when it ends', async () => {
    const { time, events, work } = setUp();
    const done = Promise.all([work('a', 700), work('b', 400), work('c', 100)]);
    await time.run(1_001);
    await done;
    assert.deepEqual(events, ['a begins', 'b begins', 'a ends', 'b ends', 'c begins', 'c ends']);
  });

  it('goes to the next when work fails', async () => {
    const { time, turn, events, work } = setUp();
    const failed = turn.run(() => Promise.reject(new Error('no')));
    const done = work('b', 100);
    await assert.rejects(failed, /no/);
    await time.run(101);
    await done;
    assert.deepEqual(events, ['b begins', 'b ends']);
  });

  it('is waited for by nobody once it is stopped', async () => {
    const { time, turn, events, work } = setUp();
    const done = Promise.all([work('a', 100), work('b', 100), work('c', 100)]);
    turn.stop();
    await time.run(101);
    await done;
    assert.deepEqual(events.slice(0, 3), ['a begins', 'b begins', 'c begins']);
  });
});
