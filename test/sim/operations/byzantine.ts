import { encode } from '../../../controlplane/encoding.ts';
import { type NetworkId, type NodeId, newEndpointId, publicKeyOf } from '../../../controlplane/ids.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { clusterTopic, signRecord, toWire } from '../../../controlplane/tables/record.ts';
import type { Host } from '../host.ts';
import { type Operation, running, say, type World } from '../world.ts';
import { liveNetworks } from './networks.ts';

// A member that lies: its agent runs the code of honest ones, and beside it does what a stolen key allows.

/** Runs in which a member turns. */
export const treasonShare = 0.25;
const floodFrames = 50;

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
    for (const frame of frames) cluster.transport.publish(topic, encode(frame));
  }
}

/** What others have said, again, and later than they said it. */
function replay({ network, prng }: World, liar: Host): void {
  for (let i = 0; i < 10; i += 1) {
    const said = prng.pick(network.said);
    if (said !== undefined) liar.cluster?.transport.publish(said.topic, said.bytes);
  }
}

function garbage({ prng }: World, liar: Host): void {
  const shapes = [{}, [], [[]], [['payload', 'signature']], 'text', 2 ** 40, [[Buffer.alloc(10), Buffer.alloc(64)]]];
  for (let i = 0; i < 5; i += 1) {
    const bytes = prng.chance(0.5) ? prng.bytes(prng.between(1, 200)) : encode(prng.pick(shapes));
    liar.cluster?.transport.publish(clusterTopic, bytes);
  }
}

function flood({ prng }: World, liar: Host): void {
  const { cluster } = liar;
  if (cluster === null) return;
  for (let i = 0; i < floodFrames; i += 1) {
    const record = { topic: clusterTopic, owner: liar.nodeId, epoch: 1, seq: i + 2, key: 'node', value: null };
    const signed = signRecord(cluster.identity.key, cluster.identity.clusterId, record);
    cluster.transport.publish(clusterTopic, encode([[signed.payload, prng.bytes(64)]]));
  }
}

/** Well-formed records of its own that claim what belongs to others: addresses, numbers, a VTEP. */
async function hijack(world: World, liar: Host, id: NetworkId): Promise<void> {
  const { cluster } = liar;
  const network = cluster?.view.networks.get(id);
  if (cluster === null || network === undefined) return;
  const topic = networkTopic(id);
  const taken = [...world.oracle.endpoints.values()].filter(
    (each) => each.network === id && each.state === 'live' && each.owner !== liar.nodeId,
  );
  const ip = world.prng.pick(taken)?.ip ?? network.gateway;
  const rest = { name: 'box', aliases: [], mac: '02:00:00:00:00:01', createdMs: 0 };
  const endpoint = newEndpointId();
  const claims: [string, string, unknown][] = [
    [topic, `ep/${endpoint}`, { ...rest, sandbox: endpoint, ip }],
    ...[1, 2, 5].map((generation): [string, string, unknown] => [
      topic,
      `range/0-16/${generation}`,
      { start: 0, end: 16, to: liar.nodeId, generation },
    ]),
  ];
  for (const [where, key, value] of claims) {
    if (liar.cluster !== cluster || !cluster.view.networks.has(id)) return;
    // Its own agent may refuse what others would refuse too.
    await cluster.tables.put(where, key, value).catch(() => {});
  }
  const node = cluster.view.nodes.get(liar.nodeId);
  const victim = world.prng.pick(world.hosts.filter((host) => host !== liar));
  const vtep = victim === undefined ? undefined : cluster.view.nodes.get(victim.nodeId)?.vtep;
  if (node !== undefined && vtep !== undefined) await cluster.announce({ ...node, vtep }).catch(() => {});
}

/** From now on it answers requests with nonsense, or not at all. */
function lie({ network, prng }: World, liar: Host): void {
  const answers: (() => Uint8Array | null)[] = [
    () => null,
    () => prng.bytes(prng.between(0, 300)),
    () => encode(prng.pick([null, [], {}, { streams: [{}], more: true, foreign: [], behind: true }])),
  ];
  network.liars.set(liar.nodeId, prng.pick(answers) ?? (() => null));
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

export const byzantineOperations: readonly Operation[] = [
  {
    name: 'misbehave',
    weight: 6,
    run: (world) => {
      const liar = traitor(world);
      const victim = world.prng.pick(running(world).filter((host) => host !== liar));
      const id = world.prng.pick(liveNetworks(world));
      if (liar === undefined || victim === undefined || id === undefined) return;
      const trick = world.prng.between(0, 5);
      say(world, `${liar.name} misbehaves, in way ${trick}`);
      if (trick === 0) forge(world, liar, victim.nodeId);
      else if (trick === 1) replay(world, liar);
      else if (trick === 2) garbage(world, liar);
      else if (trick === 3) flood(world, liar);
      else if (trick === 4) lie(world, liar);
      else world.do('hijack', liar, () => hijack(world, liar, id));
    },
  },
];
