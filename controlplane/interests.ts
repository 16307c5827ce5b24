import type { Environment, Log } from './environment.ts';
import { ControlPlaneError, networkGone } from './errors.ts';
import type { NetworkId, NodeId } from './ids.ts';
import type { Transport } from './mesh/transport.ts';
import type { Allocator } from './ring/allocator.ts';
import { networkOfTopic, networkTopic, type OnValue } from './tables/kinds.ts';
import { clusterTopic } from './tables/record.ts';
import type { Replica } from './tables/replica.ts';
import { networkOfRing } from './tables/subnets.ts';
import type { Tables } from './tables/tables.ts';
import type { Touched, View } from './tables/view.ts';

// How long an interest outlives its last reason: a container that restarts takes its endpoint away and makes a new one,
// and the address of the old one rests that long with the node that gave it out.
const lingerMs = 30_000;
// A second look at a new topic: what was published before the others knew of our subscription.
const secondLookMs = 1_000;
// How many nodes that have a topic are asked for it, before the interest waits for the next exchange.
const maxAsked = 4;

export interface InterestsInit {
  readonly tables: Tables;
  readonly view: View;
  readonly transport: Transport;
  readonly replica: Replica;
  readonly allocator: Allocator;
  readonly environment: Environment;
  readonly log: Log;
  readonly isManager: (node: NodeId) => boolean;
  /** What this node says of its part in a network that it is on; null: nothing but what it has said. */
  readonly saying: (network: NetworkId) => OnValue | null;
}

/**
 * Which networks this node wants to know all of. A manager follows every network; a worker those it has endpoints on or
 * owns addresses of, and, for a while, those it was asked about. A node that is on a network says so in the cluster
 * topic by the record `on/<network id>`.
 */
export class Interests {
  readonly #init: InterestsInit;
  /** What is under way that needs the network: requests to attach, questions. */
  readonly #uses = new Map<NetworkId, { attaching: number; asking: number }>();
  /** Networks that the tables have, or had: one of these that they lack is gone. */
  readonly #present = new Set<NetworkId>();
  /** Networks that this node followed in an earlier run, or has had a first exchange about. */
  readonly #known = new Set<NetworkId>();
  /** First exchanges that are under way. */
  readonly #catchingUp = new Map<NetworkId, Promise<boolean>>();
  /** Interests whose last reason is gone. */
  readonly #lingering = new Map<NetworkId, () => void>();
  readonly #timers = new Set<() => void>();
  #stopped = false;

  constructor(init: InterestsInit) {
    this.#init = init;
  }

