import { beginNft, FAMILIES, inBatch, NFT_MSG_DELTABLE, NFT_MSG_NEWTABLE } from './nft-wire.ts';
import { type MessageWriter, NLM_F_ACK, NLM_F_CREATE } from './wire.ts';

// linux/netfilter/nf_tables.h: NFT_MSG_*, NFT_TABLE_F_OWNER, NFTA_*, NFT_REG_1, NFT_CT_STATE, NFT_CMP_EQ; linux/netlink.h: NLM_F_APPEND.
const NFT_MSG_NEWCHAIN = 3;
const NFT_MSG_NEWRULE = 6;
const NLM_F_APPEND = 0x800;
const NFT_TABLE_F_OWNER = 2;
const NFTA_TABLE_NAME = 1;
const NFTA_TABLE_FLAGS = 2;
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_CHAIN_HOOK = 4;
const NFTA_CHAIN_TYPE = 7;
const NFTA_HOOK_HOOKNUM = 1;
const NFTA_HOOK_PRIORITY = 2;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_EXPRESSIONS = 4;
const NFTA_LIST_ELEM = 1;
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;
const NFTA_CT_DREG = 1;
const NFTA_CT_KEY = 2;
const NFTA_CMP_SREG = 1;
const NFTA_CMP_OP = 2;
const NFTA_CMP_DATA = 3;
const NFTA_DATA_VALUE = 1;
const REGISTER = 1;
const CT_STATE = 0;
const EQUAL = 0;
const PREROUTING = 0;
/** NF_IP_PRI_NAT_DST of linux/netfilter_ipv4.h. */
const DSTNAT = -100;
const CHAIN = 'prerouting';

/** Messages of `encodeHold`, and of `encodeRelease`, in one transaction. */
export const HOLD_MESSAGES = 5;
export const RELEASE_MESSAGES = 3;

const big = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};

/**
 * Makes a table that lives as long as the socket and that nobody else can flush (Linux 5.12): a chain for NAT, with a rule
 * that asks for the state of a connection and never matches.
 */
export function encodeHold(writer: MessageWriter, seq: number, name: string): void {
  inBatch(writer, seq, HOLD_MESSAGES, () => {
    beginNft(writer, NFT_MSG_NEWTABLE, NLM_F_CREATE, seq + 1, FAMILIES.inet);
    writer.attributeText(NFTA_TABLE_NAME, name);
    writer.attribute(NFTA_TABLE_FLAGS, big(NFT_TABLE_F_OWNER));
    writer.end();
    beginNft(writer, NFT_MSG_NEWCHAIN, NLM_F_CREATE, seq + 2, FAMILIES.inet);
    writer.attributeText(NFTA_CHAIN_TABLE, name);
    writer.attributeText(NFTA_CHAIN_NAME, CHAIN);
    writer.attributeText(NFTA_CHAIN_TYPE, 'nat');
    writer.nest(NFTA_CHAIN_HOOK, () => {
      writer.attribute(NFTA_HOOK_HOOKNUM, big(PREROUTING));
      writer.attribute(NFTA_HOOK_PRIORITY, big(DSTNAT));
    });
    writer.end();
    beginNft(writer, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, seq + 3, FAMILIES.inet);
    writer.attributeText(NFTA_RULE_TABLE, name);
    writer.attributeText(NFTA_RULE_CHAIN, CHAIN);
    writer.nest(NFTA_RULE_EXPRESSIONS, () => {
      expression(writer, 'ct', () => {
        writer.attribute(NFTA_CT_DREG, big(REGISTER));
        writer.attribute(NFTA_CT_KEY, big(CT_STATE));
      });
      expression(writer, 'cmp', () => {
        writer.attribute(NFTA_CMP_SREG, big(REGISTER));
        writer.attribute(NFTA_CMP_OP, big(EQUAL));
        writer.nest(NFTA_CMP_DATA, () => writer.attribute(NFTA_DATA_VALUE, big(0)));
      });
    });
    writer.end();
  });
}

export function encodeRelease(writer: MessageWriter, seq: number, name: string): void {
  inBatch(writer, seq, RELEASE_MESSAGES, () => {
    beginNft(writer, NFT_MSG_DELTABLE, NLM_F_ACK, seq + 1, FAMILIES.inet);
    writer.attributeText(NFTA_TABLE_NAME, name);
    writer.end();
  });
}

function expression(writer: MessageWriter, name: string, data: () => void): void {
  writer.nest(NFTA_LIST_ELEM, () => {
    writer.attributeText(NFTA_EXPR_NAME, name);
    writer.nest(NFTA_EXPR_DATA, data);
  });
}
