import { type Environment, jittered, type Log, wallMs } from '../environment.ts';
import type { NodeId } from '../ids.ts';
import type { Transport } from './transport.ts';

const firstRetryMs = 250;
// After a partition heals, all tables are to be equal within ten seconds: a dial that was under way runs into its
// timeout, then comes one pause, then the exchange.
const maxRetryMs = 3_000;
const dialTimeoutMs = 3_000;
// A dial that began in silence is no way to see its end: TCP repeats the first packet after 1, 3 and 7 s, and the pauses are
// longer. So who does not answer is knocked at meanwhile, which is one packet of 60 bytes each time.
const knockMs = 350;
const knockPauseMs = 250;
// Who is away for longer is more likely switched off than cut off.
const latelyMs = 600_000;
const maxRetryLaterMs = 30_000;
// Two running nodes that learn of each other would dial at once and make two connections; the one with the greater id
// lets the other go first. Not at its own start, when the others may not know of it or are far back in their back-off.
const politenessMs = 1_000;

// Failures remembered of members that may be connected by now; beyond that the oldest makes room.
const maxFailures = 1_024;

/** How the connection to one member stands, for `weft status`. Times are those of the wall clock as it is set now. */
export interface DialState {
  readonly attempts: number;
  readonly dialing: boolean;
  readonly sinceMs: number;
  readonly lastError: string;
  /** null while dialing. */
  readonly nextRetryMs: number | null;
}

/** Why a dial failed, and when. */
export interface DialFailure {
  readonly error: string;
  /** Milliseconds since the epoch, by the wall clock as it is set now. */
  readonly atMs: number;
}

interface Target {
  /** Its times are those of the clock that does not jump. */
  state: DialState;
  addresses: readonly string[];
  cancel: () => void;
  /** Ends the knocking; null while there is none. */
  cancelKnock: (() => void) | null;
}

interface Dial {
  readonly done: Promise<void>;
  readonly startedMs: number;
  /** It is no more in the way of another one. */
  readonly giveUp: () => void;
}

/** Keeps a connection to every member it is given, with a back-off for each that is not there. */
export class Dialer {
  readonly #self: NodeId;
  readonly #transport: Transport;
  readonly #environment: Environment;
  readonly #log: Log;
  readonly #targets = new Map<NodeId, Target>();
  readonly #dials = new Map<NodeId, Dial>();
  /** The last of each member, by the clock that does not jump; the oldest first. */
  readonly #failures = new Map<NodeId, DialFailure>();
  #wanted: ReadonlyMap<NodeId, readonly string[]> = new Map();
  #started = false;
  #stopped = false;

  constructor(init: { self: NodeId; transport: Transport; environment: Environment; log: Log }) {
    this.#self = init.self;
    this.#transport = init.transport;
    this.#environment = init.environment;
    this.#log = init.log;
  }

