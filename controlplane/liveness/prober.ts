import { decode, encode } from '../encoding.ts';
import { type Environment, jittered, type Log } from '../environment.ts';
import { type NodeId, nodeIdOf, publicKeyOf } from '../ids.ts';
import type { Transport } from '../mesh/transport.ts';
import { type Evidence, isCut, judge, type Sight, sightOf, type Verdict } from './judge.ts';

// Two pings a second and node, whatever the size of the cluster: with ten nodes one of them asks the right one within
// 0.3 s on average, and both ends together pay some 400 bytes a second for it.
const periodMs = 500;
// A hundred times what a round trip takes on a network that is well, and one retransmission of TCP.
const pingMs = 400;
// An answer is good news however late it comes; after this long a connection is given up.
const pingMaxMs = 15_000;
const lookMs = 400;
// Where the way is longer, all waits are: so many smoothed round trips, and not without end.
const roundTrips = 3;
const longestLookMs = 3_000;
// Most looks are over by then: a kernel that refuses does so in one round trip.
const beforeHelpersMs = 50;
// A helper has to be done, and its answer here, before our own look ends.
const helperMs = 250;
const helpersAsked = 2;
/** New nodes looked at in one period; at the start of an agent all of them are missing. */
const maxNewLooks = 8;
/** Looks at the request of others that run at a time; more are answered with nothing. */
const maxHelping = 32;
const againMs = 300;
const againSlowMs = 1_000;
// Of one that is suspended: whether its host is back without its agent.
const againSuspendedMs = 15_000;
// Rounds after which a smoothed round trip follows a change (RFC 6298 uses 8 as well).
const rttWeight = 8;
const lateUnitMs = 200;
const maxStretch = 5;

/** Where a node is found. */
export interface Place {
  readonly vtep: string;
  /** `IP:PORT`. */
  readonly gossip: readonly string[];
}

export interface ProberInit {
  readonly self: NodeId;
  readonly transport: Transport;
  readonly environment: Environment;
  readonly log: Log;
  readonly place: (peer: NodeId) => Place | null;
  /** Nodes that ought to be connected and are not. */
  readonly missing: () => Iterable<NodeId>;
  /** ICMP echo to a VTEP; null where it cannot be asked. */
  readonly hostAnswers: (vtep: string, timeoutMs: number) => Promise<boolean | null>;
  readonly isSuspended: (peer: NodeId) => boolean;
  readonly onVerdict: (peer: NodeId, verdict: Verdict) => void;
  /** The node is not watched any more: what was suspected of it stays unanswered. */
  readonly onUnwatched: (peer: NodeId) => void;
}

/** What is known of the way to one node. */
interface Path {
  heardMs: number;
  askedMs: number;
  pinging: AbortController | null;
  /** What our own look sees, until it is judged. */
  looking: Promise<Evidence> | null;
  /** Somebody has asked for a look meanwhile: what ours saw may have been just before. */
  lookNext: boolean;
  rttMs: number | null;
  proven: boolean;
  /** Looks in a row that found the host but not its agent, or no way to it. */
  doubts: number;
  cancelAgain: () => void;
}

/**
 * Looks after the nodes that this one is connected to, or should be: each period it pings the one that it has not heard
 * for the longest. That is SWIM's random order, better informed: what arrives from a node anyway is not asked for, and the
 * one that has fallen silent comes first on everybody's list.
 */
export class Prober {
  readonly #init: ProberInit;
  readonly #paths = new Map<NodeId, Path>();
  #cancelTick: () => void = () => {};
  #lateMs = 0;
  #helping = 0;
  #stopped = false;

  constructor(init: ProberInit) {
    this.#init = init;
  }

