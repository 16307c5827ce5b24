import { elementBytes, elementText } from '../../../dataplane/nft/elements.ts';
import { decodeDatagram, encodeReply, encodeRequest } from '../../../dataplane/path/datagram.ts';
import { echoRequest, parseEchoReply } from '../../../dataplane/path/probe.ts';
import { CT_NEW, decodeFlow } from '../../../dataplane/rtnetlink/conntrack.ts';
import { decodeLink } from '../../../dataplane/rtnetlink/links.ts';
import { decodeNeighbour, encodeEntryWrite } from '../../../dataplane/rtnetlink/neighbours.ts';
import { decodeForwardChain } from '../../../dataplane/rtnetlink/nft-chains.ts';
import { decodeNft } from '../../../dataplane/rtnetlink/nft-wire.ts';
import { decodePolicyRule, encodePolicyRule } from '../../../dataplane/rtnetlink/policy.ts';
import { decodeAddress, decodeNetnsId, decodeRoute } from '../../../dataplane/rtnetlink/routes.ts';
import {
  AF_INET,
  decodeError,
  type Message,
  MessageWriter,
  messagesOf,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLMSG_ERROR,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  RTM_NEWNSID,
  RTM_NEWROUTE,
  RTM_NEWRULE,
} from '../../../dataplane/rtnetlink/wire.ts';
import { answersSyn, synSegment } from '../../../dataplane/selftest/syn.ts';
import { must, parseIp } from '../../../dataplane/values.ts';
import type { Fate, Target } from '../engine.ts';
import { bytesOf, takenIf } from '../inputs.ts';

/** What the kernel hands up: messages of other hosts, and its own answers. */
export const kernelTargets = (): Target[] => [echoTarget(), netlinkTarget(), synTarget(), pathTarget()];

/** TCP segments that a raw socket of the self-test gets. */
function synTarget(): Target {
  const to = must(parseIp('10.0.0.3'));
  const segment = synSegment(to, to, 9, 40_000, 0);
  // RST and ACK of sequence number 7.
  segment[13] = 0x14;
  segment.writeUInt32BE(8, 8);
  const answer = Buffer.concat([Buffer.from('4500002800004000400600000a0000030a000002', 'hex'), segment]);
  return {
    name: 'answers to a SYN',
    weight: 2,
    valid: [answer],
    make: (random) => bytesOf(random, [answer]),
    take: (packet: Uint8Array) => takenIf(answersSyn(Buffer.from(packet), to, 40_000, 9, 7)),
  };
}

/** What comes to the UDP port at which paths are measured. */
function pathTarget(): Target {
  const nonce = Buffer.alloc(16, 7);
  const valid = [encodeRequest(nonce, 22), encodeRequest(nonce, 1472), encodeReply(nonce)];
  return {
    name: 'datagrams that measure a path',
    weight: 2,
    valid,
    make: (random) => bytesOf(random, valid),
    take: (bytes: Uint8Array) => takenIf(decodeDatagram(bytes) !== null),
  };
}

function echoTarget(): Target {
  const nonce = Buffer.alloc(16, 7);
  const reply = (family: 4 | 6, type: number): Buffer => {
    const message = echoRequest(family, 4660, 1, nonce);
    message.writeUInt8(type, 0);
    return message;
  };
  // An IPv4 header of five words, and one with options.
  const header = (words: number): Buffer => Buffer.concat([Buffer.of(0x40 + words), Buffer.alloc(4 * words - 1)]);
  const valid: readonly [4 | 6, Buffer][] = [
    [4, Buffer.concat([header(5), reply(4, 0)])],
    [4, Buffer.concat([header(15), reply(4, 0), Buffer.alloc(40)])],
    [6, reply(6, 129)],
  ];
  return {
    name: 'ICMP replies',
    weight: 3,
    valid,
    make: (random) => {
      const [family, bytes] = random.pick(valid) ?? [4, Buffer.alloc(0)];
      return [family, bytesOf(random, [bytes])];
    },
    take: ([family, packet]: [4 | 6, Uint8Array]) => takenIf(parseEchoReply(family, Buffer.from(packet)) !== null),
  };
}

