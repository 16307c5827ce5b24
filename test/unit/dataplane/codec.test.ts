import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ipAt, ipBytes, macAt, macBytes } from '../../../dataplane/rtnetlink/address-bytes.ts';
import { encodeAddressChange, encodeDefaultRoute, encodeVethAdd } from '../../../dataplane/rtnetlink/changes.ts';
import { decodeLink, encodeLinkByName } from '../../../dataplane/rtnetlink/links.ts';
import { decodeNeighbour, type EntryWrite, encodeEntryWrite } from '../../../dataplane/rtnetlink/neighbours.ts';
import { decodeRoute, encodeRouteTo } from '../../../dataplane/rtnetlink/routes.ts';
import {
  decodeError,
  MessageWriter,
  messagesOf,
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
} from '../../../dataplane/rtnetlink/wire.ts';
import { parseIp } from '../../../dataplane/values.ts';

// Expected bytes are laid out by hand from linux/netlink.h, linux/rtnetlink.h and linux/neighbour.h.

function written(write: EntryWrite, flags = 0): string {
  const writer = new MessageWriter();
  encodeEntryWrite(writer, 7, write, flags);
  return writer.bytes.toString('hex');
}

test('replace an FDB entry: RTM_NEWNEIGH, create and replace, AF_BRIDGE, permanent, self', () => {
  assert.equal(
    written({ op: 'fdb-put', ifindex: 5, mac: '02:42:0a:00:01:02', vtep: '10.99.0.2' }, NLM_F_ACK),
    '30000000' + // 48 bytes
      '1c00' + // RTM_NEWNEIGH
      '0505' + // NLM_F_REQUEST | NLM_F_ACK | NLM_F_REPLACE | NLM_F_CREATE
      '0700000000000000' + // seq, pid
      '07000000' + // AF_BRIDGE, padding
      '05000000' + // ifindex
      '8000' + // NUD_PERMANENT
      '0200' + // NTF_SELF, type
      '0a000200' + // NDA_LLADDR
      '02420a0001020000' +
      '08000100' + // NDA_DST
      '0a630002',
  );
});

test('delete an FDB entry names no destination, so that it goes whatever it leads to', () => {
  assert.equal(
    written({ op: 'fdb-delete', ifindex: 5, mac: '02:42:0a:00:01:02' }),
    '28000000' +
      '1d00' +
      '0100' +
      '0700000000000000' +
      '0700000005000000' +
      '80000200' +
      '0a000200' +
      '02420a0001020000',
  );
});

test('replace a neighbour: permanent, and marked with our protocol', () => {
  assert.equal(
    written({ op: 'neighbour-put', ifindex: 5, ip: '10.0.0.2', mac: '02:42:0a:00:01:02' }),
    '38000000' +
      '1c00' +
      '0105' +
      '0700000000000000' +
      '0200000005000000' + // AF_INET
      '80000000' +
      '080001000a000002' + // NDA_DST
      '0a00020002420a0001020000' + // NDA_LLADDR
      '05000c00c9000000', // NDA_PROTOCOL 201
  );
  assert.match(
    written({ op: 'neighbour-put', ifindex: 5, ip: 'fd00::2', mac: '02:42:0a:00:01:02' }),
    /14000100fd0{29}2/,
  );
});

test('tie a MAC to a port: NUD_NOARP, NTF_MASTER', () => {
  assert.equal(
    written({ op: 'static-put', ifindex: 9, mac: '02:42:0a:00:01:02' }).slice(32),
    '0700000009000000' + '40000400' + '0a00020002420a0001020000',
  );
});

