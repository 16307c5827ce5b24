import { decode, encode } from '../encoding.ts';
import type { Environment, Log } from '../environment.ts';
import { ControlPlaneError, networkGone } from '../errors.ts';
import { isNetworkId, type NetworkId, type NodeId } from '../ids.ts';
import type { Transport } from '../mesh/transport.ts';
import type { Offences } from '../offences.ts';
import { RateLimit } from '../rate.ts';
import type { Store } from '../store.ts';
import { decodeRecord, toWire } from '../tables/record.ts';
import { isPool, networkOfRing, type RingId } from '../tables/subnets.ts';
import type { Tables } from '../tables/tables.ts';
import type { View } from '../tables/view.ts';
import { NumberSet } from './numbers.ts';
import { parseAnswer, type Refusal, refusalError, wantedError } from './refusal.ts';
import { Resting } from './resting.ts';
import { halfToGive, inside, nextFree, type Owned, outside, type Range, sizeOf, type Taken } from './ring.ts';
import { writeGrant } from './write.ts';

const askTimeoutMs = 3_000;
// Grants to one node: a thousand endpoints with addresses of their own choice at once. Each is a record that stays, in the
// stream of who gives it.
const grantRate = { burst: 1_000, perSecond: 0.2 };

/** What the allocator has to know of a ring besides who owns it. */
export interface RingSpace {
  /** Where numbers are taken from that nobody asked for. */
  readonly window: Range;
  /** Numbers that are not to be handed out, besides those of endpoints in the tables. */
  readonly taken: NumberSet;
  /** Why no one may have this number; null when one may. */
  readonly reserved: (number: number) => string | null;
  /** Who besides endpoints has it, of those in `taken`; null for nobody that is known. @default nobody */
  readonly heldBy?: (number: number) => string | null;
  /** For messages: `network frontend (10.0.1.0/24)`. */
  readonly name: string;
  /** For messages: the number as people know it. */
  readonly nameOf: (number: number) => string;
}

export interface AllocatorInit {
  readonly tables: Tables;
  readonly view: View;
  readonly transport: Transport;
  readonly environment: Environment;
  readonly store: Store;
  readonly offences: Offences;
  readonly log: Log;
  /** null when there is no such ring (any more). */
  readonly spaceOf: (ring: RingId) => RingSpace | null;
  readonly mayOwn: (ring: RingId, node: NodeId) => boolean;
  /** Whether a request to that node is worth a try. */
  readonly canReach: (node: NodeId) => boolean;
  /** One full exchange with that node. */
  readonly catchUp: (node: NodeId) => Promise<void>;
  /** Of a node that was removed: what its numbers wait for. null for one that was not. */
  readonly inheritance: (owner: NodeId) => string | null;
}

/** Hands out numbers from the ranges this node owns, and asks other owners for ranges when it has none left. */
export class Allocator {
  readonly #init: AllocatorInit;
  readonly #self: NodeId;
  readonly resting: Resting;
  /** Given out, not yet in the tables. */
  readonly #reserved = new Map<RingId, NumberSet>();
  readonly #cursors = new Map<RingId, number>();
  readonly #asking = new Map<string, Promise<readonly Refusal[]>>();
  readonly #granted: RateLimit;
  /** Rings that are being given away whole. */
  readonly #closed = new Set<RingId>();
  /** Set before this node hands over all that it owns: from then on nothing may be handed out here. */
  retired = false;

  constructor(init: AllocatorInit) {
    this.#init = init;
    this.#self = init.tables.self;
    this.#granted = new RateLimit(() => init.environment.monotonicMs(), grantRate);
    this.resting = new Resting(init.store, () => init.environment.monotonicMs());
  }

