import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { within } from '../../lab/process.ts';
import { type Bundle, bundleOf } from './bundle.ts';
import { entriesOf, roundState, untouchable } from './crash-states.ts';
import { Host } from './host.ts';
import type { Go, Said } from './tools/programmer.ts';

const KILLS = Number(process.env['CRASH_KILLS'] ?? 40);
const FRESH_KILLS = Number(process.env['CRASH_FRESH_KILLS'] ?? 5);
const SEED = Number(process.env['CRASH_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const LIMIT_MS = 20_000;

/** One run of the program, on a host. */
class Programmer implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #said: Said[] = [];
  #heard: () => void = () => undefined;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', (said: Said) => {
      this.#said.push(said);
      this.#heard();
    });
  }

  static start(host: Host, { path }: Bundle): Programmer {
    const args = ['-t', String(host.pid), '-n', '-m', process.execPath, '--enable-source-maps', path];
    return new Programmer(spawn('nsenter', args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }));
  }

  async says<W extends Said['what']>(what: W): Promise<Extract<Said, { what: W }>> {
    const said = new Promise<Said>((resolve) => {
      this.#heard = () => {
        const found = this.#said.find((each) => each.what === what);
        if (found) resolve(found);
      };
      this.#heard();
    });
    const ended = once(this.#child, 'exit').then(() => Promise.reject(new Error('the program ended')));
    ended.catch(() => undefined);
    return (await within(Promise.race([said, ended]), LIMIT_MS, `the program to say ${what}`)) as Extract<
      Said,
      { what: W }
    >;
  }

  async go(go: Go): Promise<void> {
    await this.says('ready');
    this.#child.send(go);
    await this.says('programming');
  }

  /** Runs it to its end and sees to it that all is as wanted. @returns how long it took */
  async finish(go: Go): Promise<number> {
    await this.go(go);
    const { tookMs, notOk } = await this.says('done');
    assert.deepEqual(notOk, [], `seed ${go.seed}, round ${go.round}`);
    const ours = (await this.says('drift')).found.filter((each) => !each.startsWith('foreign/'));
    assert.deepEqual(ours, [], `seed ${go.seed}, round ${go.round}`);
    return tookMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}

/** What the kernel tells of entries and devices that go in the overlays' namespace. */
class Monitor implements AsyncDisposable {
  readonly #host: Host;
  readonly #child: ChildProcess;
  readonly #gone: string[] = [];
  #marks = 0;
  #hear: (mac: string) => void = () => undefined;

  private constructor(host: Host, child: ChildProcess) {
    this.#host = host;
    this.#child = child;
    if (child.stdout) createInterface(child.stdout).on('line', (line) => this.#read(line));
  }

  static async start(host: Host): Promise<Monitor> {
    await host.run('ip', '-n', 'weft', 'link', 'add', 'watched', 'type', 'bridge');
    await host.run('ip', '-n', 'weft', 'link', 'set', 'watched', 'up');
    // Room for all that is told in a round, should the reader be put aside that long.
    const watch = ['ip', '-rcvbuf', String(256 * 1024 * 1024), 'monitor', 'link', 'neigh'];
    const enter = ['-t', String(host.pid), '-n', '-m', 'ip', 'netns', 'exec', 'weft'];
    const child = spawn('nsenter', [...enter, 'stdbuf', '-oL', ...watch], { stdio: ['ignore', 'pipe', 'inherit'] });
    const monitor = new Monitor(host, child);
    // A subscription gives no sign that it stands; marks do.
    await monitor.gone(50);
    return monitor;
  }

  #read(line: string): void {
    const device = /^Deleted \d+: ([^:@]+)/.exec(line)?.[1];
    if (device !== undefined) this.#gone.push(device);
    const entry = /^Deleted (?:(\S+) )?dev (\S+)(?: lladdr (\S+))?/.exec(line);
    if (entry) {
      const [, address, on, mac] = entry;
      // An FDB entry is told with its MAC, and its VTEP for an address; a neighbour that goes, with its address alone.
      this.#gone.push(`${on} ${mac ?? address}`);
      if (mac !== undefined) this.#gone.push(`${on} ${address}`);
    }
    const mark = /^192\.0\.2\.1 dev watched lladdr (\S+)/.exec(line)?.[1];
    if (mark !== undefined) this.#hear(mark);
  }

