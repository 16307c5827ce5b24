import { clusterTopic } from '../../controlplane/tables/record.ts';
import { isThreading, simulateCrypto } from './crypto.ts';
import type { Host } from './host.ts';
import { noFaults, SimNetwork, someFaults } from './network.ts';
import { noTricks, type Tricks, treasonShare } from './operations/byzantine.ts';
import { partition } from './operations/faults.ts';
import { initCluster, join, removeNode } from './operations/membership.ts';
import { Oracle, Violation } from './oracle.ts';
import { Population } from './population.ts';
import { Prng } from './prng.ts';
import { invariants, nextOperation } from './scenario.ts';
import { simulateTimeouts, VirtualTime } from './time.ts';
import { Trace } from './trace.ts';
import { down, type Invariant, runningManagers, type World } from './world.ts';

// Virtual durations. Many short runs find more than few long ones; some are long enough for freed numbers to be used
// again (30 s).
const shortChaosMs = { min: 6_000, max: 16_000 };
const longChaosMs = { min: 16_000, max: 45_000 };
const longShare = 0.2;
/** Within this share of the faults everybody has begun to join. */
const joinsShare = 0.3;
/** How long after the last fault all nodes must agree. */
export const quietMs = 10_000;
/** How long they must stay so: frames of before the last fault take five seconds at most. */
const stayMs = 6_000;
/** How long after it nobody may be suspected any more. */
const calmMs = 20_000;
/** How long a record is missing of which the next has shown that it was lost. */
const gapMs = 1_500;
/** How long what is under way at the last fault may take: a leave asks manager after manager. */
const settleMs = 40_000;

export interface Outcome {
  readonly seed: string;
  /** Why the run failed, or null. */
  readonly failure: string | null;
  /** SHA-256 over everything that happened. */
  readonly trace: string;
  /** Virtual time from the last fault until all nodes agreed. */
  readonly agreedAfterMs: number;
  readonly steps: number;
  /** Operations and faults that were drawn. */
  readonly operations: number;
  readonly endpoints: number;
  /** What a liar did, if there was one. */
  readonly tricks: Tricks;
}

/** One run of a cluster under faults: the same seed is the same run. @param print is given the story, line by line */
export async function simulate(seed: string, print: ((line: string) => void) | null = null): Promise<Outcome> {
  const prng = new Prng(seed);
  const time = new VirtualTime();
  time.isHeld = isThreading;
  const restores = [simulateCrypto(prng.fork('random bytes')), simulateTimeouts(time)];
  try {
    return await new Run(seed, prng, time, print).run();
  } finally {
    for (const restore of restores) restore();
  }
}

class Run {
  readonly #seed: string;
  readonly #prng: Prng;
  readonly #time: VirtualTime;
  readonly #trace: Trace;
  readonly #world: World;
  readonly #operations = new Map<number, { what: string; host: Host; incarnation: number }>();
  readonly #population: Population;
  #operation = 0;
  #drawn = 0;
  #violation: Error | null = null;

