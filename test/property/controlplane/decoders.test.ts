import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decode, encode } from '../../../controlplane/encoding.ts';
import { checkCertificateRequest, newCertificateRequest } from '../../../controlplane/identity/authority.ts';
import { parseToken } from '../../../controlplane/identity/token.ts';
import type { NetworkId } from '../../../controlplane/ids.ts';
import { maxFrameBytes } from '../../../controlplane/mesh/transport.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { nowhere } from '../../../controlplane/tables/position.ts';
import { type PullReply, toWireAsk } from '../../../controlplane/tables/pull.ts';
import { clusterTopic, ownerBytes, plain, toWire } from '../../../controlplane/tables/record.ts';
import { identityOf } from '../../sim/identities.ts';
import { simulationStartMs } from '../../sim/time.ts';
import { Writer } from '../../unit/controlplane/helpers.ts';
import { makeNode } from '../../unit/controlplane/nodes.ts';

// Everything that reads bytes of others: it never throws what is not expected, never believes what nobody signed.

const writerIdentity = await identityOf(1, 'worker');
const writer = new Writer(writerIdentity);
const topic = networkTopic('n'.repeat(25) as NetworkId);
const nodeValue = { hostname: 'b', vtep: '192.0.2.2', gossip: ['192.0.2.2:7946'], version: '0', createdMs: 0 };
const opening = writer.write(clusterTopic, '', 2);
const announced = writer.write(clusterTopic, 'node', nodeValue);
const frame = encode([opening, announced].map(toWire));
const positions = new Map([[writer.nodeId, { ...nowhere, epoch: 1, seq: 1 }]]);
const request = encode([toWireAsk({ topic: clusterTopic, range: { from: null, until: null }, positions })]);
const stream = {
  ...{ topic: clusterTopic, owner: ownerBytes(writer.nodeId), certificate: writerIdentity.certificate },
  ...{ epoch: 1, after: 0, upTo: 2, records: [opening, announced].map(toWire) },
};
const reply = encode({ streams: [stream], more: false, foreign: [] } satisfies PullReply);

/** Valid bytes with some changed, cut out, doubled or put in. */
const mutated = (valid: Uint8Array): fc.Arbitrary<Uint8Array> =>
  fc
    .array(
      fc.record({
        do: fc.constantFrom('set' as const, 'cut' as const, 'double' as const, 'insert' as const, 'end' as const),
        at: fc.nat(valid.length - 1),
        length: fc.integer({ min: 1, max: 12 }),
        byte: fc.oneof(fc.nat(255), fc.constantFrom(0xc0, 0xc1, 0xc6, 0xc9, 0xd4, 0xdd, 0xdf, 0xff)),
      }),
      { minLength: 1, maxLength: 4 },
    )
    .map((edits) => {
      let bytes = Buffer.from(valid);
      for (const { do: edit, at, length, byte } of edits) {
        const [before, part, rest] = [
          bytes.subarray(0, at),
          bytes.subarray(at, at + length),
          bytes.subarray(at + length),
        ];
        if (edit === 'set') bytes = Buffer.concat([before, Buffer.of(byte), bytes.subarray(at + 1)]);
        else if (edit === 'cut') bytes = Buffer.concat([before, rest]);
        else if (edit === 'double') bytes = Buffer.concat([before, part, part, rest]);
        else if (edit === 'insert') bytes = Buffer.concat([before, Buffer.alloc(length, byte), part, rest]);
        else bytes = Buffer.from(before);
      }
      return bytes;
    });

const hostile = (valid: Uint8Array): fc.Arbitrary<Uint8Array> =>
  fc.oneof({ weight: 4, arbitrary: mutated(valid) }, { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }) });

test('gossip: whatever comes, only what its owner signed stands in the tables', async () => {
  const node = await makeNode(0);
  node.members.admit(writerIdentity.certificate);
  const heard = await makeNode(2);
  heard.members.admit(writerIdentity.certificate);
  assert.equal(heard.replica.gossip(clusterTopic, frame, writer.nodeId), 'accept', 'unchanged, it is taken');
  let applied = 0;
  node.view.watch(() => {
    applied += 1;
    assert.deepEqual(node.view.nodes.get(writer.nodeId), nodeValue);
  });
  fc.assert(
    fc.property(hostile(frame), fc.constantFrom(clusterTopic, topic), (bytes, inTopic) => {
      assert.ok(['accept', 'ignore', 'reject'].includes(node.replica.gossip(inTopic, bytes, writer.nodeId)));
      for (const { record } of node.tables.records(clusterTopic)) assert.deepEqual(plain(record), announced.record);
    }),
    { numRuns: 1_500 },
  );
  assert.ok(applied <= 1);
});

