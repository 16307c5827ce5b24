import type { Cluster } from '../../controlplane/cluster.ts';
import type { NodeId } from '../../controlplane/ids.ts';
import type { Endpoint, Network } from '../../controlplane/tables/view.ts';
import {
  type Fault,
  faultIn,
  type PathFindings,
  type TestSource,
  testPath,
} from '../../dataplane/selftest/selftest.ts';
import { parseIp, parseNetnsPath } from '../../dataplane/values.ts';
import { ingressSandboxName } from '../ingress/legs.ts';
import { ingressIn } from '../ingress/mesh.ts';
import type { StoredSandbox } from '../sandbox-state.ts';
import { faultMessage } from '../selftest.ts';
import type { Logger } from './log.ts';

/** Of each packet that is waited for; a network that takes longer is of no use for containers either. */
const timeoutMs = 1_000;
/** Between two looks at what is due, one test each: a node that comes to hundreds of others does not flood them. */
const paceMs = 100;
/** Until a path that failed is tried again, the last for all further ones: tables and kernels of the two may lag at first. */
const againMs = [1_000, 2_000, 5_000, 15_000, 60_000];
/** So often a path has to fail before anything is said or done about it. */
const failuresMin = 3;
/** Paths that are tested at once when somebody asks. */
const atOnce = 8;

export interface SelfTestsInit {
  readonly log: Logger;
  /** Those of this host; its leg on the ingress network is one of them. */
  readonly sandboxes: () => readonly StoredSandbox[];
  /** Bytes of an IP packet. */
  readonly mtuOf: (network: Network) => number;
  /** Checksums are to be made in software from now on. */
  readonly changed: () => void;
}

export interface SelfTestResult {
  readonly nodeId: NodeId;
  readonly hostname: string;
  readonly vtep: string;
  /** Of its leg on the ingress network; '' while it is not known. */
  readonly address: string;
  readonly state: 'ok' | 'failed' | 'untested';
  readonly fault: Fault | null;
  /** What is wrong, or why it was not tested; '' when all is well. */
  readonly message: string;
  readonly rttMs: number | null;
  /** Bytes of the largest packet that was sent. */
  readonly bytes: number;
}

interface Tracked {
  /** VTEP of the node when it was tested. */
  vtep: string;
  dueMs: number;
  failures: number;
  /** Of them the last ones, in a row, that were as where a network card spoils checksums. */
  spoilt: number;
  fault: Fault | null;
  message: string;
}

/**
 * Tests the data path to each other node, from this node's leg on the ingress network to the other's: once when it comes, or
 * comes back, or moves, again as long as it fails, and when somebody asks.
 */
export class SelfTests {
  readonly #init: SelfTestsInit;
  readonly #tracked = new Map<NodeId, Tracked>();
  #cluster: Cluster | null = null;
  #unwatch: readonly (() => void)[] = [];
  #timer: NodeJS.Timeout | null = null;
  #timerAtMs = 0;
  /** Whose path is being tested by the timer, and which timer is the next is said at its end. */
  #testing: Cluster | null = null;
  #softwareChecksums = false;

  constructor(init: SelfTestsInit) {
    this.#init = init;
  }

  /** A path failed as it does where a network card spoils checksums inside VXLAN. */
  get softwareChecksums(): boolean {
    return this.#softwareChecksums;
  }

