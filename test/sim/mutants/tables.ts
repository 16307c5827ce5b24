import type { Edit, Mutant } from '../mutants.ts';

// Batches of one frame hold all that a simulated cluster ever writes; cut ones need smaller frames.
const smallFrames: Edit = {
  file: 'tables/replica.ts',
  replace: 'const batchBytes = 524_288;',
  by: 'const batchBytes = 3_000;',
};

/** Records, streams, the disk, and how nodes come to have the same. */
export const tablesMutants: readonly Mutant[] = [
  {
    name: 'tombstone-loses',
    quick: true,
    edits: [
      {
        file: 'tables/epoch.ts',
        replace: 'if (!isLater(signed, previous)) return undefined;',
        by: 'if (!isLater(signed, previous) || (previous && signed.record.value === null)) return undefined;',
      },
    ],
  },
  {
    name: 'gap-not-seen',
    quick: true,
    edits: [
      {
        file: 'tables/epoch.ts',
        replace: 'if (seq === this.contiguous + 1) this.contiguous = seq;',
        by: 'if (seq > this.contiguous) this.contiguous = seq;',
      },
    ],
  },
  {
    name: 'forgets-only-what-is-stored',
    edits: [{ file: 'tables/tables.ts', replace: '[...stored, ...known].map(', by: '[...stored].map(' }],
  },
  {
    name: 'gap-not-pulled',
    edits: [
      {
        file: 'tables/replica.ts',
        replace: 'if (lacking.length > 0) this.#puller.fill(',
        by: 'if (lacking.length < 0) this.#puller.fill(',
      },
    ],
  },
  {
    name: 'position-off-by-one',
    quick: true,
    edits: [
      {
        file: 'tables/position.ts',
        replace: 'mine.epoch === theirs.epoch && mine.seq < theirs.seq',
        by: 'mine.epoch === theirs.epoch && mine.seq + 1 < theirs.seq',
      },
    ],
  },
  {
    name: 'epoch-not-raised',
    quick: true,
    edits: [
      {
        file: 'tables/own.ts',
        replace: 'this.#lastEpoch = least + 1 + Math.floor(random() * epochsPerSecond);',
        by: 'this.#lastEpoch = Math.max(this.#lastEpoch || least, above + 1);',
      },
    ],
  },
  {
    name: 'epoch-shown-before-whole',
    quick: true,
    edits: [
      {
        file: 'tables/epoch.ts',
        replace: "return typeof size === 'number' && this.contiguous >= Math.max(size, this.#expected);",
        by: "return typeof size === 'number';",
      },
    ],
  },
  {
    name: 'opening-record-says-too-little',
    edits: [
      {
        file: 'tables/own.ts',
        replace: "this.#append(topic, '', live.length + 1, true)",
        by: "this.#append(topic, '', 1, true)",
      },
    ],
  },
  {
    name: 'topic-of-tombstones-not-opened',
    edits: [
      {
        file: 'tables/own.ts',
        replace: '      this.#begin(topic, this.#startEpoch);\n      opened',
        by: '      if (live.length === 0) continue;\n      this.#begin(topic, this.#startEpoch);\n      opened',
      },
    ],
  },
  {
    name: 'part-taken-for-whole',
    edits: [
      smallFrames,
      { file: 'tables/puller.ts', replace: 'if (taken === 1 && firstSeq > seq) tables', by: 'if (taken < 0) tables' },
    ],
  },
  {
    name: 'rest-of-a-batch-not-asked-for',
    edits: [smallFrames, { file: 'tables/puller.ts', replace: 'if (reply.more && progress) continue;', by: '' }],
  },
  {
    name: 'told-before-disk',
    edits: [
      {
        file: 'tables/own.ts',
        replace: '    head.seq += 1;\n    this.#outbox.push(signed);\n',
        by: '    head.seq += 1;\n    this.#outbox.push(signed);\n    this.#publish([signed]);\n',
      },
    ],
  },
  {
    name: 'records-of-others-not-stored',
    quick: true,
    edits: [{ file: 'tables/tables.ts', replace: 'offer.latest ? [signed] : []', by: '[]' }],
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
        replace: 'if (!this.#verified.has(signed) && !verifyRecord(this.#verifier, clusterId, signed)) {',
        by: 'if (signed.signature.length !== 64) {',
      },
    ],
  },
];
