import { offsetIn } from '../../controlplane/addresses.ts';
import type { Cluster } from '../../controlplane/cluster.ts';
import { addressesOf } from '../../controlplane/tables/kinds.ts';
import type { Service } from '../../controlplane/tables/services.ts';
import type { Endpoint, Network } from '../../controlplane/tables/view.ts';
import type { Desired, DesiredSandbox } from '../../dataplane/desired.ts';
import { Conntrack, type Flow } from '../../dataplane/rtnetlink/conntrack.ts';
import type { NetnsPath } from '../../dataplane/values.ts';
import type { Background } from '../daemon/background.ts';
import type { Logger } from '../daemon/log.ts';
import { type Fate, type FlowTables, fateOf, type Judged, sortFlows } from './flows.ts';
import { ingressIn } from './mesh.ts';

/** Endpoints that go together are looked at together. */
const coalesceMs = 50;
const againMs = 2_000;
/** By then the others have said what changed while the agent was not there, or they are not there. */
const startMs = 10_000;
const appliedMs = 10_000;
/** Of endpoints that take no new connections and keep those that they have, with what would change that. */
const keptMax = 16_384;

export interface DrainingInit {
  readonly log: Logger;
  readonly background: Background;
  /** null unless the node is a member, and to stay one. */
  readonly cluster: () => Cluster | null;
  /** Resolves when the kernel leads new connections as was wanted last. */
  readonly applied: (signal: AbortSignal) => Promise<void>;
}

/** Where connections are led elsewhere. */
type Place = Pick<DesiredSandbox, 'netns' | 'gate' | 'vips'>;

/** Who is asked for what, and who answers: what a fate is made of. */
interface Asked {
  readonly key: string;
  readonly service: Service | undefined;
  readonly network: Network;
  readonly endpoint: Endpoint | undefined;
}

/** Cuts connections to endpoints that are dead, or have drained for as long as their service wants. */
export class Draining {
  readonly #init: DrainingInit;
  #places: ReadonlyMap<NetnsPath, Place> = new Map();
  readonly #due = new Set<NetnsPath>();
  readonly #sinceMs = new Map<NetnsPath, ReadonlyMap<string, number>>();
  readonly #kept = new Map<NetnsPath, ReadonlyMap<string, Kept>>();
  readonly #problems = new Map<NetnsPath, string>();
  #running = false;
  #started = false;

  constructor(init: DrainingInit) {
    this.#init = init;
  }

