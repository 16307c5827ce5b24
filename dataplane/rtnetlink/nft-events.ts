import {
  type Element,
  FAMILIES,
  NFT_MSG_DELSETELEM,
  NFT_MSG_DELTABLE,
  NFT_MSG_NEWGEN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_NEWTABLE,
  type NftMessage,
  type NftTable,
} from './nft-wire.ts';

/** What one transaction did to one table. */
export type TableChange =
  | { readonly kind: 'deleted' }
  /** The table was made; the comments of all rules that it got, in order. */
  | { readonly kind: 'made'; readonly comments: readonly string[] }
  | { readonly kind: 'altered' }
  /** Elements of a set came or went; told for each message of a transaction, before its end. */
  | { readonly kind: 'elements'; readonly set: string; readonly elements: readonly Element[]; readonly gone: boolean };

/** Reads notifications on one table. Those of one transaction come together and end with one of its generation. */
export class TableWatch {
  readonly #table: NftTable;
  #change: TableChange | null = null;

  constructor(table: NftTable) {
    this.#table = table;
  }

  /** What is told of the table's elements, or, with the message that ends it, what the transaction did to it; else null. */
  read(message: NftMessage): TableChange | null {
    const { what, set, elements } = message;
    if (what === NFT_MSG_NEWGEN) {
      const change = this.#change;
      this.#change = null;
      return change;
    }
    if (message.family !== FAMILIES[this.#table.family] || message.table !== this.#table.name) return null;
    if (what === NFT_MSG_NEWSETELEM || what === NFT_MSG_DELSETELEM) {
      return { kind: 'elements', set, elements, gone: what === NFT_MSG_DELSETELEM };
    }
    this.#change = this.#after(message);
    return null;
  }

  #after({ what, comment }: NftMessage): TableChange {
    if (what === NFT_MSG_DELTABLE) return { kind: 'deleted' };
    if (what === NFT_MSG_NEWTABLE) return { kind: 'made', comments: [] };
    const before = this.#change;
    if (before?.kind !== 'made') return { kind: 'altered' };
    return what === NFT_MSG_NEWRULE ? { kind: 'made', comments: [...before.comments, comment] } : before;
  }
}
