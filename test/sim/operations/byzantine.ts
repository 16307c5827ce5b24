import { encode } from '../../../controlplane/encoding.ts';
import { type NetworkId, type NodeId, newEndpointId, publicKeyOf } from '../../../controlplane/ids.ts';
import type { Verdict } from '../../../controlplane/mesh/transport.ts';
import { maxGeneration } from '../../../controlplane/ring/ring.ts';
import { networkTopic, type RangeValue } from '../../../controlplane/tables/kinds.ts';
import { clusterTopic, signRecord, toWire } from '../../../controlplane/tables/record.ts';
import { grantsOf, type RingId } from '../../../controlplane/tables/subnets.ts';
import type { Host } from '../host.ts';
import { type Operation, running, say, type World } from '../world.ts';
import { liveNetworks } from './networks.ts';

// A member that lies: its agent runs the code of honest ones, and beside it does what a stolen key allows.

/** Runs in which a member turns. */
export const treasonShare = 0.25;
const floodFrames = 50;
// As long as gossip and a pull take where the links carry anything.
const spreadMs = 3_000;

const trickNames = ['forge', 'replay', 'garbage', 'flood', 'lie', 'hijack', 'rule', 'impersonate'] as const;
/** What a liar does. */
export type Trick = (typeof trickNames)[number];

/** How often a liar did it, and how often an honest node had to judge what came of it: what nobody meets tests nothing. */
export type Tricks = { readonly [trick in Trick]: { played: number; met: number } };

export const noTricks = (): Tricks =>
  Object.fromEntries(trickNames.map((trick) => [trick, { played: 0, met: 0 }])) as Tricks;

/** Publishes what an honest node should think that of. */
function plant(world: World, liar: Host, trick: Trick, right: Verdict, topic: string, bytes: Uint8Array): void {
  const count = world.tricks[trick];
  world.network.planted.set(bytes, (verdict) => {
    if (verdict === right) count.met += 1;
  });
  liar.cluster?.transport.publish(topic, bytes);
}

/** Records in the name of another node: signed, but not by it. */
function forge(world: World, liar: Host, victim: NodeId): void {
  const { cluster } = liar;
  const publicKey = publicKeyOf(victim);
  if (cluster === null || publicKey === null) return;
  const topics = [clusterTopic, ...liveNetworks(world).map(networkTopic)];
  for (const topic of topics) {
    const { epoch, seq } = cluster.tables.position(topic, victim);
    const key = { ...cluster.identity.key, publicKey };
    const ids = [...world.oracle.endpoints.values()].filter(({ owner }) => owner === victim);
    const sign = (at: number, inEpoch: number, name: string, value: unknown) =>
      toWire(
        signRecord(key, cluster.identity.clusterId, {
          topic,
          owner: victim,
          epoch: inEpoch,
          seq: at,
          key: name,
          value,
        }),
      );
    const frames = [
      ...ids.slice(0, 3).map(({ id }, i) => [sign(seq + 1 + i, Math.max(1, epoch), `ep/${id}`, null)]),
      // An epoch that holds nothing: it would take the place of all that the victim ever wrote.
      [sign(1, epoch + 1, '', 1)],
    ];
    for (const frame of frames) plant(world, liar, 'forge', 'reject', topic, encode(frame));
  }
}

/** What others have said, again, and later than they said it. */
function replay(world: World, liar: Host): void {
  for (let i = 0; i < 10; i += 1) {
    const said = world.prng.pick(world.network.said);
    if (said !== undefined) plant(world, liar, 'replay', 'ignore', said.topic, Buffer.from(said.bytes));
  }
}

function garbage(world: World, liar: Host): void {
  const { prng } = world;
  const shapes = [{}, [], [[]], [['payload', 'signature']], 'text', 2 ** 40, [[Buffer.alloc(10), Buffer.alloc(64)]]];
  for (let i = 0; i < 5; i += 1) {
    const bytes = prng.chance(0.5) ? prng.bytes(prng.between(1, 200)) : encode(prng.pick(shapes));
    plant(world, liar, 'garbage', 'reject', clusterTopic, Buffer.from(bytes));
  }
}

/** Signatures of its own that have to be checked, and do not hold. */
function flood(world: World, liar: Host): void {
  const { cluster } = liar;
  if (cluster === null) return;
  const { epoch, seq } = cluster.tables.position(clusterTopic, liar.nodeId);
  for (let i = 1; i <= floodFrames; i += 1) {
    const record = { topic: clusterTopic, owner: liar.nodeId, epoch, seq: seq + i, key: 'node', value: null };
    const { payload } = signRecord(cluster.identity.key, cluster.identity.clusterId, record);
    plant(world, liar, 'flood', 'reject', clusterTopic, encode([[payload, world.prng.bytes(64)]]));
  }
}

/**
 * A grant to itself over numbers of another. Only by generations whose number before the liar never had: where it did,
 * it may give them to itself and, without a lie, to somebody else, and nobody could tell which of the two counts.
 */
function theft({ prng }: World, { nodeId, cluster }: Host, ring: RingId): { key: string; value: RangeValue } | null {
  const run = prng.pick((cluster?.view.custody(ring).runs ?? []).filter(({ owner }) => owner !== nodeId));
  if (run === undefined) return null;
  const { start, end } = run;
  const generation = prng.pick([run.generation + 1, maxGeneration]) ?? maxGeneration;
  const key = `${grantsOf(ring).prefix}${start}-${end}/${generation}`;
  return { key, value: { start, end, to: nodeId, generation } };
}

