import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { NodeId } from '../../../controlplane/ids.ts';
import { type Decision, rolesOf } from '../../../controlplane/roles/decide.ts';

const nodes = ['a', 'b', 'c', 'd', 'e'].map((name) => name as NodeId);
const node = fc.constantFrom(...nodes);
const role = fc.constantFrom('manager' as const, 'worker' as const);
const decision: fc.Arbitrary<Decision> = fc.record(
  { writer: node, subject: node, role, stamp: fc.tuple(fc.nat(8), fc.nat(1)) },
  { noNullPrototype: true },
);
// A writer has one record for each subject, as in the tables.
const decisions = fc.uniqueArray(decision, {
  selector: ({ writer, subject }) => `${writer} ${subject}`,
  maxLength: 25,
});
const certified = fc
  .array(role, { minLength: nodes.length, maxLength: nodes.length })
  .map((roles) => roles.flatMap((each, i) => (nodes[i] === undefined ? [] : [[nodes[i], each] as const])));

const plain = ({ managers, decided }: ReturnType<typeof rolesOf>) => ({
  managers: [...managers].sort(),
  decided: nodes.map((id) => decided.get(id) ?? null),
});

test('the order of arrival does not matter', () => {
  const shuffled = decisions.chain((all) =>
    fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length })),
  );
  fc.assert(
    fc.property(certified, shuffled, (certificates, [one, other]) => {
      assert.deepEqual(plain(rolesOf(certificates, one)), plain(rolesOf([...certificates].reverse(), other)));
    }),
  );
});

test('a cluster that has a manager keeps one, and only certificates make one', () => {
  fc.assert(
    fc.property(certified, decisions, (certificates, all) => {
      const { managers } = rolesOf(certificates, all);
      const able = certificates.flatMap(([id, each]) => (each === 'manager' ? [id] : []));
      assert.ok(able.length === 0 || managers.size > 0);
      assert.ok([...managers].every((id) => able.includes(id)));
    }),
  );
});

test('what a node that never was a manager has decided counts for nothing', () => {
  fc.assert(
    fc.property(certified, decisions, (certificates, all) => {
      const workers = new Set(certificates.flatMap(([id, each]) => (each === 'worker' ? [id] : [])));
      const without = all.filter(({ writer }) => !workers.has(writer));
      assert.deepEqual(plain(rolesOf(certificates, all)), plain(rolesOf(certificates, without)));
    }),
  );
});

test('of two managers that demote each other the later loses, on every node', () => {
  const [a, b] = ['a', 'b'].map((name) => name as NodeId) as [NodeId, NodeId];
  const managers = [
    [a, 'manager'],
    [b, 'manager'],
  ] as const;
  const first: Decision = { writer: a, subject: b, role: 'worker', stamp: [5, 0] };
  const second: Decision = { writer: b, subject: a, role: 'worker', stamp: [6, 0] };
  assert.deepEqual([...rolesOf(managers, [second, first]).managers], [a]);
});
