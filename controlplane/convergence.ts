import { z } from 'zod';
import { decode, encode } from './encoding.ts';
import { isNetworkId, type NetworkId, type NodeId, nodeIdOf } from './ids.ts';
import type { Requests } from './mesh/transport.ts';
import { networkTopic } from './tables/kinds.ts';
import { nothing, type Reach } from './tables/position.ts';
import { clusterTopic, isTopic, ownerBytes } from './tables/record.ts';
import type { Tables } from './tables/tables.ts';
import type { View } from './tables/view.ts';

const askTimeoutMs = 2_000;
// Requests under way at a time: each may have to dial.
const maxAsking = 32;
// Owners and networks that a lag is spelled out for; the rest are counted.
const maxNamed = 3;
const maxTopics = 2_048;
const maxOwners = 8_192;

const Digests = z.object({
  topics: z.record(z.string().max(64), z.string().max(64)),
  /** Topics in which records are known to be missing, and whose first. */
  lacking: z.record(z.string().max(64), z.string().max(64)),
  /** What this node has still to do in its kernel; empty when nothing. */
  pending: z.string().max(256),
});
type Digests = z.infer<typeof Digests>;

/** Positions of a topic: owner key, epoch, seq, sum. */
const Positions = z.record(
  z.string().max(64),
  z
    .array(
      z.tuple([
        z.custom<Uint8Array>((key) => key instanceof Uint8Array && key.length === 32),
        z.int().min(0),
        z.int().min(0),
        z.int().min(0),
      ]),
    )
    .max(maxOwners),
);
type Vector = ReadonlyMap<NodeId, Place>;
/** By topic. */
type Vectors = ReadonlyMap<string, Vector>;
type Place = Pick<Reach, 'epoch' | 'seq' | 'sum'>;
const nowhere: Place = nothing;

/** How one node is behind the others; an empty lag means that it is not. */
export interface Lag {
  readonly nodeId: NodeId;
  readonly lag: string;
  /** It is suspended: named, and not waited for. */
  readonly suspended: boolean;
}

export interface ConvergenceInit {
  readonly tables: Tables;
  readonly view: View;
  readonly transport: Requests;
  readonly pending: () => string;
  readonly isSuspended: (node: NodeId) => boolean;
}

/** Compares the tables of all nodes, and whether their kernels have followed. */
export class Convergence {
  readonly #init: ConvergenceInit;

  constructor(init: ConvergenceInit) {
    this.#init = init;
  }

