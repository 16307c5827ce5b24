import {
  eachAttribute,
  type Message,
  type MessageWriter,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  textAt,
} from './wire.ts';

// nftables over netlink: linux/netfilter/nfnetlink.h (nfgenmsg, NFNL_*) and linux/netfilter/nf_tables.h (NFT_MSG_*, NFTA_*).
// Numbers inside attributes are big-endian there; sizes and types of messages are not.

const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 16;
const NFNL_MSG_BATCH_END = 17;
export const NFT_MSG_NEWTABLE = 0;
const NFT_MSG_GETTABLE = 1;
export const NFT_MSG_DELTABLE = 2;
const NFT_MSG_DELCHAIN = 5;
export const NFT_MSG_NEWRULE = 6;
const NFT_MSG_GETRULE = 7;
export const NFT_MSG_NEWSETELEM = 12;
const NFT_MSG_GETSETELEM = 13;
export const NFT_MSG_DELSETELEM = 14;
export const NFT_MSG_NEWGEN = 15;
const NFT_MSG_GETGEN = 16;
const NFGENMSG_LENGTH = 4;
/** NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_ELEM_LIST_TABLE and so on are all 1. */
const NFTA_OF_TABLE = 1;
const NFTA_TABLE_USE = 3;
const NFTA_GEN_ID = 1;
const NFTA_CHAIN_NAME = 3;
/** linux/netlink.h: to fail where there is something inside, and not to delete that, too. */
const NLM_F_NONREC = 0x100;
const NFTA_RULE_USERDATA = 7;
const NFTA_SET_ELEM_LIST_SET = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS = 3;
const NFTA_LIST_ELEM = 1;
const NFTA_SET_ELEM_KEY = 1;
const NFTA_SET_ELEM_DATA = 2;
const NFTA_SET_ELEM_EXPR = 7;
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;
const NFTA_COUNTER_PACKETS = 2;
const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;
const NFTA_VERDICT_CODE = 1;
const NFTA_VERDICT_CHAIN = 2;
/** enum nft_verdicts */
const NFT_GOTO = -4;
/** Type and length, one byte each, then the text: libnftnl's udata.h, NFTNL_UDATA_RULE_COMMENT. */
const UDATA_COMMENT = 0;
const UDATA_HEADER_LENGTH = 2;

/** linux/netfilter.h, NFPROTO_*. */
export const FAMILIES = { inet: 1, bridge: 7 } as const;
export type NftFamily = keyof typeof FAMILIES;

/** A table of nftables. */
export interface NftTable {
  readonly family: NftFamily;
  readonly name: string;
}

/** What an nftables message is about; what it does not say is empty. */
export interface NftMessage {
  /** NFT_MSG_* */
  readonly what: number;
  /** NFPROTO_* */
  readonly family: number;
  readonly table: string;
  /** Of a table: how many chains, sets and so on it has. */
  readonly uses: number;
  /** Of a rule: its comment. */
  readonly comment: string;
  /** Of elements: their set or map, and what they are. */
  readonly set: string;
  readonly elements: readonly Element[];
}

/** An element of a set, or of a map, in the byte order of that. */
export interface Element {
  readonly key: Buffer;
  /** null: of a set, which has none. */
  readonly value: Buffer | Goto | null;
  /** Where it counts them. */
  readonly packets?: number;
}

/** Of a map of verdicts: the chain that packets go to. */
export interface Goto {
  readonly chain: string;
}

/** Reads any message of nftables; null for those of others. */
export function decodeNft({ type, buffer, start, end }: Message): NftMessage | null {
  if (type >> 8 !== NFNL_SUBSYS_NFTABLES || end - start < NFGENMSG_LENGTH) return null;
  const what = type & 0xff;
  const ofElements = what === NFT_MSG_NEWSETELEM || what === NFT_MSG_DELSETELEM;
  let table = '';
  let uses = 0;
  let comment = '';
  let set = '';
  const elements: Element[] = [];
  eachAttribute(buffer, start + NFGENMSG_LENGTH, end, (attribute, from, to) => {
    if (attribute === NFTA_OF_TABLE) table = textAt(buffer, from, to);
    else if (attribute === NFTA_TABLE_USE && what === NFT_MSG_NEWTABLE && to - from >= 4)
      uses = buffer.readUInt32BE(from);
    else if (attribute === NFTA_RULE_USERDATA && what === NFT_MSG_NEWRULE) comment = commentAt(buffer, from, to);
    else if (attribute === NFTA_SET_ELEM_LIST_SET && ofElements) set = textAt(buffer, from, to);
    else if (attribute === NFTA_SET_ELEM_LIST_ELEMENTS && ofElements) readElements(buffer, from, to, elements);
  });
  return { what, family: buffer[start] ?? 0, table, uses, comment, set, elements };
}