  constructor(seed: string, prng: Prng, time: VirtualTime, print: ((line: string) => void) | null) {
    this.#seed = seed;
    this.#prng = prng;
    this.#time = time;
    this.#trace = new Trace(this.#time, print);
    this.#world = {
      network: new SimNetwork(this.#time, prng.fork('network'), this.#trace),
      oracle: new Oracle(
        (message) => this.#fail(new Violation(message)),
        (task) => this.#time.after(0, task),
      ),
      prng: prng.fork('operations'),
      hosts: [],
      busy: new Set(),
      joined: new Set(),
      lost: new Set(),
      treason: prng.fork('treason').chance(treasonShare),
      tricks: noTricks(),
      replace: (host) => this.#population.replace(host),
      start: (host) => this.#start(host),
      do: (what, host, work) => this.#do(what, host, work),
      isIdle: (host) => ![...this.#operations.values()].some((each) => each.host === host),
    };
    this.#population = new Population({ prng, world: this.#world, fail: (error) => this.#fail(error) });
  }

  async run(): Promise<Outcome> {
    await this.#population.found();
    const first = this.#world.hosts[0];
    if (first === undefined) throw new Error('no hosts');
    this.#do('init', first, () => initCluster(this.#world, first, this.#prng.between(26, 29)));
    await this.#advance(500);
    this.#world.network.faults = someFaults(this.#world.prng);
    // Some clusters are cut in two before anybody has joined.
    if (this.#prng.chance(0.15)) partition(this.#world);
    const { min, max } = this.#prng.chance(longShare) ? longChaosMs : shortChaosMs;
    const chaosMs = this.#prng.between(min, max);
    for (const host of this.#world.hosts.slice(1)) {
      const atMs = this.#prng.between(0, joinsShare * chaosMs);
      this.#time.after(atMs, () => this.#do('join', host, () => join(this.#world, host)));
    }
    this.#scheduleOperation(this.#time.now() + chaosMs);
    await this.#advance(chaosMs);
    this.#calm();
    const agreedAfterMs = await this.#agreement();
    return {
      seed: this.#seed,
      failure: this.#violation === null ? null : String(this.#violation.message),
      trace: this.#trace.digest(),
      agreedAfterMs,
      steps: this.#time.steps,
      operations: this.#drawn,
      endpoints: this.#world.oracle.endpoints.size,
      tricks: this.#world.tricks,
    };
  }

  async #start(host: Host): Promise<void> {
    const { oracle } = this.#world;
    if (host.cluster !== null || oracle.removed.has(host.nodeId) || this.#world.lost.has(host)) return;
    this.#trace.say(`${host.name} starts`);
    this.#world.busy.add(host);
    try {
      const cluster = await host.start((each) => oracle.observe(host, each));
      if (host.cluster === cluster) oracle.restarted(host, cluster);
    } finally {
      this.#world.busy.delete(host);
    }
  }

  /** Starts an operation and sees to it that it ends, unless its agent does first. */
  #do(what: string, host: Host, work: () => Promise<void>): void {
    this.#operation += 1;
    const id = this.#operation;
    work()
      .catch((error: unknown) => this.#fail(error instanceof Error ? error : new Error(String(error))))
      .finally(() => this.#operations.delete(id));
    this.#operations.set(id, { what, host, incarnation: host.incarnation });
  }

  #fail(error: Error): void {
    this.#trace.say(`FAILED: ${error.message}`);
    this.#violation ??= error;
  }

  async #advance(durationMs: number): Promise<void> {
    for (let passed = 0; passed < durationMs && this.#violation === null; passed += 100) {
      await this.#time.run(100);
      this.#check('always');
    }
  }

  #check(when: Invariant['when']): void {
    const wrong = this.#violation === null ? this.#wrong(when) : null;
    if (wrong !== null) this.#fail(new Violation(wrong));
  }

  #wrong(when: Invariant['when']): string | null {
    for (const { name, when: due, check } of invariants) {
      const wrong = due === when ? check(this.#world) : null;
      if (wrong !== null) return `${name}: ${wrong}`;
    }
    return null;
  }

  /** One record is lost on all ways; the next shows that. */
  async #fillGap(): Promise<void> {
    const { network, prng } = this.#world;
    const writer = prng.pick(this.#members());
    const node = writer?.cluster?.view.nodes.get(writer.nodeId);
    if (writer?.cluster == null || node === undefined) return;
    const { tables } = writer.cluster;
    // What waits for the disk is told later.
    for (let i = 0; i < 30 && !writer.isStored; i += 1) await this.#advance(100);
    for (const loss of [1, 0]) {
      network.faults.loss = loss;
      this.#do('write', writer, async () => void (await tables.put(clusterTopic, 'node', node, true)));
    }
    await this.#advance(gapMs);
    const { epoch, seq } = tables.position(clusterTopic, writer.nodeId);
    for (const { name, cluster } of this.#members()) {
      if (cluster?.tables.isBehind(clusterTopic, writer.nodeId, { epoch, seq }) !== true) continue;
      this.#fail(new Violation(`${name} has not got in ${gapMs} ms what ${writer.name} said and was lost`));
    }
  }

