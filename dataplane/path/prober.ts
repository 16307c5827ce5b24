import type { Log } from '../log.ts';
import { attempt } from './attempt.ts';
import { type Ask, decide, findPathMtu, type Tried } from './search.ts';
import { learned, type PathState, unknownPath } from './state.ts';
import type { ProbeTarget, ProbeWay } from './way.ts';

/** Least of paths: RFC 791 lets every host take 576, RFC 8200 every link 1280. */
const floors = { 4: 576, 6: 1280 } as const;
/** Paths looked at at a time, so that a node that starts among a thousand takes seconds, and not all of its link. */
const looksAtOnce = 4;
/** After a change, so that it is confirmed while it is news. */
const confirmMs = 1_000;
/** Nobody answered: their agent may be starting. Doubles up to the interval at rest. */
const silentMinMs = 2_000;
/** Peers looked at within an interval at rest: one in ten seconds, or 150 B/s, however many peers there are. */
const restPeers = 3;
/** How many times longer the interval is while the host sends nothing to speak of. */
const restFactor = 10;
/** A look is this small a part of what the host sends, or the host counts as at rest. */
const busyShare = 0.01;
const packetBytes = 1_500;
/** Of an IP packet: its length has 16 bits. */
const packetMaxBytes = 65_535;

export interface Path {
  /** Largest IP packet that the path is known to take, bytes; null while nothing is known. */
  readonly mtu: number | null;
  /** What answered last; '' when nothing has. */
  readonly way: ProbeWay['name'] | '';
  /** When it was last measured, by the wall clock, milliseconds since 1970; 0 for never. */
  readonly measuredMs: number;
  /** It was tried, and nobody answered by any way. */
  readonly silent: boolean;
}

export interface PathProberInit {
  readonly log: Log;
  readonly ways: readonly ProbeWay[];
  /** How often a path is confirmed while the host sends; ten times as long at rest. */
  readonly intervalMs: number;
  /** Bytes that the underlay device has sent so far; null when that cannot be read. */
  readonly sentBytes: () => number | null;
  /** What is known of this path is another than before. */
  readonly changed: (id: string) => void;
  /** 0 up to 1, for jitter. @default Math.random */
  readonly random?: () => number;
  /** Monotonic milliseconds. @default performance.now */
  readonly now?: () => number;
}

interface Peer {
  readonly id: string;
  readonly target: ProbeTarget;
  state: PathState;
  way: ProbeWay['name'] | '';
  measuredMs: number;
  lookedAtMs: number;
  dueMs: number;
  silentMs: number;
  looking: boolean;
  tries: number;
}

/**
 * Follows how large a packet the path to each peer takes. Measured at once when a peer is new or the device's MTU changes,
 * and confirmed by one small and one large packet now and then.
 */
export class PathProber implements Disposable {
  readonly #init: PathProberInit;
  readonly #random: () => number;
  readonly #now: () => number;
  readonly #peers = new Map<string, Peer>();
  #deviceMtu = 1500;
  #looking = 0;
  #timer: NodeJS.Timeout | null = null;
  #stopped = false;
  #sent: { readonly bytes: number; readonly atMs: number } | null = null;

  constructor(init: PathProberInit) {
    this.#init = init;
    this.#random = init.random ?? Math.random;
    this.#now = init.now ?? (() => performance.now());
  }

  [Symbol.dispose](): void {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#peers.clear();
  }

