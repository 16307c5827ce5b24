import type { Log } from '../../controlplane/environment.ts';
import { Cache } from './cache.ts';
import { askUpstream, type Upstream } from './upstream.ts';
import { keyOf, passedOn, type Query, type Response, rcodes } from './wire.ts';

// A descriptor each; an agent may open 1024 at least.
const maxQuestions = 256;
// What a sandbox has under way at once; more are told to try again.
const maxOfClient = 64;
const maxWaiting = 4_096;
/** For so long a server that did not answer comes last. */
const lateMs = 10_000;

export interface ForwarderInit {
  readonly log: Log;
  /** Of a clock that does not jump. */
  readonly nowMs: () => number;
}

interface Question {
  readonly waiters: ((response: Response | null) => void)[];
}

/** Asks the host's nameservers what is not ours, and keeps what they answer. */
export class Forwarder {
  readonly #init: ForwarderInit;
  readonly #cache: Cache;
  readonly #stop = new AbortController();
  /** Under way, by key: the same question is put once. */
  readonly #questions = new Map<string, Question>();
  readonly #ofClient = new Map<string, number>();
  #waiting = 0;
  #upstreams: readonly Upstream[] = [];
  /** Until when each comes last; of present ones only. */
  readonly #late = new Map<Upstream, number>();

  constructor(init: ForwarderInit) {
    this.#init = init;
    this.#cache = new Cache(init.nowMs);
  }

  get upstreams(): readonly Upstream[] {
    return this.#upstreams;
  }

  /** Whom to ask from now on, the most preferred first. Others may say other things: what was kept is forgotten. */
  set upstreams(upstreams: readonly Upstream[]) {
    if (JSON.stringify(upstreams) === JSON.stringify(this.#upstreams)) return;
    this.#upstreams = upstreams;
    this.#late.clear();
    this.#cache.clear();
    // Whoever asks now is not to be given what the others say.
    this.#questions.clear();
  }

  stop(): void {
    this.#stop.abort();
  }

  /**
   * @param client who asks, for the bounds
   * @param reply is called once, at once for what is kept; with null when nobody has an answer
   */
  ask(query: Query, client: string, reply: (bytes: Buffer | null) => void): void {
    const key = keyOf(query);
    const kept = this.#cache.get(key, query);
    if (kept !== null) {
      reply(kept);
      return;
    }
    const ofClient = this.#ofClient.get(client) ?? 0;
    const under = this.#questions.get(key);
    const full = under === undefined && this.#questions.size >= maxQuestions;
    if (full || ofClient >= maxOfClient || this.#waiting >= maxWaiting || this.#upstreams.length === 0) {
      reply(null);
      return;
    }
    this.#count(client, 1);
    const question = under ?? this.#put(query, key);
    question.waiters.push((response) => {
      this.#count(client, -1);
      reply(response === null ? null : passedOn(query, response, 0));
    });
  }

  #put(query: Query, key: string): Question {
    const question: Question = { waiters: [] };
    this.#questions.set(key, question);
    // The bytes that it came in may be used for others.
    const own = { ...query, asked: Uint8Array.from(query.asked) };
    const from = this.#upstreams;
    this.#firstAnswer(own)
      .catch((error: unknown) => {
        this.#init.log.error({ err: error }, 'a name could not be asked for');
        return null;
      })
      .then((response) => {
        if (response !== null && from === this.#upstreams) this.#cache.put(key, response);
        if (this.#questions.get(key) === question) this.#questions.delete(key);
        for (const waiter of question.waiters) waiter(response);
      });
    return question;
  }

  /** The first that is one; else the last that says at least why not. */
  async #firstAnswer(query: Query): Promise<Response | null> {
    let last: Response | null = null;
    for (const upstream of this.#inOrder()) {
      try {
        const response = await askUpstream(query, upstream, this.#stop.signal);
        this.#late.delete(upstream);
        if (response.rcode === rcodes.ok || response.rcode === rcodes.noName) return response;
        last = response;
      } catch (error) {
        if (this.#stop.signal.aborted) return null;
        const until = this.#init.nowMs() + lateMs;
        if (this.#upstreams.includes(upstream)) this.#late.set(upstream, until);
        this.#init.log.debug({ err: error, upstream: upstream.address }, 'a nameserver of the host does not answer');
      }
    }
    return last;
  }

  #inOrder(): readonly Upstream[] {
    if (this.#late.size === 0) return this.#upstreams;
    const nowMs = this.#init.nowMs();
    const isLate = (upstream: Upstream): boolean => (this.#late.get(upstream) ?? 0) > nowMs;
    const late = this.#upstreams.filter(isLate);
    return [...this.#upstreams.filter((upstream) => !isLate(upstream)), ...late];
  }

  #count(client: string, change: 1 | -1): void {
    this.#waiting += change;
    const count = (this.#ofClient.get(client) ?? 0) + change;
    if (count === 0) this.#ofClient.delete(client);
    else this.#ofClient.set(client, count);
  }
}
