import { z } from 'zod';
import { decode, encode } from './encoding.ts';
import { isNetworkId, type NetworkId, type NodeId } from './ids.ts';
import type { Requests } from './mesh/transport.ts';
import { networkTopic } from './tables/kinds.ts';
import { clusterTopic } from './tables/record.ts';
import type { Tables } from './tables/tables.ts';
import type { View } from './tables/view.ts';

const askTimeoutMs = 2_000;

const Digests = z.object({
  topics: z.record(z.string().max(64), z.string().max(64)),
  /** What this node has still to do in its kernel; empty when nothing. */
  pending: z.string().max(256),
});
type Digests = z.infer<typeof Digests>;

/** How one node differs from this one; an empty lag means that it does not. */
export interface Lag {
  readonly nodeId: NodeId;
  readonly lag: string;
}

/** Compares the tables of all nodes, and whether their kernels have followed. */
export class Convergence {
  readonly #tables: Tables;
  readonly #view: View;
  readonly #transport: Requests;
  readonly #pending: () => string;

  constructor(init: { tables: Tables; view: View; transport: Requests; pending: () => string }) {
    this.#tables = init.tables;
    this.#view = init.view;
    this.#transport = init.transport;
    this.#pending = init.pending;
  }

  /** Answers `digest`: the topics asked for, or all. */
  answer(body: Uint8Array): Uint8Array {
    const asked = decode(body);
    const network = Array.isArray(asked) && typeof asked[0] === 'string' && isNetworkId(asked[0]) ? asked[0] : null;
    return encode(this.#digests(network));
  }

  /** Asks every node of the tables, this one included. @param network only what concerns that network */
  async ask(network: NetworkId | null): Promise<Lag[]> {
    const mine = this.#digests(network);
    const { self } = this.#tables;
    const others = [...this.#view.nodes.keys()].filter((nodeId) => nodeId !== self);
    const answers = await Promise.all(
      others.map(async (nodeId) => ({ nodeId, answer: await this.#digestsOf(nodeId, network) })),
    );
    const told = answers.flatMap(({ answer }) => (typeof answer === 'string' ? [] : [answer]));
    const agreed = agreedDigests([mine, ...told]);
    const lags = answers.map(({ nodeId, answer }) => {
      if (typeof answer === 'string') return { nodeId, lag: answer };
      const differing = Object.entries(answer.topics).filter(([topic, digest]) => agreed.get(topic) !== digest);
      const names = differing.map(([topic]) => this.#nameOf(topic)).sort();
      return { nodeId, lag: names.length > 0 ? `tables differ: ${names.join(', ')}` : answer.pending };
    });
    return [{ nodeId: self, lag: mine.pending }, ...lags];
  }

  /** @returns the other's digests, or why there are none */
  async #digestsOf(nodeId: NodeId, network: NetworkId | null): Promise<Digests | string> {
    if (!this.#transport.canReach(nodeId)) return 'cannot be reached';
    try {
      const body = encode([network]);
      const reply = await this.#transport.request(nodeId, 'digest', body, AbortSignal.timeout(askTimeoutMs));
      const theirs = Digests.safeParse(decode(reply));
      return theirs.success ? theirs.data : 'malformed answer';
    } catch (error) {
      return `no answer: ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  #digests(network: NetworkId | null): Digests {
    const asked = network === null ? this.#tables.topics : [clusterTopic, networkTopic(network)];
    // Of a network that a node does not follow it has nothing to compare.
    const topics = asked.filter((topic) => this.#tables.hasInterest(topic));
    return {
      topics: Object.fromEntries(topics.map((topic) => [topic, this.#tables.digest(topic)])),
      pending: this.#pending(),
    };
  }

  #nameOf(topic: string): string {
    for (const network of this.#view.networks.values()) {
      if (networkTopic(network.id) === topic) return `network ${network.name}`;
    }
    return topic === clusterTopic ? 'cluster' : 'a network that is not known here';
  }
}

/** What each topic's digest should be: the first answer's where it follows the topic, else that which most have. */
function agreedDigests([first, ...others]: readonly Digests[]): Map<string, string> {
  const agreed = new Map<string, string>(Object.entries(first?.topics ?? {}));
  const votes = new Map<string, Map<string, number>>();
  for (const { topics } of others) {
    for (const [topic, digest] of Object.entries(topics)) {
      if (first?.topics[topic] !== undefined) continue;
      const counts = votes.get(topic) ?? new Map<string, number>();
      votes.set(topic, counts.set(digest, (counts.get(digest) ?? 0) + 1));
    }
  }
  for (const [topic, counts] of votes) {
    const [most] = [...counts].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
    if (most !== undefined) agreed.set(topic, most[0]);
  }
  return agreed;
}
