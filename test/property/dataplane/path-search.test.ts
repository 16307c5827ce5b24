import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Ask, findPathMtu } from '../../../dataplane/path/search.ts';
import { learned, unknownPath } from '../../../dataplane/path/state.ts';

const limits = fc
  .record({ floor: fc.constantFrom(576, 1280), ceiling: fc.integer({ min: 1280, max: 65_535 }) })
  .filter(({ floor, ceiling }) => floor <= ceiling);

interface Network {
  readonly ask: Ask;
  readonly tries: () => number;
  readonly probes: () => number;
}

/** A path that takes packets up to `mtu` bytes, and loses `loss` of all probes by chance, from a seeded generator. */
function pathOf({
  mtu,
  loss = 0,
  seed = 1,
  up = true,
}: {
  mtu: number;
  loss?: number;
  seed?: number;
  up?: boolean;
}): Network {
  let state = seed >>> 0;
  const random = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  let tries = 0;
  let probes = 0;
  const comes = (size: number): boolean => {
    probes += 1;
    return up && size <= mtu && random() >= loss;
  };
  const ask: Ask = async (sizes) => {
    tries += 1;
    return {
      controls: [128, 128].filter(comes).length,
      answered: new Set(sizes.filter(comes)),
      refused: new Set(),
    };
  };
  return { ask, tries: () => tries, probes: () => probes };
}

test('any path MTU is found, to the byte, with few packets', async () => {
  await fc.assert(
    fc.asyncProperty(limits, fc.nat(), async ({ floor, ceiling }, at) => {
      const mtu = floor + (at % (ceiling - floor + 1));
      const path = pathOf({ mtu });
      assert.equal(await findPathMtu({ floor, ceiling }, path.ask), mtu);
      assert.ok(path.tries() <= 45, `${path.tries()} tries`);
      assert.ok(path.probes() <= 250, `${path.probes()} probes`);
    }),
    { numRuns: 500 },
  );
});

test('a path that takes all that its device sends is known by one try', async () => {
  const path = pathOf({ mtu: 9000 });
  assert.equal(await findPathMtu({ floor: 576, ceiling: 9000 }, path.ask), 9000);
  assert.equal(path.tries(), 1);
});

test('a dead peer is no small MTU', async () => {
  const path = pathOf({ mtu: 1500, up: false });
  assert.equal(await findPathMtu({ floor: 576, ceiling: 1500 }, path.ask), null);
  assert.ok(path.tries() <= 3);
});

test('a peer that dies in the middle of a search is no small MTU either', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 576, max: 1500 }), fc.integer({ min: 0, max: 40 }), async (mtu, lives) => {
      const alive = pathOf({ mtu });
      const dead = pathOf({ mtu, up: false });
      const found = await findPathMtu({ floor: 576, ceiling: 1500 }, (sizes) =>
        alive.tries() < lives ? alive.ask(sizes) : dead.ask(sizes),
      );
      assert.ok(found === null || found === mtu, `${found}`);
    }),
  );
});

test('what this host refuses to send is too large, at once', async () => {
  const path = pathOf({ mtu: 1300 });
  const ask: Ask = async (sizes) => ({
    ...(await path.ask(sizes)),
    refused: new Set(sizes.filter((size) => size > 1300)),
  });
  assert.equal(await findPathMtu({ floor: 576, ceiling: 1500 }, ask), 1300);
  assert.ok(path.tries() <= 4, `${path.tries()}`);
});

test('loss is no small MTU: what is found is right, or not told, or mended by the looks that follow', async () => {
  let wrong = 0;
  let told = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 576, max: 1500 }),
      fc.constantFrom(0.05, 0.1, 0.3, 0.5),
      fc.integer(),
      async (mtu, loss, seed) => {
        const path = pathOf({ mtu, loss, seed });
        let state = unknownPath;
        const first = await findPathMtu({ floor: 576, ceiling: 1500 }, path.ask);
        assert.ok(first === null || first <= mtu);
        told += Number(first !== null);
        wrong += Number(first !== null && first !== mtu);
        state = learned(state, first);
        for (let look = 0; look < 40 && state.mtu !== mtu; look += 1) {
          state = learned(state, await findPathMtu({ floor: 576, ceiling: 1500 }, path.ask));
        }
        assert.equal(state.mtu, mtu);
      },
    ),
    { numRuns: 400 },
  );
  assert.ok(wrong <= told * 0.03, `${wrong} of ${told} are wrong at first`);
});

test('less counts at once, more when it was found twice, and silence changes nothing', () => {
  const path = { mtu: 1400, candidate: null };
  assert.deepEqual(learned(unknownPath, 1500), { mtu: 1500, candidate: null });
  assert.deepEqual(learned(path, 1300), { mtu: 1300, candidate: null });
  assert.deepEqual(learned(path, null), path);
  const higher = learned(path, 1500);
  assert.deepEqual(higher, { mtu: 1400, candidate: 1500 });
  assert.deepEqual(learned(higher, 1450), { mtu: 1450, candidate: null });
  assert.deepEqual(learned(higher, 1400), path);
});
