import { type Environment, jittered, type Log } from '../environment.ts';
import { type NodeKey, SignatureVerifier } from '../identity/keys.ts';
import type { NodeId } from '../ids.ts';
import type { Verdict as GossipVerdict, Transport } from '../mesh/transport.ts';
import { RateLimit } from '../rate.ts';
import type { Verdict } from './judge.ts';
import {
  type Claim,
  type Context,
  compareIncarnations,
  deadlineOf,
  type Event,
  type Incarnation,
  isNews,
  type Member,
  newMember,
  type Status,
  step,
  type Why,
} from './machine.ts';
import { type Place, Prober } from './prober.ts';
import {
  decodeStatements,
  livenessTopic,
  maxStatements,
  type SignedStatement,
  signStatement,
  statementsToWire,
  verifyStatement,
} from './statement.ts';

// A late agent is the talk of the cluster only when it stays late: most have answered long before.
const tellSlowMs = 5_000;
const exchangeMs = 5_000;
const exchangeTimeoutMs = 5_000;
// A node that is accused by many answers them together.
const refuteMs = 100;
// Statements taken of one author; more are ignored: signatures cost, and each statement is passed on.
const ofAuthor = { burst: 256, perSecond: 32 };
// What this node has refuted is told again by those who missed that, each once, and by whoever wants to keep it busy.
const refuted = { burst: 8, perSecond: 1 };

/** Before any that a node can have. */
const unborn: Incarnation = { epoch: -1, count: 0 };

export interface LivenessInit {
  readonly key: NodeKey;
  readonly clusterId: string;
  readonly transport: Transport;
  readonly environment: Environment;
  readonly log: Log;
  /** Raised at every start of this node. */
  readonly epoch: () => number;
  readonly isMember: (node: NodeId) => boolean;
  readonly place: (peer: NodeId) => Place | null;
  /** All nodes of the tables, and how many. */
  readonly population: () => number;
  /** Nodes that ought to be connected and are not. */
  readonly missing: () => Iterable<NodeId>;
  /** ICMP echo to a VTEP; null where it cannot be asked. */
  readonly hostAnswers: (vtep: string, timeoutMs: number) => Promise<boolean | null>;
}

/** What this node thinks of another one. */
export interface Health {
  readonly status: Status;
  /** Why it is not alive; '' when it is. */
  readonly why: Why;
  /** Wall clock, milliseconds since the epoch. */
  readonly sinceMs: number;
  /** Smoothed round trip, milliseconds; null when none was made. */
  readonly rttMs: number | null;
  /** Whether anything is known: this node has heard it, or has heard from others since it started. */
  readonly known: boolean;
}

/** Who accuses whom, as signed; kept to tell those who were not there. */
interface Said {
  refutation: SignedStatement | null;
  readonly accusations: Map<NodeId, SignedStatement>;
}

/** Watches over the other nodes: looks, listens to what others see, and tells them. Suspends, never deletes. */
export class Liveness {
  readonly prober: Prober;
  readonly #init: LivenessInit;
  readonly #verifier = new SignatureVerifier();
  readonly #members = new Map<NodeId, Member>();
  readonly #said = new Map<NodeId, Said>();
  readonly #deadlines = new Map<NodeId, () => void>();
  readonly #watchers = new Set<(peer: NodeId) => void>();
  readonly #ofAuthor: RateLimit;
  readonly #refuted: RateLimit;
  /** Who has accused this node, and of what incarnation last. */
  readonly #answered = new Map<NodeId, Incarnation>();
  #incarnation: Incarnation = { epoch: 0, count: 0 };
  #cancelRefutation: (() => void) | null = null;
  #cancelExchange: () => void = () => {};
  #serial = 0;
  #informed = false;

