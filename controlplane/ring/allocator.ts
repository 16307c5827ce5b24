import { decode, encode } from '../encoding.ts';
import type { Environment, Log } from '../environment.ts';
import { ControlPlaneError } from '../errors.ts';
import { isNetworkId, type NodeId } from '../ids.ts';
import type { Requests } from '../mesh/transport.ts';
import { networkTopic, type RangeValue } from '../tables/kinds.ts';
import { clusterTopic, decodeRecord, toWire } from '../tables/record.ts';
import type { Tables } from '../tables/tables.ts';
import type { RingId, View } from '../tables/view.ts';
import { freeRanges, halfToGive, nextFree, type Owned, sizeOf, splitByOwner } from './ring.ts';

const askTimeoutMs = 3_000;
// A freed number rests before it is used again, so that no host still has the old entry for it.
const restMs = 30_000;

/** Size of a ring, who owns what was never granted, and the numbers that are not to be handed out. */
export interface RingSpace {
  readonly size: number;
  readonly root: NodeId;
  readonly taken: ReadonlySet<number>;
  /** For messages: `network frontend (10.0.1.0/24)`. */
  readonly name: string;
}

export interface AllocatorInit {
  readonly tables: Tables;
  readonly view: View;
  readonly transport: Requests;
  readonly environment: Environment;
  readonly log: Log;
  /** null when there is no such ring (any more). */
  readonly spaceOf: (ring: RingId) => RingSpace | null;
  readonly mayOwn: (ring: RingId, node: NodeId) => boolean;
  /** One full exchange with that node. */
  readonly catchUp: (node: NodeId) => Promise<void>;
}

/** Why an owner gave nothing: it has nothing to spare, or it could not be asked. */
interface Refusal {
  readonly reason: 'full' | 'unreachable';
  readonly detail: string;
}

/** Hands out numbers from the ranges this node owns, and asks other owners for ranges when it has none left. */
export class Allocator {
  readonly #init: AllocatorInit;
  /** Given out, not yet in the tables. */
  readonly #reserved = new Map<RingId, Set<number>>();
  readonly #resting = new Map<RingId, Map<number, number>>();
  readonly #cursors = new Map<RingId, number>();
  readonly #asking = new Map<RingId, Promise<Refusal[]>>();
  readonly #self: NodeId;
  /** Set before a manager takes over what this node owns: from then on nothing may be handed out here. */
  retired = false;

  constructor(init: AllocatorInit) {
    this.#init = init;
    this.#self = init.tables.self;
  }

  /**
   * A number that no other node can have. It stays reserved until `release` says that the tables have it, or that
   * nobody will use it.
   * @throws ControlPlaneError `exhausted` or `no_owner_reachable`
   */
  async allocate(ring: RingId): Promise<number> {
    if (this.retired) throw new ControlPlaneError('leaving', 'this node is leaving the cluster');
    // Each round either finds a number or has won a range; another caller may have used that range up.
    for (let round = 0; round < 8; round += 1) {
      const number = this.#take(ring);
      if (number !== null) return number;
      const refusals = await this.#askOnce(ring);
      if (refusals.length > 0) throw this.#exhausted(ring, refusals);
    }
    throw this.#exhausted(ring, [{ reason: 'full', detail: 'others were quicker each time' }]);
  }

  /** @param used whether the number now stands in the tables, so that it rests when it leaves them */
  release(ring: RingId, number: number, used: boolean): void {
    this.#reserved.get(ring)?.delete(number);
    if (!used) this.rest(ring, number);
  }

