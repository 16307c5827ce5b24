// Measures what published ports cost a node, from the tables to the kernel: the real plan and the real data plane, in
// namespaces of its own. Arguments: services (each with one published port), endpoints of each, changes. Prints one line of JSON.
import { execa } from 'execa';
import { keepHeapSmall } from '../../../agent/daemon/heap.ts';
import { emptyResolver } from '../../../agent/files/resolv-conf.ts';
import { IncrementalPlan, type TouchedForPlan, TouchedSince } from '../../../agent/incremental-plan.ts';
import { ingressSandboxName } from '../../../agent/ingress/legs.ts';
import type { Attachments, TablesForPlan } from '../../../agent/plan.ts';
import type { StoredSandbox } from '../../../agent/sandbox-state.ts';
import { ipv4ToNumber, numberToIpv4 } from '../../../controlplane/addresses.ts';
import type { EndpointId, NetworkId, NodeId } from '../../../controlplane/ids.ts';
import type { NetworkValue, NodeValue } from '../../../controlplane/tables/kinds.ts';
import { type Service, type ServiceKey, serviceKey } from '../../../controlplane/tables/services.ts';
import { subnetsOf } from '../../../controlplane/tables/subnets.ts';
import type { Endpoint } from '../../../controlplane/tables/view.ts';
import { DataPlane } from '../../../dataplane/dataplane.ts';
import { NftSocket } from '../../../dataplane/rtnetlink/nft-tables.ts';
import { must, parseNetnsPath } from '../../../dataplane/values.ts';
import { macOf } from './mac.ts';
import { stallOf } from './stalls.ts';

export interface ServicesResult {
  /** Services and their endpoints that come all at once to a node that knows of neither, milliseconds until all are in the kernel. */
  readonly fromNothingMs: number;
  /** Services that come all at once, their endpoints known. */
  readonly publishedMs: number;
  /** One endpoint that comes or goes, until that is in the kernel. */
  readonly changedMs: number[];
  /** Of these, until the wanted state was there. */
  readonly plannedMs: number[];
  /** The longest that the event loop was kept, milliseconds. */
  readonly stallMs: { readonly 'all come': number; readonly 'one changes': number };
}

const [servicesText = '', eachText = '', changesText = ''] = process.argv.slice(2);
const [serviceCount, each, changes] = [Number(servicesText), Number(eachText), Number(changesText)];

const NODES = 20;
const FIRST_PORT = 20_000;
const FIRST = ipv4ToNumber('10.64.0.0') + 256;
const UNDERLAY = ipv4ToNumber('10.99.0.0');
const nodeOf = (index: number): NodeId => `node-${index}` as NodeId;
const vtepOf = (index: number): string => numberToIpv4(UNDERLAY + 1 + index);
const self = nodeOf(0);
const [ingress, frontend] = ['i'.repeat(25), 'f'.repeat(25)] as [NetworkId, NetworkId];
const hexId = (index: number): EndpointId => index.toString(16).padStart(64, '0') as EndpointId;

const value = {
  ...{ stamp: [1, 0] as [number, number], removed: false, name: 'ingress', vni: 4097, subnet: '10.64.0.0/16' },
  ...{ gateway: '10.64.0.1', internal: false, attachable: false, ingress: true, options: {}, labels: {} },
  ...{ createdMs: 1, root: self },
} satisfies NetworkValue;

const service = (index: number): Service => ({
  ...{ key: serviceKey(frontend, `web-${index}`), network: frontend, name: `web-${index}`, stamp: [1, 0] },
  ...{ removed: false, source: 'keep', affinityMs: 0, createdMs: 1, lost: [] },
  ports: [{ protocol: 'tcp', published: FIRST_PORT + index, target: 80, count: 1, mode: 'ingress' }],
});

/** Number `index` of all, on another host. */
const endpoint = (index: number): Endpoint => ({
  ...{ id: hexId(index), owner: nodeOf(1 + (index % (NODES - 1))), networkId: ingress, name: `web-${index}` },
  ...{ sandbox: hexId(index), ip: numberToIpv4(FIRST + index), mac: macOf(index), aliases: [], createdMs: 1 },
  serves: [serviceKey(frontend, `web-${Math.floor(index / each)}`)],
});
const nameOf = ({ owner, id }: Endpoint): string => `${owner} ${id}`;

const node = (index: number): NodeValue => ({
  ...{ hostname: nodeOf(index), vtep: vtepOf(index), gossip: [`${vtepOf(index)}:7946`], version: '0', createdMs: 1 },
});