  /**
   * A number that no other node can have. It stays reserved until `release` says that the tables have it, or that
   * nobody will use it.
   * @param wanted that number and no other
   * @throws ControlPlaneError `exhausted`, `no_owner_reachable`; for a wanted one also `address_in_use`,
   * `address_reserved`, `address_resting`
   */
  async allocate(ring: RingId, wanted: number | null = null): Promise<number> {
    // Each round either finds a number or has won a range; another caller may have used that range up.
    for (let round = 0; round < 8; round += 1) {
      if (this.retired) {
        throw new ControlPlaneError('leaving', 'this node is leaving the cluster', 'run the command on another node');
      }
      const space = this.#space(ring);
      const number = this.#take(ring, space, wanted);
      if (number !== null) return number;
      const refusals = await this.#askOnce(ring, wanted);
      if (refusals.length > 0) throw refusalError(this.#space(ring), wanted, refusals);
    }
    const quicker = { owner: this.#self, reason: 'none', detail: 'others were quicker each time' } as const;
    throw refusalError(this.#space(ring), wanted, [quicker]);
  }

  /** @param used whether the number now stands in the tables, so that it rests when it leaves them */
  release(ring: RingId, number: number, used: boolean): void {
    this.#reserved.get(ring)?.delete(number);
    if (!used) this.rest(ring, number);
  }

  /** A number was freed: it is not handed out again for a while. */
  rest(ring: RingId, number: number): void {
    this.resting.rest(ring, { start: number, end: number + 1 });
  }

  /** Whether this node owns any address of the network. */
  owns(network: NetworkId): boolean {
    return this.#ringsOf(network).some((ring) => this.#init.view.custody(ring).of(this.#self).length > 0);
  }

  /** Gives all that this node owns of a network to another node. Only for who has nothing in use there. */
  async handBack(network: NetworkId, to: NodeId): Promise<void> {
    for (const ring of this.#ringsOf(network)) await this.giveAll(ring, to);
  }

  /** The network is gone, or not followed any more. */
  forget(network: NetworkId): void {
    for (const ring of new Set([...this.#reserved.keys(), ...this.#cursors.keys(), ...this.resting.rings])) {
      if (networkOfRing(ring) !== network) continue;
      this.#reserved.delete(ring);
      this.#cursors.delete(ring);
      this.resting.forget(ring);
    }
  }

  #ringsOf(network: NetworkId): RingId[] {
    return this.#init.view.networks.get(network)?.subnets.map(({ ring }) => ring) ?? [];
  }

  /** How many numbers of the ranges nobody has and none rests, and how many rest. */
  count(ring: RingId, ranges: readonly Range[]): { readonly free: number; readonly resting: number } {
    const space = this.#space(ring);
    const window = inside(ranges, space.window);
    let [busy, resting] = [0, 0];
    const restingRanges = this.resting.ranges(ring);
    // What this node holds stands in the tables, too, for the most part; what was asked for by its number rests and is held.
    const busySets = [this.#init.view.ownership.taken(ring), space.taken, this.#reserved.get(ring)];
    for (const range of window) {
      resting += countOutside(this.resting.numbers(ring), range, busySets);
      resting += sizeOf(restingRanges.flatMap((each) => inside([range], each)));
      busy += busySets.reduce((sum, set, at) => sum + countOutside(set, range, busySets.slice(0, at)), 0);
    }
    return { free: Math.max(0, sizeOf(window) - busy - resting), resting };
  }

  #take(ring: RingId, space: RingSpace, wanted: number | null): number | null {
    if (wanted !== null) {
      const why = this.#occupied(ring, space, wanted);
      if (why !== null) throw wantedError(space, wanted, why);
      if (this.#init.view.custody(ring).at(wanted)?.owner !== this.#self || this.#closed.has(ring)) return null;
      this.#reserve(ring, wanted);
      return wanted;
    }
    const number = nextFree(this.#spare(ring, space), this.#taken(ring, space), this.#cursors.get(ring) ?? 0);
    if (number === null) return null;
    this.#reserve(ring, number);
    this.#cursors.set(ring, number + 1);
    return number;
  }

  #reserve(ring: RingId, number: number): void {
    const reserved = this.#reserved.get(ring) ?? new NumberSet();
    reserved.add(number);
    this.#reserved.set(ring, reserved);
  }

  /** Why the number cannot be had, whoever owns it; null when it may be free. */
  #occupied(ring: RingId, space: RingSpace, number: number): Omit<Refusal, 'owner'> | null {
    const reserved = space.reserved(number);
    if (reserved !== null) return { reason: 'reserved', detail: reserved };
    const holder = this.#init.view.ownership.holder(ring, number);
    if (holder !== null) {
      return { reason: 'taken', detail: `endpoint ${holder.name} on ${this.#nameOf(holder.owner)} has it` };
    }
    const held = space.heldBy?.(number) ?? null;
    if (held !== null) return { reason: 'taken', detail: held };
    const restMs = this.resting.restOf(ring, number);
    if (restMs !== null) return { reason: 'resting', detail: awakeIn(restMs) };
    if (space.taken.has(number) || this.#reserved.get(ring)?.has(number)) {
      return { reason: 'taken', detail: `an endpoint that is being made on ${this.#nameOf(this.#self)} has it` };
    }
    return null;
  }

  #space(ring: RingId): RingSpace {
    const space = this.#init.spaceOf(ring);
    if (space === null) throw networkGone(ring);
    return space;
  }

  /** What this node may hand out of its own accord. */
  #spare(ring: RingId, space: RingSpace): Owned[] {
    if (this.#closed.has(ring)) return [];
    let ranges = inside(this.#init.view.custody(ring).of(this.#self), space.window);
    for (const resting of this.resting.ranges(ring)) ranges = outside(ranges, resting);
    return ranges;
  }

  #taken(ring: RingId, space: RingSpace): Taken {
    const sets = [space.taken, this.resting.numbers(ring), this.#init.view.ownership.taken(ring)];
    return [...sets, this.#reserved.get(ring)].flatMap((set) => set ?? []);
  }

  #hasFree(ring: RingId, wanted: number | null): boolean {
    if (wanted !== null) return this.#init.view.custody(ring).at(wanted)?.owner === this.#self;
    const space = this.#space(ring);
    return nextFree(this.#spare(ring, space), this.#taken(ring, space), 0) !== null;
  }

  /** Asks owners until one gives a range; callers at the same time share the answer. @returns why each refused */
  #askOnce(ring: RingId, wanted: number | null): Promise<readonly Refusal[]> {
    const key = `${ring} ${wanted ?? ''}`;
    const running = this.#asking.get(key);
    if (running !== undefined) return running;
    const asking = this.#ask(ring, wanted).finally(() => this.#asking.delete(key));
    this.#asking.set(key, asking);
    return asking;
  }

  async #ask(ring: RingId, wanted: number | null): Promise<readonly Refusal[]> {
    const owners = this.#owners(ring, wanted);
    const refusals: Refusal[] = [];
    for (const [owner, size] of owners) {
      const refusal = await this.#askOne(ring, wanted, owner);
      if (refusal === null) return [];
      // What somebody has nobody else can give.
      if (wanted !== null && refusal.reason !== 'unreachable') return [refusal];
      const { reason, detail } = refusal;
      refusals.push({ owner, reason, detail: reason === 'unreachable' ? `${detail} (owns ${size})` : detail });
    }
    const last = wanted === null ? this.resting.last(ring) : null;
    if (last !== null) {
      refusals.push({ owner: this.#self, reason: 'resting', detail: `what this node has was ${awakeIn(last)}` });
    } else if (owners.length === 0) {
      refusals.push({ owner: this.#self, reason: 'none', detail: 'this node owns all of it' });
    }
    return refusals;
  }

  /** Other owners and how much they own. Who owns most has most to spare; who is connected answers sooner. */
  #owners(ring: RingId, wanted: number | null): [NodeId, number][] {
    const owners = new Map<NodeId, number>();
    const { window } = this.#space(ring);
    for (const range of inside(this.#init.view.custody(ring).runs, wanted === null ? window : around(wanted))) {
      if (range.owner !== this.#self) owners.set(range.owner, (owners.get(range.owner) ?? 0) + sizeOf([range]));
    }
    const connected = this.#init.transport.connections();
    const isFar = (owner: NodeId): number => Number(!connected.has(owner));
    return [...owners].sort(([a, most], [b, more]) => isFar(a) - isFar(b) || more - most);
  }

  /** @returns why it gave nothing, or null when there is something now */
  async #askOne(ring: RingId, wanted: number | null, owner: NodeId): Promise<Refusal | null> {
    const { transport, log, tables } = this.#init;
    const name = this.#nameOf(owner);
    const unreachable = (detail: string): Refusal => ({ owner, reason: 'unreachable', detail });
    const waits = this.#init.inheritance(owner);
    if (waits !== null) return unreachable(waits);
    if (!this.#init.canReach(owner)) return unreachable(`${name} is not connected`);
    try {
      const body = encode(wanted === null ? [ring] : [ring, wanted]);
      const reply = await transport.request(owner, 'range', body, AbortSignal.timeout(askTimeoutMs));
      const answer = parseAnswer(decode(reply));
      if (answer?.reason !== undefined) return { owner, reason: answer.reason, detail: `${name}: ${answer.detail}` };
      const signed = decodeRecord(answer?.grant);
      if (signed === null || signed.record.owner !== owner) return unreachable(`${name} sent nonsense`);
      tables.ingest(signed);
      // The answer may be ahead of what is known of its writer: then the grant does not show yet.
      if (!this.#hasFree(ring, wanted)) await this.#init.catchUp(owner);
      return this.#hasFree(ring, wanted) ? null : unreachable(`${name} gave a range that is not known here yet`);
    } catch (error) {
      log.debug({ err: error, ring, owner }, 'asking for a range failed');
      return unreachable(`${name} did not answer`);
    }
  }

  /** Answers another node that asks for part of a ring: a grant, on disk before it leaves, or why not. */
  async answerAsk(body: Uint8Array, from: NodeId): Promise<Uint8Array> {
    const asked = decode(body);
    const [ring, number = null] = Array.isArray(asked) ? (asked as unknown[]) : [];
    const isNumber = number === null || (Number.isSafeInteger(number) && (number as number) >= 0);
    if (typeof ring !== 'string' || !isRing(ring) || !isNumber) throw new Error('malformed range request');
    const wanted = number as number | null;
    const space = this.#init.spaceOf(ring);
    const refuse = (reason: Refusal['reason'], detail: string) => encode({ reason, detail });
    if (space === null) return refuse('none', 'does not know it');
    if (this.retired || !this.#init.mayOwn(ring, from)) return refuse('none', 'may not give any');
    if (!this.#granted.allows(from)) {
      this.#init.offences.report(from, 'asks for more ranges than anybody needs');
      return refuse('none', 'has given this node very many ranges lately; there is another one in some seconds');
    }
    const range =
      wanted === null ? halfToGive(this.#spare(ring, space), this.#taken(ring, space)) : this.#exactly(ring, wanted);
    if (wanted !== null) {
      const why = this.#occupied(ring, space, wanted);
      if (why !== null) return refuse(why.reason, why.detail);
      if (range === null) return refuse('none', 'does not own it (any more)');
    }
    if (range === null) {
      const last = this.resting.last(ring);
      if (last === null) return refuse('none', 'has none to spare');
      return refuse('resting', `what it has was ${awakeIn(last)}`);
    }
    this.#granted.charge(from);
    return encode({
      grant: toWire(await writeGrant(this.#init.tables, ring, { ...range, generation: range.generation + 1 }, from)),
    });
  }

  #exactly(ring: RingId, number: number): Owned | null {
    const run = this.#init.view.custody(ring).at(number);
    if (run?.owner !== this.#self || this.#closed.has(ring)) return null;
    return { ...run, ...around(number) };
  }

  /**
   * Gives away all that this node owns of a ring; nothing of it is handed out here meanwhile.
   * @returns false when something of it is in use here
   */
  async giveAll(ring: RingId, to: NodeId): Promise<boolean> {
    const { tables, view } = this.#init;
    if (!this.retired && (this.#reserved.get(ring)?.size ?? 0) > 0) return false;
    this.#closed.add(ring);
    try {
      // Looked at again after every wait for the disk. A view that was closed meanwhile shows the same for ever.
      let last: Owned | undefined;
      for (
        let [run] = view.custody(ring).of(this.#self);
        run !== undefined;
        [run] = view.custody(ring).of(this.#self)
      ) {
        if (run.start === last?.start && run.generation === last.generation) return false;
        last = run;
        await writeGrant(tables, ring, { ...run, generation: run.generation + 1 }, to);
      }
      return true;
    } finally {
      this.#closed.delete(ring);
    }
  }

  #nameOf(node: NodeId): string {
    return this.#init.view.nodes.get(node)?.hostname ?? node;
  }
}

const awakeIn = (restMs: number): string => `released a moment ago; free again in ${Math.ceil(restMs / 1000)} s`;

const around = (number: number): Range => ({ start: number, end: number + 1 });

function isRing(text: string): text is RingId {
  if (isPool(text as RingId)) return true;
  const network = text.includes('/') ? networkOfRing(text as RingId) : null;
  return network !== null && isNetworkId(network);
}

/** How many numbers of the range are in the set and in none of the others. */
function countOutside(
  set: NumberSet | null | undefined,
  { start, end }: Range,
  others: readonly (NumberSet | null | undefined)[],
): number {
  if (set == null) return 0;
  if (others.every((other) => other == null)) return set.countWithin(start, end);
  let count = 0;
  for (const number of set.within(start, end)) if (!others.some((other) => other?.has(number))) count += 1;
  return count;
}
