import type { Mutant } from '../mutants.ts';

/** Who is a member, who lives, and who follows which network. */
export const nodesMutants: readonly Mutant[] = [
  {
    name: 'removed-node-comes-back',
    edits: [{ file: 'tables/members.ts', replace: '    this.#removed.add(nodeId);\n', by: '' }],
  },
  {
    name: 'nothing-inherited',
    edits: [
      {
        file: 'removal.ts',
        replace:
          'for (const { key, value } of view.sharedBy(nodeId, tables.self)) await tables.put(clusterTopic, key, value);',
        by: '',
      },
    ],
  },
  {
    name: 'removed-before-inherited',
    edits: [
      {
        file: 'removal.ts',
        replace: 'if (removals.length === 0 || isOver || (inherited && ',
        by: 'if (removals.length >= 0 || (inherited && ',
      },
    ],
  },
  {
    name: 'refutation-ignored',
    edits: [
      {
        file: 'liveness/machine.ts',
        replace: 'if (compareIncarnations(event.incarnation, member.incarnation) <= 0) return passed(member, context);',
        by: 'if (member.sinceMs >= 0) return passed(member, context);',
      },
    ],
  },
  {
    name: 'suspended-for-ever',
    quick: true,
    edits: [
      {
        file: 'liveness/machine.ts',
        replace: "if (member.status === 'suspended') return member.returnMs;",
        by: "if (member.status === 'suspended') return null;",
      },
    ],
  },
  {
    name: 'network-not-followed-by-who-is-on-it',
    edits: [
      {
        file: 'interests.ts',
        replace: 'if ((on || owns || used || this.#isManager) && !tables.hasInterest(topic))',
        by: 'if (this.#isManager && !tables.hasInterest(topic))',
      },
      { file: 'interests.ts', replace: '      tables.addInterest(networkTopic(id));\n', by: '' },
    ],
  },
  {
    name: 'network-left-by-who-is-on-it',
    edits: [
      {
        file: 'interests.ts',
        replace: "return tables.hasOwn(networkTopic(id), 'ep/');",
        by: 'return tables === null;',
      },
    ],
  },
  {
    name: 'network-not-caught-up-with',
    quick: true,
    edits: [
      {
        file: 'interests.ts',
        replace: 'if (this.#isManager || this.#known.has(id)) return true;',
        by: 'if (this.#isManager || this.#init.tables.hasInterest(networkTopic(id))) return true;',
      },
    ],
  },
];