/** NFT_MSG_NEWCHAIN of nfnetlink's subsystem nf_tables. */
const NEWCHAIN = (10 << 8) | 3;
/** NFT_MSG_NEWSETELEM of the same. */
const NEWSETELEM = (10 << 8) | 12;
const decoders: { readonly [type: number]: (message: Message) => unknown } = {
  [NLMSG_ERROR]: decodeError,
  [RTM_NEWLINK]: decodeLink,
  [RTM_NEWADDR]: decodeAddress,
  [RTM_NEWROUTE]: decodeRoute,
  [RTM_NEWNEIGH]: decodeNeighbour,
  [RTM_NEWNSID]: decodeNetnsId,
  [NEWCHAIN]: decodeForwardChain,
  [RTM_NEWRULE]: decodePolicyRule,
  [CT_NEW]: decodeFlow,
  [NEWSETELEM]: (message) => {
    // A map from a published port and a slot to a backend, or from an address to a chain: read as both, whatever it is.
    const texts = decodeNft(message)?.elements.map(
      (element) => elementText('slot', element) ?? elementText('goto4', element),
    );
    return texts?.some((text) => text !== null) ? texts : null;
  },
};

/** The kernel is not lying, but another one may say more than this code knows: an Error ends the listing, nothing else. */
function netlinkTarget(): Target {
  const valid = netlinkReplies();
  const refusals = /leaves its datagram|out of range|outside buffer bounds|ipv6 part count/;
  return {
    name: 'rtnetlink replies',
    weight: 9,
    valid,
    make: (random) => bytesOf(random, valid),
    take: (bytes: Uint8Array): Fate => {
      let decoded = 0;
      try {
        for (const message of messagesOf(Buffer.from(bytes))) {
          if (decoders[message.type] === undefined) continue;
          if (decoders[message.type]?.(message) !== null) decoded += 1;
        }
      } catch (error) {
        if (!(error instanceof Error) || !refusals.test(error.message)) throw error;
        return decoded > 0 ? 'read' : 'refused';
      }
      return takenIf(decoded > 0);
    },
  };
}

