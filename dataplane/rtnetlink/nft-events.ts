import { eachAttribute, type Message, textAt } from './wire.ts';

// linux/netfilter/nfnetlink.h: nfgenmsg, NFNL_SUBSYS_*; linux/netfilter/nf_tables.h: NFT_MSG_*, NFTA_*.
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_NEWTABLE = 0;
const NFT_MSG_DELTABLE = 2;
const NFT_MSG_NEWRULE = 6;
const NFT_MSG_NEWGEN = 15;
const NFPROTO_INET = 1;
const NFGENMSG_LENGTH = 4;
/** NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE and so on are all 1. */
const NFTA_OF_TABLE = 1;
const NFTA_RULE_USERDATA = 7;
/** Type and length, one byte each, then the text: libnftnl's udata.h, NFTNL_UDATA_RULE_COMMENT. */
const UDATA_COMMENT = 0;
const UDATA_HEADER_LENGTH = 2;

/** What one transaction did to one table of family inet. */
export type TableChange =
  | { readonly kind: 'deleted' }
  /** The table was made; the comments of all rules that it got, in order. */
  | { readonly kind: 'made'; readonly comments: readonly string[] }
  | { readonly kind: 'altered' };

/** Reads notifications of nftables. Those of one transaction come together and end with one of its generation. */
export class TableWatch {
  readonly #table: string;
  #change: TableChange | null = null;

  constructor(table: string) {
    this.#table = table;
  }

  /** What the transaction did to the table, with the message that ends it; else null. */
  read({ type, buffer, start, end }: Message): TableChange | null {
    if (type >> 8 !== NFNL_SUBSYS_NFTABLES) return null;
    const what = type & 0xff;
    if (what === NFT_MSG_NEWGEN) {
      const change = this.#change;
      this.#change = null;
      return change;
    }
    let table = '';
    let comment = '';
    eachAttribute(buffer, start + NFGENMSG_LENGTH, end, (attribute, from, to) => {
      if (attribute === NFTA_OF_TABLE) table = textAt(buffer, from, to);
      else if (attribute === NFTA_RULE_USERDATA && buffer[from] === UDATA_COMMENT) {
        comment = textAt(buffer, from + UDATA_HEADER_LENGTH, to);
      }
    });
    if (buffer[start] === NFPROTO_INET && table === this.#table) this.#change = this.#after(what, comment);
    return null;
  }

  #after(what: number, comment: string): TableChange {
    if (what === NFT_MSG_DELTABLE) return { kind: 'deleted' };
    if (what === NFT_MSG_NEWTABLE) return { kind: 'made', comments: [] };
    const before = this.#change;
    if (before?.kind !== 'made') return { kind: 'altered' };
    return what === NFT_MSG_NEWRULE ? { kind: 'made', comments: [...before.comments, comment] } : before;
  }
}
