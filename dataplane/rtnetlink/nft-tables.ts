import type { NetnsPath } from '../values.ts';
import { EBUSY, ENOENT, NETLINK_NETFILTER, SystemError } from './libc.ts';
import { decodeForwardChain, encodeChainDump } from './nft-chains.ts';
import {
  decodeGeneration,
  decodeNft,
  type Element,
  type ElementChange,
  encodeBareDelete,
  encodeElementBatch,
  encodeElementDump,
  encodeGenerationGet,
  encodeRuleDump,
  encodeTableGet,
  type NftTable,
} from './nft-wire.ts';
import { NetlinkSocket } from './socket.ts';

/** Elements of one message: each takes up to 48 bytes; below the 64 KiB that an attribute can hold. */
const ELEMENTS_MAX = 1000;

/**
 * nftables from inside the process: what is there, and which elements sets hold. Tables, chains and rules are made by nft
 * itself, from a script: to encode rules is its business.
 */
export class NftSocket implements Disposable {
  readonly #socket: NetlinkSocket;
  #hasChanged = false;

  /** Opens a socket in the namespace (null: our own). Throws SystemError, or ENOENT of node:fs when the file is missing. */
  constructor(netns: NetnsPath | null) {
    this.#socket = NetlinkSocket.open(netns, NETLINK_NETFILTER);
  }

  /**
   * At the end of a socket the kernel waits until what was deleted has been freed (nf_tables_api.c, nft_rcv_nl_event): 10 to 20
   * ms. Only after a change, since no more than some hundred sockets can be closed aside at once.
   */
  [Symbol.dispose](): void {
    if (this.#hasChanged) this.#socket.closeAside();
    else this.#socket[Symbol.dispose]();
  }

  /**
   * The same text as before when nobody has changed anything of nftables in this very namespace; null where the kernel does not
   * tell. A listing right after it may still be of the transaction before: the kernel counts first (nf_tables_api.c,
   * nf_tables_commit). Throws SystemError.
   */
  generation(): string | null {
    const cookie = this.#socket.netnsCookie();
    const number = this.#socket.ask('generation of nftables', encodeGenerationGet, decodeGeneration);
    return cookie === null || number === null ? null : `${cookie} ${number}`;
  }

  /** The comments of all rules of a table ('' for a rule without), or null when there is no such table. Throws SystemError. */
  async comments(table: NftTable): Promise<string[] | null> {
    if (!this.#has(table)) return null;
    return this.#socket.dump(
      `rules of ${table.name}`,
      (writer, seq) => encodeRuleDump(writer, seq, table),
      (message) => decodeNft(message)?.comment ?? null,
    );
  }

  /** All elements of a set, each read as it comes; null when there is no such set. Throws SystemError. */
  async elements<T>(table: NftTable, set: string, read: (element: Element) => T): Promise<T[] | null> {
    try {
      const parts = await this.#socket.dump(
        `elements of ${set}`,
        (writer, seq) => encodeElementDump(writer, seq, table, set),
        (message) => decodeNft(message)?.elements.map(read) ?? null,
      );
      return parts.flat();
    } catch (error) {
      if (error instanceof SystemError && error.errno === ENOENT) return null;
      throw error;
    }
  }

  /** Makes all of the changes, in one transaction, or none. Rejects with SystemError: ENOENT for an element that is not there. */
  async change(table: NftTable, changes: readonly ElementChange[]): Promise<void> {
    const messages = changes.flatMap((change) => inParts(change));
    if (messages.length === 0) return;
    // Begin and end are messages, too.
    const count = messages.length + 2;
    this.#hasChanged = true;
    await this.#socket.change(
      `change sets of ${table.name}`,
      (writer, seq) => encodeElementBatch(writer, seq, table, messages),
      count,
    );
  }

  /** Whether nothing is in the table but one chain, of packets that are forwarded, without a rule, and which accepts. Throws SystemError. */
  async isBare(table: NftTable): Promise<boolean> {
    if (this.#uses(table) !== 1 || (await this.comments(table))?.length !== 0) return false;
    const chains = await this.#socket.dump('chains', encodeChainDump, decodeForwardChain);
    const own = chains.filter((each) => each.family === table.family && each.table === table.name);
    return own.length === 1 && own[0]?.drops === false;
  }

  /** Deletes a table and its one chain if there is nothing else in them, and else nothing. Rejects with SystemError. */
  async deleteBare(table: NftTable, chain: string): Promise<void> {
    this.#hasChanged = true;
    try {
      await this.#socket.change(
        `delete ${table.name}`,
        (writer, seq) => encodeBareDelete(writer, seq, table, chain),
        4,
      );
    } catch (error) {
      if (!(error instanceof SystemError && (error.errno === EBUSY || error.errno === ENOENT))) throw error;
    }
  }

  #has = (table: NftTable): boolean => this.#uses(table) !== null;

  /** How many chains, sets and so on it has; null when there is no such table. */
  #uses(table: NftTable): number | null {
    try {
      return this.#socket.ask(
        `table ${table.name}`,
        (writer, seq) => encodeTableGet(writer, seq, table),
        (message) => decodeNft(message)?.uses ?? 0,
      );
    } catch (error) {
      if (error instanceof SystemError && error.errno === ENOENT) return null;
      throw error;
    }
  }
}

function inParts({ op, set, elements }: ElementChange): ElementChange[] {
  const parts: ElementChange[] = [];
  for (let from = 0; from < elements.length; from += ELEMENTS_MAX) {
    parts.push({ op, set, elements: elements.slice(from, from + ELEMENTS_MAX) });
  }
  return parts;
}
