import { decode, encode } from '../encoding.ts';
import { type Environment, jittered, type Log } from '../environment.ts';
import type { NodeId } from '../ids.ts';
import { maxGossipBytes, type Transport, type Verdict } from '../mesh/transport.ts';
import type { Offences } from '../offences.ts';
import { type Rate, RateLimit } from '../rate.ts';
import type { Members } from './members.ts';
import { partnersFor } from './partners.ts';
import { nowhere } from './position.ts';
import {
  type CompareReply,
  cutBatch,
  inFrames,
  ownersOf,
  type PullReply,
  parseCompareRequest,
  parsePullRequest,
  streamOverheadBytes,
} from './pull.ts';
import { Puller, type Wanted } from './puller.ts';
import { decodeRecord, ownerBytes, type SignedRecord, toWire, type WireRecord } from './record.ts';
import { badSignature, type Tables } from './tables.ts';

// How often a node compares itself with neighbours, in turn. Gossip and gap pulls do the work; this finds what both
// missed, so seconds are enough.
const comparePeriodMs = 5_000;
// Half of maxFrameBytes: room for the certificates and the msgpack framing around the records.
const batchBytes = 524_288;
// Whoever begins to follow a topic is known to all who write there well before that.
const newcomerMs = 5_000;
// Records of one owner that gossip takes. A host with its full thousand of sandboxes that starts anew is far below; what
// is over is not passed on, and comes by the next exchange.
export const gossipRate: Rate = { burst: 4_000, perSecond: 400 };
// More own records at once than that are not flooded: readers are told how far they go, and pull.
const maxFlooded = 512;

export interface ReplicaInit {
  readonly tables: Tables;
  readonly members: Members;
  readonly transport: Transport;
  readonly environment: Environment;
  readonly offences: Offences;
  /** Whether the tables say that the node follows the topic. @default every node follows every topic */
  readonly follows?: ((peer: NodeId, topic: string) => boolean) | undefined;
  /** Whether each node is connected to each, as far as this one can tell. @default it cannot */
  readonly isWhole?: (() => boolean) | undefined;
  readonly log: Log;
}

/**
 * Keeps the tables of this node equal to those of the others: publishes own records, takes what is gossiped, has what
 * is missing pulled from whoever showed that it has it, and compares digests on connect and on a timer.
 */
export class Replica {
  readonly #tables: Tables;
  readonly #members: Members;
  readonly #transport: Transport;
  readonly #environment: Environment;
  readonly #log: Log;
  readonly #offences: Offences;
  readonly #puller: Puller;
  readonly #rate: RateLimit;
  readonly #follows: (peer: NodeId, topic: string) => boolean;
  /** When each neighbour was compared with last, by the clock that does not jump. */
  readonly #comparedMs = new Map<NodeId, number>();
  readonly #isWhole: () => boolean;
  /** When somebody who had nothing of a topic asked for all of it, by the clock that does not jump. */
  readonly #newcomers = new Map<string, number>();
  #cancelTimer: () => void = () => {};

  constructor(init: ReplicaInit) {
    this.#offences = init.offences;
    this.#tables = init.tables;
    this.#members = init.members;
    this.#transport = init.transport;
    this.#environment = init.environment;
    this.#log = init.log;
    this.#follows = init.follows ?? (() => true);
    this.#isWhole = init.isWhole ?? (() => false);
    this.#puller = new Puller(init);
    this.#rate = new RateLimit(() => init.environment.monotonicMs(), gossipRate);
  }

  /** Called after every full exchange. */
  set onExchange(told: () => void) {
    this.#puller.onExchange = told;
  }

  start(): void {
    this.#tables.onOwnRecords = (records) => this.#publish(records);
    this.#scheduleCompare();
  }

  stop(): void {
    this.#cancelTimer();
    this.#puller.stop();
    this.#tables.onOwnRecords = () => {};
  }

  connected(peer: NodeId): void {
    this.#puller.want(peer, 'all');
  }

  disconnected(peer: NodeId): void {
    this.#comparedMs.delete(peer);
    this.#puller.disconnected(peer);
  }

  /** How many full exchanges with that peer were finished since it connected. */
  exchangesWith(peer: NodeId): number {
    return this.#puller.exchangesWith(peer);
  }

  /** When the last full exchange that was finished began, on the clock that does not jump. */
  get exchangedMs(): number {
    return this.#puller.exchangedMs;
  }

