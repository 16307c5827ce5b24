import { emptyResolver } from '../../../agent/files/resolv-conf.ts';
import { plan } from '../../../agent/plan.ts';
import type { NodeId } from '../../../controlplane/ids.ts';
import { clusterTopic, decodeRecord, type SignedRecord, toWire } from '../../../controlplane/tables/record.ts';
import { identityOf } from '../../sim/identities.ts';
import { Writer } from '../../unit/controlplane/helpers.ts';
import type { Fate, Target } from '../engine.ts';
import { takenIf } from '../inputs.ts';
import { mutateValue, packed } from '../mutate.ts';
import { endpointId, type Listening, listening, network, networkId, Renewed } from './nodes.ts';
import { valuesBy, type Written } from './values.ts';

type Input = Pick<Written, 'topic' | 'key' | 'value'>;

/**
 * Records: as they are read from a frame or from the disk, and, one target a kind, as a member may write them by right,
 * signed by itself, so that the values are all that is wrong with them.
 */
export async function recordTargets(): Promise<Target[]> {
  const [manager, worker] = [await identityOf(1, 'manager'), await identityOf(2, 'worker')];
  const reader = new Reader(async () => {
    const node = await listening([manager]);
    node.cluster.tables.addInterest(network);
    const writer = new Writer(manager);
    for (const topic of [clusterTopic, network]) node.cluster.tables.ingest(writer.write(topic, '', 1));
    return { ...node, writer };
  }, worker.key.nodeId);
  const values = await valuesBy(manager);
  const signed = new Writer(manager).write(clusterTopic, '', 1);
  const records: Target = {
    name: 'records',
    weight: 9,
    valid: [toWire(signed)],
    make: (random) =>
      mutateValue(
        random,
        random.chance(0.5) ? toWire(signed) : [random.bytes(random.between(0, 300)), random.bytes(64)],
      ),
    take: (wire: unknown) => takenIf(decodeRecord(wire) !== null),
  };
  return [records, ...values.map((each) => kindTarget(each, (input) => reader.take(input)))];
}

function kindTarget({ kind, topic, key, value }: Written, take: (input: Input) => Promise<Fate>): Target {
  return {
    name: `${topic === clusterTopic ? 'cluster' : 'network'} record ${kind}`,
    weight: 3,
    valid: [{ topic, key, value }],
    make: (random) => {
      const changed = random.chance(0.8) ? key : `${key}${random.pick(['/', '0', '/1', '\n'])}`;
      return { topic, key: changed, value: mutateValue(random, value) };
    },
    take,
  };
}

/** A node that takes what one writer says, and shows it to the kernel's plan. */
class Reader {
  readonly #nodes: Renewed<Listening & { writer: Writer }>;

  readonly #passer: NodeId;

  constructor(make: () => Promise<Listening & { writer: Writer }>, passer: NodeId) {
    this.#nodes = new Renewed(make);
    this.#passer = passer;
  }

  async take({ topic, key, value }: Input): Promise<Fate> {
    const { cluster, events, writer } = await this.#nodes.get();
    let signed: SignedRecord;
    try {
      signed = writer.write(topic, key, value ?? null);
    } catch {
      // Too large, or nothing that msgpack can say: its writer would not have got further either.
      return 'refused';
    }
    // Of somebody who passes it on: what comes of its author itself may need no passing on.
    const verdict = events.gossip(topic, packed([toWire(signed)]), this.#passer);
    const { view, self } = cluster;
    const tables = { self, vtep: '192.0.2.1', port: 4789, nodes: view.nodes, networks: view.networks };
    const leg = {
      networkId,
      endpointId,
      ifName: 'eth0',
      mac: '02:42:0a:00:01:09',
      ip: '10.0.1.9',
      ip6: null,
      aliases: [],
    };
    const sandbox = {
      ...{ id: 's', name: 's', createdMs: 0, netns: '/run/netns/s', adopted: false, inode: null, labels: {} },
      ...{ hostname: null, resolver: emptyResolver },
      ...{ legs: [{ ...leg, createdMs: 0 }], gateway: null, local: [], published: [] },
    };
    plan(
      { ...tables, endpoints: view.endpoints, services: view.services, isUp: () => true, zoneOf: () => null },
      { sandboxes: [sandbox], gateway: null, localNetworks: [], underlayMtu: 1500 },
    );
    return verdict === 'accept' ? 'taken' : 'refused';
  }
}
