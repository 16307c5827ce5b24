import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  fitted,
  makeQuestion,
  makeReply,
  nameData,
  passedOn,
  type Query,
  readQuery,
  readResponse,
  types,
  udpLimit,
} from '../../../../agent/dns/wire.ts';
import { queryFor } from './helpers.ts';

function read(bytes: Buffer): Query {
  const found = readQuery(bytes);
  assert.ok('query' in found, 'no query');
  return found.query;
}

const rcodeOf = (bytes: Buffer): number | null => {
  const found = readQuery(bytes);
  return 'query' in found ? null : found.reply === null ? -1 : found.reply.readUInt16BE(2) & 0xf;
};

test('a query: its name in lower case, its question as it came, what EDNS says', () => {
  const query = read(queryFor('Db.Front', types.AAAA, { edns: 4000 }));
  assert.deepEqual(query.question, { name: 'db.front', type: types.AAAA, class: 1 });
  assert.deepEqual([query.id, query.flags, query.edns], [0x1234, 0x0100, { bytes: 4000, dnssec: true }]);
  assert.deepEqual(Buffer.from(query.asked), Buffer.concat([nameData('Db.Front'), Buffer.from([0, 28, 0, 1])]));
  assert.equal(read(queryFor('')).question.name, '');
});

test('a dot inside a label is none between two, so that no name of ours is meant by it', () => {
  const bytes = queryFor('dbxfront');
  bytes[15] = 0x2e;
  assert.equal(read(bytes).question.name, 'db\\046front');
});

test('what is no query gets what it deserves', () => {
  const edit = (offset: number, value: number, bytes = queryFor('db')) => {
    bytes.writeUInt16BE(value, offset);
    return rcodeOf(bytes);
  };
  assert.equal(rcodeOf(Buffer.alloc(11)), -1);
  assert.equal(edit(2, 0x8100), -1);
  assert.equal(edit(2, 0x2900), 4);
  assert.equal(edit(4, 2), 1);
  assert.equal(edit(6, 1), 1);
  assert.equal(edit(10, 9), 1);
  assert.equal(edit(10, 1), 1);
  // A pointer, and a name that does not end.
  assert.equal(edit(12, 0xc00c), 1);
  assert.equal(rcodeOf(queryFor('db').subarray(0, 15)), 1);
  // BADVERS, whose upper bits stand in the OPT record.
  const later = queryFor('db', types.A, { edns: 1232 });
  later[later.length - 5] = 1;
  const found = readQuery(later);
  assert.ok(!('query' in found) && found.reply !== null);
  assert.equal(found.reply[found.reply.length - 6], 1);
});

test('a reply is cut to what the asker takes, and says so', () => {
  const many = Array.from({ length: 60 }, (_, at) => ({ type: types.A, data: Buffer.from([10, 0, 0, at]) }));
  const plain = read(queryFor('db'));
  const whole = makeReply(plain, { rcode: 0, answers: many, ttl: 1 });
  assert.equal(udpLimit(plain), 512);
  const cut = fitted(plain, whole, udpLimit(plain));
  // Whoever asks nobody by TCP has these.
  assert.deepEqual([cut.readUInt16BE(2) & 0x0200, cut.readUInt16BE(6), cut.length], [0x0200, 30, 20 + 30 * 16]);
  assert.ok(cut.subarray(12).equals(whole.subarray(12, cut.length)));
  const extended = read(queryFor('db', types.A, { edns: 512 }));
  const large = makeReply(extended, { rcode: 0, answers: many, ttl: 1 });
  const shorter = fitted(extended, large, 512);
  assert.deepEqual([shorter.readUInt16BE(6), shorter.readUInt16BE(10)], [30, 1]);
  assert.ok(shorter.subarray(-11).equals(large.subarray(-11)));
  assert.equal(fitted(plain, whole, whole.length), whole);
  assert.deepEqual(
    [100, 1232, 65_535].map((edns) => udpLimit(read(queryFor('db', types.A, { edns })))),
    [512, 1232, 4096],
  );
});

/** What a server answers to our question, as edited. */
function answered(query: Query, edit: (bytes: Buffer) => void = () => {}): Buffer {
  const reply = makeReply(
    { ...query, id: 7 },
    { rcode: 0, answers: [{ type: types.A, data: Buffer.of(192, 0, 2, 1) }], ttl: 30 },
  );
  edit(reply);
  return reply;
}

test('an answer is taken for the question that was put, and no other', () => {
  const query = read(queryFor('www.example'));
  assert.ok(makeQuestion(query, 7).equals(queryFor('www.example', types.A, { id: 7 })));
  const taken = (edit?: (bytes: Buffer) => void) => readResponse(answered(query, edit), 7, query.asked);
  assert.equal(taken()?.keepSeconds, 30);
  assert.ok(taken((bytes) => bytes.write('WWW', 13)));
  assert.equal(readResponse(answered(query), 8, query.asked), null);
  assert.equal(
    taken((bytes) => bytes.write('vvv', 13)),
    null,
  );
  assert.equal(
    taken((bytes) => bytes.writeUInt16BE(0x0100, 2)),
    null,
  );
  assert.equal(
    taken((bytes) => bytes.writeUInt16BE(2, 6)),
    null,
  );
  // Type 65 is no other spelling of type 97.
  const https = read(queryFor('www.example', 65));
  const other = answered(https, (bytes) => bytes.writeUInt16BE(97, 12 + https.asked.length - 4));
  assert.equal(readResponse(other, 7, https.asked), null);
});

test('an answer is passed on with the id and the spelling of who asked, its TTL counted down', () => {
  const response = readResponse(answered(read(queryFor('www.example'))), 7, read(queryFor('www.example')).asked);
  assert.ok(response);
  const reply = passedOn(read(queryFor('wWw.eXample', types.A, { id: 99 })), response, 20);
  assert.deepEqual([reply.readUInt16BE(0), reply.toString('latin1', 13, 16)], [99, 'wWw']);
  assert.equal(reply.readUInt32BE(response.ttls[0] ?? 0), 10);
});

test('a denial is kept for what its SOA record says, an error not at all', () => {
  const query = read(queryFor('no.example'));
  const denial = (rcode: number, ttl: number) => {
    const reply = makeReply({ ...query, id: 7 }, { rcode, answers: [], ttl });
    return readResponse(reply, 7, query.asked)?.keepSeconds;
  };
  assert.deepEqual([denial(3, 60), denial(0, 60), denial(2, 60)], [60, 60, 0]);
  assert.equal(readResponse(makeReply({ ...query, id: 7 }, { rcode: 3 }), 7, query.asked)?.keepSeconds, 0);
});