const allServices = new Map(Array.from({ length: serviceCount }, (_, index) => [service(index).key, service(index)]));
const known = new Map(
  Array.from({ length: serviceCount * each }, (_, index) => [nameOf(endpoint(index)), endpoint(index)]),
);

const gate: StoredSandbox = {
  ...{ id: hexId(1), name: ingressSandboxName, createdMs: 1, netns: '/run/netns/weft-gate', adopted: false },
  ...{ inode: null, labels: {}, hostname: null, resolver: emptyResolver, local: [], published: [] },
  legs: [
    {
      ...{ networkId: ingress, endpointId: 'a'.repeat(64) as EndpointId, ifName: 'eth0', mac: '02:00:00:00:00:01' },
      ...{ ip: '10.64.0.2', ip6: null, aliases: [], createdMs: 1 },
    },
  ],
  gateway: { endpointId: 'b'.repeat(64) as EndpointId, ifName: 'eth1', mac: '02:00:00:00:00:02', ip: '172.18.0.2' },
} as StoredSandbox;
const attachments: Attachments = {
  ...{ sandboxes: [gate], gateway: '172.18.0.1/16', localNetworks: [], underlayMtu: 1500 },
};

const state = { services: new Map<ServiceKey, Service>(), legs: new Map<string, Endpoint>() };
const nodes = new Map(Array.from({ length: NODES }, (_, index) => [nodeOf(index), node(index)]));
const network = { ...value, id: ingress, subnets: subnetsOf(ingress, value, []) };
const tables = (): TablesForPlan => ({
  ...{
    self,
    vtep: vtepOf(0),
    port: 4789,
    nodes,
    networks: new Map([[ingress, network]]),
    isUp: () => true,
    zoneOf: () => null,
  },
  ...{ services: state.services, endpoints: new Map([[ingress, state.legs]]) },
});
const touched = (services: boolean, endpoints: Iterable<string>): TouchedForPlan => {
  const since = new TouchedSince();
  since.add({ nodes: false, networks: false, services, endpoints: new Map([[ingress, new Set(endpoints)]]) });
  return since;
};

keepHeapSmall();
await execa('ip', ['address', 'add', `${vtepOf(0)}/32`, 'dev', 'lo']);
const quiet = (): void => {};
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
await using plane = new DataPlane({ log, runDir: '/run/weft', sweepMs: 3_600_000 });
plane.start(new AbortController().signal);
const incremental = new IncrementalPlan();

/** Brings what the tables say into the kernel. @returns milliseconds until it is wanted, and until it is there */
async function reach(what: TouchedForPlan | null): Promise<{ readonly plannedMs: number; readonly doneMs: number }> {
  const startMs = performance.now();
  const { desired } = incremental.next(tables(), attachments, what);
  const plannedMs = performance.now() - startMs;
  await plane.settled(plane.set(desired, { prune: true }));
  const doneMs = performance.now() - startMs;
  for (const [object, status] of plane.status()) {
    if (status.state !== 'ok') throw new Error(`${object}: ${status.why}`);
  }
  return { plannedMs, doneMs };
}

/** The kernel itself has so many slots of backends. */
async function holds(count: number): Promise<void> {
  using socket = new NftSocket(must(parseNetnsPath(gate.netns)));
  const found = await socket.elements({ family: 'inet', name: 'weft_mesh' }, 'backends', () => null);
  if ((found?.length ?? 0) !== count) throw new Error(`the kernel has ${found?.length} of ${count} backends`);
}

await reach(null);
let fromNothingMs = Number.NaN;
const allCome = await stallOf(async () => {
  state.services = allServices;
  state.legs = new Map(known);
  fromNothingMs = (await reach(touched(true, known.keys()))).doneMs;
});
await holds(serviceCount * each);

const changedMs: number[] = [];
const plannedMs: number[] = [];
const oneChanges = await stallOf(async () => {
  for (let at = 0; at < changes; at += 1) {
    // It goes, and comes again.
    const one = endpoint(((at >> 1) * each) % (serviceCount * each));
    const name = nameOf(one);
    if (at % 2 === 0) state.legs.delete(name);
    else state.legs.set(name, one);
    const times = await reach(touched(false, [name]));
    changedMs.push(times.doneMs);
    plannedMs.push(times.plannedMs);
  }
});
await holds(serviceCount * each - (changes % 2));

state.services = new Map();
await reach(touched(true, []));
await holds(0);
state.services = allServices;
const publishedMs = (await reach(touched(true, []))).doneMs;
const stallMs = { 'all come': allCome, 'one changes': oneChanges };
process.stdout.write(
  `${JSON.stringify({ fromNothingMs, publishedMs, changedMs, plannedMs, stallMs } satisfies ServicesResult)}\n`,
);
