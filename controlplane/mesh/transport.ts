import type { NodeId } from '../ids.ts';

/** A live connection to another member. */
export interface Connection {
  readonly direction: 'inbound' | 'outbound';
  /** `IP:PORT` of the other end. */
  readonly address: string;
  readonly sinceMs: number;
}

/** What to do with a gossip message: pass it on, keep it from others quietly, or hold it against the sender. */
export type Verdict = 'accept' | 'ignore' | 'reject';

/** What the control plane does with what arrives. */
export interface TransportEvents {
  /** `from` is the neighbour that forwarded the message, not its author. */
  gossip(topic: string, bytes: Uint8Array, from: NodeId): Verdict;
  /** Answers a request; an exception becomes an error at the asker. */
  request(method: string, body: Uint8Array, from: NodeId): Promise<Uint8Array>;
  /** A peer has asked for a round trip, and so is alive. */
  pinged(peer: NodeId): void;
  connected(peer: NodeId): void;
  disconnected(peer: NodeId): void;
}

/** What the kernel at a peer's address says to a new connection; `silent` when nothing comes back in time. */
export type Knock = 'accepted' | 'refused' | 'silent';

/**
 * The mesh as the control plane sees it: authenticated members, gossip by topic, requests to one peer. libp2p
 * implements it for real; the simulation implements it under a virtual clock.
 */
export interface Transport {
  start(events: TransportEvents): Promise<void>;
  stop(): Promise<void>;
  /** Sends to all who are subscribed; delivery is not promised. */
  publish(topic: string, bytes: Uint8Array): void;
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  /** @throws when the peer is not connected, refuses, or does not answer before the signal */
  request(peer: NodeId, method: string, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array>;
  /** One round trip on the connection to that peer. @throws when there is none, it ends, or the signal aborts first */
  ping(peer: NodeId, signal: AbortSignal): Promise<void>;
  /** Asks the kernel at these addresses, `IP:PORT`, whether an agent listens there. */
  knock(addresses: readonly string[], signal: AbortSignal): Promise<Knock>;
  /** @param addresses `IP:PORT`, tried in order @throws when none leads to that peer */
  dial(peer: NodeId, addresses: readonly string[], signal: AbortSignal): Promise<void>;
  disconnect(peer: NodeId): Promise<void>;
  connections(): ReadonlyMap<NodeId, Connection>;
}

/** Requests to members, whether there is a connection to them already or not. */
export interface Requests extends Pick<Transport, 'request'> {
  /** Whether a request is worth a try. */
  canReach(peer: NodeId): boolean;
}

/** Largest request, reply or gossip message: bounds what a peer can make us hold. */
export const maxFrameBytes = 1_048_576;
/** Gossip messages stay far below the frame bound, since one over the bound kills the stream it is on. */
export const maxGossipBytes = 65_536;
