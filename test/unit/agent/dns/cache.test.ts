import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cache } from '../../../../agent/dns/cache.ts';
import { makeReply, type Query, readQuery, readResponse, types } from '../../../../agent/dns/wire.ts';
import { queryFor } from './helpers.ts';

const found = readQuery(queryFor('www.example'));
assert.ok('query' in found);
const query: Query = found.query;

function response(ttl: number, records = 1) {
  const answers = Array.from({ length: records }, () => ({ type: types.A, data: Buffer.of(192, 0, 2, 1) }));
  const read = readResponse(makeReply(query, { rcode: 0, answers, ttl }), query.id, query.asked);
  assert.ok(read);
  return read;
}

test('what is kept ends with its TTL, and no one keeps anything for longer than a day', () => {
  let nowMs = 0;
  const cache = new Cache(() => nowMs);
  cache.put('a', response(2));
  cache.put('long', response(1_000_000));
  cache.put('never', response(0));
  nowMs = 1_999;
  assert.ok(cache.get('a', query));
  assert.equal(cache.get('never', query), null);
  nowMs = 2_000;
  assert.equal(cache.get('a', query), null);
  nowMs = 86_399_999;
  assert.ok(cache.get('long', query));
  nowMs = 86_400_000;
  assert.equal(cache.get('long', query), null);
  assert.deepEqual([cache.size, cache.bytes], [0, 0]);
});

test('it is bounded in entries and in bytes, and what was used last stays', () => {
  const cache = new Cache(() => 0);
  for (let at = 0; at < 5_000; at += 1) {
    cache.put(String(at), response(60));
    assert.ok(cache.get('0', query));
  }
  assert.equal(cache.size, 4_096);
  assert.equal(cache.get('1', query), null);
  for (let at = 0; at < 200; at += 1) cache.put(`large ${at}`, response(60, 3_900));
  assert.ok(cache.bytes <= 4 * 1024 * 1024 && cache.size > 30, `${cache.bytes} bytes, ${cache.size} entries`);
  cache.clear();
  assert.deepEqual([cache.size, cache.bytes], [0, 0]);
});