/** Well-formed records of its own that claim what belongs to others: addresses, and the numbers behind them. */
async function hijack(world: World, liar: Host, id: NetworkId): Promise<void> {
  const { cluster } = liar;
  const network = cluster?.view.networks.get(id);
  const ring = world.prng.pick(network?.subnets ?? [])?.ring;
  if (cluster === null || network === undefined || ring === undefined) return;
  const topic = networkTopic(id);
  const taken = [...world.oracle.endpoints.values()].filter(
    (each) => each.network === id && each.state === 'live' && each.owner !== liar.nodeId,
  );
  const [ip = network.gateway ?? network.ipv6?.gateway ?? ''] = world.prng.pick(taken)?.ips ?? [];
  const claimed = ip.includes(':') ? { ip6: ip } : { ip };
  const endpoint = newEndpointId();
  const value = { name: 'box', sandbox: endpoint, aliases: [], mac: '02:00:00:00:00:01', createdMs: 0, ...claimed };
  await cluster.tables.put(topic, `ep/${endpoint}`, value);
  const grant = theft(world, liar, ring);
  if (grant === null || !cluster.view.networks.has(id)) return;
  await cluster.tables.put(topic, grant.key, grant.value);
  await world.network.time.sleep(spreadMs);
  const isHeldBy = ({ cluster: its }: Host): boolean =>
    [...(its?.view.custody(ring).grants ?? [])].some(
      ({ by, start, generation }) =>
        by === liar.nodeId && start === grant.value.start && generation === grant.value.generation,
    );
  world.tricks.hijack.met += honest(world, liar).filter(isHeldBy).length;
}

/**
 * A worker's record of a kind that only managers write. Its own agent would refuse to write that; but it takes over
 * what it is told that it wrote before its disk was turned back.
 */
async function rule(world: World, liar: Host): Promise<void> {
  const { cluster } = liar;
  const grant = theft(world, liar, world.prng.pick(['subnet', 'vni'] as const) ?? 'vni');
  if (cluster === null || grant === null) return;
  const { key, clusterId } = cluster.identity;
  const epoch = cluster.tables.position(clusterTopic, liar.nodeId).epoch + 1;
  const place = { topic: clusterTopic, owner: liar.nodeId, epoch, seq: 2 };
  await cluster.tables.recover(clusterTopic, [toWire(signRecord(key, clusterId, { ...place, ...grant }))], false);
  await world.network.time.sleep(spreadMs);
  const hasObjected = ({ cluster: its }: Host): boolean =>
    its?.offences.list().some(({ nodeId, what }) => nodeId === liar.nodeId && what === 'range record from a worker') ===
    true;
  world.tricks.rule.met += honest(world, liar).filter(hasObjected).length;
}

/** It says that its VTEP is another's. */
async function impersonate(world: World, liar: Host): Promise<void> {
  const { cluster } = liar;
  const node = cluster?.view.nodes.get(liar.nodeId);
  const victim = world.prng.pick(honest(world, liar));
  const vtep = victim === undefined ? undefined : cluster?.view.nodes.get(victim.nodeId)?.vtep;
  if (node === undefined || vtep === undefined) return;
  await cluster?.announce({ ...node, vtep });
  await world.network.time.sleep(spreadMs);
  const isShown = ({ cluster: its }: Host): boolean => its?.view.nodes.get(liar.nodeId)?.vtep === vtep;
  world.tricks.impersonate.met += honest(world, liar).filter(isShown).length;
}

const honest = (world: World, liar: Host): Host[] => running(world).filter((host) => host !== liar);

/** From now on it answers requests with nonsense, or not at all. */
function lie({ network, prng, tricks }: World, liar: Host): void {
  const answers: (() => Uint8Array | null)[] = [
    () => null,
    () => prng.bytes(prng.between(0, 300)),
    () => encode(prng.pick([null, [], {}, { streams: [{}], more: true, foreign: [] }])),
  ];
  const answer = prng.pick(answers) ?? (() => null);
  network.liars.set(liar.nodeId, () => {
    tricks.lie.met += 1;
    return answer();
  });
}

/** The one worker that has turned, or turns now; in a share of the runs. */
function traitor(world: World): Host | undefined {
  const known = world.hosts.find(({ nodeId }) => world.network.liars.has(nodeId));
  if (known !== undefined) return running(world).find((host) => host === known);
  if (!world.treason) return undefined;
  const found = world.prng.pick(running(world).filter((host) => !host.isManager && world.isIdle(host)));
  if (found === undefined) return undefined;
  say(world, `${found.name} turns`);
  world.network.liars.set(found.nodeId, undefined);
  world.oracle.betrayed(found.nodeId);
  return found;
}

const tricks: { readonly [trick in Trick]: (world: World, liar: Host, network: NetworkId) => void } = {
  forge: (world, liar) => {
    const victim = world.prng.pick(honest(world, liar));
    if (victim !== undefined) forge(world, liar, victim.nodeId);
  },
  replay,
  garbage,
  flood,
  lie,
  hijack: (world, liar, network) => world.do('hijack', liar, () => hijack(world, liar, network)),
  rule: (world, liar) => world.do('rule', liar, () => rule(world, liar)),
  impersonate: (world, liar) => world.do('impersonate', liar, () => impersonate(world, liar)),
};

export const byzantineOperations: readonly Operation[] = [
  {
    name: 'misbehave',
    weight: 10,
    run: (world) => {
      const liar = traitor(world);
      const network = world.prng.pick(liveNetworks(world));
      const trick = world.prng.pick(trickNames);
      if (liar === undefined || network === undefined || trick === undefined) return;
      say(world, `${liar.name} misbehaves: ${trick}`);
      world.tricks[trick].played += 1;
      tricks[trick](world, liar, network);
    },
  },
];
