/** A deliberate fault, put into a copy of the production code: a simulation worth its name finds it. */
export interface Mutant {
  readonly name: string;
  readonly edits: readonly Edit[];
  /** One that shows within few seeds: part of the short check. */
  readonly quick?: true;
}

export interface Edit {
  /** Source file, from `controlplane/`. */
  readonly file: string;
  /** Text that stands there exactly once, and what takes its place. */
  readonly replace: string;
  readonly by: string;
}

// Batches of one frame hold all that a simulated cluster ever writes; cut ones need smaller frames.
const smallFrames: Edit = {
  file: 'tables/replica.ts',
  replace: 'const batchBytes = 524_288;',
  by: 'const batchBytes = 3_000;',
};

export const mutants: readonly Mutant[] = [
  {
    name: 'tombstone-loses',
    quick: true,
    edits: [
      {
        file: 'tables/stream.ts',
        replace: 'if (previous !== null && previous.record.seq >= seq) return undefined;',
        by: 'if (previous !== null && (previous.record.seq >= seq || signed.record.value === null)) return undefined;',
      },
    ],
  },
  {
    name: 'gap-not-seen',
    quick: true,
    edits: [
      {
        file: 'tables/stream.ts',
        replace: 'if (seq === this.contiguous + 1) this.contiguous = seq;',
        by: 'if (seq > this.contiguous) this.contiguous = seq;',
      },
    ],
  },
  {
    name: 'gap-not-pulled',
    edits: [
      {
        file: 'tables/replica.ts',
        replace: "(outcome.result === 'applied' && outcome.gap)",
        by: 'false',
      },
    ],
  },
  {
    name: 'position-off-by-one',
    quick: true,
    edits: [
      {
        file: 'tables/stream.ts',
        replace: 'mine.epoch === theirs.epoch && mine.seq < theirs.seq',
        by: 'mine.epoch === theirs.epoch && mine.seq + 1 < theirs.seq',
      },
    ],
  },
  {
    name: 'range-given-twice',
    edits: [
      {
        file: 'ring/allocator.ts',
        replace: 'const generation = range.generation + 1;',
        by: 'const generation = Math.max(1, range.generation);',
      },
    ],
  },
  {
    name: 'address-not-reserved',
    quick: true,
    edits: [{ file: 'ring/allocator.ts', replace: '    reserved.add(number);\n', by: '' }],
  },
  {
    name: 'claim-not-written',
    edits: [
      {
        file: 'ring/allocator.ts',
        replace: 'await this.#grantEach(ring, this.#self, () => this.#mine(ring, space).find(unclaimed));',
        by: 'void unclaimed;',
      },
    ],
  },
  {
    name: 'epoch-not-raised',
    quick: true,
    edits: [
      {
        file: 'tables/tables.ts',
        replace: "Math.max(Number(store.get(['epoch']) ?? 0) + 1, seconds)",
        by: "Number(store.get(['epoch']) ?? seconds)",
      },
    ],
  },
  {
    name: 'epoch-shown-before-whole',
    quick: true,
    edits: [
      {
        file: 'tables/stream.ts',
        replace: "return typeof size === 'number' && this.contiguous >= Math.max(size, this.#expected);",
        by: "return typeof size === 'number';",
      },
    ],
  },
  {
    name: 'opening-record-says-too-little',
    edits: [
      {
        file: 'tables/tables.ts',
        replace: "this.#append(topic, '', records.length + 1);",
        by: "this.#append(topic, '', 1);",
      },
    ],
  },
  {
    name: 'topic-of-tombstones-not-opened',
    edits: [
      {
        file: 'tables/tables.ts',
        replace: '      const live = byTopic.get(topic) ?? [];\n',
        by: "      if (key === '' || value === null) continue;\n      const live = byTopic.get(topic) ?? [];\n",
      },
    ],
  },
  {
    name: 'part-taken-for-whole',
    edits: [
      smallFrames,
      { file: 'tables/replica.ts', replace: 'if (seq > stream.upTo) this', by: 'if (seq < 0) this' },
    ],
  },
  {
    name: 'rest-of-a-batch-not-asked-for',
    edits: [
      smallFrames,
      { file: 'tables/replica.ts', replace: 'return parsed.more && progress;', by: 'return false;' },
    ],
  },
  {
    name: 'told-before-disk',
    edits: [
      {
        file: 'tables/tables.ts',
        replace: '    this.#outbox.push(signed);\n',
        by: '    this.#outbox.push(signed);\n    this.onOwnRecords([signed]);\n',
      },
    ],
  },
  {
    name: 'records-of-others-not-stored',
    quick: true,
    edits: [{ file: 'tables/tables.ts', replace: 'offer.latest ? [signed] : []', by: '[]' }],
  },
  {
    name: 'removed-node-comes-back',
    edits: [{ file: 'tables/members.ts', replace: '    this.#removed.add(nodeId);\n', by: '' }],
  },
  {
    name: 'nothing-inherited',
    edits: [
      {
        file: 'removal.ts',
        replace: 'for (const { key, value } of view.sharedBy(nodeId)) await tables.put(clusterTopic, key, value);',
        by: '',
      },
    ],
  },
  {
    name: 'removed-before-inherited',
    edits: [
      { file: 'removal.ts', replace: 'if (inherited || removals.length === 0)', by: 'if (removals.length >= 0)' },
    ],
  },
  {
    name: 'clock-not-observed',
    edits: [
      {
        file: 'tables/clock.ts',
        replace: 'if (compareTimestamps(seen, this.#last) > 0) this.#last = seen;',
        by: '',
      },
      {
        file: 'tables/clock.ts',
        replace: 'if (replaced === undefined || compareTimestamps(this.#last, replaced) > 0) return this.#last;',
        by: 'if (replaced === undefined || this.#last[1] >= 0) return this.#last;',
      },
    ],
  },
  {
    name: 'signature-not-checked',
    edits: [
      {
        file: 'tables/tables.ts',
        replace: 'if (!verifyRecord(this.#verifier, clusterId, signed))',
        by: 'if (signed.signature.length !== 64)',
      },
    ],
  },
];