  /** A number was freed: it is not handed out again for a while. */
  rest(ring: RingId, number: number): void {
    const resting = this.#resting.get(ring) ?? new Map<number, number>();
    resting.set(number, this.#init.environment.now() + restMs);
    this.#resting.set(ring, resting);
  }

  /** Whether this node owns any number of the ring. */
  owns(ring: RingId): boolean {
    const space = this.#init.spaceOf(ring);
    return space !== null && this.#mine(ring, space).length > 0;
  }

  /** Gives all that this node owns of the ring to another node. Only for who has nothing in use there. */
  async handBack(ring: RingId, to: NodeId): Promise<void> {
    const space = this.#init.spaceOf(ring);
    if (space !== null) await this.#grantEach(ring, to, () => this.#mine(ring, space)[0]);
  }

  forget(ring: RingId): void {
    this.#reserved.delete(ring);
    this.#resting.delete(ring);
    this.#cursors.delete(ring);
  }

  #take(ring: RingId): number | null {
    const space = this.#space(ring);
    const number = nextFree(this.#mine(ring, space), this.#unavailable(ring, space), this.#cursors.get(ring) ?? 0);
    if (number === null) return null;
    const reserved = this.#reserved.get(ring) ?? new Set<number>();
    reserved.add(number);
    this.#reserved.set(ring, reserved);
    this.#cursors.set(ring, number + 1);
    return number;
  }

  #space(ring: RingId): RingSpace {
    const space = this.#init.spaceOf(ring);
    if (space === null) throw new ControlPlaneError('network_not_found', `network ${ring} is gone`);
    return space;
  }

  #split(ring: RingId, { size, root }: RingSpace): Owned[] {
    return splitByOwner(size, root, this.#init.view.grants(ring));
  }

