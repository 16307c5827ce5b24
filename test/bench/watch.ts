import type { Host } from '../lab/host.ts';
import type { Inside } from '../lab/inside.ts';
import { eventually, within } from '../lab/process.ts';

/** A neighbour or FDB entry that came or went, as the kernel told it. */
export interface KernelEvent {
  readonly deleted: boolean;
  /** The neighbour's IP, or the VTEP of an FDB entry of a VXLAN device: rtnetlink tells both in the same way. */
  readonly address: string;
  readonly mac: string;
  /** Milliseconds of wall clock, to the microsecond. */
  readonly atMs: number;
}

/** Reads a line of `ip -ts monitor neigh` run with TZ=UTC. */
export function parseEvent(line: string): KernelEvent | undefined {
  const match = /^\[(\S+)\.(\d{6})\] (Deleted )?(\S+) dev \S+ lladdr (\S+) .*PERMANENT/.exec(line);
  const [, second, micros, deleted, address, mac] = match ?? [];
  if (!second || !micros || !address || !mac) return undefined;
  return { deleted: deleted !== undefined, address, mac, atMs: Date.parse(`${second}Z`) + Number(micros) / 1000 };
}

/** Wall clock in milliseconds, finer than Date.now(): the clock that the kernel's events are stamped by. */
export function wallClockMs(): number {
  return offsetMs + performance.now();
}

let offsetMs = performance.timeOrigin;

/**
 * Sets the fine clock by the wall clock anew, to 20 µs, which takes a millisecond or two; the latter may have been
 * adjusted. Each reading of the coarse clock between two of the fine one bounds the offset from both sides, so being
 * put aside in the middle makes a bound wider and never wrong.
 */
export function setClock(): void {
  let [low, high] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  while (high - low > 0.02) {
    const before = performance.now();
    const now = Date.now();
    const after = performance.now();
    low = Math.max(low, now - after);
    high = Math.min(high, now + 1 - before);
    // The wall clock was set while it was being read.
    if (low > high) [low, high] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  }
  offsetMs = (low + high) / 2;
}

/** A link of a network namespace as it came or changed. */
export interface LinkEvent {
  /** In its network namespace. */
  readonly index: number;
  readonly mac: string;
  /** As of KernelEvent. */
  readonly atMs: number;
}

/** Reads a line of `ip -ts -oneline monitor link` run with TZ=UTC; one that tells of an end is none. */
export function parseLinkEvent(line: string): LinkEvent | undefined {
  const match = /^\[(\S+)\.(\d{6})\] (\d+): .* link\/ether (\S+) /.exec(line);
  const [, second, micros, index, mac] = match ?? [];
  if (!second || !micros || !index || !mac) return undefined;
  return { index: Number(index), mac, atMs: Date.parse(`${second}Z`) + Number(micros) / 1000 };
}

/** One small process that sleeps until the kernel tells something, so that watching takes nothing from what is watched. */
async function monitor(host: Host, netns: string, what: 'neigh' | 'link', hear: (line: string) => void) {
  const program = ['ip', '-ts', '-oneline', 'monitor', what];
  const inside = await host.spawn('env', ['TZ=UTC', 'nsenter', `--net=${netns}`, '--', 'stdbuf', '-oL', ...program]);
  let rest = '';
  inside.stream((text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) hear(line);
  });
  return inside;
}

/** Hears from the kernel of one host when FDB and neighbour entries of its overlays come and go. */
export class Watcher {
  readonly host: Host;
  readonly #netns: string;
  readonly #seen = new Map<string, number>();
  readonly #waiting = new Map<string, (atMs: number) => void>();
  #monitor: Inside | undefined;

  private constructor(host: Host, netns: string) {
    this.host = host;
    this.#netns = netns;
  }

