import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { NodeId } from '../../../controlplane/ids.ts';
import {
  type Claim,
  type Context,
  compareIncarnations,
  deadlineOf,
  type Event,
  type Member,
  maxAccusers,
  maxReturnMs,
  newMember,
  returnDelayMs,
  step,
} from '../../../controlplane/liveness/machine.ts';

const self = 'self' as NodeId;
const nodeIds = ['self', ...'abcdefghijkl'] as NodeId[];
const claims: readonly Claim[] = ['slow', 'silent', 'refused'];
// The longest that any suspicion lasts without a stretch.
const longestMs = 15_000;

const incarnation = fc.record({ epoch: fc.nat({ max: 3 }), count: fc.nat({ max: 3 }) });
const event: fc.Arbitrary<Event> = fc.oneof(
  fc.constant<Event>({ type: 'seen' }),
  fc.constant<Event>({ type: 'passed' }),
  fc.constant<Event>({ type: 'withdrawn' }),
  fc.record({ type: fc.constant('refuted' as const), incarnation }),
  fc.record({
    type: fc.constant('accused' as const),
    by: fc.constantFrom(...nodeIds),
    claim: fc.constantFrom(...claims),
    incarnation,
  }),
);
const happening = fc.record({ event, afterMs: fc.nat({ max: 20_000 }) });
const setting = fc.record({
  watched: fc.boolean(),
  witnesses: fc.integer({ min: 1, max: 50 }),
  stretch: fc.double({ min: 1, max: 5, noNaN: true }),
});
type Setting = typeof setting extends fc.Arbitrary<infer S> ? S : never;

const at = (nowMs: number, each: Setting): Context => ({ self, nowMs, ...each });

/** Lets the happenings happen; returns every state on the way, and when it was reached. */
function play(
  happenings: readonly { event: Event; afterMs: number }[],
  each: Setting,
): { member: Member; nowMs: number; event: Event }[] {
  let [member, nowMs] = [newMember(0), 0];
  return happenings.map(({ event: happened, afterMs }) => {
    nowMs += afterMs;
    member = step(member, happened, at(nowMs, each));
    return { member, nowMs, event: happened };
  });
}

const story = fc.array(happening, { maxLength: 40 });

test('a state is sound: bounds hold, and each status has what belongs to it', () => {
  fc.assert(
    fc.property(story, setting, (happenings, each) => {
      for (const { member, nowMs } of play(happenings, each)) {
        assert.ok(member.accusers.size <= maxAccusers + 1);
        assert.equal(member.why === '', member.status === 'alive');
        assert.ok(member.status === 'suspended' || member.returnMs === null);
        assert.ok(member.status !== 'suspect' || member.accusers.size > 0);
        assert.ok(member.sinceMs <= nowMs);
        const deadlineMs = deadlineOf(member, at(nowMs, each));
        assert.ok(deadlineMs === null || deadlineMs > nowMs, 'what is due has happened');
      }
    }),
  );
});

test('an old refutation at the very end of a suspicion does not put it off', () => {
  const setting = { watched: false, witnesses: 2, stretch: 1 };
  const incarnation = { epoch: 0, count: 0 };
  const suspect = step(newMember(0), { type: 'accused', by: self, claim: 'silent', incarnation }, at(0, setting));
  const deadlineMs = deadlineOf(suspect, at(0, setting)) ?? Number.NaN;
  assert.equal(step(suspect, { type: 'refuted', incarnation }, at(deadlineMs, setting)).status, 'suspended');
});

test('only the subject raises its incarnation, and it never falls', () => {
  fc.assert(
    fc.property(story, setting, (happenings, each) => {
      let before = newMember(0).incarnation;
      for (const { member, event: happened } of play(happenings, each)) {
        const raised = compareIncarnations(member.incarnation, before);
        assert.ok(raised >= 0);
        if (raised > 0) assert.equal(happened.type, 'refuted');
        before = member.incarnation;
      }
    }),
  );
});

test('a suspicion that nobody clears ends in suspension within the longest patience, and any contact clears it', () => {
  fc.assert(
    fc.property(story, setting, (happenings, each) => {
      const last = play(happenings, each).at(-1);
      if (last === undefined || last.member.status !== 'suspect') return;
      const { member, nowMs } = last;
      const later = nowMs + longestMs * each.stretch;
      assert.equal(step(member, { type: 'passed' }, at(later, each)).status, 'suspended');
      assert.equal(step(member, { type: 'seen' }, at(nowMs, each)).status, 'alive');
      const { epoch, count } = member.incarnation;
      const refuted: Event = { type: 'refuted', incarnation: { epoch, count: count + 1 } };
      assert.equal(step(member, refuted, at(nowMs, each)).status, 'alive');
    }),
  );
});

test('whoever is back is alive again, at once unless it was suspended often lately', () => {
  fc.assert(
    fc.property(story, setting, (happenings, each) => {
      const last = play(happenings, each).at(-1);
      if (last === undefined || last.member.status !== 'suspended') return;
      const { member, nowMs } = last;
      const back = step(member, { type: 'seen' }, at(nowMs, each));
      if (member.returnMs === null && member.penalty < 1.5) assert.equal(back.status, 'alive');
      const settled = step(back, { type: 'passed' }, at(nowMs + maxReturnMs, each));
      assert.equal(settled.status, 'alive');
      assert.equal(settled.accusers.size, 0);
    }),
  );
});