  /** Answers `digest`: the topics that concern a network, or all that this node follows. */
  answer(body: Uint8Array): Uint8Array {
    const asked = decode(body);
    const network = Array.isArray(asked) && typeof asked[0] === 'string' && isNetworkId(asked[0]) ? asked[0] : null;
    return encode(this.#digests(network));
  }

  /** Answers `positions`: how far this node is in the topics that are named. */
  answerPositions(body: Uint8Array): Uint8Array {
    const topics = decode(body);
    if (!Array.isArray(topics) || topics.length > maxTopics || !topics.every(isTopic))
      throw new Error('malformed request');
    return encode(this.#positions(topics));
  }

  /**
   * Asks every node of the tables, this one included; those that are suspended are only named.
   * @param network only what concerns that network
   */
  async ask(network: NetworkId | null): Promise<Lag[]> {
    const { self } = this.#init.tables;
    const nodes = new Set([self, ...this.#init.view.nodes.keys()]);
    const suspended = [...nodes].filter((nodeId) => nodeId !== self && this.#init.isSuspended(nodeId));
    for (const nodeId of suspended) nodes.delete(nodeId);
    const answers = new Map<NodeId, Digests | string>();
    await eachOf(nodes, async (nodeId) => {
      answers.set(nodeId, await this.#digestsOf(nodeId, network));
    });
    const vectors = await this.#vectorsOf(answers, differing(answers));
    const ends = endsOf(vectors, self);
    const lags = [...answers].map(([nodeId, answer]) => {
      const lag = typeof answer === 'string' ? answer : this.#lag(answer, vectors.get(nodeId), ends);
      return { nodeId, lag, suspended: false };
    });
    return [...lags, ...suspended.map((nodeId) => ({ nodeId, lag: '', suspended: true }))];
  }

  async #digestsOf(nodeId: NodeId, network: NetworkId | null): Promise<Digests | string> {
    if (nodeId === this.#init.tables.self) return this.#digests(network);
    const reply = await this.#request(nodeId, 'digest', [network]);
    if (typeof reply === 'string') return reply;
    const parsed = Digests.safeParse(reply.value);
    return parsed.success ? parsed.data : 'malformed answer';
  }

  /** How far each node is in the topics that it follows and in which some of them differ. */
  async #vectorsOf(
    answers: ReadonlyMap<NodeId, Digests | string>,
    topics: ReadonlySet<string>,
  ): Promise<Map<NodeId, Vectors | string>> {
    const vectors = new Map<NodeId, Vectors | string>();
    await eachOf(answers.keys(), async (nodeId) => {
      const answer = answers.get(nodeId);
      if (answer === undefined || typeof answer === 'string') return;
      const followed = Object.keys(answer.topics).filter((topic) => topics.has(topic));
      if (followed.length === 0) return;
      const own = nodeId === this.#init.tables.self;
      const reply = own ? { value: this.#positions(followed) } : await this.#request(nodeId, 'positions', followed);
      if (typeof reply === 'string') return void vectors.set(nodeId, reply);
      const parsed = Positions.safeParse(reply.value);
      vectors.set(nodeId, parsed.success ? vectorsFrom(parsed.data) : 'malformed answer');
    });
    return vectors;
  }

  /** What one node lacks of that which is there for sure, or shows and nobody else does; in one line. */
  #lag({ pending, lacking }: Digests, mine: Vectors | string | undefined, ends: Vectors): string {
    if (typeof mine === 'string') return mine;
    const own: Vectors = mine ?? new Map();
    const topics = [...own.keys()];
    const behind = this.#missing(topics, own, ends);
    if (behind.length > 0) return `lacks ${some(behind)}`;
    const ahead = this.#missing(topics, ends, own);
    if (ahead.length > 0) return `alone shows ${some(ahead)}`;
    const holes = Object.entries(lacking).map(
      ([topic, owner]) => `${this.#nameOf(topic)}: records of ${this.#hostname(owner)}`,
    );
    if (holes.length > 0) return `lacks ${some(holes)}`;
    return pending;
  }

  /** What there is in `there` and not in `here`, a text for each of the topics where that is something. */
  #missing(topics: readonly string[], here: Vectors, there: Vectors): string[] {
    return topics.flatMap((topic) => {
      const owners = [...(there.get(topic) ?? [])].flatMap(([owner, place]) =>
        this.#lackOf(owner, here.get(topic)?.get(owner) ?? nowhere, place),
      );
      return owners.length === 0 ? [] : [`${this.#nameOf(topic)}: ${some(owners)}`];
    });
  }

  #lackOf(owner: NodeId, here: Place, there: Place): string[] {
    const name = this.#hostname(owner);
    const isSame = here.epoch === there.epoch && here.seq === there.seq;
    // The owner has signed two records for one place, and the two nodes have not compared themselves yet.
    if (isSame && here.sum !== there.sum) return [`records of ${name} as others have them`];
    if (!isFurther(there, here)) return [];
    const count = there.seq - here.seq;
    if (here.epoch === there.epoch) return [`${count} ${count === 1 ? 'record' : 'records'} of ${name}`];
    return [here.epoch === 0 ? `all of ${name}` : `what ${name} wrote since its last start`];
  }

  async #request(nodeId: NodeId, method: string, body: unknown): Promise<{ value: unknown } | string> {
    const { transport } = this.#init;
    if (!transport.canReach(nodeId)) return 'cannot be reached';
    try {
      const reply = await transport.request(nodeId, method, encode(body), AbortSignal.timeout(askTimeoutMs));
      return { value: decode(reply) };
    } catch (error) {
      return `no answer: ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  #digests(network: NetworkId | null): Digests {
    const { tables, pending } = this.#init;
    const wanted = network === null ? null : new Set([clusterTopic, networkTopic(network)]);
    const topics = tables.topics.filter((topic) => wanted === null || wanted.has(topic)).slice(0, maxTopics);
    return {
      topics: Object.fromEntries(topics.map((topic) => [topic, tables.digest(topic)])),
      lacking: Object.fromEntries(
        topics.flatMap((topic) => {
          const [owner] = tables.lacking(topic);
          return owner === undefined ? [] : [[topic, owner]];
        }),
      ),
      pending: pending(),
    };
  }

  #positions(topics: readonly string[]): z.infer<typeof Positions> {
    const { tables } = this.#init;
    return Object.fromEntries(
      topics.map((topic) => [
        topic,
        [...tables.vector(topic)]
          .slice(0, maxOwners)
          .map(([owner, { epoch, seq, sum }]): z.infer<typeof Positions>[string][number] => [
            ownerBytes(owner),
            epoch,
            seq,
            sum,
          ]),
      ]),
    );
  }

  #hostname(nodeId: string): string {
    return this.#init.view.nodes.get(nodeId as NodeId)?.hostname ?? nodeId;
  }

  #nameOf(topic: string): string {
    for (const network of this.#init.view.networks.values()) {
      if (networkTopic(network.id) === topic) return `network ${network.name}`;
    }
    return topic === clusterTopic ? 'cluster' : 'a network that is not known here';
  }
}

/** Topics that not all who follow them have alike. */
function differing(answers: ReadonlyMap<NodeId, Digests | string>): Set<string> {
  const first = new Map<string, string>();
  const different = new Set<string>();
  for (const answer of answers.values()) {
    for (const [topic, digest] of typeof answer === 'string' ? [] : Object.entries(answer.topics)) {
      const known = first.get(topic);
      if (known === undefined) first.set(topic, digest);
      else if (known !== digest) different.add(topic);
    }
  }
  return different;
}

/** How far streams go: as far as their owner shows, or this node, or two others. What one alone shows may be a lie. */
function endsOf(vectors: ReadonlyMap<NodeId, Vectors | string>, self: NodeId): Vectors {
  const most = new Map<string, Map<NodeId, Place>>();
  const sure = new Map<string, Map<NodeId, Place>>();
  for (const [by, shown] of vectors) {
    for (const [topic, positions] of typeof shown === 'string' ? [] : shown) {
      const furthest = most.get(topic) ?? new Map<NodeId, Place>();
      const ends = sure.get(topic) ?? new Map<NodeId, Place>();
      most.set(topic, furthest);
      sure.set(topic, ends);
      for (const [owner, place] of positions) {
        const known = furthest.get(owner) ?? nowhere;
        const shownByTwo = isFurther(place, known) ? known : place;
        const end = by === owner || by === self ? place : shownByTwo;
        if (isFurther(end, ends.get(owner) ?? nowhere)) ends.set(owner, end);
        if (isFurther(place, known)) furthest.set(owner, place);
      }
    }
  }
  return sure;
}

const isFurther = (a: Place, b: Place): boolean => a.epoch > b.epoch || (a.epoch === b.epoch && a.seq > b.seq);

const vectorsFrom = (positions: z.infer<typeof Positions>): Vectors =>
  new Map(
    Object.entries(positions).map(([topic, rows]) => [
      topic,
      new Map(rows.map(([key, epoch, seq, sum]) => [nodeIdOf(key), { epoch, seq, sum }])),
    ]),
  );

function some(names: readonly string[]): string {
  const more = names.length - maxNamed;
  return names.slice(0, maxNamed).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

async function eachOf<T>(items: Iterable<T>, work: (item: T) => Promise<void>): Promise<void> {
  const rest = [...items];
  const worker = async (): Promise<void> => {
    for (let item = rest.pop(); item !== undefined; item = rest.pop()) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(maxAsking, rest.length) }, worker));
}
