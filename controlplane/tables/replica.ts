import { decode, encode } from '../encoding.ts';
import { type Environment, jittered, type Log } from '../environment.ts';
import { type NodeId, nodeIdOf } from '../ids.ts';
import { maxGossipBytes, type Transport, type Verdict } from '../mesh/transport.ts';
import type { Offences } from '../offences.ts';
import type { Members } from './members.ts';
import {
  cutBatch,
  inFrames,
  type PullReply,
  parsePullReply,
  parsePullRequest,
  streamOverheadBytes,
  type WireStream,
  type WireVector,
} from './pull.ts';
import { decodeRecord, ownerBytes, type SignedRecord, toWire, type WireRecord } from './record.ts';
import { isBehind, nowhere, type Position } from './stream.ts';
import { badSignature, type Tables } from './tables.ts';

// How often a node compares itself with a random neighbour. Gossip and gap pulls do the work; this finds what both
// missed, so seconds are enough.
const comparePeriodMs = 5_000;
const requestTimeoutMs = 10_000;
// Streams asked for one by one while an earlier pull is not answered; beyond that everything is compared.
const maxWantedStreams = 256;
// Half of maxFrameBytes: room for the certificates and the msgpack framing around the records.
const batchBytes = 524_288;

/** What a pull asks for: everything, or the streams in which a gap was seen. */
type Wanted = 'all' | Map<string, Set<NodeId>>;

export interface ReplicaInit {
  readonly tables: Tables;
  readonly members: Members;
  readonly transport: Transport;
  readonly environment: Environment;
  readonly offences: Offences;
  readonly log: Log;
}

/**
 * Keeps the tables of this node equal to those of the others: publishes own records, takes what is gossiped, pulls
 * what is missing from whoever showed that it has it, and compares version vectors on connect and on a timer.
 */
export class Replica {
  readonly #tables: Tables;
  readonly #members: Members;
  readonly #transport: Transport;
  readonly #environment: Environment;
  readonly #log: Log;
  readonly #offences: Offences;
  readonly #wanted = new Map<NodeId, Wanted>();
  readonly #pulling = new Set<NodeId>();
  readonly #pulled = new Map<NodeId, number>();
  /** Called after every full exchange. */
  onExchange: () => void = () => {};
  #cancelTimer: () => void = () => {};
  #stopped = false;

  constructor(init: ReplicaInit) {
    this.#offences = init.offences;
    this.#tables = init.tables;
    this.#members = init.members;
    this.#transport = init.transport;
    this.#environment = init.environment;
    this.#log = init.log;
  }

  start(): void {
    this.#tables.onOwnRecords = (records) => this.#publish(records);
    this.#scheduleCompare();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTimer();
    this.#tables.onOwnRecords = () => {};
  }

  connected(peer: NodeId): void {
    this.want(peer, 'all');
  }

  disconnected(peer: NodeId): void {
    this.#wanted.delete(peer);
    this.#pulled.delete(peer);
  }

  /** How many full exchanges with that peer were finished since it connected. */
  exchangesWith(peer: NodeId): number {
    return this.#pulled.get(peer) ?? 0;
  }