  /** Takes up what the disk says: a node that starts cut off from the others still knows its networks. */
  restore(): void {
    const { tables } = this.#init;
    for (const { record } of tables.records(clusterTopic, 'on/')) {
      if (record.owner !== tables.self) continue;
      const id = record.key.slice(3) as NetworkId;
      tables.addInterest(networkTopic(id));
      const others = [...tables.owners(networkTopic(id))].filter((owner) => owner !== tables.self);
      if (others.length > 0 || this.#isOn(id)) this.#known.add(id);
    }
    if (this.#isManager) return;
    // Of a network that it was only asked about, or had just left when it ended: nobody would keep that up to date.
    for (const topic of tables.held) {
      if (topic !== clusterTopic && !tables.hasInterest(topic)) this.#quietly(tables.abandonTopic(topic));
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const cancel of [...this.#timers, ...this.#lingering.values()]) cancel();
  }

  /** After a change of the tables. */
  follow({ networks, endpoints, rings, on }: Pick<Touched, 'networks' | 'endpoints' | 'rings' | 'on'>): void {
    if (networks) {
      this.refresh();
      return;
    }
    const touched = new Set<NetworkId>([...endpoints.keys(), ...on]);
    for (const ring of rings) {
      const network = networkOfRing(ring);
      if (network !== null) touched.add(network);
    }
    for (const id of touched) this.#evaluate(id);
  }

  /** Looks at every network again: after a change of the networks, of this node's role, or of what it says of its part in one. */
  refresh(): void {
    const { tables, view } = this.#init;
    const held = [...tables.topics, ...tables.held].flatMap((topic) => networkOfTopic(topic) ?? []);
    for (const id of new Set([...view.networks.keys(), ...held])) this.#evaluate(id, true);
  }

  /**
   * Before an endpoint is made: resolves when this node is on the network and knows what the others know of it. The
   * result ends the use; the endpoint's own record is the reason from then on.
   * @throws ControlPlaneError `network_not_found`, `network_out_of_reach`
   */
  async enter(id: NetworkId): Promise<() => void> {
    const { view } = this.#init;
    const network = view.networks.get(id);
    if (network === undefined) throw networkGone(id);
    const leave = this.#use(id, 'attaching');
    if (await this.#knows(id)) return leave;
    leave();
    throw new ControlPlaneError(
      'network_out_of_reach',
      `this node does not know network ${network.name} yet, and none of the nodes that do could be asked`,
      'see `weft status` for the connections of this node, then try again',
    );
  }

  /**
   * Before a question about networks is answered. They are followed for a while; this node is not on them by that.
   * @returns whether this node knows what the others know of all of them
   */
  async look(ids: Iterable<NetworkId>): Promise<boolean> {
    const known = await Promise.all(
      [...ids].map(async (id) => {
        if (!this.#init.view.networks.has(id)) return true;
        const leave = this.#use(id, 'asking');
        try {
          return await this.#knows(id);
        } finally {
          leave();
        }
      }),
    );
    return known.every(Boolean);
  }

  /** Whether this node knows all of the network, rather than its own part at most. */
  follows(id: NetworkId): boolean {
    return this.#isManager || this.#known.has(id);
  }

  /** Nodes of each network that this node is on: they are connected among themselves. */
  circles(): ReadonlySet<NodeId>[] {
    const { tables, view } = this.#init;
    return [...view.networks.keys()].map((id) => view.nodesOn(id)).filter((nodes) => nodes.has(tables.self));
  }

  #use(id: NetworkId, kind: 'attaching' | 'asking'): () => void {
    const uses = this.#uses.get(id) ?? { attaching: 0, asking: 0 };
    this.#uses.set(id, uses);
    uses[kind] += 1;
    this.#evaluate(id);
    let over = false;
    return () => {
      if (over) return;
      over = true;
      uses[kind] -= 1;
      if (uses.attaching + uses.asking === 0) this.#uses.delete(id);
      this.#evaluate(id);
    };
  }

  async #knows(id: NetworkId): Promise<boolean> {
    // A manager follows a network from the moment that it knows of it: cut off, it goes on with what it has.
    if (this.#isManager || this.#known.has(id)) return true;
    return (await (this.#catchingUp.get(id) ?? this.#begin(id))) || this.#begin(id);
  }

  get #isManager(): boolean {
    return this.#init.isManager(this.#init.tables.self);
  }

  /** Whether this node has endpoints there, or is about to. */
  #isOn(id: NetworkId): boolean {
    if ((this.#uses.get(id)?.attaching ?? 0) > 0) return true;
    const { tables } = this.#init;
    return tables.hasOwn(networkTopic(id), 'ep/');
  }

  /** @param anew also what this node says already: that costs a look at all who are on it, and no endpoint changes it */
  #evaluate(id: NetworkId, anew = false): void {
    if (this.#stopped) return;
    const { tables, view } = this.#init;
    const topic = networkTopic(id);
    if (!view.networks.has(id)) {
      // What the disk speaks of may be on its way from others; and a network whose only writer was removed comes back when
      // what its heir wrote is here: to drop our own records for that would bring those back which were tombstones.
      if (view.isNetworkRemoved(id)) this.#forget(id);
      else if (this.#present.has(id)) this.#linger(id);
      return;
    }
    this.#present.add(id);
    const used = this.#uses.has(id);
    const on = this.#isOn(id);
    const owns = !on && !this.#isManager && this.#init.allocator.owns(id);
    const said = tables.own(clusterTopic, `on/${id}`)?.record.value as OnValue | null | undefined;
    if ((on || owns) && (said == null || anew)) this.#say(id, said ?? null);
    if ((on || owns || used || this.#isManager) && !tables.hasInterest(topic)) this.#quietly(this.#begin(id));
    if (on || used || (this.#isManager && said == null)) this.#stay(id);
    else if (said != null || tables.hasInterest(topic)) this.#linger(id);
  }

  #say(id: NetworkId, said: OnValue | null): void {
    const { tables, saying } = this.#init;
    const value = saying(id) ?? said ?? {};
    if (said !== null && said.mtu === value.mtu && said.peer === value.peer) return;
    this.#quietly(tables.put(clusterTopic, `on/${id}`, value));
  }

  #stay(id: NetworkId): void {
    this.#lingering.get(id)?.();
    this.#lingering.delete(id);
  }

  #linger(id: NetworkId): void {
    if (this.#lingering.has(id)) return;
    const cancel = this.#init.environment.timer(lingerMs, () => {
      this.#lingering.delete(id);
      this.#quietly(this.#end(id));
    });
    this.#lingering.set(id, cancel);
  }

  /** The last reason is gone for good: addresses go back, others are told, and what they wrote is forgotten. */
  async #end(id: NetworkId): Promise<void> {
    const { tables, view, transport, allocator } = this.#init;
    if (!view.networks.has(id)) return this.#forget(id);
    const isNeeded = (): boolean => this.#stopped || this.#isOn(id) || this.#uses.has(id);
    if (!this.#isManager) {
      const [manager] = this.#followers(id).filter((node) => this.#init.isManager(node));
      if (manager !== undefined) await allocator.handBack(id, manager);
      if (isNeeded()) return;
      // Nobody could take them now: they are offered again after another while.
      if (allocator.owns(id)) return this.#linger(id);
    }
    await tables.remove(clusterTopic, `on/${id}`);
    if (this.#isManager) return;
    if (isNeeded()) return this.#evaluate(id);
    const topic = networkTopic(id);
    transport.unsubscribe(topic);
    allocator.forget(id);
    this.#known.delete(id);
    await tables.abandonTopic(topic);
  }

  /** A network that is gone: all of it, own records too. */
  #forget(id: NetworkId): void {
    const { tables, transport, allocator } = this.#init;
    const topic = networkTopic(id);
    this.#stay(id);
    this.#known.delete(id);
    this.#present.delete(id);
    if (tables.hasInterest(topic)) transport.unsubscribe(topic);
    allocator.forget(id);
    this.#after(0, () => {
      this.#quietly(tables.dropTopic(topic));
      this.#quietly(tables.remove(clusterTopic, `on/${id}`));
    });
  }

  /** @returns whether somebody who follows the network told all of it */
  #begin(id: NetworkId): Promise<boolean> {
    const topic = networkTopic(id);
    this.#init.tables.addInterest(topic);
    this.#init.transport.subscribe(topic);
    const catchingUp = this.#catchUp(id).finally(() => this.#catchingUp.delete(id));
    this.#catchingUp.set(id, catchingUp);
    return catchingUp;
  }

  async #catchUp(id: NetworkId): Promise<boolean> {
    const { replica, log } = this.#init;
    const topic = networkTopic(id);
    this.#after(secondLookMs, () => {
      for (const peer of this.#followers(id).slice(0, 1)) replica.want(peer, new Map([[topic, 'every']]));
    });
    const followers = this.#followers(id);
    for (const peer of followers.slice(0, maxAsked)) {
      try {
        if (!(await replica.pullTopic(peer, topic))) continue;
        this.#known.add(id);
        return true;
      } catch (error) {
        log.debug({ err: error, peer, topic }, 'a node did not tell of a network; asking the next');
      }
    }
    // Nobody else follows it, so nobody knows more.
    if (followers.length === 0) this.#known.add(id);
    return followers.length === 0;
  }

  /** Other nodes that follow the network, those that are connected first. */
  #followers(id: NetworkId): NodeId[] {
    const { tables, view, transport, isManager } = this.#init;
    const on = view.nodesOn(id);
    const connected = transport.connections();
    const followers = [...view.nodes.keys()].filter(
      (node) => node !== tables.self && (on.has(node) || isManager(node)),
    );
    return followers.sort((a, b) => Number(connected.has(b)) - Number(connected.has(a)));
  }

  #after(delayMs: number, task: () => void): void {
    const cancel = this.#init.environment.timer(delayMs, () => {
      this.#timers.delete(cancel);
      if (!this.#stopped) task();
    });
    this.#timers.add(cancel);
  }

  #quietly(work: Promise<unknown>): void {
    work.catch((error: unknown) => this.#init.log.error({ err: error }, 'following a network failed'));
  }
}
