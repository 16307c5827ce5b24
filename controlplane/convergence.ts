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
    const lags = await Promise.all(
      others.map(async (nodeId) => ({ nodeId, lag: await this.#lagOf(nodeId, network, mine) })),
    );
    return [{ nodeId: self, lag: mine.pending }, ...lags];
  }

  async #lagOf(nodeId: NodeId, network: NetworkId | null, mine: Digests): Promise<string> {
    if (!this.#transport.canReach(nodeId)) return 'cannot be reached';
    try {
      const body = encode([network]);
      const reply = await this.#transport.request(nodeId, 'digest', body, AbortSignal.timeout(askTimeoutMs));
      const theirs = Digests.safeParse(decode(reply));
      if (!theirs.success) return 'malformed answer';
      const topics = new Set([...Object.keys(mine.topics), ...Object.keys(theirs.data.topics)]);
      const differing = [...topics].filter((topic) => mine.topics[topic] !== theirs.data.topics[topic]);
      if (differing.length > 0) return `tables differ: ${differing.map((topic) => this.#nameOf(topic)).join(', ')}`;
      return theirs.data.pending;
    } catch (error) {
      return `no answer: ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  #digests(network: NetworkId | null): Digests {
    const topics = network === null ? this.#tables.topics : [clusterTopic, networkTopic(network)];
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