  /** All that has gone since the last call. */
  async gone(againMs = LIMIT_MS): Promise<string[]> {
    const mac = `02:00:5e:00:${[this.#marks >> 8, this.#marks++ & 0xff].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`;
    const heard = new Promise<void>((resolve) => {
      this.#hear = (told) => {
        if (told === mac) resolve();
      };
    });
    const mark = ['neigh', 'replace', '192.0.2.1', 'lladdr', mac, 'dev', 'watched', 'nud', 'permanent'];
    await this.#host.run('ip', '-n', 'weft', ...mark);
    try {
      await within(heard, againMs, 'the mark');
    } catch (error) {
      if (againMs >= LIMIT_MS) throw error;
      return await this.gone(againMs * 2);
    }
    return this.#gone.splice(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}

/** Entries of all overlays, by the tools that anybody would look with. */
async function entriesIn(host: Host): Promise<Set<string>> {
  const found = new Set<string>();
  const fdb = await host.run('bridge', '-n', 'weft', 'fdb', 'show');
  for (const [, mac, device, vtep] of fdb.matchAll(/^(\S+) dev (wx\S+) dst (\S+) .*self permanent/gm))
    found.add(`${device} ${mac} ${vtep}`);
  const neighbours = await host.run('ip', '-n', 'weft', 'neigh', 'show', 'nud', 'permanent');
  for (const [, ip, device, mac] of neighbours.matchAll(/^(\S+) dev (wx\S+) lladdr (\S+)/gm))
    found.add(`${device} ${ip} ${mac}`);
  return found;
}

const missing = (from: ReadonlySet<string>, of: ReadonlySet<string>): string[] =>
  [...of].filter((each) => !from.has(each));

describe('kill -9 while the kernel is programmed', () => {
  let bundle: Bundle;
  let host: Host;
  before(async () => {
    bundle = await bundleOf(new URL('tools/programmer.ts', import.meta.url));
    host = await Host.start();
    for (const address of ['10.99.0.1/32']) await host.run('ip', 'address', 'add', address, 'dev', 'lo');
  });
  after(async () => {
    bundle?.[Symbol.dispose]();
    await host?.[Symbol.asyncDispose]();
  });

  it(`${KILLS} times: what stays wanted is never taken away, and the next one finishes`, async (t) => {
    const killAfterMs = (): number => Math.random() * fullMs;
    let fullMs = 0;
    await using first = Programmer.start(host, bundle);
    fullMs = await first.finish({ seed: SEED, round: 0 });
    await using monitor = await Monitor.start(host);
    const lostOf = async (round: number): Promise<string[]> => {
      const wanted = untouchable(roundState(SEED, round));
      return (await monitor.gone()).filter((each) => wanted.has(each));
    };
    // That it would be seen: two entries go by hand.
    const [one] = roundState(SEED, 0).overlays[0]?.remotes ?? assert.fail();
    assert.ok(one);
    await host.run('bridge', '-n', 'weft', 'fdb', 'del', one.mac, 'dev', 'wx4097', 'self');
    await host.run('ip', '-n', 'weft', 'neigh', 'del', one.ip, 'dev', 'wx4097');
    assert.deepEqual(await lostOf(0), [`wx4097 ${one.mac}`, `wx4097 ${one.ip}`]);
    let spare = Programmer.start(host, bundle);
    let interrupted = 0;
    try {
      for (let round = 1; round <= KILLS; round++) {
        await using programmer = spare;
        spare = Programmer.start(host, bundle);
        await programmer.go({ seed: SEED, round });
        const done = programmer.says('done').then(
          () => true,
          () => false,
        );
        await new Promise((resolve) => setTimeout(resolve, killAfterMs()));
        await programmer[Symbol.asyncDispose]();
        if (!(await done)) interrupted++;
        assert.deepEqual(await lostOf(round), [], `seed ${SEED}, round ${round}: gone, though wanted`);
        if (round % 10 !== 0) continue;
        await using finisher = Programmer.start(host, bundle);
        fullMs = Math.min(fullMs, await finisher.finish({ seed: SEED, round }));
        const desired = roundState(SEED, round);
        const [want, have] = [entriesOf(desired), await entriesIn(host)];
        assert.deepEqual({ missing: missing(have, want), extra: missing(want, have) }, { missing: [], extra: [] });
        assert.deepEqual(await lostOf(round), [], `seed ${SEED}, round ${round}: gone, though wanted`);
      }
    } finally {
      await spare[Symbol.asyncDispose]();
    }
    t.diagnostic(`seed ${SEED}: ${interrupted} of ${KILLS} were in the middle; one takes ${Math.round(fullMs)} ms`);
    assert.ok(interrupted > KILLS / 5);
  });

  it(`${FRESH_KILLS} times on a host that has nothing yet: the next one finishes`, async (t) => {
    await host.cleanUp();
    await host.run('ip', 'link', 'show', 'lo');
    const alone = Programmer.start(host, bundle);
    const fullMs = await alone.finish({ seed: SEED, round: 1 });
    await alone[Symbol.asyncDispose]();
    await host.cleanUp();
    let interrupted = 0;
    for (let round = 1; round <= FRESH_KILLS; round++) {
      const go = { seed: SEED, round };
      const killed = Programmer.start(host, bundle);
      await using next = Programmer.start(host, bundle);
      await killed.go(go);
      const done = killed.says('done').then(
        () => true,
        () => false,
      );
      await new Promise((resolve) => setTimeout(resolve, Math.random() * fullMs));
      await killed[Symbol.asyncDispose]();
      if (!(await done)) interrupted++;
      await next.finish(go);
      const [want, have] = [entriesOf(roundState(SEED, round)), await entriesIn(host)];
      assert.deepEqual({ missing: missing(have, want), extra: missing(want, have) }, { missing: [], extra: [] });
      await next[Symbol.asyncDispose]();
      await host.cleanUp();
    }
    t.diagnostic(`${interrupted} of ${FRESH_KILLS} were in the middle; one takes ${Math.round(fullMs)} ms`);
    assert.ok(interrupted > 0);
  });
});