  /** Pulls from that peer as soon as possible. */
  want(peer: NodeId, wanted: Wanted): void {
    this.#puller.want(peer, wanted);
  }

  /** One full exchange with that peer, finished when it resolves. */
  pullNow(peer: NodeId): Promise<void> {
    return this.#puller.pullNow(peer);
  }

  /** All of one topic. @returns false when that peer does not follow it */
  pullTopic(peer: NodeId, topic: string): Promise<boolean> {
    return this.#puller.pullTopic(peer, topic);
  }

  #publish(records: readonly SignedRecord[]): void {
    const byTopic = new Map<string, SignedRecord[]>();
    for (const signed of records) {
      const { topic } = signed.record;
      const same = byTopic.get(topic);
      if (same === undefined) byTopic.set(topic, [signed]);
      else same.push(signed);
    }
    for (const [topic, all] of byTopic) {
      const told = all.length > maxFlooded ? ends(all) : all;
      const wire = told.map(toWire);
      for (const frame of inFrames(wire, maxGossipBytes)) this.#transport.publish(topic, encode(frame));
    }
  }

  /** A gossip message is a list of records of its topic. */
  gossip(topic: string, bytes: Uint8Array, from: NodeId): Verdict {
    // Nobody sends larger ones, and all of it is checked in one go.
    if (bytes.length > maxGossipBytes) return this.#refuse('gossip larger than allowed', from, 'reject');
    const frame = this.#decode(bytes);
    if (!Array.isArray(frame) || frame.length === 0) return this.#refuse('malformed gossip', from, 'reject');
    let applied = false;
    let refused = false;
    let forged = false;
    const owners = new Set<NodeId>();
    const seen = new Set<NodeId>();
    for (const wire of frame as WireRecord[]) {
      const signed = decodeRecord(wire);
      if (signed === null || signed.record.topic !== topic) return this.#refuse('malformed record', from, 'reject');
      const { owner } = signed.record;
      owners.add(owner);
      if (!this.#rate.allows(owner)) {
        this.#refuse('more records by gossip than one node may have passed on', owner, 'ignore');
        refused = true;
        continue;
      }
      const outcome = this.#tables.ingest(signed);
      if (outcome.result === 'refused') {
        // Whoever passes on a forgery is at fault, not the node whose name is on it.
        const isForged = outcome.reason === badSignature;
        this.#refuse(outcome.reason, isForged ? from : owner, 'ignore');
        refused = true;
        forged ||= isForged;
      }
      if (outcome.result === 'applied') {
        this.#rate.charge(owner);
        if (outcome.objection === null) applied = true;
        else {
          this.#refuse(outcome.objection, owner, 'ignore');
          refused = true;
        }
      }
      if (outcome.result === 'unknown-owner' || outcome.result === 'applied') seen.add(owner);
    }
    const lacking = [...seen].filter((owner) => this.#tables.isLacking(topic, owner));
    if (lacking.length > 0) this.#puller.fill(new Map([[topic, new Set(lacking)]]), from);
    if (forged) return 'reject';
    // A frame is passed on as it came: whoever wants more passed on than is allowed shall not hide it behind one record.
    return applied && !refused && !this.#isWithAll(topic, owners, from) ? 'accept' : 'ignore';
  }

  /**
   * Whether everybody has a message already: its author says it to all to whom it is connected, so where that is everyone
   * passing it on would only make copies, two thirds of the work for a record among ten nodes. What is lost all the same,
   * on a link that has just broken, comes by the next comparison.
   */
  #isWithAll(topic: string, owners: ReadonlySet<NodeId>, from: NodeId): boolean {
    const fromAuthor = owners.size === 1 && owners.has(from);
    if (!fromAuthor || !this.#isWhole()) return false;
    // The author may not know yet of one who has just begun to follow the topic.
    const sinceNewcomerMs = this.#environment.monotonicMs() - (this.#newcomers.get(topic) ?? Number.NEGATIVE_INFINITY);
    return sinceNewcomerMs > newcomerMs;
  }

  /** Answers a comparison: the topics in which the two differ. */
  answerCompare(body: Uint8Array, from: NodeId): Uint8Array {
    const request = parseCompareRequest(this.#decode(body));
    if (request === null) throw new Error('malformed request to compare');
    const reply: CompareReply = { differing: [], foreign: [], nowMs: Math.floor(this.#environment.now()) };
    for (const [topic, digest] of request.digests) {
      if (!this.#tables.hasInterest(topic)) reply.foreign.push(topic);
      else if (Buffer.compare(digest, Buffer.from(this.#tables.digest(topic), 'hex')) !== 0)
        reply.differing.push(topic);
    }
    const lacking = request.own.filter(
      ([topic, epoch, seq]) => this.#tables.hasInterest(topic) && this.#tables.isBehind(topic, from, { epoch, seq }),
    );
    if (lacking.length > 0) this.want(from, new Map(lacking.map(([topic]) => [topic, new Set([from])])));
    // Digests do not say who of the two is behind: the one that was asked looks too, so that news spreads both ways.
    if (reply.differing.length > 0) this.want(from, new Map(reply.differing.map((topic) => [topic, 'every'])));
    return encode(reply);
  }

  /** Answers a pull: whatever the asker's positions lack, up to the size of one frame. */
  answerPull(body: Uint8Array, from: NodeId): Uint8Array {
    const asks = parsePullRequest(this.#decode(body));
    if (asks === null) throw new Error('malformed pull request');
    const reply: PullReply = { streams: [], more: false, foreign: [] };
    const behind = new Map<string, Set<NodeId>>();
    let room = batchBytes;
    for (const ask of asks) {
      const { topic, positions } = ask;
      const follows = this.#tables.hasInterest(topic);
      if (!follows) reply.foreign.push(topic);
      else if ([...positions.keys()].every((owner) => owner === from))
        this.#newcomers.set(topic, this.#environment.monotonicMs());
      for (const owner of ownersOf(ask, this.#tables.owners(topic))) {
        const position = positions.get(owner) ?? nowhere;
        if (follows && this.#tables.lacks(topic, owner, position))
          behind.set(topic, (behind.get(topic) ?? new Set()).add(owner));
        const certificate = this.#members.get(owner)?.certificate;
        if (reply.more || certificate === undefined) continue;
        for (const batch of this.#tables.after(topic, owner, position)) {
          if (reply.more) break;
          const cut = cutBatch(batch, room - certificate.length - streamOverheadBytes);
          reply.more = cut.upTo < batch.upTo || cut.records.length < batch.records.length;
          room -= cut.sizeBytes + certificate.length + streamOverheadBytes;
          if (cut.records.length === 0 && cut.upTo === cut.after) continue;
          const { epoch, after, upTo } = cut;
          const records = cut.records.map(toWire);
          reply.streams.push({ topic, owner: ownerBytes(owner), certificate, epoch, after, upTo, records });
        }
      }
    }
    // Whoever asks shows what it has: what we lack of it we pull in turn.
    if (behind.size > 0) this.want(from, behind);
    return encode(reply);
  }

  #scheduleCompare(): void {
    this.#cancelTimer = this.#environment.timer(jittered(this.#environment, comparePeriodMs), () => {
      for (const peer of partnersFor(this.#tables.topics, this.#inTurn(), this.#follows)) {
        this.#comparedMs.set(peer, this.#environment.monotonicMs());
        this.want(peer, 'all');
      }
      for (const [topic, ms] of this.#newcomers)
        if (this.#environment.monotonicMs() - ms > newcomerMs) this.#newcomers.delete(topic);
      this.#tables.reap().catch((error: unknown) => this.#log.error({ err: error }, 'reaping tombstones failed'));
      this.#scheduleCompare();
    });
  }

  /** Neighbours, those that were not compared with for the longest first. */
  #inTurn(): NodeId[] {
    const lots = [...this.#transport.connections().keys()].map((peer) => ({
      peer,
      lastMs: this.#comparedMs.get(peer) ?? 0,
      lot: this.#environment.random(),
    }));
    return lots.sort((a, b) => a.lastMs - b.lastMs || a.lot - b.lot).map(({ peer }) => peer);
  }

  #decode(bytes: Uint8Array): unknown {
    try {
      return decode(bytes);
    } catch {
      return undefined;
    }
  }

  #refuse(reason: string, who: NodeId, verdict: Verdict): Verdict {
    // The first of a kind is said, the rest are counted (`weft status`).
    if (this.#offences.report(who, reason)) this.#log.warn({ reason, node: who }, 'refused what came of a node');
    return verdict;
  }
}

/** The first and the last of them: what shows a reader that there is a gap, and how far it goes. */
function ends(records: readonly SignedRecord[]): SignedRecord[] {
  const [first, last] = [records[0], records.at(-1)];
  return first === undefined || last === undefined ? [] : [first, last];
}