  /** @param wanted all members to be connected to, with their `IP:PORT` addresses */
  set(wanted: ReadonlyMap<NodeId, readonly string[]>): void {
    this.#wanted = wanted;
    for (const [peer, { addresses }] of this.#targets) {
      const now = wanted.get(peer);
      // With another address it is another attempt altogether.
      if (now === undefined || now.join() !== addresses.join()) this.#forget(peer);
    }
    for (const peer of wanted.keys()) if (peer !== this.#self) this.#ensure(peer);
    this.#started ||= wanted.size > 0;
  }

  connected(peer: NodeId): void {
    this.#forget(peer);
  }

  disconnected(peer: NodeId): void {
    this.#ensure(peer);
  }

  /** The member was heard of as alive: it is dialled soon, and the back-off begins anew. */
  heard(peer: NodeId): void {
    this.#forget(peer);
    this.#ensure(peer);
  }

  /** Members that are wanted and not connected. */
  get missing(): Iterable<NodeId> {
    return this.#targets.keys();
  }

  /** State of each of them. */
  states(): ReadonlyMap<NodeId, DialState> {
    const shown = ({ sinceMs, nextRetryMs, ...state }: DialState): DialState => ({
      ...state,
      sinceMs: wallMs(this.#environment, sinceMs),
      nextRetryMs: nextRetryMs === null ? null : wallMs(this.#environment, nextRetryMs),
    });
    return new Map([...this.#targets].map(([peer, { state }]) => [peer, shown(state)]));
  }

  /** The last dial to that member that failed, also when it is connected by now. */
  lastFailure(peer: NodeId): DialFailure | null {
    const failure = this.#failures.get(peer);
    return failure === undefined ? null : { ...failure, atMs: wallMs(this.#environment, failure.atMs) };
  }

  /** One dial, now; those who ask for the same peer at the same time share it. @throws when it fails */
  dial(peer: NodeId, addresses: readonly string[]): Promise<void> {
    const running = this.#dials.get(peer);
    if (running !== undefined) return running.done;
    const given = new AbortController();
    const cancel = this.#environment.timer(dialTimeoutMs, () => given.abort(new Error('timed out')));
    const forget = (): void => {
      cancel();
      if (this.#dials.get(peer) === dial) this.#dials.delete(peer);
    };
    const dial: Dial = {
      done: this.#transport
        .dial(peer, addresses, given.signal)
        .catch((error: unknown) => {
          this.#failed(peer, error);
          throw error;
        })
        .finally(forget),
      startedMs: this.#environment.monotonicMs(),
      giveUp: () => {
        forget();
        given.abort(new Error('began while the member did not answer'));
      },
    };
    this.#dials.set(peer, dial);
    return dial.done;
  }

  stop(): void {
    this.#stopped = true;
    for (const peer of [...this.#targets.keys()]) this.#forget(peer);
  }

  #failed(peer: NodeId, error: unknown): void {
    this.#failures.delete(peer);
    const [oldest] = this.#failures.keys();
    if (oldest !== undefined && this.#failures.size >= maxFailures) this.#failures.delete(oldest);
    this.#failures.set(peer, { error: messageOf(error), atMs: this.#environment.monotonicMs() });
  }

  #forget(peer: NodeId): void {
    const target = this.#targets.get(peer);
    target?.cancel();
    target?.cancelKnock?.();
    this.#targets.delete(peer);
  }

  /** @param politeMs what the one with the greater id leaves to the other */
  #ensure(peer: NodeId, politeMs = politenessMs): void {
    const addresses = this.#wanted.get(peer);
    const needless = addresses === undefined || this.#targets.has(peer) || this.#transport.connections().has(peer);
    if (this.#stopped || needless) return;
    const sinceMs = this.#environment.monotonicMs();
    const idle = { attempts: 0, dialing: false, sinceMs, lastError: '', nextRetryMs: null };
    const target: Target = { state: idle, addresses, cancel: () => {}, cancelKnock: null };
    this.#targets.set(peer, target);
    this.#schedule(peer, target, this.#self < peer || !this.#started ? 0 : jittered(this.#environment, politeMs));
  }

  #schedule(peer: NodeId, target: Target, delayMs: number): void {
    target.state = { ...target.state, dialing: false, nextRetryMs: this.#environment.monotonicMs() + delayMs };
    target.cancel = this.#environment.timer(delayMs, () => void this.#attempt(peer, target));
  }

  async #attempt(peer: NodeId, target: Target): Promise<void> {
    if (this.#transport.connections().has(peer)) return this.#forget(peer);
    const attempts = target.state.attempts + 1;
    target.state = { ...target.state, attempts, dialing: true, nextRetryMs: null };
    if (target.cancelKnock === null) this.#knockLater(peer, target, null);
    try {
      // Each time another one first, since an address that swallows everything takes all the time that a dial has.
      const at = (attempts - 1) % Math.max(1, target.addresses.length);
      await this.dial(peer, [...target.addresses.slice(at), ...target.addresses.slice(0, at)]);
      // Success is only believed when `connected` comes: the other end may still refuse.
    } catch (error) {
      target.state = { ...target.state, lastError: messageOf(error) };
      if (attempts === 1) this.#log.info({ peer, err: error }, 'cannot reach a member; retrying with back-off');
    }
    if (this.#targets.get(peer) !== target) return;
    const pauseMs = Math.min(
      this.#isLately(target) ? maxRetryMs : maxRetryLaterMs,
      firstRetryMs * 2 ** Math.min(attempts - 1, 16),
    );
    this.#schedule(peer, target, jittered(this.#environment, pauseMs));
  }

  #isLately({ state }: Target): boolean {
    return this.#environment.monotonicMs() - state.sinceMs < latelyMs;
  }

  /** @param silentMs when the last knock began that was not answered; null for none */
  #knockLater(peer: NodeId, target: Target, silentMs: number | null): void {
    target.cancelKnock = this.#environment.timer(jittered(this.#environment, knockPauseMs), () => {
      void this.#knock(peer, target, silentMs);
    });
  }

  async #knock(peer: NodeId, target: Target, silentMs: number | null): Promise<void> {
    const startedMs = this.#environment.monotonicMs();
    const answer = await this.#transport.knock(target.addresses, AbortSignal.timeout(knockMs));
    if (this.#targets.get(peer) !== target) return;
    target.cancelKnock = null;
    if (answer === 'silent') {
      if (this.#isLately(target)) this.#knockLater(peer, target, startedMs);
    } else if (silentMs !== null) {
      // It answers again. Who has answered all the time, and takes no connection, is not dialled more often for that.
      const dial = this.#dials.get(peer);
      if (dial !== undefined && dial.startedMs <= silentMs) dial.giveUp();
      this.#forget(peer);
      this.#ensure(peer, knockPauseMs);
    }
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