  #scheduleOperation(untilMs: number): void {
    this.#time.after(this.#prng.between(1, 400), () => {
      if (this.#time.now() >= untilMs || this.#violation !== null) return;
      this.#drawn += 1;
      nextOperation(this.#world.prng).run(this.#world);
      this.#scheduleOperation(untilMs);
    });
  }

  /** The last fault: everything is repaired, and whoever is down starts. */
  #calm(): void {
    this.#trace.say('quiet from now on');
    this.#world.network.faults = { ...noFaults };
    this.#world.network.heal();
    this.#world.network.lagMs.clear();
    this.#endTreason();
    // Who has lost its disk does not come back; the others are told so.
    const { lost, oracle } = this.#world;
    for (const { nodeId } of lost) if (!oracle.removed.has(nodeId)) oracle.nodeRemoved(nodeId, false);
    for (const host of this.#world.hosts) host.setClock();
    this.#startAll();
  }

  /** The liar is found out and removed; or, in some runs, it only stops lying. */
  #endTreason(): void {
    const { hosts, network, oracle, prng } = this.#world;
    const liar = hosts.find(({ nodeId }) => network.liars.has(nodeId));
    if (liar === undefined || oracle.removed.has(liar.nodeId)) return;
    network.liars.set(liar.nodeId, undefined);
    if (prng.chance(0.3)) return;
    oracle.nodeRemoved(liar.nodeId, false);
    liar.crash(false);
  }

  #startAll(): void {
    for (const host of down(this.#world)) this.#do('restart', host, () => this.#world.start(host));
  }

  /** Repeats the removals that a crash of the manager, or no manager at all, got in the way of. */
  #finishRemovals(): void {
    const { hosts, oracle } = this.#world;
    const [manager] = runningManagers(this.#world);
    const view = manager?.cluster?.view;
    if (manager === undefined || view === undefined) return;
    for (const gone of hosts) {
      if (!oracle.removed.has(gone.nodeId) || view.isRemoved(gone.nodeId)) continue;
      this.#do('remove', manager, () => removeNode(this.#world, manager, gone));
    }
  }

  /** Until what was under way has ended, and every removal that was asked for has happened. */
  async #settle(): Promise<void> {
    const { oracle, hosts } = this.#world;
    const since = this.#time.now();
    const outstanding = (): boolean => {
      const view = runningManagers(this.#world)[0]?.cluster?.view;
      return hosts.some(({ nodeId }) => oracle.removed.has(nodeId) && view?.isRemoved(nodeId) === false);
    };
    while (this.#violation === null && (this.#operations.size > 0 || outstanding())) {
      await this.#advance(100);
      for (const [id, { host, incarnation }] of this.#operations) {
        // An operation whose agent is gone never ends, as in life.
        const gone = host.incarnation !== incarnation || host.cluster === null || oracle.removed.has(host.nodeId);
        // So does a leave whose agent has seen that it was removed before the answer came.
        const isOver = host.cluster === null && oracle.removed.has(host.nodeId);
        if (gone && (isOver || !this.#world.busy.has(host))) this.#operations.delete(id);
      }
      // Whoever joins may wait for one that was stopped.
      this.#startAll();
      // Once everybody has had the time to hear of the removals that did happen.
      if (this.#operations.size === 0 && this.#time.now() >= since + 3_000) this.#finishRemovals();
      if (this.#time.now() >= since + settleMs) {
        const [stuck] = this.#operations.values();
        this.#fail(new Violation(`"${stuck?.what ?? 'a removal'}" on ${stuck?.host.name ?? 'managers'} never ended`));
      }
    }
  }

  async #agreement(): Promise<number> {
    const { oracle, hosts } = this.#world;
    await this.#settle();
    const since = this.#time.now();
    let agreedAfterMs = -1;
    while (this.#violation === null && agreedAfterMs < 0 && this.#time.now() < since + quietMs) {
      await this.#advance(500);
      if (oracle.difference(this.#members()) === null) agreedAfterMs = this.#time.now() - since;
    }
    // Frames of before may take their delay still, and what was agreed has to stay so.
    if (agreedAfterMs >= 0) await this.#advance(stayMs);
    // An interest that outlives its reason may end just now: that is a change like any other, and takes its time.
    for (let i = 0; i < 6 && oracle.difference(this.#members()) !== null; i += 1) await this.#advance(500);
    const difference = this.#violation === null ? oracle.difference(this.#members()) : null;
    if (difference !== null) this.#fail(new Violation(`after ${quietMs} ms of quiet: ${difference}`));
    // Who was not heard when it came back is heard of by exchanges in turn.
    while (this.#violation === null && oracle.suspicions.wrong(this.#members()) !== null) {
      await this.#advance(500);
      if (this.#time.now() < since + calmMs) continue;
      this.#fail(new Violation(`after ${calmMs} ms of quiet: ${oracle.suspicions.wrong(this.#members())}`));
    }
    // What came a moment ago is on its way to the disk.
    if (this.#wrong('agreed') !== null) await this.#advance(500);
    this.#check('agreed');
    await this.#fillGap();
    for (const host of hosts) host.crash(true);
    return agreedAfterMs;
  }

  #members(): Host[] {
    const { hosts, oracle, lost } = this.#world;
    return hosts.filter((host) => !oracle.removed.has(host.nodeId) && !lost.has(host));
  }
}