  #publish(records: readonly SignedRecord[]): void {
    const byTopic = new Map<string, WireRecord[]>();
    for (const signed of records) {
      const { topic } = signed.record;
      byTopic.set(topic, [...(byTopic.get(topic) ?? []), toWire(signed)]);
    }
    for (const [topic, wire] of byTopic) {
      for (const frame of inFrames(wire, maxGossipBytes)) this.#transport.publish(topic, encode(frame));
    }
  }

  /** A gossip message is a list of records of its topic. */
  gossip(topic: string, bytes: Uint8Array, from: NodeId): Verdict {
    const frame = this.#decode(bytes);
    if (!Array.isArray(frame) || frame.length === 0) return this.#refuse('malformed gossip', from, 'reject');
    let applied = false;
    let forged = false;
    for (const wire of frame) {
      const signed = decodeRecord(wire);
      if (signed === null || signed.record.topic !== topic) return this.#refuse('malformed record', from, 'reject');
      const outcome = this.#tables.ingest(signed);
      if (outcome.result === 'refused') {
        // Whoever passes on a forgery is at fault, not the node whose name is on it.
        const isForged = outcome.reason === badSignature;
        this.#refuse(outcome.reason, isForged ? from : signed.record.owner, 'ignore');
        forged ||= isForged;
      }
      if (outcome.result === 'applied') {
        if (outcome.objection === null) applied = true;
        else this.#refuse(outcome.objection, signed.record.owner, 'ignore');
      }
      if (outcome.result === 'unknown-owner' || (outcome.result === 'applied' && outcome.gap)) {
        this.want(from, new Map([[topic, new Set([signed.record.owner])]]));
      }
    }
    return forged ? 'reject' : applied ? 'accept' : 'ignore';
  }

  /** Pulls from that peer as soon as possible; requests that come while one is under way are put together. */
  want(peer: NodeId, wanted: Wanted): void {
    const known = this.#wanted.get(peer);
    if (known === 'all' || wanted === 'all' || known === undefined) {
      this.#wanted.set(peer, known === 'all' ? known : wanted);
    } else {
      for (const [topic, owners] of wanted) known.set(topic, new Set([...(known.get(topic) ?? []), ...owners]));
      if ([...known.values()].reduce((sum, { size }) => sum + size, 0) > maxWantedStreams)
        this.#wanted.set(peer, 'all');
    }
    if (this.#pulling.has(peer)) return;
    this.#pulling.add(peer);
    this.#pullAll(peer)
      .catch((error: unknown) => this.#log.debug({ err: error, peer }, 'pull failed; the next exchange repeats it'))
      .finally(() => this.#pulling.delete(peer));
  }

  /** One full exchange with that peer, finished when it resolves. */
  async pullNow(peer: NodeId): Promise<void> {
    while (await this.#pull(peer, 'all'));
  }

  async #pullAll(peer: NodeId): Promise<void> {
    for (;;) {
      const wanted = this.#wanted.get(peer);
      if (wanted === undefined || this.#stopped) return;
      this.#wanted.delete(peer);
      let more = true;
      while (more && !this.#stopped) more = await this.#pull(peer, wanted);
      if (wanted === 'all') {
        this.#pulled.set(peer, this.exchangesWith(peer) + 1);
        this.onExchange();
      }
    }
  }

  async #pull(peer: NodeId, wanted: Wanted): Promise<boolean> {
    const request = { all: wanted === 'all', vector: this.#vectorFor(wanted) };
    const reply = this.#decode(
      await this.#transport.request(peer, 'pull', encode(request), AbortSignal.timeout(requestTimeoutMs)),
    );
    const parsed = parsePullReply(reply);
    if (parsed === null) {
      this.#refuse('malformed pull reply', peer, 'reject');
      return false;
    }
    let progress = false;
    for (const stream of parsed.streams) progress = this.#take(stream, peer) || progress;
    // A peer that says "more" and brings nothing new would keep us asking for ever.
    return parsed.more && progress;
  }

  #take(stream: WireStream, peer: NodeId): boolean {
    const owner = nodeIdOf(stream.owner);
    if (owner === this.#tables.self) return false;
    if (this.#members.get(owner) === null) {
      const admitted = this.#members.recognise(stream.certificate);
      if (!admitted.ok || admitted.member.nodeId !== owner) {
        this.#refuse(admitted.ok ? 'certificate of another node' : admitted.reason, owner, 'ignore');
        return false;
      }
    }
    let clean = true;
    let progress = false;
    for (const wire of stream.records) {
      const signed = decodeRecord(wire);
      if (signed === null || signed.record.owner !== owner || signed.record.topic !== stream.topic) {
        this.#refuse('malformed record', peer, 'reject');
        return progress;
      }
      const outcome = this.#tables.ingest(signed);
      const { epoch, seq } = signed.record;
      // A part begins with the last record of the whole (pull.ts).
      if (seq > stream.upTo) this.#tables.expect(stream.topic, owner, epoch, seq);
      if (outcome.result === 'applied') {
        progress = true;
        if (outcome.objection !== null) this.#refuse(outcome.objection, owner, 'ignore');
      }
      if (outcome.result === 'refused') {
        this.#refuse(outcome.reason, outcome.reason === badSignature ? peer : owner, 'ignore');
        clean = false;
      }
    }
    // A record that was not taken leaves a gap, and the next exchange brings it again.
    const known = this.#tables.vector(stream.topic).get(owner);
    const joins = stream.after === 0 || (known?.epoch === stream.epoch && known.seq >= stream.after);
    if (clean && joins) {
      this.#tables.advance(stream.topic, owner, stream.epoch, stream.upTo);
      const now = this.#tables.vector(stream.topic).get(owner);
      progress ||= now !== undefined && isBehind(known ?? nowhere, now);
    }
    return progress;
  }

  #vectorFor(wanted: Wanted): WireVector {
    const row = (owner: NodeId, { epoch, seq }: Position): [Uint8Array, number, number] => [
      ownerBytes(owner),
      epoch,
      seq,
    ];
    if (wanted === 'all') {
      return this.#tables.topics.map((topic) => [
        topic,
        [...this.#tables.vector(topic)].map(([owner, position]) => row(owner, position)),
      ]);
    }
    return [...wanted].map(([topic, owners]) => {
      const vector = this.#tables.vector(topic);
      return [topic, [...owners].map((owner) => row(owner, vector.get(owner) ?? nowhere))];
    });
  }

  /** Answers a pull: whatever the asker's version vector lacks, up to the size of one frame. */
  answerPull(body: Uint8Array, from: NodeId): Uint8Array {
    const request = parsePullRequest(this.#decode(body));
    if (request === null) throw new Error('malformed pull request');
    const reply: PullReply = { streams: [], more: false, behind: false };
    let room = batchBytes;
    for (const [topic, asked] of request.vector) {
      const owners = request.all ? new Set([...asked.keys(), ...this.#tables.vector(topic).keys()]) : asked.keys();
      for (const owner of owners) {
        const position = asked.get(owner) ?? nowhere;
        if (this.#tables.lacks(topic, owner, position)) reply.behind = true;
        const batch = this.#tables.after(topic, owner, position);
        const certificate = this.#members.get(owner)?.certificate;
        if (batch === null || certificate === undefined) continue;
        const cut = cutBatch(batch, room - certificate.length - streamOverheadBytes);
        reply.more = cut.upTo < batch.upTo;
        room -= cut.sizeBytes + certificate.length + streamOverheadBytes;
        if (cut.records.length > 0) {
          const { epoch, after, upTo } = cut;
          const wire = cut.records.map(toWire);
          reply.streams.push({ topic, owner: ownerBytes(owner), certificate, epoch, after, upTo, records: wire });
        }
        if (reply.more) break;
      }
      if (reply.more) break;
    }
    // Whoever asks shows what it has: what we lack of it we pull in turn.
    if (reply.behind)
      this.want(from, request.all ? 'all' : new Map([...request.vector].map(([t, o]) => [t, new Set(o.keys())])));
    return encode(reply);
  }

  #scheduleCompare(): void {
    this.#cancelTimer = this.#environment.timer(jittered(this.#environment, comparePeriodMs), () => {
      const peers = [...this.#transport.connections().keys()];
      const peer = peers[Math.floor(this.#environment.random() * peers.length)];
      if (peer !== undefined) this.want(peer, 'all');
      this.#scheduleCompare();
    });
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