  /** Returns when it hears. @param netns of the overlays, which must be there */
  static async start(host: Host, netns = '/run/netns/weft'): Promise<Watcher> {
    const watcher = new Watcher(host, netns);
    watcher.#monitor = await monitor(host, netns, 'neigh', (line) => watcher.#hear(line));
    await watcher.#proveItHears();
    return watcher;
  }

  // A subscription gives no sign that it stands, so something is changed until that is told.
  async #proveItHears(): Promise<void> {
    const [device, address, mac] = ['wfbench', '192.0.2.1', '02:00:5e:00:00:01'];
    await this.#ip([`link add ${device} type bridge`, `link set ${device} up`]);
    await eventually(`a monitor on ${this.host.name} to hear`, async () => {
      await this.#ip([
        `neigh replace ${address} lladdr ${mac} dev ${device} nud permanent`,
        `neigh delete ${address} dev ${device}`,
      ]);
      return this.#seen.has(keyOf('came', address, mac)) || undefined;
    });
    await this.#ip([`link delete ${device}`]);
    this.forget();
  }

  async #ip(lines: readonly string[]): Promise<void> {
    await this.host.execIn(this.#netns, 'ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
  }

  #hear(line: string): void {
    const event = parseEvent(line);
    if (event === undefined) return;
    const key = keyOf(event.deleted ? 'gone' : 'came', event.address, event.mac);
    if (!this.#seen.has(key)) this.#seen.set(key, event.atMs);
    this.#waiting.get(key)?.(event.atMs);
    this.#waiting.delete(key);
  }

  /**
   * When an entry came or went: now, or earlier since the last `forget`. A neighbour that goes is told without its MAC
   * and so not heard here; its FDB entry is.
   */
  async when(what: 'came' | 'gone', address: string, mac: string, timeoutMs: number): Promise<number> {
    const key = keyOf(what, address, mac);
    const earlier = this.#seen.get(key);
    if (earlier !== undefined) return earlier;
    const told = new Promise<number>((resolve) => this.#waiting.set(key, resolve));
    return await within(told, timeoutMs, `${this.host.name}'s kernel: ${key}`);
  }

  /** Starts over, so that what is remembered stays small. */
  forget(): void {
    this.#seen.clear();
    this.#waiting.clear();
  }

  async stop(): Promise<void> {
    await this.#monitor?.end('SIGKILL');
  }
}

/** Hears when links of a host come: of containers the moment at which their interface is there. */
export class LinkWatcher {
  readonly #first = new Map<number, number>();
  readonly #ofMac = new Map<string, number>();
  #monitor: Inside | undefined;

  /** Returns when it hears. */
  static async start(host: Host): Promise<LinkWatcher> {
    const watcher = new LinkWatcher();
    watcher.#monitor = await monitor(host, '/proc/1/ns/net', 'link', (line) => watcher.#hear(line));
    const [device, mac] = ['wfbench', '02:00:5e:00:00:02'];
    await eventually(`a monitor of links on ${host.name} to hear`, async () => {
      await host.holder.ip([`link add ${device} address ${mac} type bridge`, `link delete ${device}`]);
      return watcher.cameMs(mac) !== undefined;
    });
    watcher.forget();
    return watcher;
  }

  #hear(line: string): void {
    const event = parseLinkEvent(line);
    if (event === undefined) return;
    if (!this.#first.has(event.index)) this.#first.set(event.index, event.atMs);
    this.#ofMac.set(event.mac, event.index);
  }

  /** When that which has (by now) this MAC came, also where it was given the MAC later; undefined when none is known. */
  cameMs(mac: string): number | undefined {
    return this.#first.get(this.#ofMac.get(mac.toLowerCase()) ?? -1);
  }

  /** Starts over: a number may be given again. */
  forget(): void {
    this.#first.clear();
    this.#ofMac.clear();
  }

  async stop(): Promise<void> {
    await this.#monitor?.end('SIGKILL');
  }
}

function keyOf(what: string, address: string, mac: string): string {
  return `${what} ${address} ${mac.toLowerCase()}`;
}