  constructor(init: LivenessInit) {
    this.#init = init;
    this.#ofAuthor = new RateLimit(() => this.#now(), ofAuthor);
    this.#refuted = new RateLimit(() => this.#now(), refuted);
    const { key, transport, environment, log, place, missing, hostAnswers } = init;
    this.prober = new Prober({
      ...{ transport, environment, log, place, missing, hostAnswers },
      self: key.nodeId,
      isSuspended: (peer) => this.#members.get(peer)?.status === 'suspended',
      onVerdict: (peer, verdict) => this.#onVerdict(peer, verdict),
      onUnwatched: (peer) => {
        if (this.#members.has(peer)) this.#step(peer, { type: 'withdrawn' });
      },
    });
  }

  start(): void {
    this.#incarnation = { epoch: this.#init.epoch(), count: 0 };
    this.prober.start();
    this.#scheduleExchange();
  }

  stop(): void {
    this.prober.stop();
    this.#cancelExchange();
    this.#cancelRefutation?.();
    for (const cancel of this.#deadlines.values()) cancel();
    this.#watchers.clear();
  }

  stateOf(peer: NodeId): Health {
    const { environment, transport } = this.#init;
    const member = this.#members.get(peer);
    const rttMs = this.prober.rttOf(peer);
    const known = member !== undefined || this.#informed || transport.connections().has(peer);
    if (member === undefined) return { status: 'alive', why: '', sinceMs: environment.now(), rttMs, known };
    const { status, why, sinceMs } = member;
    return { status, why, sinceMs: environment.now() - (environment.monotonicMs() - sinceMs), rttMs, known };
  }

  isSuspended(peer: NodeId): boolean {
    return this.#members.get(peer)?.status === 'suspended';
  }

  /** Nodes that are suspected of being gone with all their host, or of being out of reach. */
  doubted(): ReadonlySet<NodeId> {
    const doubted = new Set<NodeId>();
    for (const [peer, { status, why }] of this.#members) {
      // A host whose agent alone is late goes on forwarding.
      if (status === 'suspect' && why !== 'agent down') doubted.add(peer);
    }
    return doubted;
  }

  /** Whether nobody is in doubt: each node counts as alive and nobody says otherwise, or it is suspended. */
  get isSettled(): boolean {
    return [...this.#members.values()].every(
      ({ status, accusers }) => status === 'suspended' || (status === 'alive' && accusers.size === 0),
    );
  }

  /** @param watcher is told whose status or reason has changed, after it did */
  watch(watcher: (peer: NodeId) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  connected(peer: NodeId): void {
    // Taken before they are forgotten: those who are not connected to it wait for its refutation.
    const accusations = this.#about(peer, [...(this.#said.get(peer)?.accusations.values() ?? [])]);
    this.prober.connected(peer);
    // One of the two is enough: what is asked for is answered in kind.
    const first = this.#init.transport.connections().get(peer)?.direction === 'outbound';
    if (first || accusations.length > 0) this.#exchange(peer, [...accusations, ...(first ? this.#toTell() : [])]);
  }

  disconnected(peer: NodeId): void {
    this.prober.disconnected(peer);
  }

  heard(peer: NodeId): void {
    this.prober.heard(peer);
  }

  /** The node is no member any more. */
  forget(peer: NodeId): void {
    this.prober.forget(peer);
    this.#deadlines.get(peer)?.();
    for (const map of [this.#deadlines, this.#members, this.#said, this.#answered]) map.delete(peer);
    this.#ofAuthor.forget(peer);
    for (const { accusations } of this.#said.values()) accusations.delete(peer);
  }

  gossip(bytes: Uint8Array): GossipVerdict {
    const statements = decodeStatements(bytes);
    if (statements === null) return 'reject';
    let news = false;
    for (const each of statements) {
      const outcome = this.#take(each);
      // Nothing more of who passes on a forgery: checking signatures costs.
      if (outcome === 'forged') return 'reject';
      news ||= outcome === 'new';
    }
    return news ? 'accept' : 'ignore';
  }

  /** Answers `liveness`: takes what the other has to say, and says the same kind of thing. @throws when malformed */
  answer(body: Uint8Array): Uint8Array {
    if (!this.#learn(body)) throw new Error('malformed statements');
    return statementsToWire(this.#toTell());
  }

  #onVerdict(peer: NodeId, verdict: Verdict): void {
    if (!this.#init.isMember(peer)) return;
    if (verdict === 'answers' || verdict === 'indirect') this.#step(peer, { type: 'seen' });
    else this.#accuse(peer, verdict);
  }

  #accuse(peer: NodeId, claim: Claim): void {
    const { self } = this;
    const { incarnation } = this.#member(peer);
    this.#step(peer, { type: 'accused', by: self, claim, incarnation });
    const member = this.#member(peer);
    const told = this.#said.get(peer)?.accusations.get(self)?.statement;
    const known = told?.claim === claim && compareIncarnations(told.incarnation, incarnation) === 0;
    const early = claim === 'slow' && this.#now() - member.sinceMs < tellSlowMs;
    if (known || early || member.accusers.get(self) !== claim) return;
    const accusation = this.#sign({ subject: peer, incarnation, claim });
    this.#keep(accusation);
    // Who missed that could not tell whether the accusation is a new one.
    this.#publish(this.#about(peer, [accusation]));
  }

  get self(): NodeId {
    return this.#init.key.nodeId;
  }

  #take(signed: SignedStatement): 'new' | 'old' | 'forged' {
    const { author, subject, incarnation, claim } = signed.statement;
    const { isMember, clusterId } = this.#init;
    if (author === this.self) return this.#remember(signed);
    if (!isMember(author) || !isMember(subject)) return 'old';
    const aboutUs = subject === this.self;
    const isRepeat = aboutUs && compareIncarnations(incarnation, this.#answered.get(author) ?? unborn) <= 0;
    const news = aboutUs
      ? compareIncarnations(incarnation, this.#incarnation) <= 0
      : claim === null
        ? compareIncarnations(incarnation, this.#member(subject).incarnation) > 0
        : isNews(this.#member(subject), author, claim, incarnation);
    // Anybody can tell it again: that is not at the expense of its author.
    const [budget, payer] = isRepeat ? [this.#refuted, this.self] : [this.#ofAuthor, author];
    if (!news || !budget.allows(payer)) return 'old';
    if (!verifyStatement(this.#verifier, clusterId, signed)) return 'forged';
    // Only now: nobody can use up what is another's, whose refutations would not count any more.
    budget.charge(payer);
    if (aboutUs) {
      if (!isRepeat) this.#answered.set(author, incarnation);
      this.#refute();
    } else {
      const before = this.#member(subject).status;
      if (claim === null) this.#step(subject, { type: 'refuted', incarnation });
      else this.#step(subject, { type: 'accused', by: author, claim, incarnation });
      this.#keep(signed);
      // We look for ourselves before we believe it.
      if (claim !== null && before === 'alive' && this.prober.isWatched(subject)) this.prober.look(subject);
    }
    return 'new';
  }

  /**
   * Our own word, from a later incarnation than this one: the disk is an older copy, and the clock went back. Nobody would
   * take a word below it for news, so this agent goes on above it.
   */
  #remember(signed: SignedStatement): 'old' | 'forged' {
    const { incarnation } = signed.statement;
    if (compareIncarnations(incarnation, this.#incarnation) <= 0) return 'old';
    if (!verifyStatement(this.#verifier, this.#init.clusterId, signed)) return 'forged';
    this.#incarnation = incarnation;
    this.#refute();
    return 'old';
  }

  /** Says that we live, one count above what we are accused of. */
  #refute(): void {
    this.#cancelRefutation ??= this.#init.environment.timer(refuteMs * this.#init.environment.random(), () => {
      this.#cancelRefutation = null;
      const { epoch, count } = this.#incarnation;
      this.#incarnation = { epoch, count: count + 1 };
      this.#publish([this.#ownWord()]);
    });
  }

  #ownWord(): SignedStatement {
    return this.#sign({ subject: this.self, incarnation: this.#incarnation, claim: null });
  }

  #sign(statement: { subject: NodeId; incarnation: Incarnation; claim: Claim | null }): SignedStatement {
    this.#serial += 1;
    return signStatement(this.#init.key, this.#init.clusterId, statement, this.#serial);
  }

  #publish(statements: readonly SignedStatement[]): void {
    this.#init.transport.publish(livenessTopic, statementsToWire(statements));
  }

  #keep(signed: SignedStatement): void {
    const { author, subject, claim } = signed.statement;
    const said = this.#said.get(subject) ?? { refutation: null, accusations: new Map() };
    this.#said.set(subject, said);
    if (claim === null) {
      said.refutation = signed;
      said.accusations.clear();
    } else said.accusations.set(author, signed);
  }

  #step(peer: NodeId, event: Event): void {
    const before = this.#member(peer);
    const after = step(before, event, this.#context(peer));
    // A deadline that has moved away meanwhile, since this node has become slower, is waited for again.
    if (after === before && event.type !== 'passed') return;
    this.#members.set(peer, after);
    if (after.accusers.size === 0) this.#said.get(peer)?.accusations.clear();
    this.#deadlines.get(peer)?.();
    this.#deadlines.delete(peer);
    const deadlineMs = deadlineOf(after, this.#context(peer));
    if (deadlineMs !== null) {
      const delayMs = Math.max(1, deadlineMs - this.#now());
      const passed = (): void => this.#step(peer, { type: 'passed' });
      this.#deadlines.set(peer, this.#init.environment.timer(delayMs, passed));
    }
    if (after.status === before.status && after.why === before.why) return;
    const { status, why } = after;
    if (status !== 'suspect') this.#init.log.info({ peer, status, why }, 'a node is taken for alive, or not');
    for (const watcher of this.#watchers) watcher(peer);
  }

  #member(peer: NodeId): Member {
    const known = this.#members.get(peer);
    if (known !== undefined) return known;
    const member = newMember(this.#now());
    this.#members.set(peer, member);
    return member;
  }

  #context(peer: NodeId): Context {
    const { population } = this.#init;
    const witnesses = Math.max(1, population() - 1);
    const watched = this.prober.isWatched(peer);
    return { self: this.self, nowMs: this.#now(), watched, witnesses, stretch: this.prober.stretch };
  }

  /** All that another node might have missed: our own word first, then who is accused, and by whom. */
  #toTell(): SignedStatement[] {
    const others = [...this.#said.values()].flatMap(({ refutation, accusations }) =>
      refutation === null ? [...accusations.values()] : [refutation, ...accusations.values()],
    );
    const room = maxStatements - 1;
    // Too much for one frame: another part each time.
    const from = others.length > room ? Math.floor(this.#init.environment.random() * others.length) : 0;
    return [this.#ownWord(), ...others.slice(from), ...others.slice(0, from)].slice(0, maxStatements);
  }

  /** Accusations of one node, and before them the word of its own that they are about: it may have an older copy of its disk. */
  #about(subject: NodeId, accusations: readonly SignedStatement[]): readonly SignedStatement[] {
    const refutation = this.#said.get(subject)?.refutation ?? null;
    return refutation === null || accusations.length === 0 ? accusations : [refutation, ...accusations];
  }

  #exchange(peer: NodeId, statements: readonly SignedStatement[]): void {
    const { transport, environment, log } = this.#init;
    const timeUp = new AbortController();
    const cancel = environment.timer(exchangeTimeoutMs, () => timeUp.abort());
    transport
      .request(peer, 'liveness', statementsToWire(statements.slice(0, maxStatements)), timeUp.signal)
      .then((reply) => this.#learn(reply))
      .catch((error: unknown) => log.debug({ err: error, peer }, 'statements could not be exchanged'))
      .finally(cancel);
  }

  /**
   * Takes statements that came by request. Gossip may have gone by others as well: the word of somebody back is passed on,
   * and an accusation of somebody who lives goes to the accused, who alone can end it everywhere.
   */
  #learn(bytes: Uint8Array): boolean {
    const statements = decodeStatements(bytes);
    if (statements === null) return false;
    this.#informed = true;
    for (const signed of statements) {
      const { subject, claim } = signed.statement;
      const wasAlive = this.#members.get(subject)?.status === 'alive' || subject === this.self;
      const outcome = this.#take(signed);
      if (outcome === 'forged') return false;
      if (outcome !== 'new' || (claim === null) === wasAlive || subject === this.self) continue;
      if (claim !== null && this.#init.transport.connections().has(subject))
        this.#exchange(subject, this.#about(subject, [signed]));
      else this.#publish([signed]);
    }
    return true;
  }

  /** While somebody is not alive here, or is said not to be: others may have missed that, or we what came after it. */
  #scheduleExchange(): void {
    const { environment, transport } = this.#init;
    this.#cancelExchange = environment.timer(jittered(environment, exchangeMs), () => {
      const peers = [...transport.connections().keys()];
      const peer = peers[Math.floor(environment.random() * peers.length)];
      const calm = [...this.#members.values()].every(
        ({ status, accusers }) => status === 'alive' && accusers.size === 0,
      );
      if (peer !== undefined && !calm) this.#exchange(peer, this.#toTell());
      this.#scheduleExchange();
    });
  }

  #now(): number {
    return this.#init.environment.monotonicMs();
  }
}