  start(): void {
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTick();
    for (const peer of [...this.#paths.keys()]) this.forget(peer);
  }

  /** 1 or more: how much longer everything takes here, by how late our own timers are. */
  get stretch(): number {
    return Math.min(maxStretch, 1 + this.#lateMs / lateUnitMs);
  }

  /** Smoothed round trip, milliseconds; null before the first. */
  rttOf(peer: NodeId): number | null {
    return this.#paths.get(peer)?.rttMs ?? null;
  }

  isWatched(peer: NodeId): boolean {
    if (this.#init.transport.connections().has(peer)) return true;
    for (const each of this.#init.missing()) if (each === peer) return true;
    return false;
  }

  forget(peer: NodeId): void {
    const path = this.#paths.get(peer);
    path?.cancelAgain();
    path?.pinging?.abort();
    this.#paths.delete(peer);
  }

  connected(peer: NodeId): void {
    const path = this.#path(peer);
    path.doubts = 0;
    // Who was dialled has answered a knock; of who dialled us it is not known whether anything gets there.
    if (this.#init.transport.connections().get(peer)?.direction === 'outbound') path.proven = true;
    else if (!path.proven) this.#prove(peer, path);
    this.heard(peer);
  }

  disconnected(peer: NodeId): void {
    const path = this.#paths.get(peer);
    path?.pinging?.abort();
    if (this.isWatched(peer)) this.look(peer);
    else this.#unwatch(peer);
  }

  /** Something of it has arrived. */
  heard(peer: NodeId): void {
    const path = this.#paths.get(peer);
    if (path === undefined) return;
    path.heardMs = this.#now();
    this.#init.onVerdict(peer, 'answers');
  }

  /** Looks whether a node answers by any way there is, with the help of others, and tells the verdict. */
  look(peer: NodeId): void {
    this.#look(peer).catch((error: unknown) => this.#init.log.error({ err: error, peer }, 'looking at a node failed'));
  }

  async #look(peer: NodeId): Promise<void> {
    const path = this.#path(peer);
    path.lookNext = path.looking !== null;
    if (path.lookNext || this.#stopped) return;
    path.cancelAgain();
    path.askedMs = this.#now();
    const durationMs = this.#waitMs(path, lookMs);
    path.looking = this.#gather(peer, durationMs);
    try {
      await this.#judge(peer, path, path.looking, durationMs);
    } finally {
      path.looking = null;
      if (path.lookNext && this.#paths.get(peer) === path) this.look(peer);
    }
  }

  async #judge(peer: NodeId, path: Path, seeing: Promise<Evidence>, durationMs: number): Promise<void> {
    const helping = this.#askHelpers(peer, durationMs, seeing);
    const [seen, helpers] = await Promise.all([seeing, helping]);
    const evidence = { ...seen, helpers };
    if (this.#stopped || this.#paths.get(peer) !== path) return;
    evidence.heard ||= path.heardMs > path.askedMs;
    const lateMs = this.#now() - path.askedMs - durationMs;
    // What was not read in time cannot be told from what did not come.
    if (lateMs > durationMs && !evidence.heard) return this.#again(peer, 0);
    this.#conclude(peer, path, evidence);
  }

  /** Answers a request of another node to look at one that it cannot reach. @throws on anything malformed */
  async help(body: Uint8Array): Promise<Uint8Array> {
    const asked = decode(body);
    const key = Array.isArray(asked) ? (asked[0] as unknown) : null;
    if (!(key instanceof Uint8Array) || key.length !== 32) throw new Error('malformed request to look');
    const peer = nodeIdOf(key);
    if (this.#helping >= maxHelping || this.#init.place(peer) === null) throw new Error('cannot look at that node');
    this.#helping += 1;
    try {
      const path = this.#paths.get(peer);
      // One for others alone is none of ours: it is not judged, and ours must not be left out for it.
      const seeing = path?.looking ?? this.#gather(peer, this.#waitMs(path, helperMs));
      return encode([sightOf(await seeing)]);
    } finally {
      this.#helping -= 1;
    }
  }

  #conclude(peer: NodeId, path: Path, evidence: Evidence): void {
    const verdict = judge({ ...evidence, proven: path.proven });
    path.proven ||= evidence.knock !== 'silent' || evidence.host === true;
    path.doubts = verdict === 'slow' || verdict === 'indirect' ? path.doubts + 1 : 0;
    const connected = this.#init.transport.connections().has(peer);
    // A connection that carries nothing is closed, so that it is dialled again: nobody else would notice for minutes.
    if (connected && isCut(evidence) && (verdict === 'silent' || path.doubts > 1)) this.#close(peer);
    // A single late answer, or a connection that has just been lost, is no reason to doubt an agent.
    if (verdict !== 'slow' || path.doubts > 1) this.#init.onVerdict(peer, verdict);
    // Its connection may have ended while we looked; who is not connected is looked at until it is.
    if (verdict === 'answers' && connected) return;
    const patient = verdict === 'silent' || verdict === 'refused' ? againMs : againSlowMs;
    this.#again(peer, this.#init.isSuspended(peer) ? againSuspendedMs : patient);
  }

  /** What can be seen from here within `durationMs`; sooner when the first answer says it all. */
  async #gather(peer: NodeId, durationMs: number): Promise<Evidence> {
    const { transport, environment, hostAnswers, place } = this.#init;
    const found = place(peer);
    const evidence: Mutable<Evidence> = { heard: false, knock: 'silent', host: null, helpers: null, proven: false };
    const timeUp = new AbortController();
    const cancel = environment.timer(durationMs, () => timeUp.abort());
    await new Promise<void>((resolve) => {
      const learn = (part: Partial<Evidence>): void => {
        Object.assign(evidence, part);
        if (isFinal(evidence)) resolve();
      };
      const ways = [
        transport.knock(found?.gossip ?? [], timeUp.signal).then((knock) => learn({ knock })),
        found === null ? null : hostAnswers(found.vtep, durationMs).then((host) => learn({ host })),
        transport.connections().has(peer) && transport.ping(peer, timeUp.signal).then(() => learn({ heard: true })),
      ];
      void Promise.allSettled(ways).then(() => resolve());
    });
    cancel();
    timeUp.abort();
    return evidence;
  }

  /** The best that others see of it, unless our own look says it all. */
  async #askHelpers(peer: NodeId, durationMs: number, seeing: Promise<Evidence>): Promise<Sight | null> {
    const { transport, environment, isSuspended } = this.#init;
    const others = [...transport.connections().keys()].filter((each) => each !== peer && !isSuspended(each));
    const helpers = sample(others, helpersAsked, environment);
    const timeUp = new AbortController();
    const cancelTimeUp = environment.timer(durationMs, () => timeUp.abort());
    const sights: Sight[] = [];
    await new Promise<void>((resolve) => {
      const cancelAsk = environment.timer(beforeHelpersMs, () => {
        const asked = helpers.map(async (helper) => {
          const sight = await this.#askHelper(helper, peer, timeUp.signal);
          if (sight !== null) sights.push(sight);
          if (sight === 'agent') resolve();
        });
        void Promise.allSettled(asked).then(() => resolve());
      });
      timeUp.signal.addEventListener('abort', () => resolve(), { once: true });
      const done = (): void => {
        cancelAsk();
        resolve();
      };
      seeing.then((own) => isFinal(own) && done(), done);
    });
    cancelTimeUp();
    timeUp.abort();
    return sights.find((each) => each === 'agent') ?? sights.find((each) => each === 'host') ?? sights[0] ?? null;
  }

  async #askHelper(helper: NodeId, peer: NodeId, signal: AbortSignal): Promise<Sight | null> {
    const reply = decode(await this.#init.transport.request(helper, 'look', encode([publicKeyOf(peer)]), signal));
    const sight = Array.isArray(reply) ? (reply[0] as unknown) : null;
    return sight === 'agent' || sight === 'host' || sight === 'nothing' ? sight : null;
  }

  #prove(peer: NodeId, path: Path): void {
    const vtep = this.#init.place(peer)?.vtep;
    if (vtep === undefined) return;
    const { hostAnswers, log } = this.#init;
    hostAnswers(vtep, lookMs)
      .then((answers) => {
        if (answers === true) path.proven = true;
      })
      .catch((error: unknown) => log.error({ err: error, peer }, 'asking a host for an echo failed'));
  }

  #schedule(): void {
    const delayMs = jittered(this.#init.environment, periodMs);
    const dueMs = this.#now() + delayMs;
    this.#cancelTick = this.#init.environment.timer(delayMs, () => {
      // Falls slowly, so that one timer on time does not undo what ten late ones have told.
      this.#lateMs = Math.max(this.#now() - dueMs, this.#lateMs * 0.8);
      this.#tick();
      this.#schedule();
    });
  }

  #tick(): void {
    const connected = [...this.#init.transport.connections().keys()];
    let longest: { peer: NodeId; path: Path } | null = null;
    let ties = 0;
    for (const peer of connected) {
      const path = this.#path(peer);
      if (path.pinging !== null) {
        // Something else of it was heard while a ping was not answered: if it falls silent now, nobody else would look.
        if (path.looking === null && this.#isQuiet(path)) this.look(peer);
        continue;
      }
      const order = longest === null ? -1 : lastContactMs(path) - lastContactMs(longest.path);
      ties = order < 0 ? 1 : order === 0 ? ties + 1 : ties;
      if (order < 0 || (order === 0 && this.#init.environment.random() * ties < 1)) longest = { peer, path };
    }
    if (longest !== null) void this.#ping(longest.peer, longest.path);
    // Nodes that were never met, or lost while nobody looked.
    const unknown = [...this.#init.missing()].filter((peer) => !this.#paths.has(peer));
    for (const peer of unknown.slice(0, maxNewLooks)) this.look(peer);
  }

  async #ping(peer: NodeId, path: Path): Promise<void> {
    const { transport, environment } = this.#init;
    const startedMs = this.#now();
    const pinging = new AbortController();
    path.pinging = pinging;
    path.askedMs = startedMs;
    const cancelLook = environment.timer(this.#waitMs(path, pingMs), () => this.look(peer));
    const cancelPing = environment.timer(pingMaxMs * this.stretch, () => {
      pinging.abort();
      this.#close(peer);
    });
    try {
      await transport.ping(peer, pinging.signal);
      const tookMs = this.#now() - startedMs;
      path.rttMs = path.rttMs === null ? tookMs : path.rttMs + (tookMs - path.rttMs) / rttWeight;
      path.doubts = 0;
      // At its first connection its address may not have been known yet.
      if (!path.proven) this.#prove(peer, path);
      this.heard(peer);
    } catch {
      // The end of the connection or the look says why.
    } finally {
      cancelLook();
      cancelPing();
      if (path.pinging === pinging) path.pinging = null;
    }
  }

  /** Neither heard nor asked for as long as a ping and a look take. */
  #isQuiet(path: Path): boolean {
    return this.#now() - lastContactMs(path) > this.#waitMs(path, pingMs) + this.#waitMs(path, lookMs);
  }

  /** How long to wait for an answer of that node: at least `shortestMs`. */
  #waitMs(path: Path | undefined, shortestMs: number): number {
    const awayMs = Math.min(longestLookMs, (path?.rttMs ?? 0) * roundTrips);
    return Math.max(shortestMs, awayMs) * this.stretch;
  }

  #again(peer: NodeId, delayMs: number): void {
    const path = this.#path(peer);
    path.cancelAgain();
    path.cancelAgain = this.#init.environment.timer(delayMs, () => {
      if (this.isWatched(peer)) this.look(peer);
      else this.#unwatch(peer);
    });
  }

  #unwatch(peer: NodeId): void {
    this.forget(peer);
    this.#init.onUnwatched(peer);
  }

  #close(peer: NodeId): void {
    this.#init.log.info({ peer }, 'a connection carries nothing any more; closing it to dial again');
    this.#init.transport.disconnect(peer).catch(() => {});
  }

  /** One for each node that is or was watched; forgotten when it is not any more. */
  #path(peer: NodeId): Path {
    const known = this.#paths.get(peer);
    if (known !== undefined) return known;
    const times = { heardMs: 0, askedMs: 0, rttMs: null };
    const looks = { pinging: null, looking: null, lookNext: false, cancelAgain: () => {} };
    const path: Path = { ...times, ...looks, proven: false, doubts: 0 };
    this.#paths.set(peer, path);
    return path;
  }

  #now(): number {
    return this.#init.environment.monotonicMs();
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Nothing that comes later can change the verdict. */
const isFinal = ({ heard, knock }: Evidence): boolean => heard || knock === 'refused';

const lastContactMs = ({ heardMs, askedMs }: Path): number => Math.max(heardMs, askedMs);

function sample<T>(items: readonly T[], count: number, { random }: Environment): T[] {
  const keyed = items.map((item) => ({ item, at: random() }));
  return keyed
    .sort((a, b) => a.at - b.at)
    .slice(0, count)
    .map(({ item }) => item);
}