  start(cluster: Cluster): void {
    this.#cluster = cluster;
    this.#unwatch = [
      cluster.view.watch(({ nodes, endpoints }) => {
        const ingress = ingressIn(cluster.view.networks);
        if (nodes || (ingress && endpoints.has(ingress.id))) this.#wake();
      }),
      cluster.liveness.watch((peer) => {
        const tracked = this.#tracked.get(peer);
        if (tracked && cluster.liveness.stateOf(peer).status === 'alive') tracked.dueMs = 0;
        this.#wake();
      }),
    ];
    this.#wake();
  }

  stop(): void {
    for (const end of this.#unwatch) end();
    this.#unwatch = [];
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#testing = null;
    this.#cluster = null;
    this.#tracked.clear();
  }

  /** What is wrong with paths, one line each. */
  warnings(): string[] {
    return [...this.#tracked.values()].flatMap(({ failures, message }) => (failures < failuresMin ? [] : [message]));
  }

  /** Tests the paths to these nodes (null: to all others) now; each twice, if it fails at first. */
  async run(cluster: Cluster, nodes: readonly NodeId[] | null): Promise<SelfTestResult[]> {
    const wanted = nodes ?? [...cluster.view.nodes.keys()].filter((id) => id !== cluster.self);
    const results: SelfTestResult[] = [];
    const queue = [...wanted];
    const worker = async (): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const first = await this.#test(cluster, next);
        results.push(first.state === 'failed' ? await this.#test(cluster, next) : first);
      }
    };
    await Promise.all(Array.from({ length: Math.min(atOnce, queue.length) }, worker));
    return results.sort((a, b) => (a.hostname < b.hostname ? -1 : Number(a.hostname > b.hostname)));
  }

  /** Something may be due. A look that is to come sooner is enough, and so is the end of one that is under way. */
  #wake(): void {
    if (!this.#cluster || this.#testing === this.#cluster) return;
    if (this.#timer && this.#timerAtMs <= performance.now() + paceMs) return;
    this.#comeIn(paceMs);
  }

  #comeIn(waitMs: number): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#next(), waitMs);
    this.#timerAtMs = performance.now() + waitMs;
  }

  /** Tests what has been due for longest, and comes again when something will be. */
  async #next(): Promise<void> {
    const cluster = this.#cluster;
    if (!cluster) return;
    this.#testing = cluster;
    const due = this.#due(cluster);
    if (due !== null && due.waitMs <= 0) {
      try {
        const result = await this.#test(cluster, due.nodeId);
        if (this.#cluster === cluster) this.#took(result);
      } catch (error) {
        this.#init.log.warn({ err: error }, 'self-test of the data path');
        const tracked = this.#tracked.get(due.nodeId);
        if (tracked) tracked.dueMs = performance.now() + (againMs.at(-1) ?? 0);
      }
    }
    // Stopped meanwhile, and maybe started again: the timer is that one's.
    if (this.#cluster !== cluster) return;
    this.#testing = null;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    const next = this.#due(cluster);
    if (next !== null) this.#comeIn(Math.max(paceMs, next.waitMs));
  }

  /** Whom to test next, and in how many milliseconds; null when all has been tested. */
  #due(cluster: Cluster): { readonly nodeId: NodeId; readonly waitMs: number } | null {
    const { nodes } = cluster.view;
    for (const id of this.#tracked.keys()) if (!nodes.has(id)) this.#tracked.delete(id);
    const legs = legsOf(cluster);
    let due: { nodeId: NodeId; waitMs: number } | null = null;
    for (const [id, { vtep }] of nodes) {
      if (id === cluster.self || !legs.has(id)) continue;
      if (cluster.liveness.stateOf(id).status === 'suspended') continue;
      const known = this.#tracked.get(id);
      const tracked = known ?? { vtep, dueMs: 0, failures: 0, spoilt: 0, fault: null, message: '' };
      if (!known) this.#tracked.set(id, tracked);
      if (tracked.vtep !== vtep) Object.assign(tracked, { vtep, dueMs: 0 });
      const waitMs = tracked.dueMs - performance.now();
      if (Number.isFinite(waitMs) && (due === null || waitMs < due.waitMs)) due = { nodeId: id, waitMs };
    }
    return due;
  }

  #took({ nodeId, hostname, state, fault, message }: SelfTestResult): void {
    const tracked = this.#tracked.get(nodeId);
    if (!tracked || state === 'untested') return;
    if (state === 'ok') {
      if (tracked.failures >= failuresMin) this.#init.log.info({}, `data path to ${hostname} is sound`);
      Object.assign(tracked, { dueMs: Number.POSITIVE_INFINITY, failures: 0, spoilt: 0, fault: null, message: '' });
      return;
    }
    tracked.failures += tracked.fault === fault || tracked.failures === 0 ? 1 : 0;
    tracked.spoilt = fault === 'offload' ? tracked.spoilt + 1 : 0;
    tracked.fault = fault;
    tracked.message = message;
    const delayMs = againMs[Math.min(tracked.failures, againMs.length) - 1] ?? 0;
    tracked.dueMs = performance.now() + delayMs;
    if (tracked.failures === failuresMin) this.#init.log.warn({}, message);
    if (tracked.spoilt >= failuresMin && !this.#softwareChecksums) {
      this.#softwareChecksums = true;
      this.#init.changed();
    }
  }

  #sourceOn(ingress: Network): TestSource | null {
    const sandbox = this.#init.sandboxes().find(({ name }) => name === ingressSandboxName);
    const netns = parseNetnsPath(sandbox?.netns ?? '');
    const ip = parseIp(sandbox?.legs.find(({ networkId }) => networkId === ingress.id)?.ip ?? '');
    return netns.ok && ip.ok ? { netns: netns.value, ip: ip.value, mtu: this.#init.mtuOf(ingress) } : null;
  }

  async #test(cluster: Cluster, nodeId: NodeId): Promise<SelfTestResult> {
    const { hostname = '', vtep = '' } = cluster.view.nodes.get(nodeId) ?? {};
    const about = { nodeId, hostname, vtep, address: '', fault: null, rttMs: null, bytes: 0 } as const;
    const untested = (message: string): SelfTestResult => ({ ...about, state: 'untested', message });
    if (nodeId === cluster.self) return untested('this node itself');
    const ingress = ingressIn(cluster.view.networks);
    const source = ingress && this.#sourceOn(ingress);
    if (!source) return untested('this node has no leg on the ingress network yet');
    const to = parseIp(legsOf(cluster).get(nodeId)?.ip ?? '');
    if (!to.ok) return untested('no leg of that node on the ingress network is known yet');
    const { status } = cluster.liveness.stateOf(nodeId);
    if (status === 'suspended') return { ...untested('it is suspended'), address: to.value };
    const findings = await testPath(this.#init.log, source, to.value, timeoutMs);
    const port = cluster.view.cluster?.dataPathPort ?? 0;
    return { ...about, ...verdict(findings, { hostname, vtep, port, mtu: source.mtu }), address: to.value };
  }
}

function verdict(
  findings: PathFindings,
  path: Parameters<typeof faultMessage>[1],
): Pick<SelfTestResult, 'state' | 'fault' | 'message' | 'rttMs' | 'bytes'> {
  const fault = faultIn(findings);
  const { rttMs } = findings;
  const bytes = path.mtu;
  if (fault === null) return { state: 'ok', fault, message: '', rttMs, bytes };
  return { state: 'failed', fault, message: faultMessage(fault, path), rttMs, bytes };
}

/** The leg on the ingress network that each node has, as far as it is known. */
function legsOf(cluster: Cluster): Map<NodeId, Endpoint> {
  const legs = new Map<NodeId, Endpoint>();
  const ingress = ingressIn(cluster.view.networks);
  for (const endpoint of ingress ? cluster.view.endpointsOf(ingress.id).values() : []) {
    if (endpoint.name === ingressSandboxName) legs.set(endpoint.owner, endpoint);
  }
  return legs;
}
