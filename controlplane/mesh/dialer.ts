import { type Environment, jittered, type Log } from '../environment.ts';
import type { NodeId } from '../ids.ts';
import type { Transport } from './transport.ts';

const firstRetryMs = 250;
const maxRetryMs = 15_000;
const dialTimeoutMs = 5_000;
// Two running nodes that learn of each other would dial at once and make two connections; the one with the greater id
// lets the other go first. Not at its own start, when the others may not know of it or are far back in their back-off.
const politenessMs = 1_000;

/** How the connection to one member stands, for `weft status`. */
export interface DialState {
  readonly attempts: number;
  readonly dialing: boolean;
  readonly sinceMs: number;
  readonly lastError: string;
  /** Milliseconds since the epoch; 0 while dialing. */
  readonly nextRetryMs: number;
}

interface Target {
  state: DialState;
  cancel: () => void;
}

/** Keeps a connection to every member it is given, with a back-off for each that is not there. */
export class Dialer {
  readonly #self: NodeId;
  readonly #transport: Transport;
  readonly #environment: Environment;
  readonly #log: Log;
  readonly #targets = new Map<NodeId, Target>();
  #addresses: ReadonlyMap<NodeId, readonly string[]> = new Map();
  #started = false;
  #stopped = false;

  constructor(init: { self: NodeId; transport: Transport; environment: Environment; log: Log }) {
    this.#self = init.self;
    this.#transport = init.transport;
    this.#environment = init.environment;
    this.#log = init.log;
  }

  /** @param addresses all members to be connected to, with their `IP:PORT` addresses */
  set(addresses: ReadonlyMap<NodeId, readonly string[]>): void {
    this.#addresses = addresses;
    for (const peer of this.#targets.keys()) if (!addresses.has(peer)) this.#forget(peer);
    for (const peer of addresses.keys()) if (peer !== this.#self) this.#ensure(peer);
    this.#started ||= addresses.size > 0;
  }

  connected(peer: NodeId): void {
    this.#forget(peer);
  }

  disconnected(peer: NodeId): void {
    if (this.#addresses.has(peer)) this.#ensure(peer);
  }

  /** State of every member that is not connected. */
  states(): ReadonlyMap<NodeId, DialState> {
    return new Map([...this.#targets].map(([peer, { state }]) => [peer, state]));
  }

  stop(): void {
    this.#stopped = true;
    for (const peer of [...this.#targets.keys()]) this.#forget(peer);
  }

  #forget(peer: NodeId): void {
    this.#targets.get(peer)?.cancel();
    this.#targets.delete(peer);
  }

  #ensure(peer: NodeId): void {
    if (this.#stopped || this.#targets.has(peer) || this.#transport.connections().has(peer)) return;
    const sinceMs = this.#environment.now();
    const idle = { attempts: 0, dialing: false, sinceMs, lastError: '', nextRetryMs: 0 };
    const target: Target = { state: idle, cancel: () => {} };
    this.#targets.set(peer, target);
    this.#schedule(peer, target, this.#self < peer || !this.#started ? 0 : jittered(this.#environment, politenessMs));
  }

  #schedule(peer: NodeId, target: Target, delayMs: number): void {
    target.state = { ...target.state, dialing: false, nextRetryMs: this.#environment.now() + delayMs };
    target.cancel = this.#environment.timer(delayMs, () => void this.#dial(peer, target));
  }

  async #dial(peer: NodeId, target: Target): Promise<void> {
    if (this.#transport.connections().has(peer)) return this.#forget(peer);
    const attempts = target.state.attempts + 1;
    target.state = { ...target.state, attempts, dialing: true, nextRetryMs: 0 };
    try {
      await this.#transport.dial(peer, this.#addresses.get(peer) ?? [], AbortSignal.timeout(dialTimeoutMs));
      // Success is only believed when `connected` comes: the other end may still refuse.
    } catch (error) {
      const lastError = error instanceof Error ? error.message : String(error);
      target.state = { ...target.state, lastError };
      if (attempts === 1) this.#log.info({ peer, err: error }, 'cannot reach a member; retrying with back-off');
    }
    if (this.#targets.get(peer) !== target) return;
    this.#schedule(peer, target, jittered(this.#environment, Math.min(maxRetryMs, firstRetryMs * 2 ** (attempts - 1))));
  }
}
