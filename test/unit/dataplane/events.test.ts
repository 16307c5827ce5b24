import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeBridgePortLink } from '../../../dataplane/rtnetlink/links.ts';
import { decodeNeighbourEvent, encodeEntryWrite } from '../../../dataplane/rtnetlink/neighbours.ts';
import { TableWatch } from '../../../dataplane/rtnetlink/nft-events.ts';
import { decodeNft, encodeElementBatch } from '../../../dataplane/rtnetlink/nft-wire.ts';
import { decodeForwarding } from '../../../dataplane/rtnetlink/routes.ts';
import { type Message, MessageWriter, messagesOf } from '../../../dataplane/rtnetlink/wire.ts';

// Bytes laid out by hand from linux/netfilter/nf_tables.h, linux/netconf.h and linux/if_link.h.

function message(type: number, write: (writer: MessageWriter) => void): Message {
  const writer = new MessageWriter();
  writer.begin(type, 0, 1);
  write(writer);
  writer.end();
  const [first] = messagesOf(Buffer.from(writer.bytes));
  return first ?? assert.fail();
}

const INET = 1;
/** A message of nftables on a table, with the comment of a rule. */
const nft = (what: number, table: string, comment?: string, family = INET): Message =>
  message((10 << 8) | what, (writer) => {
    writer.u32(family);
    writer.attributeText(1, table);
    if (comment !== undefined)
      writer.attribute(7, Buffer.from(`\0${String.fromCharCode(comment.length + 1)}${comment}\0`));
  });
const [NEWTABLE, DELTABLE, NEWCHAIN, NEWRULE, DELRULE, NEWGEN] = [0, 2, 3, 6, 8, 15];
const end = nft(NEWGEN, 'generation');

const readAll = (messages: readonly Message[]): unknown[] => {
  const watch = new TableWatch({ family: 'inet', name: 'weft' });
  return messages.map((each) => watch.read(decodeNft(each) ?? assert.fail())).filter((change) => change !== null);
};

test('a table that is replaced in one transaction is known by its comments', () => {
  const replaced = [
    ...[nft(DELRULE, 'weft', 'old'), nft(DELTABLE, 'weft'), nft(NEWTABLE, 'weft'), nft(NEWCHAIN, 'weft')],
    ...[nft(NEWRULE, 'weft', 'weft 1 2'), nft(NEWRULE, 'weft', 'weft 1 2'), end],
  ];
  assert.deepEqual(readAll(replaced), [{ kind: 'made', comments: ['weft 1 2', 'weft 1 2'] }]);
});

test('a table that is deleted, or changed by halves, is told so; others are not told of', () => {
  assert.deepEqual(readAll([nft(DELRULE, 'weft'), nft(DELTABLE, 'weft'), end]), [{ kind: 'deleted' }]);
  assert.deepEqual(readAll([nft(NEWRULE, 'weft', 'mine'), end]), [{ kind: 'altered' }]);
  assert.deepEqual(readAll([nft(DELRULE, 'weft'), end, nft(DELRULE, 'filter'), end]), [{ kind: 'altered' }]);
  assert.deepEqual(readAll([nft(DELTABLE, 'weft', undefined, 2), end, nft(NEWTABLE, 'docker'), end]), []);
});

test('elements of its sets are told one by one, and leave the table as it is', () => {
  const writer = new MessageWriter();
  const table = { family: 'inet', name: 'weft' } as const;
  const elements = [Buffer.of(192, 0, 2, 1), Buffer.of(192, 0, 2, 2)].map((key) => ({ key, value: null }));
  encodeElementBatch(writer, 1, table, [
    { op: 'add', set: 'vteps4', elements },
    { op: 'delete', set: 'vnis', elements: [{ key: Buffer.of(0, 16, 1), value: null }] },
  ]);
  const [, added, deleted] = messagesOf(Buffer.from(writer.bytes));
  assert.deepEqual(readAll([added ?? assert.fail(), deleted ?? assert.fail(), end]), [
    { kind: 'elements', set: 'vteps4', elements, gone: false },
    { kind: 'elements', set: 'vnis', elements: [{ key: Buffer.of(0, 16, 1), value: null }], gone: true },
  ]);
});

test('an entry that has become temporary counts as gone, and so does a deleted one', () => {
  const entry = (flags: number, type?: number): Message => {
    const writer = new MessageWriter();
    encodeEntryWrite(writer, 1, { op: 'neighbour-put', ifindex: 5, ip: '10.0.0.2', mac: '02:00:00:00:00:01' }, 0);
    const bytes = Buffer.from(writer.bytes);
    bytes.writeUInt16LE(flags, 16 + 8);
    if (type !== undefined) bytes.writeUInt16LE(type, 4);
    const [first] = messagesOf(bytes);
    return first ?? assert.fail();
  };
  const [NUD_STALE, NUD_PERMANENT, RTM_DELNEIGH] = [0x04, 0x80, 29];
  const of = (each: Message) => decodeNeighbourEvent(each);
  assert.deepEqual(of(entry(NUD_PERMANENT))?.entry, {
    ...{ kind: 'neighbour', ifindex: 5, ip: '10.0.0.2', mac: '02:00:00:00:00:01', ours: true },
  });
  const gone = { kind: 'neighbour', ifindex: 5, key: '10.0.0.2', entry: null };
  assert.deepEqual(of(entry(NUD_STALE)), gone);
  assert.deepEqual(of(entry(NUD_PERMANENT, RTM_DELNEIGH)), gone);
});

test('forwarding is that of the whole namespace, not of a device', () => {
  const netconf = (ifindex: number, on: number, family = 2): Message =>
    message(80, (writer) => {
      writer.u32(family);
      writer.attributeU32(1, ifindex);
      writer.attributeU32(2, on);
    });
  assert.deepEqual([netconf(-1, 1), netconf(-1, 0), netconf(-1, 1, 10), netconf(3, 0)].map(decodeForwarding), [
    { ipv6: false, on: true },
    { ipv6: false, on: false },
    { ipv6: true, on: true },
    null,
  ]);
});

test('flags of a port, as its bridge tells them', () => {
  const told = message(16, (writer) => {
    writer.u32(7);
    for (const field of [9, 0, 0]) writer.u32(field);
    writer.nest(12, () => {
      for (const [flag, on] of [
        [8, 1],
        [9, 0],
        [33, 1],
      ] as const)
        writer.attributeU8(flag, on);
    });
  });
  const flags = { learning: true, flood: false, isolated: true, neighSuppress: false, hairpin: false };
  const port = { ...flags, broadcast: true, multicast: true };
  assert.deepEqual(decodeBridgePortLink(told), { ifindex: 9, port });
});
