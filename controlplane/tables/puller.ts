import { decode, encode } from '../encoding.ts';
import { type Environment, jittered, type Log } from '../environment.ts';
import { type NodeId, nodeIdOf } from '../ids.ts';
import type { Transport } from '../mesh/transport.ts';
import type { Offences } from '../offences.ts';
import type { Members } from './members.ts';
import { isBehind } from './position.ts';
import {
  type Ask,
  maxRowsPerRequest,
  maxTopicsPerRequest,
  nextAsk,
  parseCompareReply,
  parsePullReply,
  toWireAsk,
  type WireStream,
} from './pull.ts';
import { decodeRecord, type SignedRecord, toWire } from './record.ts';
import { badSignature, type Tables } from './tables.ts';
import { Turn } from './turn.ts';

const compareTimeoutMs = 3_000;
// Half a megabyte at most (replica.ts): a link of one megabit a second carries that in time.
const pullTimeoutMs = 5_000;
// Streams asked for one by one while an earlier pull is not answered; beyond that everything is compared.
const maxWantedStreams = 256;
// Whole topics are pulled from one neighbour at a time, since after a partition has healed the first brings what all of
// them have. One that answers no request for so long, or has no answer taken in, does not hold up the others.
const patienceMs = 500;
// A signature takes 0.1 ms to check, and what follows from a record as much again.
const recordsPerSlice = 50;
// A stream that still has a gap after it was asked for is asked for again, elsewhere: the first to show it may have had
// no more than we.
const retryMs = 100;
const maxRetries = 5;

/** What to pull: whatever differs, or in each topic every stream or some. */
export type Wanted = 'all' | Map<string, 'every' | Set<NodeId>>;

export interface PullerInit {
  readonly tables: Tables;
  readonly members: Members;
  readonly transport: Transport;
  readonly environment: Environment;
  readonly offences: Offences;
  readonly log: Log;
}

/** Fetches what this node lacks from those who showed that they have it. */
export class Puller {
  readonly #init: PullerInit;
  readonly #wanted = new Map<NodeId, Wanted>();
  readonly #pulling = new Set<NodeId>();
  readonly #exchanged = new Map<NodeId, number>();
  readonly #turn: Turn;
  readonly #timers = new Set<() => void>();
  readonly #pauses = new Set<() => void>();
  #retrying = 0;
  #stopped = false;
  /** When the last full exchange that was finished began, on the clock that does not jump. */
  exchangedMs = Number.NEGATIVE_INFINITY;
  /** Called after every full exchange. */
  onExchange: () => void = () => {};

  constructor(init: PullerInit) {
    this.#init = init;
    this.#turn = new Turn(init.environment, patienceMs);
  }

