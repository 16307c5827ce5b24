import type { Log } from '../log.ts';
import { OUR_ALIAS } from '../names.ts';
import { NETLINK_NETFILTER, SystemError } from '../rtnetlink/libc.ts';
import { encodeHold, encodeRelease, HOLD_MESSAGES, RELEASE_MESSAGES } from '../rtnetlink/nft-hold.ts';
import { NetlinkSocket } from '../rtnetlink/socket.ts';

export const HOLD_TABLE = `${OUR_ALIAS}_hold`;

/**
 * Keeps connections of published ports going while our tables are flushed by somebody, until they are back: the kernel tracks
 * and translates as long as there is any table that has it do so. Without, a packet of a running connection in these
 * milliseconds is taken for the host itself, which resets the connection. A table of this process alone, which nobody else
 * can flush; it goes with the process. A kernel before 5.12 has none of these.
 */
export class Hold implements AsyncDisposable {
  readonly #log: Log;
  #socket: NetlinkSocket | null = null;
  #complaint = '';

  constructor(log: Log) {
    this.#log = log;
  }

  async set(wanted: boolean): Promise<void> {
    if (wanted && this.#socket === null) await this.#take();
    else if (!wanted) await this[Symbol.asyncDispose]();
  }

  async #take(): Promise<void> {
    const socket = NetlinkSocket.open(null, NETLINK_NETFILTER);
    try {
      await socket.change('hold', (writer, seq) => encodeHold(writer, seq, HOLD_TABLE), HOLD_MESSAGES);
      this.#socket = socket;
    } catch (error) {
      socket.closeAside();
      // Tried again with the next pass: an agent that ends may hold it still.
      if (!(error instanceof SystemError)) throw error;
      if (error.message === this.#complaint) return;
      this.#complaint = error.message;
      this.#log.info({ err: error }, 'running connections will not survive a flush of nftables');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const socket = this.#socket;
    if (socket === null) return;
    this.#socket = null;
    try {
      await socket.change('release', (writer, seq) => encodeRelease(writer, seq, HOLD_TABLE), RELEASE_MESSAGES);
    } catch (error) {
      // It goes with the socket anyway.
      if (!(error instanceof SystemError)) throw error;
    } finally {
      socket.closeAside();
    }
  }
}