  #mine(ring: RingId, space: RingSpace): Owned[] {
    return this.#split(ring, space).filter(({ owner }) => owner === this.#self);
  }

  #hasFree(ring: RingId): boolean {
    const space = this.#space(ring);
    return freeRanges(this.#mine(ring, space), this.#unavailable(ring, space)).length > 0;
  }

  #unavailable(ring: RingId, { taken }: RingSpace): Set<number> {
    const all = new Set([...taken, ...(this.#reserved.get(ring) ?? [])]);
    const now = this.#init.environment.now();
    const resting = this.#resting.get(ring);
    for (const [number, until] of resting ?? []) {
      if (until <= now) resting?.delete(number);
      else all.add(number);
    }
    return all;
  }

  /** Asks owners until one gives a range; callers at the same time share the answer. @returns why each refused */
  #askOnce(ring: RingId): Promise<Refusal[]> {
    const running = this.#asking.get(ring);
    if (running !== undefined) return running;
    const asking = this.#ask(ring).finally(() => this.#asking.delete(ring));
    this.#asking.set(ring, asking);
    return asking;
  }

  async #ask(ring: RingId): Promise<Refusal[]> {
    const { transport, view, log } = this.#init;
    const owners = new Map<NodeId, number>();
    for (const range of this.#split(ring, this.#space(ring))) {
      if (range.owner !== this.#self) owners.set(range.owner, (owners.get(range.owner) ?? 0) + sizeOf([range]));
    }
    const refusals: Refusal[] = [];
    const refused = (reason: Refusal['reason'], detail: string) => refusals.push({ reason, detail });
    // Who owns most has most to spare.
    for (const [owner] of [...owners].sort(([, a], [, b]) => b - a)) {
      const name = view.nodes.get(owner)?.hostname ?? owner;
      if (!transport.canReach(owner)) {
        refused('unreachable', `${name} cannot be reached`);
        continue;
      }
      try {
        const reply = await transport.request(owner, 'range', encode([ring]), AbortSignal.timeout(askTimeoutMs));
        const signed = decodeRecord(decode(reply));
        if (signed === null || signed.record.owner !== owner) {
          refused('full', `${name} has none to spare`);
          continue;
        }
        this.#init.tables.ingest(signed);
        // The answer may be ahead of what is known of its writer: then the grant does not show yet.
        if (!this.#hasFree(ring)) await this.#init.catchUp(owner);
        if (this.#hasFree(ring)) {
          await this.claim(ring);
          return [];
        }
        refused('unreachable', `${name} gave a range that is not known here yet`);
      } catch (error) {
        log.debug({ err: error, ring, owner }, 'asking for a range failed');
        refused('unreachable', `${name} did not answer`);
      }
    }
    if (owners.size === 0) refused('full', 'this node owns all of it');
    return refusals;
  }

  /** Answers another node that asks for part of a ring: a grant, on disk before it leaves, or nothing. */
  async answerAsk(body: Uint8Array, from: NodeId): Promise<Uint8Array> {
    const asked = decode(body);
    const ring = Array.isArray(asked) ? (asked[0] as unknown) : null;
    if (typeof ring !== 'string' || !isRing(ring)) throw new Error('malformed range request');
    const space = this.#init.spaceOf(ring);
    if (space === null || this.retired || !this.#init.mayOwn(ring, from)) return encode(null);
    const range = halfToGive(this.#mine(ring, space), this.#unavailable(ring, space));
    if (range === null) return encode(null);
    return encode(toWire(await this.#grant(ring, range, from)));
  }

  #grant(ring: RingId, range: Owned, to: NodeId) {
    const { start, end } = range;
    const generation = range.generation + 1;
    const value: RangeValue = { start, end, to, generation };
    return this.#init.tables.put(topicOf(ring), `${keyPrefix(ring)}${start}/${generation}`, value);
  }

  /**
   * Makes an own record of every range that was given to this node, so that its ownership no longer depends on the
   * giver's records: a giver that leaves takes them along.
   */
  async claim(ring: RingId): Promise<void> {
    const { tables } = this.#init;
    const space = this.#init.spaceOf(ring);
    if (space === null) return;
    const unclaimed = ({ start, end, generation }: Owned): boolean =>
      generation > 0 &&
      ![...tables.records(topicOf(ring), keyPrefix(ring))].some(({ record }) => {
        const value = record.value as RangeValue;
        const covers = value.start <= start && end <= value.end;
        return record.owner === this.#self && value.generation === generation && covers;
      });
    await this.#grantEach(ring, this.#self, () => this.#mine(ring, space).find(unclaimed));
  }

  /**
   * Takes over what a node owned that was removed for ever: nobody listens to its grants any more. Numbers in use stay
   * taken as long as the tables show them.
   */
  async reclaim(ring: RingId, from: NodeId): Promise<void> {
    const space = this.#init.spaceOf(ring);
    if (space === null) return;
    await this.#grantEach(ring, this.#self, () => this.#split(ring, space).find(({ owner }) => owner === from));
  }

  /** Looks again after every wait for the disk: part of what was ours before may have been given away meanwhile. */
  async #grantEach(ring: RingId, to: NodeId, next: () => Owned | undefined): Promise<void> {
    let last: Owned | undefined;
    for (let range = next(); range !== undefined; range = next()) {
      // A view that was closed meanwhile shows the same range for ever.
      if (range.start === last?.start && range.generation === last.generation) return;
      last = range;
      await this.#grant(ring, range, to);
    }
  }

  #exhausted(ring: RingId, refusals: readonly Refusal[]): ControlPlaneError {
    const { name } = this.#space(ring);
    const why = refusals.map(({ detail }) => detail).join('; ');
    return refusals.some(({ reason }) => reason === 'full')
      ? new ControlPlaneError('exhausted', `${name} has nothing free: ${why}`, 'remove endpoints that are not needed')
      : new ControlPlaneError(
          'no_owner_reachable',
          `this node owns no free part of ${name}, and no owner could be asked: ${why}`,
          'bring one of these nodes back, then try again',
        );
  }
}

const isRing = (text: string): text is RingId => text === 'subnet' || text === 'vni' || isNetworkId(text);
const topicOf = (ring: RingId): string => (isNetworkId(ring) ? networkTopic(ring) : clusterTopic);
const keyPrefix = (ring: RingId): string => (isNetworkId(ring) ? 'range/' : `range/${ring}/`);