test('a pull is answered, or refused by an Error, and the answer is bounded', async () => {
  const node = await makeNode(0);
  node.members.admit(writerIdentity.certificate);
  for (const signed of [opening, announced]) node.tables.ingest(signed);
  // Unchanged, it is answered with what the asker lacks.
  const { streams } = decode(node.replica.answerPull(request, writer.nodeId)) as PullReply;
  assert.deepEqual(
    streams.map(({ records }) => records),
    [[toWire(announced)]],
  );
  fc.assert(
    fc.property(hostile(request), (bytes) => {
      let answer: Uint8Array;
      try {
        answer = node.replica.answerPull(bytes, writer.nodeId);
      } catch (error) {
        assert.match(String(error), /^Error: malformed pull request$/);
        return;
      }
      assert.ok(answer.length <= maxFrameBytes);
      assert.ok(Array.isArray((decode(answer) as { streams: unknown }).streams));
    }),
    { numRuns: 1_500 },
  );
});

test('the answer to a pull is taken or dropped, and only what its owner signed stands in the tables', async () => {
  const other = await makeNode(2);
  const heard = await makeNode(0);
  heard.transport.answer = async () => reply;
  await heard.replica.pullNow(other.id);
  assert.deepEqual(
    [...heard.tables.records(clusterTopic)].map(({ record }) => plain(record)),
    [announced.record],
    'unchanged, it is taken',
  );
  await fc.assert(
    fc.asyncProperty(hostile(reply), async (bytes) => {
      const node = await makeNode(0);
      let asked = 0;
      node.transport.answer = async () => {
        asked += 1;
        return asked > 3 ? encode({ streams: [], more: false, foreign: [] }) : bytes;
      };
      await node.replica.pullNow(other.id);
      for (const { record } of node.tables.records(clusterTopic)) assert.deepEqual(plain(record), announced.record);
      // A certificate may have bytes behind its end; what it says is signed.
      for (const [id] of node.tables.vector(clusterTopic)) assert.equal(id, writer.nodeId);
    }),
    { numRuns: 300 },
  );
});

test('a certificate that was changed is none, or says the same', () => {
  const { trust, certificate } = writerIdentity;
  fc.assert(
    fc.property(hostile(certificate), (bytes) => {
      const checked = trust.check(bytes, simulationStartMs);
      if (!checked.ok) return assert.ok(checked.reason.length > 0 && checked.reason.length < 200);
      assert.equal(checked.member.nodeId, writer.nodeId);
      assert.equal(checked.member.role, 'worker');
    }),
    { numRuns: 1_500 },
  );
});

test('a certificate request that was changed is refused, or for the same key', async () => {
  const valid = await newCertificateRequest(writerIdentity.key);
  await fc.assert(
    fc.asyncProperty(hostile(valid), async (bytes) => {
      const checked = await checkCertificateRequest(bytes);
      if (checked.ok) assert.equal(checked.nodeId, writer.nodeId);
      else assert.match(checked.reason, /request/);
    }),
    { numRuns: 400 },
  );
});

test('text that is no token is said to be so, in one line', () => {
  const part = fc.oneof(
    fc.constantFrom('WFTKN', '1', ''),
    fc.stringMatching(/^[0-9a-z]{25}$/),
    fc.stringMatching(/^[0-9a-z]{50}$/),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
      const parsed = parseToken(parts.join('-'));
      if (parsed.ok) assert.deepEqual([parsed.token.caDigest.length, parsed.token.secret.length], [32, 16]);
      else assert.ok(parsed.reason.startsWith('the join token') || parsed.reason.startsWith('join token'));
    }),
    { numRuns: 2_000 },
  );
});

test('a version in a token that holds line breaks does not break the line', () => {
  const parsed = parseToken(`WFTKN-${'2\n'.repeat(1000)}-x`);
  assert.ok(!parsed.ok && !parsed.reason.includes('\n') && parsed.reason.length < 200);
});

test('no message changes how the next one is read', () => {
  const values = [1, 64, 100, 127, 'text', [64, 65], { a: 64 }];
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 60 }),
        // A record definition of msgpackr: structure 0x40 with one field.
        fc.nat(63).map((n) => Uint8Array.of(0xd4, 0x72, 0x40 + n, 0x91, 0xa1, 0x61, 5)),
      ),
      (bytes) => {
        try {
          decode(bytes);
        } catch (error) {
          assert.ok(error instanceof Error);
        }
        for (const value of values) assert.deepEqual(decode(encode(value)), value);
      },
    ),
    { numRuns: 1_500 },
  );
});