test('what is written is read back', () => {
  const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map((bytes) => macAt(bytes, 0));
  const ip = fc.oneof(fc.ipV4(), fc.ipV6()).map((text) => {
    const parsed = parseIp(text);
    return parsed.ok ? parsed.value : '10.0.0.1';
  });
  fc.assert(
    fc.property(mac, ip, fc.integer({ min: 1, max: 0x7fffffff }), (address, target, ifindex) => {
      const writer = new MessageWriter();
      encodeEntryWrite(writer, 1, { op: 'fdb-put', ifindex, mac: address, vtep: target }, 0);
      encodeEntryWrite(writer, 2, { op: 'neighbour-put', ifindex, ip: target, mac: address }, 0);
      const [fdb, neighbour] = [...messagesOf(writer.bytes)].map(decodeNeighbour);
      assert.deepEqual(fdb, { kind: 'fdb', ifindex, mac: address, vtep: target, permanent: true });
      assert.deepEqual(neighbour, { kind: 'neighbour', ifindex, ip: target, mac: address, ours: true });
      assert.equal(macAt(macBytes(address), 0), address);
      const bytes = ipBytes(target);
      assert.equal(ipAt(bytes, 0, bytes.length), target);
    }),
  );
});

test('a batch larger than the buffer keeps every message', () => {
  const writer = new MessageWriter();
  for (let seq = 0; seq < 2000; seq++) {
    encodeEntryWrite(writer, seq, { op: 'fdb-put', ifindex: seq + 1, mac: '02:00:00:00:00:01', vtep: '10.0.0.1' }, 0);
  }
  const seqs = [...messagesOf(writer.bytes)].map((message) => message.seq);
  assert.deepEqual(
    seqs,
    Array.from({ length: 2000 }, (_, index) => index),
  );
});

test('a VXLAN link that is a bridge port', () => {
  const writer = new MessageWriter();
  const nested = (build: (inner: MessageWriter) => void): Buffer => {
    const inner = new MessageWriter();
    build(inner);
    return inner.bytes;
  };
  writer.begin(16, 0, 1);
  writer.u32(0);
  writer.u32(12);
  writer.u32(1); // IFF_UP
  writer.u32(0);
  writer.attributeText(3, 'wx4097'); // IFLA_IFNAME
  writer.attributeU32(4, 1450); // IFLA_MTU
  writer.attributeU32(10, 11); // IFLA_MASTER
  writer.attribute(
    18 | 0x8000, // IFLA_LINKINFO, NLA_F_NESTED
    nested((info) => {
      info.attributeText(1, 'vxlan');
      info.attribute(
        2,
        nested((data) => {
          data.attributeU32(1, 4097); // IFLA_VXLAN_ID
          data.attribute(4, Uint8Array.of(10, 99, 0, 1)); // IFLA_VXLAN_LOCAL
          data.attributeU8(7, 0); // IFLA_VXLAN_LEARNING
          data.attributeU8(11, 1); // IFLA_VXLAN_PROXY
          data.attribute(15, Uint8Array.of(0x12, 0xb5)); // IFLA_VXLAN_PORT, network order
        }),
      );
      info.attributeText(4, 'bridge');
      info.attribute(
        5,
        nested((data) => {
          data.attributeU8(8, 0); // IFLA_BRPORT_LEARNING
          data.attributeU8(9, 1); // IFLA_BRPORT_UNICAST_FLOOD
          data.attributeU8(33, 0); // IFLA_BRPORT_ISOLATED
          data.attributeU8(27, 0); // IFLA_BRPORT_MCAST_FLOOD; of broadcast, nothing is said
        }),
      );
    }),
  );
  const conf = Buffer.alloc(4 * 60); // DEVCONF_MAX is larger with each kernel
  writer.attribute(
    26, // IFLA_AF_SPEC
    nested((families) =>
      families.attribute(
        10,
        nested((inet6) => inet6.attribute(2, conf)),
      ),
    ), // AF_INET6, IFLA_INET6_CONF
  );
  writer.end();
  const [message] = messagesOf(writer.bytes);
  assert.ok(message);
  assert.deepEqual(decodeLink(message), {
    ipv6: 'quiet',
    acceptRa: 0,
    ifindex: 12,
    name: 'wx4097',
    kind: 'vxlan',
    mtu: 1450,
    mac: '',
    up: true,
    alias: '',
    masterIndex: 11,
    peerIndex: null,
    peerNetnsId: null,
    vxlan: { vni: 4097, local: '10.99.0.1', port: 4789, learning: false, proxy: true },
    bridgePort: {
      ...{ learning: false, flood: true, isolated: false, neighSuppress: false, hairpin: false },
      ...{ broadcast: true, multicast: false },
    },
    macvlanMode: null,
  });
});

