import { statSync } from 'node:fs';
import { SLICE_MS } from '../slices.ts';
import type { NetnsPath } from '../values.ts';
import {
  ENOBUFS,
  inNetns,
  NETLINK_NETFILTER,
  NETLINK_ROUTE,
  openWatchSocket,
  PollSet,
  type RawSocket,
  SystemError,
} from './libc.ts';
import { eachMessage, type Message } from './wire.ts';

// linux/rtnetlink.h: RTNLGRP_*; linux/netfilter/nfnetlink.h: NFNLGRP_*.
const RTNLGRP_LINK = 1;
const RTNLGRP_NEIGH = 3;
const RTNLGRP_IPV4_IFADDR = 5;
const RTNLGRP_IPV4_ROUTE = 7;
const RTNLGRP_IPV4_RULE = 8;
const RTNLGRP_IPV6_IFADDR = 9;
const RTNLGRP_IPV6_ROUTE = 11;
const RTNLGRP_IPV6_RULE = 19;
const RTNLGRP_IPV4_NETCONF = 24;
const RTNLGRP_IPV6_NETCONF = 25;
const NFNLGRP_NFTABLES = 7;

const NETCONF = [RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF] as const;
const IN_SANDBOX = [
  ...[RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR],
  ...[RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE],
] as const;

/**
 * What is heard of in each kind of namespace: that of which the data plane keeps a model, and no more. Routes and ARP of a
 * host change all the time and are none of our business.
 */
const HEARD = {
  host: [
    { protocol: NETLINK_ROUTE, groups: [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, ...NETCONF] },
    { protocol: NETLINK_NETFILTER, groups: [NFNLGRP_NFTABLES] },
  ],
  overlays: [
    { protocol: NETLINK_ROUTE, groups: [RTNLGRP_LINK, RTNLGRP_NEIGH] },
    { protocol: NETLINK_NETFILTER, groups: [NFNLGRP_NFTABLES] },
  ],
  sandbox: [{ protocol: NETLINK_ROUTE, groups: IN_SANDBOX }],
  /** A sandbox through which connections to published ports go: it has a table of nftables, and routing rules. */
  ingress: [
    { protocol: NETLINK_ROUTE, groups: [...IN_SANDBOX, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE, ...NETCONF] },
    { protocol: NETLINK_NETFILTER, groups: [NFNLGRP_NFTABLES] },
  ],
} as const;

export type HeardKind = keyof typeof HEARD;

/** Longer than any notification: those are single objects. */
const DATAGRAM_BYTES = 64 * 1024;

interface Ear {
  readonly netns: NetnsPath | null;
  readonly socket: RawSocket;
  readonly nft: boolean;
}

interface Followed {
  readonly kind: HeardKind;
  /** Of the namespace that the file stood for when the sockets were opened. */
  readonly inode: number;
  readonly ears: readonly Ear[];
}

/** What was read in one turn. */
export interface Heard {
  /** Namespaces in which something happened that nobody will hear of any more: the socket's buffer was full. */
  readonly lost: readonly (NetnsPath | null)[];
  /** False when there may be more to read. */
  readonly done: boolean;
}

/**
 * Sockets that hear of changes, in any number of namespaces (null: our own). A socket keeps its namespace alive, so what
 * is no longer followed is closed at once, and `closeReplaced` closes those whose file has come to stand for something else.
 */
export class Watch implements Disposable {
  readonly #followed = new Map<NetnsPath | null, Followed>();
  /** Of all namespaces, made when they are read, and again when others are followed. */
  #ears: { readonly all: readonly Ear[]; readonly set: PollSet } | null = null;
  readonly #datagram = Buffer.allocUnsafe(DATAGRAM_BYTES);

  [Symbol.dispose](): void {
    for (const netns of [...this.#followed.keys()]) this.close(netns);
  }

  has(netns: NetnsPath | null, kind: HeardKind): boolean {
    return this.#followed.get(netns)?.kind === kind;
  }

  followed(): readonly (NetnsPath | null)[] {
    return [...this.#followed.keys()];
  }

  /** Throws SystemError, or ENOENT of node:fs, when the namespace cannot be entered. */
  open(netns: NetnsPath | null, kind: HeardKind): void {
    const ears: Ear[] = [];
    const openAll = (): void => {
      for (const { protocol, groups } of HEARD[kind]) {
        ears.push({ netns, socket: openWatchSocket(protocol, groups), nft: protocol === NETLINK_NETFILTER });
      }
    };
    try {
      // Before the namespace is entered, so that one that comes in between is taken for another.
      const inode = netns === null ? 0 : statSync(netns).ino;
      if (netns === null) openAll();
      else inNetns(netns, openAll);
      this.#followed.set(netns, { kind, inode, ears });
      this.#ears = null;
    } catch (error) {
      for (const { socket } of ears) socket.close();
      throw error;
    }
  }

  close(netns: NetnsPath | null): void {
    for (const { socket } of this.#followed.get(netns)?.ears ?? []) socket.close();
    this.#followed.delete(netns);
    this.#ears = null;
  }

  /** Closes the sockets in namespaces whose file has gone, or stands for another by now; returns these. @param path looks at that one only */
  closeReplaced(path?: string): NetnsPath[] {
    const closed: NetnsPath[] = [];
    for (const [netns, { inode }] of this.#followed) {
      if (
        netns === null ||
        (path !== undefined && netns !== path) ||
        statSync(netns, { throwIfNoEntry: false })?.ino === inode
      )
        continue;
      this.close(netns);
      closed.push(netns);
    }
    return closed;
  }

  /**
   * Hands over what there is to read, for a few milliseconds at most; a message holds for as long as the visit. Never waits.
   * Throws SystemError.
   */
  read(visit: (netns: NetnsPath | null, message: Message, nft: boolean) => void): Heard {
    const startMs = performance.now();
    const lost: (NetnsPath | null)[] = [];
    const { all, set } = this.#open();
    for (const { netns, socket, nft } of set.ready().flatMap((index) => all[index] ?? [])) {
      for (;;) {
        const datagram = this.#receive(socket);
        if (datagram === null) break;
        if (datagram === 'lost') lost.push(netns);
        else eachMessage(datagram, (message) => visit(netns, message, nft));
        if (performance.now() - startMs > SLICE_MS) return { lost, done: false };
      }
    }
    return { lost, done: true };
  }

  #open(): { readonly all: readonly Ear[]; readonly set: PollSet } {
    if (this.#ears === null) {
      const all = [...this.#followed.values()].flatMap(({ ears }) => ears);
      this.#ears = { all, set: new PollSet(all.map(({ socket }) => socket.fd)) };
    }
    return this.#ears;
  }

  #receive(socket: RawSocket): Buffer | 'lost' | null {
    try {
      const length = socket.receive(this.#datagram);
      if (length === null) return null;
      return length > DATAGRAM_BYTES ? 'lost' : this.#datagram.subarray(0, length);
    } catch (error) {
      if (error instanceof SystemError && error.errno === ENOBUFS) return 'lost';
      throw error;
    }
  }
}