  warnings(): string[] {
    return [...this.#problems.values()];
  }

  /** There is a new plan: where somebody takes no connections any more, those that there are are looked at. */
  planned({ sandboxes }: Desired): void {
    const before = this.#places;
    const leading = sandboxes.filter(({ gate, vips }) => gate !== undefined || vips !== undefined);
    this.#places = new Map(leading.map(({ netns, gate, vips }) => [netns, { netns, gate, vips } as Place]));
    const lost = lostBetween();
    for (const [netns, place] of this.#places) {
      const known = before.get(netns);
      if (known !== undefined && lost(known, place)) this.#due.add(netns);
    }
    const tables = this.#tables();
    for (const [netns, kept] of this.#kept) {
      if (!this.#places.has(netns)) this.#kept.delete(netns);
      else if (tables !== null && [...kept.values()].some((each) => hasChanged(each, tables))) this.#due.add(netns);
    }
    for (const netns of this.#sinceMs.keys()) if (!this.#places.has(netns)) this.#sinceMs.delete(netns);
    for (const netns of this.#problems.keys()) if (!this.#places.has(netns)) this.#problems.delete(netns);
    if (this.#due.size > 0) this.#wake();
    if (this.#started || this.#places.size === 0) return;
    this.#started = true;
    this.#later(startMs, () => [...this.#places.keys()]);
  }

  #wake(): void {
    if (!this.#running) this.#init.background.later(coalesceMs, () => this.#run());
  }

  #later(delayMs: number, which: () => Iterable<NetnsPath>): void {
    this.#init.background.later(delayMs, async () => {
      for (const netns of which()) this.#due.add(netns);
      await this.#run();
    });
  }

  async #run(): Promise<void> {
    if (this.#running || this.#due.size === 0) return;
    this.#running = true;
    try {
      // Else the next packet of what is cut would be led to where it was before. What cannot be applied is not waited for.
      await this.#init.applied(AbortSignal.timeout(appliedMs)).catch(() => undefined);
      const due = [...this.#due].flatMap((netns) => this.#places.get(netns) ?? []);
      this.#due.clear();
      const tables = this.#tables();
      const judge = tables && judgeOf(tables);
      for (const place of due) if (judge) await this.#look(place, judge);
    } finally {
      this.#running = false;
      if (this.#due.size > 0) this.#wake();
    }
  }

  async #look(place: Place, judge: Judge): Promise<void> {
    const { netns } = place;
    const { log } = this.#init;
    try {
      using conntrack = new Conntrack(netns);
      const found: (Judged & { readonly flow: Flow })[] = [];
      const kept = new Map<string, Kept>();
      const judgeFlow = judge(place);
      await conntrack.visit((flow) => {
        const judged = judgeFlow(flow);
        if (judged === null) return;
        if (judged.fate !== 'stays') found.push({ key: judged.key, fate: judged.fate, flow });
        if (judged.fate !== 'cut' && judged.kept !== null && kept.size < keptMax) kept.set(judged.key, judged.kept);
      });
      const { cut, sinceMs, nextMs } = sortFlows(found, this.#sinceMs.get(netns) ?? new Map(), performance.now());
      await conntrack.cut(cut);
      this.#sinceMs.set(netns, sinceMs);
      this.#kept.set(netns, kept);
      this.#problems.delete(netns);
      if (cut.length > 0)
        log.info({ netns, connections: cut.length }, 'cut connections to endpoints that serve no more');
      if (nextMs !== null) this.#later(Math.ceil(nextMs), () => [netns]);
    } catch (error) {
      // The namespace has gone, and its connections with it.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      const message = error instanceof Error ? error.message : String(error);
      if (!this.#problems.has(netns))
        log.warn({ err: error }, `connections in ${netns} to endpoints that serve no more`);
      this.#problems.set(netns, `connections in ${netns} to endpoints that serve no more are not cut: ${message}`);
      this.#later(againMs, () => [netns]);
    }
  }

  #tables(): (FlowTables & Pick<Cluster, 'view'>) | null {
    const cluster = this.#init.cluster();
    if (cluster === null) return null;
    const { self, view, liveness } = cluster;
    const isThere: FlowTables['isThere'] = (node) => node === self || !liveness.isSuspended(node);
    return { view, isThere, isUp: (node) => isThere(node) && !view.isDrained(node) };
  }
}

/** Whether somebody takes no connections in the second any more who did in the first. Of 1,000 sandboxes many have the same. */
function lostBetween(): (before: Place, now: Place) => boolean {
  const known = new Map<Place['vips'], { readonly now: Place['vips']; readonly lost: boolean }>();
  const vipsLost = (before: Place['vips'], now: Place['vips']): boolean => {
    const same = known.get(before);
    if (same !== undefined && same.now === now) return same.lost;
    const has = new Map(now?.map(({ ip, backends }) => [ip, new Set(backends)]));
    const lost = before?.some(({ ip, backends }) => backends.some((each) => has.get(ip)?.has(each) === false)) ?? false;
    known.set(before, { now, lost });
    return lost;
  };
  return (before, now) =>
    (before.gate?.ports !== now.gate?.ports && gateLost(before, now)) ||
    (before.vips !== now.vips && vipsLost(before.vips, now.vips));
}

function gateLost({ gate: before }: Place, { gate: now }: Place): boolean {
  const has = new Map(now?.ports.map((port) => [`${port.protocol} ${port.port}`, port]));
  return (
    before?.ports.some((port) => {
      const other = has.get(`${port.protocol} ${port.port}`);
      if (other === port) return false;
      const ips = new Set(other?.backends.map(({ ip }) => ip));
      return port.backends.some(({ ip }) => !ips.has(ip));
    }) ?? false
  );
}

type Tables = NonNullable<FlowTables & Pick<Cluster, 'view'>>;

/** One that takes no new connections and has some, and what it depends on that they go on. */
interface Kept extends Omit<Asked, 'key' | 'service' | 'endpoint'> {
  readonly protocol: Flow['protocol'];
  readonly service: Service;
  readonly endpoint: Endpoint;
  readonly fate: Fate;
}

/** Whether other things are to be done with its connections than when it was looked at. */
function hasChanged({ protocol, service, network, endpoint, fate }: Kept, tables: Tables): boolean {
  const now = tables.view.endpointsOf(network.id).get(`${endpoint.owner} ${endpoint.id}`);
  const ofService = tables.view.services.get(service.key);
  if (now === endpoint && ofService === service && fate !== 'stays') return false;
  return textOf(fateOf(protocol, ofService, now, tables)) !== textOf(fate);
}

const textOf = (fate: Fate): string => (typeof fate === 'string' ? fate : String(fate.drainMs));

type Judge = (place: Place) => (flow: Flow) => (Judged & { readonly kept: Kept | null }) | null;

/** By what is asked for and who answers; null for connections that are not of ours. */
function judgeOf(tables: Tables): Judge {
  const { view } = tables;
  const ingress = ingressIn(view.networks);
  const byAddress = new Map<Network, ReadonlyMap<string, Endpoint>>();
  const endpointAt = (network: Network, ip: string): Endpoint | undefined => {
    const known = byAddress.get(network) ?? addressesOn(tables, network);
    byAddress.set(network, known);
    return known.get(ip);
  };
  const byPort = new Map<string, Service>();
  const byVip = new Map<string, Service | null>();
  for (const service of view.services.values()) {
    for (const { protocol, published, count } of service.ports) {
      for (let at = 0; at < count; at += 1) byPort.set(`${protocol} ${published + at}`, service);
    }
    // What two networks have is not known whose it is.
    for (const ip of service.vip ? addressesOf(service.vip) : []) byVip.set(ip, byVip.has(ip) ? null : service);
  }
  const asked = (place: Place, { protocol, to, toPort, backend }: Flow): Asked | null => {
    const service = place.gate ? byPort.get(`${protocol} ${toPort}`) : (byVip.get(to) ?? undefined);
    const network = place.gate ? ingress : (service && view.networks.get(service.network)) || null;
    if (network === null || !network.subnets.some(({ space }) => offsetIn(space, backend) !== null)) return null;
    if (!place.gate && !place.vips?.some(({ ip }) => ip === to)) return null;
    const key = `${protocol} ${place.gate ? toPort : to} ${backend}`;
    return { key, service, network, endpoint: endpointAt(network, backend) };
  };
  const fates = new Map<string, Fate>();
  return (place) => {
    const leads = leadsOf(place);
    return (flow) => {
      const found = asked(place, flow);
      if (found === null) return null;
      const { key, service, network, endpoint } = found;
      const fate = fates.get(key) ?? fateOf(flow.protocol, service, endpoint, tables);
      fates.set(key, fate);
      const goesOn = service !== undefined && endpoint !== undefined && !leads(flow);
      return { key, fate, kept: goesOn ? { protocol: flow.protocol, service, network, endpoint, fate } : null };
    };
  };
}

/** Whether new connections that ask for the same may come to the same. */
function leadsOf({ gate, vips }: Place): (flow: Flow) => boolean {
  const ports = gate?.ports.flatMap(({ protocol, port, backends }) =>
    backends.map(({ ip }) => `${protocol} ${port} ${ip}`),
  );
  const addresses = vips?.flatMap(({ ip, backends }) => backends.map((backend) => `${ip} ${backend}`));
  const all = new Set(ports ?? addresses);
  return ({ protocol, to, toPort, backend }) => all.has(gate ? `${protocol} ${toPort} ${backend}` : `${to} ${backend}`);
}

function addressesOn({ view }: Tables, { id }: Network): ReadonlyMap<string, Endpoint> {
  const found = new Map<string, Endpoint>();
  for (const endpoint of view.endpointsOf(id).values()) for (const ip of addressesOf(endpoint)) found.set(ip, endpoint);
  return found;
}