  /**
   * Whom to measure; those that are new at once.
   * @param known what an earlier run knew of a path, so that a restart does not forget it before it is measured again
   */
  set(targets: ReadonlyMap<string, ProbeTarget>, known: (id: string) => number | null = () => null): void {
    for (const id of this.#peers.keys()) if (!targets.has(id)) this.#peers.delete(id);
    for (const [id, target] of targets) {
      const there = this.#peers.get(id);
      if (there?.target.address === target.address && there.target.port === target.port) continue;
      const state = { ...unknownPath, mtu: there?.state.mtu ?? known(id) };
      const fresh = {
        way: '',
        measuredMs: 0,
        lookedAtMs: Number.NEGATIVE_INFINITY,
        silentMs: 0,
        looking: false,
        tries: 0,
      } as const;
      this.#peers.set(id, { ...fresh, id, target, state, dueMs: 0 });
    }
    this.#schedule();
  }

  /** MTU of the device that carries the VTEP: no path takes more. */
  setDeviceMtu(deviceMtu: number): void {
    // As a loopback device has more.
    const mtu = Math.min(deviceMtu, packetMaxBytes);
    if (mtu === this.#deviceMtu) return;
    this.#deviceMtu = mtu;
    for (const peer of this.#peers.values()) {
      // What the path takes beyond the device is not known any more by the time that the device takes it again.
      if ((peer.state.mtu ?? 0) > mtu) peer.state = { mtu, candidate: null };
      peer.dueMs = 0;
    }
    this.#schedule();
  }

  /** Soon, rather than when it is due: the peer is back. */
  look(id: string): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    peer.silentMs = 0;
    peer.dueMs = 0;
    this.#schedule();
  }

  /** Sooner than it is due, unless it was just done: something has changed there. */
  hint(id: string): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    peer.dueMs = Math.min(peer.dueMs, peer.lookedAtMs + this.#init.intervalMs);
    this.#schedule();
  }

  path(id: string): Path | null {
    const peer = this.#peers.get(id);
    if (peer === undefined) return null;
    const { state, way, measuredMs, silentMs } = peer;
    return { mtu: state.mtu, way, measuredMs, silent: silentMs > 0 };
  }

  #schedule(): void {
    if (this.#stopped) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#looking >= looksAtOnce) return;
    let dueMs = Number.POSITIVE_INFINITY;
    for (const peer of this.#peers.values()) if (!peer.looking) dueMs = Math.min(dueMs, peer.dueMs);
    if (!Number.isFinite(dueMs)) return;
    // Not longer: whether the host has begun to send has to be seen.
    const waitMs = Math.min(Math.max(0, dueMs - this.#now()), this.#init.intervalMs);
    this.#timer = setTimeout(() => this.#run(), waitMs);
  }

  #run(): void {
    this.#timer = null;
    const nowMs = this.#now();
    const { intervalMs } = this.#init;
    if (this.#isBusy(nowMs)) {
      // Those whose look at rest is still far away.
      for (const peer of this.#peers.values()) {
        if (peer.silentMs === 0) peer.dueMs = Math.min(peer.dueMs, peer.lookedAtMs + this.#jittered(intervalMs));
      }
    }
    const due = [...this.#peers.values()].filter(({ looking, dueMs }) => !looking && dueMs <= nowMs);
    due.sort((a, b) => a.dueMs - b.dueMs);
    for (const peer of due.slice(0, looksAtOnce - this.#looking)) this.#begin(peer);
    this.#schedule();
  }

  #begin(peer: Peer): void {
    peer.looking = true;
    this.#looking += 1;
    // Before the next run asks again.
    this.#look(peer)
      .catch((error: unknown) => this.#init.log.error({ err: error, peer: peer.id }, 'measuring a path failed'))
      .finally(() => {
        peer.looking = false;
        this.#looking -= 1;
        this.#schedule();
      });
  }

  /** Whether the host has sent so much since it was last asked that probes are nothing beside it. */
  #isBusy(nowMs: number): boolean {
    const before = this.#sent;
    if (before !== null && nowMs - before.atMs < this.#init.intervalMs / 2) return false;
    const bytes = this.#init.sentBytes();
    if (bytes === null) return false;
    this.#sent = { bytes, atMs: nowMs };
    return before !== null && (bytes - before.bytes) * busyShare > this.#peers.size * packetBytes;
  }

  async #look(peer: Peer): Promise<void> {
    const before = peer.state;
    const ceiling = this.#deviceMtu;
    const found = await this.#measure(peer, ceiling);
    // Replaced, gone, or measured against a device that has changed meanwhile.
    if (this.#stopped || this.#peers.get(peer.id) !== peer) return;
    if (ceiling !== this.#deviceMtu) {
      peer.dueMs = 0;
      return;
    }
    const nowMs = this.#now();
    const wasSilent = peer.silentMs > 0;
    peer.lookedAtMs = nowMs;
    if (found === null) {
      peer.silentMs = Math.min(Math.max(peer.silentMs * 2, silentMinMs), this.#restMs());
      peer.dueMs = nowMs + this.#jittered(peer.silentMs);
    } else {
      peer.silentMs = 0;
      peer.measuredMs = Date.now();
      peer.state = learned(peer.state, found);
      const isNews = peer.state.mtu !== before.mtu || peer.state.candidate !== null;
      peer.dueMs = nowMs + (isNews ? Math.min(confirmMs, this.#init.intervalMs) : this.#jittered(this.#restMs()));
    }
    if (peer.state.mtu !== before.mtu || wasSilent !== peer.silentMs > 0) this.#init.changed(peer.id);
  }

  #restMs(): number {
    return this.#init.intervalMs * Math.max(restFactor, this.#peers.size / restPeers);
  }

  #jittered(ms: number): number {
    return ms * (0.8 + 0.4 * this.#random());
  }

  /** @returns the largest packet that the path takes; null when nobody answers, or it cannot be told */
  async #measure(peer: Peer, ceiling: number): Promise<number | null> {
    const { mtu } = peer.state;
    const family = peer.target.address.includes(':') ? 6 : 4;
    if (peer.silentMs > 0 && !(await this.#isThere(peer))) return null;
    if (mtu !== null && peer.silentMs === 0) {
      const next = mtu < ceiling ? [mtu, mtu + 1] : [mtu];
      const { answered } = await this.#try(peer, next, true);
      // Nothing has changed, for all that one packet each can say: one that is too large is lost as ever.
      if (answered.has(mtu) && !answered.has(mtu + 1)) return mtu;
      if (!answered.has(mtu + 1)) {
        const bounds = await decide([mtu], this.#ask(peer));
        if (bounds === null) return null;
        if (bounds.proven === mtu) return mtu;
        if (bounds.refuted !== mtu) return null;
      }
    }
    return findPathMtu({ floor: Math.min(floors[family], ceiling), ceiling }, this.#ask(peer));
  }

  async #isThere(peer: Peer): Promise<boolean> {
    const { answered, controls } = await this.#try(peer, []);
    return controls > 0 || answered.size > 0;
  }

  #ask(peer: Peer): Ask {
    return (sizes) => this.#try(peer, sizes);
  }

  /** @param alone each size by the way alone that answered last and costs least, and nothing besides */
  async #try(peer: Peer, sizes: readonly number[], alone = false): Promise<Tried> {
    const { ways } = this.#init;
    const way = alone && peer.way !== '' ? peer.way : null;
    peer.tries += 1;
    const sizesFirst = peer.tries % 2 === 0;
    const tried = await attempt({ target: peer.target, sizes, ways, alone: way, sizesFirst, now: this.#now });
    const { heard } = tried;
    if (heard.size > 0) peer.way = heard.has('udp') ? 'udp' : 'icmp';
    return tried;
  }
}