const commentAt = (buffer: Buffer, from: number, to: number): string =>
  buffer[from] === UDATA_COMMENT ? textAt(buffer, from + UDATA_HEADER_LENGTH, to) : '';

function readElements(buffer: Buffer, start: number, end: number, elements: Element[]): void {
  eachAttribute(buffer, start, end, (list, listFrom, listTo) => {
    if (list !== NFTA_LIST_ELEM) return;
    let key: Buffer | null = null;
    let value: Buffer | Goto | null = null;
    let packets: number | null = null;
    eachAttribute(buffer, listFrom, listTo, (attribute, from, to) => {
      if (attribute === NFTA_SET_ELEM_KEY) key = dataAt(buffer, from, to);
      else if (attribute === NFTA_SET_ELEM_DATA) value = gotoAt(buffer, from, to) ?? dataAt(buffer, from, to);
      else if (attribute === NFTA_SET_ELEM_EXPR) packets = packetsAt(buffer, from, to);
    });
    if (key !== null) elements.push({ key, value, ...(packets === null ? {} : { packets }) });
  });
}

/** null where there is something else than a counter. */
function packetsAt(buffer: Buffer, start: number, end: number): number | null {
  let name = '';
  let packets: number | null = null;
  eachAttribute(buffer, start, end, (expression, expressionFrom, expressionTo) => {
    if (expression === NFTA_EXPR_NAME) name = textAt(buffer, expressionFrom, expressionTo);
    if (expression !== NFTA_EXPR_DATA) return;
    eachAttribute(buffer, expressionFrom, expressionTo, (attribute, from, to) => {
      if (attribute === NFTA_COUNTER_PACKETS && to - from === 8) packets = Number(buffer.readBigUInt64BE(from));
    });
  });
  return name === 'counter' ? packets : null;
}

/** null where there is something else: bytes, or another verdict. */
function gotoAt(buffer: Buffer, start: number, end: number): Goto | null {
  let code = 0;
  let chain = '';
  eachAttribute(buffer, start, end, (data, dataFrom, dataTo) => {
    if (data !== NFTA_DATA_VERDICT) return;
    eachAttribute(buffer, dataFrom, dataTo, (attribute, from, to) => {
      if (attribute === NFTA_VERDICT_CODE && to - from === 4) code = buffer.readInt32BE(from);
      else if (attribute === NFTA_VERDICT_CHAIN) chain = textAt(buffer, from, to);
    });
  });
  return code === NFT_GOTO ? { chain } : null;
}

/** A copy, since the buffer is the next datagram's, too. Empty where there is something else: a verdict. */
function dataAt(buffer: Buffer, start: number, end: number): Buffer {
  let bytes = Buffer.alloc(0);
  eachAttribute(buffer, start, end, (data, from, to) => {
    if (data === NFTA_DATA_VALUE) bytes = Buffer.from(buffer.subarray(from, to));
  });
  return bytes;
}

/** nfgenmsg: family, version, and in a batch which subsystem it is for. */
function begin(writer: MessageWriter, message: number, flags: number, seq: number, family: number, resource = 0): void {
  writer.begin(message, NLM_F_REQUEST | flags, seq);
  writer.bytesOf(Uint8Array.of(family, 0, resource >> 8, resource & 0xff));
}

const nft = (message: number): number => (NFNL_SUBSYS_NFTABLES << 8) | message;

/** @param message NFT_MSG_* */
export const beginNft = (writer: MessageWriter, message: number, flags: number, seq: number, family: number): void =>
  begin(writer, nft(message), flags, seq, family);

/** A transaction of so many messages, its begin and end included; those in between are numbered from `seq + 1`. */
export function inBatch(writer: MessageWriter, seq: number, messages: number, encode: () => void): void {
  begin(writer, NFNL_MSG_BATCH_BEGIN, 0, seq, 0, NFNL_SUBSYS_NFTABLES);
  writer.end();
  encode();
  begin(writer, NFNL_MSG_BATCH_END, 0, seq + messages - 1, 0, NFNL_SUBSYS_NFTABLES);
  writer.end();
}

/** Asks for a table; the answer is ENOENT when there is none. */
export function encodeTableGet(writer: MessageWriter, seq: number, { family, name }: NftTable): void {
  begin(writer, nft(NFT_MSG_GETTABLE), 0, seq, FAMILIES[family]);
  writer.attributeText(NFTA_OF_TABLE, name);
  writer.end();
}

