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

/**
 * Hears from the kernel of one host when FDB and neighbour entries of its overlays come and go: one small process that
 * sleeps until then, so that watching takes nothing from what is watched.
 */
export class Watcher {
  readonly host: Host;
  readonly #monitor: Inside;
  readonly #netns: string;
  readonly #seen = new Map<string, number>();
  readonly #waiting = new Map<string, (atMs: number) => void>();

  private constructor(host: Host, monitor: Inside, netns: string) {
    this.host = host;
    this.#monitor = monitor;
    this.#netns = netns;
    let rest = '';
    monitor.stream((text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#hear(line);
    });
  }

  /** Returns when it hears. @param netns of the overlays, which must be there */
  static async start(host: Host, netns = '/run/netns/weft'): Promise<Watcher> {
    const monitor = ['ip', '-ts', 'monitor', 'neigh'];
    const args = ['TZ=UTC', 'nsenter', `--net=${netns}`, '--', 'stdbuf', '-oL', ...monitor];
    const watcher = new Watcher(host, await host.spawn('env', args), netns);
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
    await this.#monitor.end('SIGKILL');
  }
}

function keyOf(what: string, address: string, mac: string): string {
  return `${what} ${address} ${mac.toLowerCase()}`;
}