test('an old accusation changes nothing, nor does one that is ahead of its subject', () => {
  fc.assert(
    fc.property(story, setting, fc.constantFrom(...claims), incarnation, (happenings, each, claim, of) => {
      const last = play(happenings, each).at(-1) ?? { member: newMember(0), nowMs: 0 };
      if (compareIncarnations(of, last.member.incarnation) === 0) return;
      const accused: Event = { type: 'accused', by: 'z' as NodeId, claim, incarnation: of };
      const context = at(last.nowMs, each);
      assert.deepEqual(step(last.member, accused, context), step(last.member, { type: 'passed' }, context));
    }),
  );
});

test('accusations count the same in whatever order and however often they come', () => {
  const accusation = fc.record({ by: fc.constantFrom(...nodeIds.slice(1, 7)), claim: fc.constantFrom(...claims) });
  const list = fc.array(accusation, { minLength: 1, maxLength: 6 });
  const told = list.chain((all) =>
    fc.tuple(fc.constant(all), fc.shuffledSubarray([...all, ...all], { minLength: 2 * all.length })),
  );
  fc.assert(
    fc.property(told, ([first, second]) => {
      // So many witnesses that nobody is suspended before the last word.
      const each = { watched: true, witnesses: 50, stretch: 1 };
      const hear = (all: typeof first): Member =>
        all.reduce<Member>(
          (member, { by, claim }) =>
            step(member, { type: 'accused', by, claim, incarnation: { epoch: 0, count: 0 } }, at(0, each)),
          newMember(0),
        );
      const sorted = ({ accusers }: Member) => [...accusers].sort(([a], [b]) => (a < b ? -1 : 1));
      assert.deepEqual(sorted(hear(first)), sorted(hear(second)));
    }),
  );
});

test('more accusers never make a suspicion longer, and one liar leaves time to refute', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...claims),
      fc.integer({ min: 2, max: 50 }),
      fc.integer({ min: 1, max: 8 }),
      (claim, witnesses, count) => {
        const each = { watched: false, witnesses, stretch: 1 };
        let member = newMember(0);
        let before = Number.POSITIVE_INFINITY;
        for (const by of nodeIds.slice(1, 1 + count)) {
          member = step(member, { type: 'accused', by, claim, incarnation: { epoch: 0, count: 0 } }, at(0, each));
          const dueMs = member.status === 'suspended' ? 0 : (deadlineOf(member, at(0, each)) ?? 0);
          if (before === Number.POSITIVE_INFINITY) assert.ok(dueMs >= 2_000);
          assert.ok(dueMs <= before);
          before = dueMs;
        }
      },
    ),
  );
});

test('the word of others alone does not suspend a node that is watched', () => {
  fc.assert(
    fc.property(story, setting, (happenings, each) => {
      const others = happenings.filter(
        ({ event: { type, ...rest } }) => type !== 'accused' || !('by' in rest) || rest.by !== self,
      );
      for (const { member } of play(others, { ...each, watched: true })) assert.equal(member.status, 'alive');
    }),
  );
});

test('a refusal seen here needs nobody else, silence alone a second, a slow agent fifteen', () => {
  const each = { watched: true, witnesses: 9, stretch: 1 };
  const accuse = (claim: Claim): Member =>
    step(newMember(0), { type: 'accused', by: self, claim, incarnation: { epoch: 0, count: 0 } }, at(0, each));
  assert.deepEqual([accuse('refused').status, accuse('refused').why], ['suspended', 'agent down']);
  assert.deepEqual([accuse('silent').status, deadlineOf(accuse('silent'), at(0, each))], ['suspect', 1_000]);
  assert.deepEqual([accuse('slow').status, deadlineOf(accuse('slow'), at(0, each))], ['suspect', 15_000]);
  const alone = step(accuse('silent'), { type: 'passed' }, at(1_000, each));
  assert.deepEqual([alone.status, alone.why], ['suspended', 'unreachable']);
  const agreed = step(
    alone,
    { type: 'accused', by: 'a' as NodeId, claim: 'silent', incarnation: { epoch: 0, count: 0 } },
    at(1_000, each),
  );
  assert.equal(agreed.why, 'host down');
});

test('a node that flaps waits longer each time, and for nothing after some quiet minutes', () => {
  const each = { watched: true, witnesses: 9, stretch: 1 };
  let [member, nowMs] = [newMember(0), 0];
  const waits: number[] = [];
  for (let round = 0; round < 12; round += 1) {
    const { incarnation: of } = member;
    member = step(member, { type: 'accused', by: self, claim: 'refused', incarnation: of }, at(nowMs, each));
    const wait = returnDelayMs(member, nowMs);
    waits.push(wait);
    member = step(member, { type: 'seen' }, at(nowMs, each));
    assert.equal(member.status, wait === 0 ? 'alive' : 'suspended');
    nowMs += wait;
    member = step(member, { type: 'passed' }, at(nowMs, each));
    assert.equal(member.status, 'alive');
    nowMs += 1_000;
  }
  assert.equal(waits[0], 0);
  assert.equal(waits[1], 0);
  assert.ok((waits[3] ?? 0) > (waits[2] ?? 0) && (waits[2] ?? 0) > 0, String(waits));
  assert.ok(Math.max(...waits) <= maxReturnMs);
  assert.equal(returnDelayMs(member, nowMs + 10 * 60_000), 0);
});