/** Asks for the number of the last transaction in the namespace. */
export function encodeGenerationGet(writer: MessageWriter, seq: number): void {
  begin(writer, nft(NFT_MSG_GETGEN), 0, seq, 0);
  writer.end();
}

/** null for any other message. */
export function decodeGeneration({ type, buffer, start, end }: Message): number | null {
  let number: number | null = null;
  if (type !== nft(NFT_MSG_NEWGEN) || end - start < NFGENMSG_LENGTH) return null;
  eachAttribute(buffer, start + NFGENMSG_LENGTH, end, (attribute, from, to) => {
    if (attribute === NFTA_GEN_ID && to - from === 4) number = buffer.readUInt32BE(from);
  });
  return number;
}

/** Asks for all rules of a table. */
export function encodeRuleDump(writer: MessageWriter, seq: number, { family, name }: NftTable): void {
  begin(writer, nft(NFT_MSG_GETRULE), NLM_F_DUMP, seq, FAMILIES[family]);
  writer.attributeText(NFTA_OF_TABLE, name);
  writer.end();
}

/** Asks for all elements of a set; the answer is ENOENT when there is none. */
export function encodeElementDump(writer: MessageWriter, seq: number, { family, name }: NftTable, set: string): void {
  begin(writer, nft(NFT_MSG_GETSETELEM), NLM_F_DUMP, seq, FAMILIES[family]);
  writer.attributeText(NFTA_OF_TABLE, name);
  writer.attributeText(NFTA_SET_ELEM_LIST_SET, set);
  writer.end();
}

/** One transaction of four messages: deletes a table and its one chain if nothing else is in them; the answer is EBUSY when it is. */
export function encodeBareDelete(writer: MessageWriter, seq: number, table: NftTable, chain: string): void {
  inBatch(writer, seq, 4, () => {
    beginNft(writer, NFT_MSG_DELCHAIN, NLM_F_NONREC, seq + 1, FAMILIES[table.family]);
    writer.attributeText(NFTA_OF_TABLE, table.name);
    writer.attributeText(NFTA_CHAIN_NAME, chain);
    writer.end();
    beginNft(writer, NFT_MSG_DELTABLE, NLM_F_NONREC | NLM_F_ACK, seq + 2, FAMILIES[table.family]);
    writer.attributeText(NFTA_OF_TABLE, table.name);
    writer.end();
  });
}

/** Elements that come into a set or leave it. */
export interface ElementChange {
  readonly op: 'add' | 'delete';
  readonly set: string;
  readonly elements: readonly Element[];
}

function writeData(writer: MessageWriter, value: Buffer | Goto): void {
  if (Buffer.isBuffer(value)) {
    writer.attribute(NFTA_DATA_VALUE, value);
    return;
  }
  writer.nest(NFTA_DATA_VERDICT, () => {
    const code = Buffer.alloc(4);
    code.writeInt32BE(NFT_GOTO);
    writer.attribute(NFTA_VERDICT_CODE, code);
    writer.attributeText(NFTA_VERDICT_CHAIN, value.chain);
  });
}

/** One transaction: all of the changes or none. Numbered `seq` and up, the changes from `seq + 1`; the last is acknowledged. */
export function encodeElementBatch(
  writer: MessageWriter,
  seq: number,
  { family, name }: NftTable,
  changes: readonly ElementChange[],
): void {
  inBatch(writer, seq, changes.length + 2, () => encodeElements(writer, seq, { family, name }, changes));
}

function encodeElements(
  writer: MessageWriter,
  seq: number,
  { family, name }: NftTable,
  changes: readonly ElementChange[],
): void {
  for (const [index, { op, set, elements }] of changes.entries()) {
    const ack = index === changes.length - 1 ? NLM_F_ACK : 0;
    const [message, flags] = op === 'add' ? [NFT_MSG_NEWSETELEM, NLM_F_CREATE] : [NFT_MSG_DELSETELEM, 0];
    begin(writer, nft(message), flags | ack, seq + 1 + index, FAMILIES[family]);
    writer.attributeText(NFTA_OF_TABLE, name);
    writer.attributeText(NFTA_SET_ELEM_LIST_SET, set);
    writer.nest(NFTA_SET_ELEM_LIST_ELEMENTS, () => {
      for (const { key, value } of elements) {
        writer.nest(NFTA_LIST_ELEM, () => {
          writer.nest(NFTA_SET_ELEM_KEY, () => writer.attribute(NFTA_DATA_VALUE, key));
          if (value === null || op === 'delete') return;
          writer.nest(NFTA_SET_ELEM_DATA, () => writeData(writer, value));
        });
      }
    });
    writer.end();
  }
}
