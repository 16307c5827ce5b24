import type { NetworkId } from '../../controlplane/ids.ts';
import { decide, type NetworkNames } from './decide.ts';
import type { Forwarder } from './forwarder.ts';
import type { PortOf } from './services.ts';
import { fitted, makeReply, maxMessageBytes, type Query, rcodes, readQuery, types, udpLimit } from './wire.ts';

/** What tables and hosts say changes; resolvers and programs that keep a name longer than this find nobody there. */
const ttlSeconds = 1;

/** Who asks. */
export interface Asker {
  /** That it is on: it is told names of these and of no others. */
  readonly networks: readonly NetworkId[];
}

/** Who has which source address. */
export interface Askers {
  /** null: nobody whom we answer. `unknown`: somebody who has just come, and may be one; `find` says. */
  of(address: string): Asker | null | 'unknown';
  /** Never rejects. @returns `unknown` when that was not to be found out in time */
  find(address: string): Promise<Asker | null | 'unknown'>;
}

export interface ResolverInit {
  readonly askers: Askers;
  readonly names: (network: NetworkId) => NetworkNames | null;
  /** Whether a node is there, as far as is known. */
  readonly isUp: (node: string) => boolean;
  readonly forwarder: Pick<Forwarder, 'ask'>;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** What services are called. @default by their numbers alone */
  readonly portOf?: PortOf;
}

/** Queries that wait until it is known who asks; more are told to try again. */
const maxUnknown = 512;

/** Queries in, replies out, whatever carries them. */
export class Resolver {
  readonly #init: ResolverInit;
  #unknown = 0;

  constructor(init: ResolverInit) {
    this.#init = init;
  }

  /**
   * @param reply is called at most once: at once for what is ours or was kept, later for what others have to be asked, never
   * for what deserves no reply
   */
  answer(bytes: Buffer, from: string, over: 'udp' | 'tcp', reply: (bytes: Buffer) => void): void {
    const read = readQuery(bytes);
    if (!('query' in read)) {
      if (read.reply !== null) reply(read.reply);
      return;
    }
    const asker = this.#init.askers.of(from);
    if (asker !== 'unknown') this.#answer(read.query, asker, from, over, reply);
    else void this.#answerLater(read.query, from, over, reply);
  }

  async #answerLater(query: Query, from: string, over: 'udp' | 'tcp', reply: (bytes: Buffer) => void): Promise<void> {
    // The bytes that it came in may be used for others.
    const own = { ...query, asked: Uint8Array.from(query.asked) };
    let asker: Asker | null | 'unknown' = 'unknown';
    if (this.#unknown < maxUnknown) {
      this.#unknown += 1;
      asker = await this.#init.askers.find(from);
      this.#unknown -= 1;
    }
    if (asker === 'unknown') reply(makeReply(own, { rcode: rcodes.failed }));
    else this.#answer(own, asker, from, over, reply);
  }

  #answer(query: Query, asker: Asker | null, from: string, over: 'udp' | 'tcp', reply: (bytes: Buffer) => void): void {
    const { forwarder } = this.#init;
    // Transfers of zones are between servers.
    const isTransfer = query.question.type === types.AXFR || query.question.type === types.IXFR;
    const limit = over === 'tcp' ? maxMessageBytes : udpLimit(query);
    const own =
      asker === null || isTransfer ? makeReply(query, { rcode: rcodes.refused }) : this.#own(query, asker, limit);
    const send = (whole: Buffer): void => reply(fitted(query, whole, limit));
    if (own !== null) send(own);
    else forwarder.ask(query, from, (found) => send(found ?? makeReply(query, { rcode: rcodes.failed })));
  }

  #own(query: Query, asker: Asker, limit: number): Buffer | null {
    const { names, isUp, random, portOf } = this.#init;
    const networks = asker.networks.flatMap((id) => names(id) ?? []);
    const verdict = decide(query.question, networks, isUp, random, portOf);
    if (verdict.kind === 'forward') return null;
    if (verdict.kind === 'noName') return makeReply(query, { rcode: rcodes.noName, answers: [], ttl: ttlSeconds });
    const { answers, additional = [] } = verdict;
    return makeReply(query, { rcode: rcodes.ok, answers, additional, ttl: ttlSeconds }, limit);
  }
}