test('questions', () => {
  const writer = new MessageWriter();
  encodeLinkByName(writer, 1, 'lo');
  const [byName] = messagesOf(writer.bytes);
  assert.ok(byName);
  assert.equal(decodeLink(byName).name, 'lo');
  writer.reset();
  encodeRouteTo(writer, 1, '10.99.0.2');
  const [route] = messagesOf(writer.bytes);
  assert.ok(route);
  assert.equal(decodeRoute(route).destination, '10.99.0.2');
  assert.equal(decodeRoute(route).prefixLength, 32);
});

test('an error carries the errno and the kernel’s own words', () => {
  const writer = new MessageWriter();
  writer.begin(2, NLM_F_ACK_TLVS | NLM_F_CAPPED, 7);
  writer.u32(-17);
  writer.bytesOf(new Uint8Array(16)); // header of the request
  writer.attributeText(1, 'no such thing'); // NLMSGERR_ATTR_MSG
  writer.end();
  const [message] = messagesOf(writer.bytes);
  assert.ok(message);
  assert.deepEqual(decodeError(message), { errno: 17, text: 'no such thing' });
});

test('a length that leaves the datagram is an error', () => {
  assert.throws(() => [...messagesOf(Buffer.from('ff000000100001000100000000000000', 'hex'))], /leaves its datagram/);
});

const change = (encode: (writer: MessageWriter, seq: number) => void): string => {
  const writer = new MessageWriter();
  encode(writer, 7);
  return writer.bytes.toString('hex');
};

test('a veth pair: create and exclusive, the MTU on both ends, the peer nested with its namespace', () => {
  const outer = { name: 'a', mtu: 1450, mac: null, netnsFd: 3 };
  const inner = { name: 'b', mtu: 1450, mac: '02:42:0a:00:01:02', netnsFd: 4 };
  assert.equal(
    change((writer, seq) => encodeVethAdd(writer, seq, outer, inner)),
    '84000000' + // 132 bytes
      '1000' + // RTM_NEWLINK
      '0506' + // NLM_F_REQUEST | NLM_F_ACK | NLM_F_EXCL | NLM_F_CREATE
      '0700000000000000' +
      '00'.repeat(16) + // ifinfomsg
      '0600030061000000' + // IFLA_IFNAME, padded
      '08000400aa050000' + // IFLA_MTU
      '08001c0003000000' + // IFLA_NET_NS_FD
      '4c001280' + // IFLA_LINKINFO, nested
      '0900010076657468' + // IFLA_INFO_KIND "veth"
      '00000000' +
      '3c000280' + // IFLA_INFO_DATA, nested
      '38000180' + // VETH_INFO_PEER, nested
      '00'.repeat(16) +
      '0600030062000000' +
      '08000400aa050000' +
      '0a00010002420a0001020000' + // IFLA_ADDRESS
      '08001c0004000000',
  );
});

test('an IPv6 address needs no duplicate address detection; a default route goes into the main table', () => {
  assert.equal(
    change((writer, seq) => encodeAddressChange(writer, seq, 'put', 5, 'fd00::2/64')).slice(8, 48),
    '14000505' + '0700000000000000' + '0a400200' + '05000000',
  );
  assert.equal(
    change((writer, seq) => encodeDefaultRoute(writer, seq, 5, '172.18.0.1')).slice(32),
    '02000000fe030001' + '00000000' + '08000500ac120001' + '0800040005000000',
  );
});
