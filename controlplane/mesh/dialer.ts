import { type Environment, jittered, type Log, wallMs } from '../environment.ts';
import type { NodeId } from '../ids.ts';
import type { Transport } from './transport.ts';

const firstRetryMs = 250;
// After a partition heals, all tables are to be equal within ten seconds: a dial that was under way runs into its
// timeout, then comes one pause, then the exchange.
const maxRetryMs = 3_000;
const dialTimeoutMs = 3_000;
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
}

/** Keeps a connection to every member it is given, with a back-off for each that is not there. */
export class Dialer {
  readonly #self: NodeId;
  readonly #transport: Transport;
  readonly #environment: Environment;
  readonly #log: Log;
  readonly #targets = new Map<NodeId, Target>();
  readonly #dials = new Map<NodeId, Promise<void>>();
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

  /** State of every member that is wanted and not connected. */
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
    if (running !== undefined) return running;
    const dialing = this.#transport
      .dial(peer, addresses, AbortSignal.timeout(dialTimeoutMs))
      .catch((error: unknown) => {
        this.#failed(peer, error);
        throw error;
      })
      .finally(() => this.#dials.delete(peer));
    this.#dials.set(peer, dialing);
    return dialing;
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
    this.#targets.get(peer)?.cancel();
    this.#targets.delete(peer);
  }

  #ensure(peer: NodeId): void {
    const addresses = this.#wanted.get(peer);
    const needless = addresses === undefined || this.#targets.has(peer) || this.#transport.connections().has(peer);
    if (this.#stopped || needless) return;
    const sinceMs = this.#environment.monotonicMs();
    const idle = { attempts: 0, dialing: false, sinceMs, lastError: '', nextRetryMs: null };
    const target: Target = { state: idle, addresses, cancel: () => {} };
    this.#targets.set(peer, target);
    this.#schedule(peer, target, this.#self < peer || !this.#started ? 0 : jittered(this.#environment, politenessMs));
  }

  #schedule(peer: NodeId, target: Target, delayMs: number): void {
    target.state = { ...target.state, dialing: false, nextRetryMs: this.#environment.monotonicMs() + delayMs };
    target.cancel = this.#environment.timer(delayMs, () => void this.#attempt(peer, target));
  }

  async #attempt(peer: NodeId, target: Target): Promise<void> {
    if (this.#transport.connections().has(peer)) return this.#forget(peer);
    const attempts = target.state.attempts + 1;
    target.state = { ...target.state, attempts, dialing: true, nextRetryMs: null };
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
    const lately = this.#environment.monotonicMs() - target.state.sinceMs < latelyMs;
    const pauseMs = Math.min(lately ? maxRetryMs : maxRetryLaterMs, firstRetryMs * 2 ** Math.min(attempts - 1, 16));
    this.#schedule(peer, target, jittered(this.#environment, pauseMs));
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
