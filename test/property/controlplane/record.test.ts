import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decode, encode } from '../../../controlplane/encoding.ts';
import { SignatureVerifier } from '../../../controlplane/identity/keys.ts';
import {
  decodeRecord,
  isTombstone,
  maxRecordBytes,
  plain,
  type Record,
  signRecord,
  told,
  toWire,
  verifyRecord,
} from '../../../controlplane/tables/record.ts';
import { keyFrom } from '../../sim/identities.ts';

const key = keyFrom('record owner');
const other = keyFrom('another node');
const clusterId = 'c'.repeat(25);

const value = fc.oneof(
  fc.constant(null),
  fc.integer(),
  fc.string({ maxLength: 40 }),
  fc.boolean(),
  fc.dictionary(fc.stringMatching(/^[a-z]{1,6}$/), fc.oneof(fc.integer(), fc.string({ maxLength: 20 })), {
    maxKeys: 6,
    noNullPrototype: true,
  }),
  fc.array(fc.nat(), { maxLength: 8 }),
);
const count = fc.integer({ min: 2, max: Number.MAX_SAFE_INTEGER });
const record: fc.Arbitrary<Record> = fc.record(
  {
    topic: fc.constantFrom('cluster', `net/${'a'.repeat(25)}`),
    owner: fc.constant(key.nodeId),
    epoch: count,
    seq: count,
    key: fc.string({ minLength: 1, maxLength: 40 }),
    value,
    writtenMs: count,
  },
  { noNullPrototype: true, requiredKeys: ['topic', 'owner', 'epoch', 'seq', 'key', 'value'] },
);

test('a record survives the wire and verifies', () => {
  const verifier = new SignatureVerifier();
  fc.assert(
    fc.property(record, (written) => {
      const read = decodeRecord(decode(encode(toWire(signRecord(key, clusterId, written)))));
      assert.ok(read !== null && verifyRecord(verifier, clusterId, read));
      assert.deepEqual(plain(read.record), written);
      told(read);
      const again = decodeRecord(toWire(read));
      assert.ok(again !== null && isTombstone(again.record) === (written.value === null));
      assert.deepEqual([plain(read.record), plain(again.record)], [written, written]);
    }),
  );
});

test('the bytes of a record are kept as they came, also where another encoder wrote them', () => {
  const wide = (seq: number): Buffer =>
    Buffer.concat([Buffer.of(0xce), Buffer.from(Uint32Array.of(seq).buffer).swap32()]);
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 100 }),
      value,
      fc.uint8Array({ minLength: 64, maxLength: 64 }),
      (seq, any, signature) => {
        // As a list of parts, since our own encoder writes small numbers as one byte.
        const fields = [2, 'cluster', key.publicKey, 7, null, 'node', any, 0].map((each) => Buffer.from(encode(each)));
        const payload = Buffer.concat([Buffer.of(0x98), ...fields.slice(0, 4), wide(seq), ...fields.slice(5)]);
        const read = decodeRecord([payload, signature]);
        assert.ok(read !== null);
        told(read);
        assert.deepEqual(plain(read.record), {
          topic: 'cluster',
          owner: key.nodeId,
          epoch: 7,
          seq,
          key: 'node',
          value: any,
        });
        assert.ok(Buffer.compare(read.payload, payload) === 0 && Buffer.compare(read.signature, signature) === 0);
      },
    ),
  );
});

test('a changed byte never verifies, nor does a record of another cluster or under another name', () => {
  const verifier = new SignatureVerifier();
  fc.assert(
    fc.property(record, fc.nat(), fc.integer({ min: 1, max: 255 }), fc.boolean(), (written, at, flip, inPayload) => {
      const signed = signRecord(key, clusterId, written);
      assert.equal(verifyRecord(verifier, `${clusterId.slice(1)}d`, signed), false);
      const renamed = { ...signed, record: { ...written, owner: other.nodeId } };
      assert.equal(verifyRecord(verifier, clusterId, renamed), false);
      const [payload, signature] = [Buffer.from(signed.payload), Buffer.from(signed.signature)];
      const bytes = inPayload ? payload : signature;
      const position = at % bytes.length;
      bytes[position] = (bytes[position] ?? 0) ^ flip;
      const read = decodeRecord([payload, signature]);
      assert.ok(read === null || !verifyRecord(verifier, clusterId, read));
    }),
    { numRuns: 500 },
  );
});

test('arbitrary bytes are refused without an exception', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.uint8Array({ minLength: 64, maxLength: 64 }),
      (bytes, signature) => {
        decodeRecord([bytes, signature]);
      },
    ),
    { numRuns: 5_000 },
  );
  fc.assert(
    fc.property(fc.anything(), (wire) => {
      assert.equal(decodeRecord(wire), null);
    }),
    { numRuns: 2_000 },
  );
});

test('arbitrary fields are refused without an exception', () => {
  const field = fc.oneof(fc.anything({ maxDepth: 1 }), fc.nat(), fc.constant('cluster'), fc.constant(key.publicKey));
  fc.assert(
    fc.property(fc.array(field, { minLength: 7, maxLength: 9 }), (fields) => {
      let payload: Uint8Array;
      try {
        payload = encode([2, ...fields.slice(1)]);
      } catch {
        return;
      }
      const read = decodeRecord([payload, Buffer.alloc(64)]);
      if (read === null) return;
      assert.ok(read.record.seq >= 1 && read.record.epoch >= 1 && read.record.key.length <= 128);
    }),
    { numRuns: 3_000 },
  );
});

test('a record over the limit is refused by writer and reader', () => {
  const large = { topic: 'cluster', owner: key.nodeId, epoch: 1, seq: 2, key: 'k', value: 'x'.repeat(maxRecordBytes) };
  assert.throws(() => signRecord(key, clusterId, large), /the limit is 2048/);
  assert.equal(decodeRecord([Buffer.alloc(maxRecordBytes + 1), Buffer.alloc(64)]), null);
});

test('the opening record is the first and only the first', () => {
  for (const [seq, name] of [
    [1, 'node'],
    [2, ''],
  ] as const) {
    const signed = signRecord(key, clusterId, {
      topic: 'cluster',
      owner: key.nodeId,
      epoch: 1,
      seq,
      key: name,
      value: 1,
    });
    assert.equal(decodeRecord(toWire(signed)), null);
  }
});