  stop(): void {
    this.#stopped = true;
    for (const cancel of this.#timers) cancel();
    this.#turn.stop();
    for (const go of this.#pauses) go();
  }

  disconnected(peer: NodeId): void {
    this.#wanted.delete(peer);
    this.#exchanged.delete(peer);
  }

  /** How many full exchanges with that peer were finished since it connected. */
  exchangesWith(peer: NodeId): number {
    return this.#exchanged.get(peer) ?? 0;
  }

  /** Pulls from that peer as soon as possible; requests that come while one is under way are put together. */
  want(peer: NodeId, wanted: Wanted): void {
    const known = this.#wanted.get(peer);
    this.#wanted.set(peer, known === undefined ? wanted : together(known, wanted));
    if (this.#pulling.has(peer)) return;
    this.#pulling.add(peer);
    void this.#serve(peer).finally(() => this.#pulling.delete(peer));
  }

  /** Pulls streams that have a gap: from their owners where they are connected, else from `peer`, who showed them. */
  fill(streams: ReadonlyMap<string, ReadonlySet<NodeId>>, peer: NodeId): void {
    const connected = this.#init.transport.connections();
    for (const [topic, owners] of streams) {
      for (const owner of owners) {
        this.want(connected.has(owner) ? owner : peer, new Map([[topic, new Set([owner])]]));
      }
    }
  }

  /** One full exchange with that peer, finished when it resolves. */
  async pullNow(peer: NodeId): Promise<void> {
    const { tables } = this.#init;
    await this.#pull(peer, new Map(tables.topics.map((topic) => [topic, 'every'])));
  }

  /** All of one topic. @returns false when that peer does not follow it */
  async pullTopic(peer: NodeId, topic: string): Promise<boolean> {
    const foreign = await this.#pull(peer, new Map([[topic, 'every']]));
    return !foreign.has(topic);
  }

  async #serve(peer: NodeId): Promise<void> {
    for (let failures = 0; ; ) {
      const wanted = this.#wanted.get(peer);
      if (wanted === undefined || this.#stopped) return;
      this.#wanted.delete(peer);
      try {
        if (wanted === 'all') await this.#turn.run((alive) => this.#exchange(peer, alive));
        else if (isOfStreams(wanted)) await this.#pull(peer, wanted);
        else await this.#turn.run((alive) => this.#pullTopics(peer, wanted, alive));
        failures = 0;
      } catch (error) {
        failures += 1;
        this.#init.log.debug({ err: error, peer, failures }, 'pull failed');
        // What was wanted meanwhile is not held up by it, and a comparison whose answer was lost is not either: that cost
        // its time-out already. Whoever fails again waits for who wants something next.
        if (failures > 1 || !this.#init.transport.connections().has(peer)) return;
        if (wanted === 'all') this.#wanted.set(peer, 'all');
      } finally {
        // Who was asked may have had the same gap, and so have shown no difference.
        const topics =
          wanted === 'all' ? new Map(this.#init.tables.topics.map((topic) => [topic, 'every'] as const)) : wanted;
        this.#retryLater(topics);
      }
    }
  }

  async #pullTopics(peer: NodeId, wanted: Exclude<Wanted, 'all'>, alive: () => void): Promise<void> {
    // Its turn came when it was gone.
    if (!this.#init.transport.connections().has(peer)) return;
    await this.#pull(peer, wanted, alive);
  }

  /** Compares digests, and pulls the topics in which the two differ. */
  async #exchange(peer: NodeId, alive: () => void): Promise<void> {
    const { tables, transport } = this.#init;
    // Its turn came when it was gone.
    if (this.#stopped || !transport.connections().has(peer)) return;
    const [topics, own] = [tables.topics, tables.ownElsewhere()];
    const beganMs = this.#init.environment.monotonicMs();
    for (let from = 0; from < Math.max(topics.length, own.length); from += maxTopicsPerRequest) {
      const digests = topics
        .slice(from, from + maxTopicsPerRequest)
        .map((topic) => [topic, Buffer.from(tables.digest(topic), 'hex')]);
      const mine = own.slice(from, from + maxTopicsPerRequest).map(([topic, { epoch, seq }]) => [topic, epoch, seq]);
      const sentMs = this.#init.environment.monotonicMs();
      const reply = parseCompareReply(await this.#ask(peer, 'compare', { digests, own: mine }, compareTimeoutMs));
      if (reply === null) return this.#refuse('malformed answer to a comparison', peer);
      alive();
      tables.propagation.compared(peer, sentMs, reply.nowMs);
      const differing = reply.differing.filter((topic) => tables.hasInterest(topic));
      if (differing.length > 0) {
        await this.#pull(peer, new Map(differing.map((topic) => [topic, 'every'])), alive);
      }
    }
    this.#exchanged.set(peer, this.exchangesWith(peer) + 1);
    this.exchangedMs = Math.max(this.exchangedMs, beganMs);
    this.onExchange();
  }

  /**
   * @param alive called after each part
   * @returns topics that the peer does not follow
   */
  async #pull(peer: NodeId, wanted: Exclude<Wanted, 'all'>, alive = (): void => {}): Promise<Set<string>> {
    const { tables } = this.#init;
    const foreign = new Set<string>();
    let pending = [...wanted].map(([topic, owners]) => ({ topic, owners, from: null as NodeId | null }));
    while (pending.length > 0 && !this.#stopped) {
      const asks: Ask[] = [];
      let room = maxRowsPerRequest;
      for (const { topic, owners, from } of pending) {
        if (room <= 0 || asks.length === maxTopicsPerRequest) break;
        const ask =
          owners === 'every'
            ? nextAsk(topic, tables.vector(topic), from, room)
            : {
                topic,
                range: null,
                positions: new Map([...owners].map((owner) => [owner, tables.position(topic, owner)])),
              };
        room -= ask.positions.size;
        asks.push(ask);
      }
      const reply = parsePullReply(await this.#ask(peer, 'pull', asks.map(toWireAsk), pullTimeoutMs));
      alive();
      if (reply === null) {
        this.#refuse('malformed pull reply', peer);
        return foreign;
      }
      for (const topic of reply.foreign) foreign.add(topic);
      let progress = false;
      for (const stream of reply.streams) {
        progress = (await this.#take(stream, peer)) || progress;
        alive();
      }
      // A peer that says "more" and brings nothing new would keep us asking for ever.
      if (reply.more && progress) continue;
      pending = pending.flatMap((each, i) => {
        const ask = asks[i];
        if (ask === undefined) return [each];
        const from = ask.range?.until ?? null;
        return from === null ? [] : [{ ...each, from }];
      });
    }
    return foreign;
  }

  async #take(stream: WireStream, peer: NodeId): Promise<boolean> {
    const { tables, members } = this.#init;
    const owner = nodeIdOf(stream.owner);
    if (owner === tables.self) {
      if (stream.after === 0) this.#recover(stream);
      return false;
    }
    if (members.get(owner) === null) {
      const admitted = members.recognise(stream.certificate);
      if (!admitted.ok || admitted.member.nodeId !== owner) {
        this.#refuse(admitted.ok ? 'certificate of another node' : admitted.reason, owner);
        return false;
      }
    }
    const before = tables.position(stream.topic, owner);
    let clean = true;
    let progress = false;
    let firstSeq = 0;
    let taken = 0;
    for await (const signed of this.#checkedAhead(stream, owner)) {
      if (signed === null) {
        this.#refuse('malformed record', peer);
        return progress;
      }
      const { epoch, seq } = signed.record;
      // A part begins with the last record of the whole (pull.ts); what lies behind a gap comes in its order.
      if (taken === 0) firstSeq = seq;
      if (taken === 1 && firstSeq > seq) tables.expect(stream.topic, owner, epoch, firstSeq);
      taken += 1;
      const outcome = tables.ingest(signed, true);
      if (outcome.result === 'applied') {
        progress = true;
        if (outcome.objection !== null) this.#refuse(outcome.objection, owner);
      }
      if (outcome.result === 'refused') {
        this.#refuse(outcome.reason, outcome.reason === badSignature ? peer : owner);
        clean = false;
      }
    }
    // A record that was not taken leaves a gap, and the next exchange brings it again.
    const known = tables.placeIn(stream.topic, owner, stream.epoch);
    const joins = stream.after === 0 || (known !== null && known.seq >= stream.after);
    if (clean && joins) tables.advance(stream.topic, owner, stream.epoch, stream.upTo);
    return progress || isBehind(before, tables.position(stream.topic, owner));
  }

  /**
   * The records of a stream, null for what is no record of it. While some are taken in, the signatures of the next are
   * checked on other threads, and between the two the loop gets to do something else.
   */
  async *#checkedAhead({ topic, records }: WireStream, owner: NodeId): AsyncGenerator<SignedRecord | null> {
    const check = (
      from: number,
    ): { readonly slice: readonly (SignedRecord | null)[]; readonly done: Promise<unknown> } => {
      const wires = records.slice(from, from + recordsPerSlice);
      const slice = wires.map((wire) => {
        const signed = decodeRecord(wire);
        return signed?.record.owner === owner && signed.record.topic === topic ? signed : null;
      });
      const verified = this.#init.tables.verifyAhead(
        slice.flatMap((signed, i) => (signed === null ? [] : [[signed, wires[i] ?? toWire(signed)]])),
      );
      return { slice, done: from === 0 ? verified : Promise.all([verified, this.#pause()]) };
    };
    let next = check(0);
    for (let from = recordsPerSlice; next.slice.length > 0; from += recordsPerSlice) {
      const { slice, done } = next;
      await done;
      next = check(from);
      yield* slice;
    }
  }

  /** A peer has a later epoch of an own stream than this node. A part begins with the last record of the whole. */
  #recover({ topic, records, upTo }: WireStream): void {
    const { tables, log } = this.#init;
    const isWhole = (decodeRecord(records[0])?.record.seq ?? 0) <= upTo;
    tables
      .recover(topic, records, isWhole)
      .catch((error: unknown) => log.error({ err: error, topic }, 'taking over own records failed'));
  }

  /** Streams that are not whole yet after they were asked for: again, of somebody else. */
  #retryLater(wanted: Exclude<Wanted, 'all'>, attempt = 1): void {
    const { tables, transport, environment } = this.#init;
    const lacking = new Map<string, Set<NodeId>>();
    for (const [topic, owners] of wanted) {
      const still =
        owners === 'every' ? tables.lacking(topic) : [...owners].filter((owner) => tables.isLacking(topic, owner));
      if (still.length > 0) lacking.set(topic, new Set(still));
    }
    if (lacking.size === 0 || attempt > maxRetries || this.#stopped || this.#retrying >= maxWantedStreams) return;
    this.#retrying += 1;
    this.#after(jittered(environment, retryMs * 2 ** (attempt - 1)), () => {
      this.#retrying -= 1;
      const peers = [...transport.connections().keys()];
      const peer = peers[Math.floor(environment.random() * peers.length)];
      if (peer === undefined) return;
      this.#pull(peer, lacking)
        .catch((error: unknown) => this.#init.log.debug({ err: error, peer }, 'a gap could not be pulled here either'))
        .finally(() => this.#retryLater(lacking, attempt + 1));
    });
  }

  async #ask(peer: NodeId, method: string, body: unknown, timeoutMs: number): Promise<unknown> {
    const signal = AbortSignal.timeout(timeoutMs);
    const reply = await this.#init.transport.request(peer, method, encode(body), signal);
    try {
      return decode(reply);
    } catch {
      return undefined;
    }
  }

  /** The first of a kind is said, the rest are counted (`weft status`). */
  #refuse(reason: string, who: NodeId): void {
    if (this.#init.offences.report(who, reason))
      this.#init.log.warn({ reason, node: who }, 'refused what came of a node');
  }

  #pause(): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    return new Promise((resolve) => {
      const go = (): void => {
        this.#pauses.delete(go);
        resolve();
      };
      this.#pauses.add(go);
      this.#after(0, go);
    });
  }

  #after(delayMs: number, task: () => void): void {
    const cancel = this.#init.environment.timer(delayMs, () => {
      this.#timers.delete(cancel);
      task();
    });
    this.#timers.add(cancel);
  }
}

/** Whether it is all of single streams, not of topics. */
const isOfStreams = (wanted: Exclude<Wanted, 'all'>): boolean =>
  [...wanted.values()].every((owners) => owners !== 'every');

/** Two wishes in one; too many streams one by one are as good as all. */
function together(a: Wanted, b: Wanted): Wanted {
  if (a === 'all' || b === 'all') return 'all';
  const both = new Map(a);
  for (const [topic, owners] of b) {
    const known = both.get(topic);
    const every = known === 'every' || owners === 'every';
    both.set(topic, every ? 'every' : new Set([...(known ?? []), ...owners]));
  }
  const streams = [...both.values()].reduce((sum, owners) => sum + (owners === 'every' ? 1 : owners.size), 0);
  return streams > maxWantedStreams ? 'all' : both;
}