/** Messages as the kernel sends them (linux/rtnetlink.h, if_link.h, neighbour.h), one datagram each. */
function netlinkReplies(): Buffer[] {
  const replies: Buffer[] = [];
  const message = (type: number, flags: number, write: (writer: MessageWriter) => void): void => {
    const writer = new MessageWriter();
    writer.begin(type, flags, 1);
    write(writer);
    writer.end();
    replies.push(Buffer.from(writer.bytes));
  };
  const header = (writer: MessageWriter, ...words: number[]): void => {
    for (const word of words) writer.u32(word);
  };
  const ip = Buffer.of(10, 0, 0, 1);
  message(RTM_NEWLINK, 0, (writer) => {
    header(writer, 0, 7, 1, 0);
    writer.attributeText(3, 'wx4097');
    writer.attribute(1, Buffer.alloc(6, 2));
    writer.attributeU32(4, 1450);
    writer.attributeU32(10, 3);
    writer.attributeText(20, 'weft');
    writer.nest(18, () => {
      writer.attributeText(1, 'vxlan');
      writer.nest(2, () => {
        writer.attributeU32(1, 4097);
        writer.attribute(4, ip);
        writer.attribute(15, Buffer.of(0x12, 0xb5));
        writer.attributeU8(7, 0);
      });
      writer.attributeText(4, 'bridge');
      writer.nest(5, () => writer.attributeU8(33, 1));
    });
  });
  message(RTM_NEWADDR, 0, (writer) => {
    header(writer, AF_INET | (24 << 8), 7);
    writer.attribute(2, ip);
  });
  message(RTM_NEWROUTE, 0, (writer) => {
    header(writer, AF_INET | (24 << 8), 254 | (1 << 24), 0);
    writer.attribute(1, ip);
    writer.attribute(5, ip);
    writer.attributeU32(4, 7);
    writer.attributeU32(6, 100);
  });
  message(RTM_NEWNSID, 0, (writer) => {
    header(writer, 0);
    writer.attributeU32(1, 5);
  });
  message(NEWCHAIN, 0, (writer) => {
    header(writer, 2);
    writer.attributeText(1, 'filter');
    writer.attributeText(3, 'FORWARD');
    writer.nest(4, () => writer.attribute(1, Buffer.of(0, 0, 0, 2)));
    writer.attribute(5, Buffer.alloc(4));
  });
  message(NEWSETELEM, 0, (writer) => {
    header(writer, 1);
    writer.attributeText(1, 'weft_mesh');
    writer.attributeText(2, 'backends');
    const { key, value } = elementBytes('slot', 'tcp 8080 1 : 10.0.0.1 80');
    writer.nest(3, () =>
      writer.nest(1, () => {
        writer.nest(1, () => writer.attribute(1, key));
        writer.nest(2, () => writer.attribute(1, Buffer.isBuffer(value) ? value : key));
      }),
    );
  });
  message(NEWSETELEM, 0, (writer) => {
    header(writer, 1);
    writer.attributeText(1, 'weft_vip');
    writer.attributeText(2, 'vips4');
    const { key } = elementBytes('goto4', '10.0.0.1 : turn8');
    writer.nest(3, () =>
      writer.nest(1, () => {
        writer.nest(1, () => writer.attribute(1, key));
        writer.nest(2, () =>
          writer.nest(2, () => {
            writer.attribute(1, Buffer.of(0xff, 0xff, 0xff, 0xfc));
            writer.attributeText(2, 'turn8');
          }),
        );
      }),
    );
  });
  for (const [family, from, to, source] of [
    [2, 1, 2, Buffer.of(10, 0, 0, 1)],
    [10, 3, 4, Buffer.alloc(16, 1)],
  ] as const) {
    const tuple = (writer: MessageWriter): void => {
      writer.nest(1, () => {
        writer.attribute(from, source);
        writer.attribute(to, source);
      });
      writer.nest(2, () => {
        writer.attribute(1, Buffer.of(6));
        for (const port of [2, 3]) writer.attribute(port, Buffer.of(0x1f, 0x90));
      });
    };
    message(CT_NEW, 0, (writer) => {
      header(writer, family);
      writer.nest(1, () => tuple(writer));
      writer.nest(2, () => tuple(writer));
      writer.attribute(3, Buffer.of(0, 0, 0, 0x2e));
      writer.attribute(12, Buffer.of(1, 2, 3, 4));
    });
  }
  message(NLMSG_ERROR, NLM_F_ACK_TLVS | NLM_F_CAPPED, (writer) => {
    header(writer, -17, 36, RTM_NEWNEIGH, 1, 0);
    writer.attributeText(1, 'exists');
  });
  for (const write of [
    { op: 'fdb-put', ifindex: 7, mac: '02:42:0a:00:01:07', vtep: '192.0.2.2' },
    { op: 'neighbour-put', ifindex: 7, ip: '2001:db8::7', mac: '02:42:0a:00:01:07' },
  ] as const) {
    const writer = new MessageWriter();
    encodeEntryWrite(writer, 1, write, 0);
    replies.push(Buffer.from(writer.bytes));
  }
  const writer = new MessageWriter();
  const mark = 0x57000001;
  encodePolicyRule(writer, 1, 'add', {
    ipv6: true,
    mark,
    mask: 0xffffffff,
    table: mark,
    priority: 5757,
    protocol: 201,
  });
  replies.push(Buffer.from(writer.bytes));
  return replies;
}
