import type { Mutant } from '../mutants.ts';

/** Who owns which numbers, and when they may be used. */
export const ringMutants: readonly Mutant[] = [
  {
    name: 'range-given-twice',
    edits: [
      {
        file: 'ring/custody.ts',
        replace: 'this.#runs.filter((run) => run.owner === owner)',
        by: 'this.#runs.filter((run) => run.owner === owner || run.generation === 1)',
      },
    ],
  },
  {
    name: 'nothing-vouched-for',
    edits: [
      {
        file: 'ring/inheritance.ts',
        replace: '        await writeGrant(tables, ring, run, run.owner);\n',
        by: '',
      },
      {
        file: 'removal.ts',
        replace: '(inherited && this.#init.inheritance.isInherited(nodeId))',
        by: 'inherited',
      },
    ],
  },
  {
    name: 'address-not-reserved',
    quick: true,
    edits: [{ file: 'ring/allocator.ts', replace: '    reserved.add(number);\n', by: '' }],
  },
  {
    name: 'worker-grants-like-a-manager',
    quick: true,
    edits: [
      {
        file: 'tables/view.ts',
        replace: "const byManager = this.#roleOf(owner) === 'manager';",
        by: 'const byManager = true;',
      },
    ],
  },
  {
    name: 'custody-not-asked-for',
    edits: [
      {
        file: 'ring/ring.ts',
        replace: 'const handed = [...(this.#workers.get(generation + 1)?.get(owner) ?? [])];',
        by: 'const handed = [...(this.#workers.get(generation + 1)?.values() ?? [])].flatMap((each) => [...each]);',
      },
      {
        file: 'ring/custody.ts',
        replace: 'if (byManager || this.#whole === null) return true;',
        by: 'return true;',
      },
    ],
  },
  {
    name: 'reclaimed-without-promises',
    edits: [
      {
        file: 'ring/fence.ts',
        replace: "  if (silent.length > 0) return { do: 'wait', for: silent.sort() };\n",
        by: '',
      },
    ],
  },
  {
    name: 'freed-numbers-do-not-rest',
    quick: true,
    edits: [
      {
        file: 'ring/allocator.ts',
        replace: '    this.resting.rest(ring, { start: number, end: number + 1 });\n',
        by: '',
      },
    ],
  },
  {
    name: 'rest-ends-with-the-agent',
    edits: [{ file: 'ring/resting.ts', replace: "of store.entries(['resting'])) {", by: 'of []) {' }],
  },
  {
    name: 'virtual-addresses-handed-out',
    quick: true,
    edits: [{ file: 'networks.ts', replace: ', ...held, ...ofServices]', by: ', ...held]' }],
  },
];
